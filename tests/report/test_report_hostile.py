"""Text from data is text in every format: names are names, nothing becomes markup, a command or a path."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from seen import parsed
from vaebench import report
from vaebench.cli import main as cli
from vaebench.errors import UserError
from vaebench.papers.cells import Cells, cells_path
from vaebench.papers.tables import load, names
from vaebench.report.summary import sections
from vaebench.report.tables import latex, markdown

HOSTILE = "a\nb\r\x1b[31m[red]x[/b] <script>alert(1)</script> \\input{/etc/passwd} `c` *d* [e](f) | ${g} %h \u202ei"


def test_names_that_leave_their_folder_are_refused(measure, results, tmp_path, capsys):
    lines = measure("table1", seeds=1)
    for column, value in {
        "dataset": "/../../../x",
        "scale": "..",
        "row": "a/b",
        "table": "",
        "column": "a\nb",
        "paper": "x\x1b[1m",
        "run": "../../../etc",
        "eval": "0123456789ab/..",
    }.items():
        folder = results([{**lines[0], column: value}, *lines[1:]])
        code = cli.main(["report", f"results={folder}", f"store={tmp_path}"])
        said = capsys.readouterr().err
        assert (code, said.count("\n"), "\x1b" in said) == (2, 1, False)
        assert f"is no {column}" in said
        assert "cells.csv" in said
    assert {path.name for path in folder.iterdir()} <= {"batchtopk", ".lock"}, "nothing was written"


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"", b"\0" * 100, b"paper\nx\n", b'"', b"a,b\n1,2,3\n"],
    ids=["utf16", "empty", "zeros", "columns", "quote", "ragged"],
)
def test_a_file_that_is_no_cells_is_one_line(content, tmp_path):
    path = tmp_path / "cells.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"cells\.csv: (is damaged|has other columns)"):
        Cells.read(path)


@pytest.mark.parametrize(
    ("column", "value"),
    [("protocol", "[]"), ("protocol", "{"), ("by_seed", "{}"), ("count", "9" * 40), ("seed", "1.5"), ("value", "x")],
)
def test_a_damaged_field_is_one_line(column, value, measure, results):
    path = cells_path(results(measure("table1", seeds=1)), "batchtopk")
    frame = Cells.read(path).frame.astype({column: "object"})
    frame.loc[0, column] = value
    frame.to_csv(path, index=False)
    with pytest.raises(UserError, match=r"cells\.csv: is damaged"):
        Cells.read(path)


def test_a_folder_in_place_of_the_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        Cells.read(tmp_path)


@pytest.fixture
def with_texts(measure, results):
    """Makes a results folder whose free texts are these."""

    def make(text: str) -> Path:
        lines = measure("table1", "table2", seeds=2)
        for line in lines:
            protocol = {**json.loads(line["protocol"]), "features": text, text: text}
            line |= {"device": text, "commit": text, "unit": text, "protocol": json.dumps(protocol)}
        return results(lines)

    return make


@pytest.fixture
def hostile(with_texts):
    return with_texts(HOSTILE)


def test_free_text_is_text_in_every_format(hostile, with_texts, tmp_path):
    plain = with_texts("red")
    for folder in (plain, hostile):  # as many pictures on both pages
        report.write("batchtopk", folder, tmp_path)
    report.write_index(plain)
    tags = [tag for tag, _ in parsed((plain / "batchtopk" / "index.html").read_text(encoding="utf-8")).found]
    report.write_index(hostile)
    folder = hostile / "batchtopk"
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "red" in page
    scripts = [attributes for tag, attributes in parsed(page).found if tag == "script"]
    assert [one.keys() for one in scripts] == [{"src", "data-root"}], "the site's own, from a file"
    assert [tag for tag, _ in parsed(page).found] == tags, "of no other page than one on plain texts"
    made = [(folder / "sources.js"), (hostile / "search.js")]
    for script in made:
        content = script.read_text(encoding="ascii")
        assert json.loads(re.sub(r"^window\.vaebench\.\w+ = |;\n$", "", content)), "data, and nothing else"
    assert "alert(1)" in made[0].read_text(encoding="ascii")
    text = (folder / "table.md").read_text(encoding="utf-8")
    assert "red" in text
    assert not re.search(r"<script|(?<!\\)`c|(?<!\\)\*d|(?<!\\)\]\(f\)", text)
    tex = (folder / "table.tex").read_text(encoding="utf-8")
    assert "red" in tex
    body = [line for line in tex.splitlines() if not line.startswith("%")]
    assert not re.search(r"\\input|\\begin\{(?!table|tabular)", "\n".join(body))
    assert all(line.isascii() for line in body)
    json.loads((folder / "table.json").read_text(encoding="utf-8"))
    for written in (page, text, tex):
        assert "\x1b" not in written
        assert "\u202e" not in written


def test_markdown_reads_back_as_the_text():
    assert markdown._escape("a_b *c* [d](e) _f_ x|y <b> A&B `g` \\h [0, 1]") == (
        r"a_b \*c\* [d\](e) \_f\_ x\|y &lt;b> A&amp;B \`g\` \\h [0, 1]"
    )


def test_every_character_has_its_command():
    assert latex._escape("ε ± λ ² ↑ é 50% {x}_1") == (
        r"$\varepsilon$ $\pm$ $\lambda$ {\texttwosuperior} {\textuparrow} \'e 50\% \{x\}\_1"
    )
    assert latex._escape("한").isascii()
    everything = "".join(map(chr, (*range(0x20, 0x7F), *range(0xA0, 0x3100), 0x1F600)))
    assert latex._escape(everything).isascii()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")
def test_what_is_written_compiles(hostile, measure, results, tmp_path):
    from vaebench.config.origins import conf_dir

    committed = conf_dir().parent / "results"
    report.write("batchtopk", hostile, tmp_path)
    texts = {"hostile": (hostile / "batchtopk" / "table.tex").read_text(encoding="utf-8")}
    for name in names():
        if cells_path(committed, name).exists():
            texts[name] = latex.render(load(name), sections(load(name), Cells.read(cells_path(committed, name))))
    assert len(texts) > 1
    for name, text in texts.items():
        source = (
            "\\documentclass{article}\\usepackage{booktabs}\\usepackage[paperwidth=60cm]{geometry}\\extrafloats{200}\n"
            f"\\begin{{document}}\n{text.replace('begin{table}', 'begin{table}[p]')}\\end{{document}}\n"
        )
        (tmp_path / f"{name}.tex").write_text(source, encoding="utf-8")
        done = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"],
            cwd=tmp_path,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-1500:]
        log = (tmp_path / f"{name}.log").read_text(errors="replace")
        assert "Missing character" not in log

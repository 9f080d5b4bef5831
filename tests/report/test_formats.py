"""The files: what they say, that they are whole and safe, and that pictures survive the loss of the store."""

from __future__ import annotations

import io
import json
import re
import shutil
from itertools import pairwise

import pytest
from rich.console import Console

from seen import check_picture, page_of, parsed
from vaebench import report
from vaebench.papers.cells import Cells, cells_path
from vaebench.papers.study import drawn
from vaebench.papers.tables import load, parse
from vaebench.report.summary import sections
from vaebench.report.tables import markdown

PAGES = {"index.html": "", "batchtopk/index.html": "../"}


@pytest.fixture(scope="module")
def written(measure, results, store):
    """The report on two tables at paper scale and on one on the digits."""
    lines = measure("table1", "masks", jitter=1e-4) + measure(
        "table2", scale="smoke", dataset="digits", features="classifier", seeds=2, jitter=1e-4
    )
    folder = results(lines)
    paths = report.write("batchtopk", folder, store(lines))
    report.write_index(folder)
    return folder, [path.name for path in paths]


def test_every_number_stands_beside_the_papers(written):
    folder, _ = written
    text = (folder / "batchtopk" / "table.md").read_text(encoding="utf-8")
    assert "| Beta-VAE | FID | 41.31 ± 0.00 | 3 | 41.307 | +0.00 | 1 | reproduced |" in text
    assert (
        "| FID of Batch Top-K below Beta-VAE's | paper | -6.93 ± 0.00 | 3 | holds; also after correction |  |" in text
    )
    assert "not in the paper" not in text.split("## What the paper leaves open")[1]
    assert "**Stand-ins:** digits (embedded" in text
    assert "dataset digits != mnist" in text
    assert "vaebench reproduce paper=batchtopk scale=smoke dataset=digits" in text
    assert text.index("## scale=paper on MNIST") < text.index("## scale=smoke on digits")
    for question in load("batchtopk").unstated:
        assert f"| {question} |" in text


def test_every_table_row_has_as_many_cells_as_its_header(written):
    folder, _ = written
    lines = (folder / "batchtopk" / "table.md").read_text(encoding="utf-8").splitlines()
    for before, line in pairwise(lines):
        if before.startswith("|") and line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) == len(re.findall(r"(?<!\\)\|", before)), line


def test_pictures_are_there_and_linked(written):
    folder, names = written
    pictures = {name for name in names if name.endswith((".png", ".svg"))}
    assert pictures == {
        "numbers-table1-paper-mnist.svg",
        "reconstructions-table1-paper-mnist.png",
        "samples-table1-paper-mnist.png",
        "curves-table1-paper-mnist.svg",
        "importance-masks-paper-mnist.svg",
        "numbers-table2-smoke-digits.svg",
        "noise-table2-smoke-digits.png",
        "accuracy-table2-smoke-digits.svg",
        "curves-table2-smoke-digits.svg",
    }
    text = (folder / "batchtopk" / "table.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(([\w.-]+)\)", text)) == pictures
    for name in pictures:
        check_picture(folder / "batchtopk" / name, 200, 2400, 300_000)


def test_without_the_store_the_pictures_stay(written, tmp_path):
    folder, names = written
    before = {name: (folder / "batchtopk" / name).read_bytes() for name in names}
    again = [path.name for path in report.write("batchtopk", folder, tmp_path / "nowhere")]
    assert "samples-table1-paper-mnist.png" not in again
    assert {name: (folder / "batchtopk" / name).read_bytes() for name in names} == before


def test_json_holds_values_runs_and_protocols(written):
    folder, _ = written
    content = json.loads((folder / "batchtopk" / "table.json").read_text(encoding="utf-8"))
    first = content["sections"][0]
    assert (first["table"], first["scale"], first["dataset"]) == ("table1", "paper", "mnist")
    cell = next(c for c in first["cells"] if (c["row"], c["column"]) == ("batchtopk", "fid"))
    assert cell["paper"] == 34.373
    assert cell["ours"]["seeds"] == 3
    assert cell["ours"]["low"] < cell["ours"]["mean"] < cell["ours"]["high"]
    assert list(cell["values"]) == ["0", "1", "2"]
    assert cell["verdict"] == "reproduced"
    assert cell["protocol"][0]["features"] == "inception"
    assert len(cell["runs"]["0"]["run"]) == 12
    claim = first["claims"][0]
    assert (claim["id"], claim["verdict"], claim["paired_difference"]["seeds"]) == (
        "batchtopk-fid-lower-beta_vae",
        "holds",
        3,
    )


def test_latex_escapes_and_closes_what_it_opens(written):
    folder, _ = written
    text = (folder / "batchtopk" / "table.tex").read_text(encoding="utf-8")
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 3
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert not re.search(r"(?<!\\)[%#]", body)
    assert r"$\sigma$ = 0.3 {\textuparrow}" in body
    assert body.isascii()
    for rows in re.findall(r"\\toprule\n(.*?)\\bottomrule", body, re.DOTALL):
        counts = {line.count("&") for line in rows.splitlines() if line.endswith(r"\\")}
        assert len(counts) == 1


def test_the_pages_need_nothing_but_what_lies_beside_them(written):
    folder, _ = written
    for name, root in PAGES.items():
        path = folder / name
        text = path.read_text(encoding="utf-8")
        page = parsed(text)
        assert not re.search(r"https?://|@import|<style|style=\"(?!flex-grow)| on\w+=", text)
        for tag, attribute in (("img", "src"), ("script", "src"), ("link", "href")):
            beside = [found[attribute] for kind, found in page.found if kind == tag]
            assert all(one == "data:," or (path.parent / one).is_file() for one in beside)
        assert [found["src"] for tag, found in page.found if tag == "script"] == [f"{root}site.js"]
        assert 'name="viewport"' in text
    assert "light-dark(" in (folder / "site.css").read_text(encoding="utf-8")


def test_every_link_and_all_that_is_found_leads_somewhere(written):
    folder, _ = written
    pages = {folder / name: parsed((folder / name).read_text(encoding="utf-8")) for name in PAGES}
    anchors = {path: [found["id"] for _, found in page.found if "id" in found] for path, page in pages.items()}
    content = (folder / "search.js").read_text(encoding="ascii").removeprefix("window.vaebench.index = ")
    entries = json.loads(content.removesuffix(";\n"))
    assert {entry[0] for entry in entries} == {"paper", "table", "row", "claim"}
    links = [(folder / "index.html", address) for *_, address in entries]
    links += [(path, found["href"]) for path, page in pages.items() for tag, found in page.found if tag == "a"]
    assert len(links) > len(entries) + 10
    for path, link in links:
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.is_file(), link
        assert not anchor or anchors[target].count(anchor) == 1, link


def test_every_number_leads_to_where_it_comes_from(written):
    folder, _ = written
    text = (folder / "batchtopk" / "index.html").read_text(encoding="utf-8")
    page = parsed(text)
    content = (folder / "batchtopk" / "sources.js").read_text(encoding="ascii")
    known = json.loads(content.removeprefix("window.vaebench.sources = ").removesuffix(";\n"))
    rows = [found["id"] for tag, found in page.found if tag == "tr" and "data-r" in found]
    assert len(rows) == len(set(rows)) > 10
    numbers = sum(tag == "a" and found["href"] == "table.json" for tag, found in page.found) - 3  # of the whole tables
    assert numbers == sum(bool(one["runs"]) for one in known["cells"].values())
    assert {key.rpartition("/")[0] for key in known["cells"]} <= set(rows)
    linked = set()  # as a click asks for it
    for part in text.split('<section class="table" id="')[1:]:
        columns = re.findall(r'<th scope="col" data-k="([^"]+)"', part)
        for line in re.findall(r'<tr id="[^"]+" data-r="[^"]+".*?</tr>', part, re.DOTALL):
            cells = re.findall(r"<td.*?</td>", line, re.DOTALL)
            at = f"{part.partition(chr(34))[0]}/{re.search('data-r=.([^ >]+).[ >]', line)[1]}"
            linked |= {f"{at}/{name}" for name, one in zip(columns, cells, strict=True) if "<a " in one}
    assert linked == {key for key, one in known["cells"].items() if one["runs"]}
    one = known["cells"]["table1-paper-mnist/batchtopk/fid"]
    assert one["said"]["verdict"] == "reproduced"
    assert [run[0] for run in one["runs"]] == [0, 1, 2]
    assert known["protocols"][one["protocols"][0]].startswith("features inception")
    assert known["commits"][one["runs"][0][4]] == "0123abc"


def test_claims_come_first_and_headings_can_be_linked_to(written):
    folder, _ = written
    text = (folder / "batchtopk" / "index.html").read_text(encoding="utf-8")
    section = text.split('<section class="table" id="table1-paper-mnist">')[1].split("</section>")[0]
    order = [section.index(one) for one in ('class="claims"', 'src="numbers-', 'class="grid"', 'src="samples-')]
    assert order == sorted(order)
    assert 'href="#table1-paper-mnist"' in text
    assert '<span class="chip good">reproduced</span>' in section


def test_texts_of_the_paper_cannot_become_markup(measure, results):
    data = json.loads(json.dumps({"title": "<b>T & T</b>", "authors": "A|B", "source": "S", "year": 1}))
    table = {
        "caption": "<script>alert(1)</script>",
        "dataset": "mnist",
        "columns": {"c": {"label": "x|<i>y", "suite": "noise", "measurement": "m", "better": "none", "digits": 1}},
        "rows": {"r": {"label": '"r" & <r>', "experiment": "e"}},
    }
    paper = parse("evil", {**data, "tables": {"t": table}})
    line = {**measure("table2", seeds=1)[0], "paper": "evil", "table": "t", "row": "r", "column": "c", "device": "<d>"}
    cells = Cells.read(cells_path(results([line]), "batchtopk"))
    found = sections(paper, cells)
    folder = results([line])
    text = page_of(folder, paper, found)
    parsed(text)
    known = json.loads((folder / "search.js").read_text(encoding="ascii").partition(" = ")[2].removesuffix(";\n"))
    assert [entry[1] for entry in known] == ["<b>T & T</b>", "<script>alert(1)</script>", '"r" & <r>']
    assert text.count("<script") == text.count('<script src="../site.js"') == 1
    assert "<b>T" not in text
    assert "&lt;i&gt;y" in text
    text = markdown.render(paper, found, {})
    assert "x\\|&lt;i>y" in text
    assert "# &lt;b>T &amp; T&lt;/b>" in text
    assert "<" not in text.replace("<br>", "")


def test_a_store_with_some_of_the_runs_does_not_thin_pictures_out(measure, results, store):
    lines = measure("table1", seeds=1)
    folder, runs = results(lines), store(lines)
    report.write("batchtopk", folder, runs)
    path = folder / "batchtopk" / "samples-table1-paper-mnist.png"
    whole = path.read_bytes()
    path.write_bytes(b"older")
    report.write("batchtopk", folder, runs)
    assert path.read_bytes() == whole
    shutil.rmtree(runs / lines[0]["run"])
    report.write("batchtopk", folder, runs)
    assert path.read_bytes() == whole
    path.unlink()
    report.write("batchtopk", folder, runs)
    assert path.read_bytes() != whole, "of what is there, where there is nothing to lose"


def test_a_picture_has_one_file_whatever_its_format_was(measure, results, store):
    lines = measure("table1", seeds=1)
    folder, runs = results(lines), store(lines)
    charts = folder / "batchtopk"
    old = charts / "curves-table1-paper-mnist.png"
    old.write_bytes(b"of all seeds")
    report.write("batchtopk", folder, runs)
    assert not old.exists(), "drawn as a chart now"
    old.write_bytes(b"of all seeds")
    new = old.with_suffix(".svg")
    new.unlink()
    shutil.rmtree(runs / lines[0]["run"])
    report.write("batchtopk", folder, runs)
    assert (old.read_bytes(), new.exists()) == (b"of all seeds", False), "no thinner one beside it"


def test_without_any_cells_there_is_a_page_that_says_so(tmp_path):
    report.write_index(tmp_path)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    parsed(text)
    assert "Nothing has been measured yet" in text


@pytest.fixture(scope="module")
def raced(measure, results, store):
    """A race whose plain reading has the paper's numbers but for one, with two seeds; and the first table beside it."""
    table = load("batchtopk").tables["race"]
    plain = set(drawn(table.study, "smoke")[0].values())
    lines, made = [], measure("race", scale="smoke", dataset="digits", seeds=2, jitter=1e-4)
    for line in made:
        _, row, *answers, steps = line["row"].split(".")
        far = not plain.issuperset(answers)
        line["value"] += far + (row == "batchtopk" and line["column"] == "psnr") * 100 / int(steps)
        lines += [line] if line["seed"] == 0 or (steps == "60" and not far) else []
    folder = results([*lines, *measure("table1", scale="smoke", dataset="digits", features="classifier", seeds=1)])
    report.write("batchtopk", folder, store([]))
    report.write_index(folder)
    return folder


def test_a_race_is_told_in_every_format(raced):
    said = "No reading of 32 reaches all 10 printed numbers, tolerance included; the most that one reaches is 9."
    beyond = "Between readings, but reached by none of 32: table1, batchtopk: PSNR 14.171 ("
    text = (raced / "batchtopk" / "table.md").read_text(encoding="utf-8")
    page = (raced / "batchtopk" / "index.html").read_text(encoding="utf-8")
    out = Console(file=io.StringIO(), width=250)
    cells = Cells.read(cells_path(raced, "batchtopk"))
    report.console(load("batchtopk"), cells, {("race", "smoke", "digits")}, out)
    for shown in (text, page, out.file.getvalue()):
        assert "N = 32 readings measured: 4 of " in shown
        assert said in shown
        assert beyond in shown
        assert "Nearest of 32: the plain reading; 60 steps (distance 0.53)." in shown
    parsed(page)
    assert re.search(r"\| 20 \| 4 \| 4 \| [\d.]+ \|", text), "all lengths of all that were drawn are there"
    assert "](race-smoke-digits.svg)" in text
    assert "readings-race" not in text
    race = next(
        one for one in json.loads((raced / "batchtopk" / "table.json").read_text())["sections"] if "race" in one
    )
    both, one, two = race["race"]["nearest"]
    assert (both["fitted_to"], one["fitted_to"], two["fitted_to"]) == (["table1", "table2"], ["table1"], ["table2"])
    assert two["by_table"]["table2"] == {"distance": pytest.approx(0, abs=0.01), "place": 1}
    effects = {(one["axis"], one["answer"]): one["distance"] for one in race["main_effects"]}
    assert effects["granularity", "entry"] > effects["granularity", "dimension"]
    assert re.search(r"\| granularity \| entry \| [\d.]+ \| \d+ \|", text)
    psnr = next(one for one in both["numbers"] if (one["row"], one["printed_in"]) == ("batchtopk", "psnr"))
    assert (psnr["reached"], psnr["ours"]["seeds"]) == (0, 2)


def test_the_nearest_reading_stands_beside_the_rows_it_reads(raced):
    text = (raced / "batchtopk" / "table.md").read_text(encoding="utf-8")
    table1 = text.split("### table1")[1].split("### ")[0]
    assert re.search(r"\| Batch Top-K, nearest of 32 readings \(race: a fit\) \| +\| 15\.84 ± ", table1)
    assert "| Batch Top-K, **ours** |" in table1
    assert "dataset=digits seeds=1`" in table1, "its seeds are not the table's"


@pytest.mark.parametrize("table", ["table1", "table2", "masks"])
def test_the_terminal_shows_what_was_asked_for(table, measure, results):
    folder = results(measure("table1", "table2", "masks", jitter=1e-6))
    cells = Cells.read(cells_path(folder, "batchtopk"))
    out = Console(file=io.StringIO(), width=160)
    report.console(load("batchtopk"), cells, {(table, "paper", "mnist")}, out)
    text = out.file.getvalue()
    assert text.strip().startswith(f"{table}: ")
    assert text.count("scale=paper on MNIST") == 1
    assert {
        "table1": "FID of Batch Top-K below Beta-VAE's: holds; also after correction",
        "table2": "reproduced",
        "masks": "batches of 128",
    }[table] in text


def test_one_seed_is_said(measure, results):
    folder = results(measure("table1", seeds=1))
    report.write("batchtopk", folder, folder)
    text = (folder / "batchtopk" / "table.md").read_text(encoding="utf-8")
    assert "within tolerance (1 seed)" in text
    assert "1 seed: points this way" in text
    assert "reproduced |" not in text.split("## What the verdicts mean")[0]

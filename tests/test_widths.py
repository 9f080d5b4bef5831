"""Screens from 60 to 200 columns, files, NO_COLOR, streams without Greek letters: all that is printed is readable."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from commands import ROOT, VAEBENCH, python
from vaebench import report
from vaebench.cli.letters import ERRORS, spelled
from vaebench.cli.terminal import Terminal
from vaebench.contracts import Job, Outcome
from vaebench.papers.cells import Cells, cells_path
from vaebench.papers.tables import load, names
from vaebench.report.summary import NOT_RUN, Section, score, sections
from vaebench.report.tables import brief, terminal
from vaebench.runs.executors import progress
from vaebench.runs.executors.bars import Bars, about, clock
from vaebench.runs.executors.outlook import Doing, Look, Outlook

SIGMA = "\u03c3"
WIDTHS = (60, 80, 120, 200)
CONTROL = re.compile(r"\x1b")
COLOUR = re.compile(r"\x1b\[[\d;]*3\d")
MEASURED = ROOT / "results"


class Screen:
    """A terminal, or a file, whose letters are those of an encoding; what it cannot encode is an error."""

    def __init__(self, width: int, encoding: str = "utf-8", *, is_terminal: bool = True, **options: object) -> None:
        self.bytes = io.BytesIO()
        stream = io.TextIOWrapper(self.bytes, encoding=encoding, errors="strict", write_through=True)
        options = {"soft_wrap": True, "color_system": None, "height": 30, **options}
        self.console = Terminal(file=stream, width=width, force_terminal=is_terminal, **options)

    @property
    def text(self) -> str:
        return self.bytes.getvalue().decode(self.console.encoding)

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


@pytest.fixture(autouse=True)
def xterm(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(params=WIDTHS)
def width(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(params=["utf-8", "latin-1", "ascii"])
def screen(request: pytest.FixtureRequest, width: int) -> Screen:
    return Screen(width, request.param)


def fits(screen: Screen) -> bool:
    """Whether no line is longer than the screen is wide and no cell lost letters."""
    long = [line for line in screen.lines if cell_len(line) > screen.console.width]
    assert not long
    return "…" not in screen.text


# --- progress --------------------------------------------------------------------------------------------------------

LABEL = f"train a_table_with_a_name batch top-k, 8 of 64, another reading {SIGMA} = 0.5 seed=17 (a_dataset_with_a_name)"


def bars(many: int, **facts: object) -> Bars:
    jobs = [Job("train", Path(str(number))) for number in range(many)]
    doings = [(f"{number} {LABEL}", Doing(one, 0.0, 0.0, 0, 1200, 3000)) for number, one in enumerate(jobs)]
    doings += [("eval", Doing(Job("eval", Path("e")), 50.0, 50.0))]
    usual = {"finished": 17, "total": 40, "spent": 372.0, "look": Look(480.0, 0.43), "running": doings, "now": 60.0}
    return Bars(**{**usual, **facts})


def test_a_bar_for_all_jobs_and_a_line_for_each_that_runs(screen):
    screen.console.print(bars(2))
    whole, one, two, last = screen.lines
    assert whole.startswith("17 of 40 jobs ")
    assert whole.rstrip().endswith("43%, 6:12 so far, about 8 min left")
    assert ("━" in whole) == (screen.console.encoding == "utf-8")
    assert one.startswith("  0 train a_table_with_a_name")
    assert re.search(r"(1,200/3,000, 20/s|40%), 1:00$", one.rstrip())
    assert two.startswith("  1 train")
    assert re.fullmatch(r"  eval +0:10", last.rstrip())
    assert fits(screen)


def test_a_label_is_cut_and_says_so():
    narrow, wide = Screen(60), Screen(200, "ascii")
    narrow.console.print(bars(1))
    wide.console.print(bars(1))
    assert "... " in narrow.lines[1]
    assert "sigma = 0.5 seed=17 (a_dataset_with_a_name)" in wide.lines[1]


def test_more_jobs_than_lines_are_counted(width):
    small = Screen(width, height=10)
    small.console.print(bars(64))
    assert len(small.lines) <= 9
    assert small.lines[-1].rstrip() == "  and 59 more"


def test_a_job_alone_has_no_bar_above_it(width):
    alone = Screen(width)
    one = Doing(Job("train", Path("a")), 0.0, 0.0, 0, 1200, 3000)
    alone.console.print(bars(0, total=1, finished=0, running=[("train vae on mnist", one)]))
    (line,) = alone.lines
    assert line.startswith("  train vae on mnist ")
    assert line.rstrip().endswith("1:00, 1:30 left")


def test_where_nothing_says_how_long_it_takes_nothing_is_said():
    alone = Screen(80)
    alone.console.print(bars(0, look=Look(None, 0.5)))
    assert "left" not in alone.lines[0]


def test_no_color_leaves_the_bar(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    bare = Screen(80, color_system="truecolor")
    bare.console.print(bars(1))
    assert not COLOUR.search(bare.text)
    assert "━" in bare.text
    bar = max(re.findall("[━╸]+", bare.text), key=len)
    assert len(bar) < 25, "what is not done is blank where a colour cannot tell it"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "about 1 s"), (89, "about 89 s"), (90, "about 2 min"), (7199, "about 120 min"), (9000, "about 2.5 h")],
)
def test_times_in_words(seconds, words):
    assert about(seconds) == words
    assert [clock(one) for one in (9.9, 62, 3723)] == ["0:09", "1:02", "1:02:03"]


def display(screen: Screen, *jobs: Job, quiet: bool = False) -> progress.Display:
    labels = {one.folder: f"{one.folder.name} {SIGMA}" for one in jobs}
    return progress.Display(labels, Outlook(jobs, 2), quiet=quiet, console=screen.console)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock, which stands still."""
    now = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return lambda seconds: now.__setitem__(0, seconds)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.usefixtures("at")
def test_in_a_file_jobs_begin_and_end_with_a_line(encoding, tmp_path):
    file, one, two = Screen(80, encoding, is_terminal=False), *(Job("train", tmp_path / name) for name in "ab")
    with display(file, one, two) as shown:
        shown.track(one, 0, 0)
        shown.track(one, 5, 10)
        shown.finish(Outcome(one, "done"))
        shown.track(two, 0, 0)
        shown.finish(Outcome(two, "failed", "no luck"))
    sigma = SIGMA if encoding == "utf-8" else "sigma"
    assert file.lines == [
        f"begins: train a {sigma}",
        f"[1/2] done train a {sigma} (0:00)",
        f"begins: train b {sigma}",
        f"[2/2] failed train b {sigma}: no luck (0:00)",
    ]
    assert not CONTROL.search(file.text)


def test_in_a_file_a_long_job_says_how_far_it_is(at, tmp_path):
    file, one = Screen(80, is_terminal=False), Job("train", tmp_path / "a")
    with display(file, one) as shown:
        for now, done in ((0.0, 0), (5.0, 50), (20.0, 200), (21.0, 210)):
            at(now)
            shown.track(one, done, 1000 if done else 0)
        shown.finish(Outcome(one, "done"))
    assert file.lines == [f"train a {SIGMA}: 200/1000, 10/s, 1:20 left", f"[1/1] done train a {SIGMA}"]


def test_in_a_file_the_time_left_stands_at_the_end_of_a_job(at, tmp_path):
    file, jobs = Screen(80, is_terminal=False), [Job("train", tmp_path / name, seconds=60.0) for name in "abc"]
    with display(file, *jobs) as shown:
        shown.track(jobs[0], 0, 0)
        at(120.0)
        shown.finish(Outcome(jobs[0], "done"))
    assert file.lines[-1] == f"[1/3] done train a {SIGMA} (2:00; about 2 min left)"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_quiet_is_quiet(is_terminal, tmp_path):
    screen, one, two = Screen(80, is_terminal=is_terminal), *(Job("train", tmp_path / name) for name in "ab")
    with display(screen, one, two, quiet=True) as shown:
        shown.track(one, 5, 10)
        shown.finish(Outcome(one, "done"))
    assert screen.text == ""


def test_on_a_terminal_that_knows_no_cursor_lines_are_plain(monkeypatch, tmp_path):
    monkeypatch.setenv("TERM", "dumb")
    screen, one, two = Screen(80), *(Job("train", tmp_path / name) for name in "ab")
    with display(screen, one, two) as shown:
        shown.track(one, 5, 10)
    assert not CONTROL.search(screen.text)
    assert screen.lines == [f"begins: train a {SIGMA}"]


# --- tables ----------------------------------------------------------------------------------------------------------


@cache
def cells_of(name: str) -> Cells:
    return Cells.read(cells_path(MEASURED, name))


@cache
def sections_of(name: str) -> list[Section]:
    """All that the results hold of a paper."""
    return [one for one in sections(load(name), cells_of(name)) if one.scale != NOT_RUN]


@pytest.mark.parametrize(("columns", "encoding"), [(60, "utf-8"), (60, "ascii"), (80, "utf-8"), (200, "latin-1")])
def test_every_table_of_the_results_fits(columns, encoding):
    screen = Screen(columns, encoding)
    for section in (one for name in names() for one in sections_of(name)):
        terminal.show(section, screen.console)
    assert fits(screen)


def grid(rows: int, *heads: str, cell: Callable[[int, int], str]) -> Table:
    table = Table(*heads, title="a title")
    for row in range(rows):
        table.add_row(*(cell(row, column) for column in range(len(heads))))
    return table


def test_many_short_columns_become_several_tables_with_the_first_column_in_each():
    screen = Screen(60)
    heads = [f"column {number}" for number in range(12)]
    screen.console.print(grid(3, *heads, cell=lambda row, column: f"{row}.{column:02d} ± 0.5"))
    assert fits(screen)
    assert screen.text.count("column 0 ") > 2
    assert screen.text.count("a title") == 1
    for row in range(3):
        for column in range(1, 12):
            assert screen.text.count(f" {row}.{column:02d} ± 0.5 ") == 1


def test_sentences_become_a_paragraph_for_each_row():
    screen = Screen(60)
    long = "a verdict of more words than a narrow column can hold"
    table = Table("row", "column", "ours", "paper", "verdict")
    for column, verdict in (("PSNR", Text(long)), ("SSIM", ""), ("FID", long)):
        table.add_row("A model with a name", column, "1084.83 ± 25.85", "41.307", verdict)
    screen.console.print(table)
    assert fits(screen)
    text = " ".join(screen.text.split())
    assert text.count("A model with a name") == 1
    assert f"column: PSNR; ours: 1084.83 ± 25.85; paper: 41.307; verdict: {long}" in text
    assert "column: SSIM; ours: 1084.83 ± 25.85; paper: 41.307 column: FID" in text


def test_what_fits_stays_a_table(width):
    screen = Screen(width)
    screen.console.print(grid(2, "a", "b", "c", cell=lambda row, column: f"{row}{column}"))
    assert "┃ a  ┃ b  ┃ c  ┃" in screen.text


def test_a_word_longer_than_its_column_is_folded_and_not_lost():
    screen = Screen(60)
    word = "x" * 150
    screen.console.print(grid(1, "a", "b", cell=lambda row, column: word))
    assert fits(screen)
    assert screen.text.count("x") == 300


def test_a_line_of_a_screen_is_broken_between_words_and_one_of_a_file_is_not():
    line = "  a claim of many words: " + "undecided " * 20
    screen, file = Screen(60), Screen(60, is_terminal=False)
    screen.console.print(line.rstrip())
    file.console.print(line.rstrip())
    assert fits(screen)
    assert len(screen.lines) > 3
    assert all(one.startswith("    ") for one in screen.lines[1:]), "the rest of it hangs"
    assert " ".join(screen.text.split()) == " ".join(line.split())
    assert file.lines == [line.rstrip()]
    exact = Screen(60)
    exact.console.print(line.rstrip(), soft_wrap=True)
    assert exact.lines == [line.rstrip()]


# --- the end of a reproduction ---------------------------------------------------------------------------------------


def told(*papers: str, scale: str = "small", tables: tuple[str, ...] = ()) -> list:
    found = []
    for name in papers:
        wanted = (s for s in sections_of(name) if s.scale == scale and (not tables or s.key in tables))
        shown = {(s.key, s.scale, s.dataset) for s in wanted}
        found.append((load(name), cells_of(name), shown))
    return found


def test_all_papers_are_summed_up_on_a_screen(screen):
    report.brief(told(*names()), screen.console)
    assert fits(screen)
    assert 5 < len(screen.lines) <= 38, "with the lines about files, forty"
    for name in names():
        assert any(line.startswith(name) for line in screen.lines)


def test_a_table_is_summed_up_in_a_few_lines(screen):
    report.brief(told("batchtopk", scale="paper", tables=("table2",)), screen.console)
    assert fits(screen)
    assert len(screen.lines) <= 6
    found = score(load("batchtopk"), [s for s in sections_of("batchtopk") if s.key == "table2"][:1])
    numbers = [found.comparable, found.reproduced, found.outside, found.hold, found.reversed, found.undecided]
    (line,) = [line for line in screen.lines if line.startswith("batchtopk table2")]
    assert line.split()[2:] == [str(number or "-") for number in numbers]
    assert "measured: scale=paper on MNIST" in screen.text


def test_of_more_tables_than_a_screen_has_lines_each_paper_has_one(monkeypatch):
    monkeypatch.setattr(brief, "_MOST", 3)
    screen = Screen(80)
    report.brief(told("batchtopk", "dmvae"), screen.console)
    (line,) = [line for line in screen.lines if line.startswith("batchtopk ") and ":" not in line]
    assert line.split()[1:] == ["14", "-", "6", "8", "1", "1"]
    assert not [line for line in screen.lines if line.startswith(("  table1", "batchtopk table1"))]


# --- letters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "encoding", "wanted"),
    [
        (f"1.0 ± 0.5, {SIGMA} → ε", "utf-8", f"1.0 ± 0.5, {SIGMA} → ε"),
        (f"1.0 ± 0.5, {SIGMA} → ε", "ascii", "1.0 +/- 0.5, sigma -> epsilon"),
        ("1.0 ± 0.5, Σ", "latin-1", "1.0 ± 0.5, Sigma"),
        ("FID ↓, PSNR ↑", "ascii", "FID (down), PSNR (up)"),
        ("Fréchet, naïve, ü, ß, 日本", "ascii", "Frechet, naive, u, ss, ??"),
        ("3 \u00d7 4 \u2014 \u201cso\u201d …", "ascii", '3 x 4 - "so" ...'),
        ("e\u0301", "ascii", "e"),
    ],
)
def test_letters_that_are_not_there_are_spelled(text, encoding, wanted):
    assert spelled(text, encoding) == wanted
    assert text.encode(encoding, errors=ERRORS).decode(encoding) == wanted


@pytest.mark.parametrize("facts", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C"}])
@pytest.mark.parametrize("columns", ["60", "200"])
def test_commands_in_any_locale(facts, columns, tmp_path):
    words = ("list", "papers", "suites", "datasets")
    done = python(*VAEBENCH, *words, cwd=tmp_path, env={"COLUMNS": columns, **facts}, text=False)
    assert done.returncode == 0, done.stderr
    assert b"\x1b" not in done.stdout
    encoding = facts.get("PYTHONIOENCODING", "utf-8")
    lines = done.stdout.decode(encoding).splitlines()
    assert lines
    assert all(cell_len(line) <= int(columns) for line in lines)
    refused = python(*VAEBENCH, "train", "dataset=\u65e5\u03c3", cwd=tmp_path, env=facts, text=False)
    assert refused.returncode == 2
    assert b"Traceback" not in refused.stderr
    refused.stderr.decode(encoding)


def on_a_terminal(columns: int, cwd: Path, *words: str, **facts: str) -> str:
    """What a command prints on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": str(columns), **facts}
    process = subprocess.Popen([sys.executable, *words], stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=cwd)
    os.close(theirs)
    found = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux says so where others say nothing
            break
        if not piece:
            break
        found += piece
    os.close(ours)
    assert process.wait() == 0, found
    return found.decode()


@pytest.mark.parametrize("facts", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {}])
def test_commands_on_a_real_terminal(facts, tmp_path):
    out = on_a_terminal(60, tmp_path, *VAEBENCH, "list", "suites", **facts)
    width = 80 if facts.get("TERM") == "dumb" else 60  # of which nobody knows how wide it is
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", out)
    assert all(cell_len(line) <= width for line in plain.splitlines())
    if facts:
        assert not COLOUR.search(out)

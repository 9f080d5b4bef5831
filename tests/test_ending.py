"""What `reproduce` ends with, and the results in a browser: a summary, what failed, where to look."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import pytest

from commands import ROOT
from vaebench.cli import browser
from vaebench.config.spine import ReproduceConfig
from vaebench.contracts import Outcome
from vaebench.papers.cells import cells_path
from vaebench.runs import executors

WORDS = ["reproduce", "paper=batchtopk", "table=table2", "row=noisy", "scale=smoke", "dataset=digits", "seeds=1"]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that a browser was told to open; there is one, and a display."""
    found: list[str] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", lambda url: found.append(url) or True)
    return found


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder of results with the cells of a paper."""
    path = cells_path(tmp_path / "my results", "batchtopk")
    path.parent.mkdir(parents=True)
    path.write_bytes(cells_path(ROOT / "results", "batchtopk").read_bytes())
    return tmp_path / "my results"


def test_a_reproduction_ends_with_a_summary_and_full_shows_the_tables(run, tmp_path):
    words = [*WORDS, f"results={tmp_path}", "executor.kind=inline"]
    out = run.done(*words)
    end = out[out.index("done eval") :].splitlines()[1:]
    assert len(end) <= 10
    assert any(line.split()[:2] == ["batchtopk", "table2"] for line in end)
    assert (
        f"page: {tmp_path / 'batchtopk' / 'index.html'}; beside it: cells.csv, table.md, table.tex, table.json" in end
    )
    browse = f"vaebench report --open paper=batchtopk results={tmp_path}"
    assert end[-1] == f"the tables: the same command with --full; in a browser: {browse}"
    assert "verdict" not in out
    full = run.done(*words, "--full")
    assert "table2: Accuracy on reconstructions of noisy images" in full
    assert "page: " in full
    assert "--full" not in full
    assert "table2" not in run.done(*words, "-q")


def test_what_failed_is_named_and_of_many_the_first(run, tmp_path, monkeypatch):
    def failing(jobs, *_, **__):
        return [Outcome(job, "failed", f"no luck\nwith {job.folder.name}") for job in jobs]

    monkeypatch.setattr(executors, "run", failing)
    words = ["reproduce", "paper=batchtopk", "table=table2", "scale=smoke", "dataset=digits", "seeds=3"]
    said = run(*words, f"results={tmp_path}")
    assert said.code == 1
    failed = [line for line in said.out.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 6
    assert "no luck with" in failed[0]
    assert "more like these (--full; vaebench list runs where=status=failed)" in said.out
    every = run(*words, f"results={tmp_path}", "--full").out
    assert every.count("failed: ") > 6
    assert "more like these" not in every


def test_report_opens_the_page_of_the_paper_or_the_front_page(run, results, opened):
    out = run.done("report", "--open", "paper=batchtopk", f"results={results}")
    assert out.splitlines()[-1] == f"opened: {results / 'batchtopk' / 'index.html'}"
    run.done("report", "--open", f"results={results}")
    assert opened == [(results / "batchtopk" / "index.html").as_uri(), (results / "index.html").as_uri()]
    assert (results / "batchtopk" / "index.html").is_file()


def test_without_open_nothing_is_opened(run, results, opened):
    assert f"open {results}/index.html" in run.done("report", f"results={results}")
    assert opened == []


def test_without_a_browser_the_page_is_named(monkeypatch, tmp_path):
    for name in browser._DISPLAYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(browser.sys, "platform", "linux")
    monkeypatch.setattr(webbrowser, "open", lambda url: pytest.fail("it may be a browser of the terminal"))
    page = browser.page(ReproduceConfig(results=str(tmp_path)))
    said = f"no browser can be opened here; the page is {tmp_path / 'index.html'}"
    assert browser.show(page) == said

    def refuses(url: str) -> bool:
        raise webbrowser.Error("could not locate runnable browser")

    monkeypatch.setenv("DISPLAY", ":0")
    for one in (lambda url: False, refuses):
        monkeypatch.setattr(webbrowser, "open", one)
        assert browser.show(page) == said


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["plan", "--full"], "full=true: does nothing for this `vaebench plan`, no table is shown; leave it out"),
        (["report", "--full"], "full=true: does nothing for this `vaebench report`, no table is shown; leave it out"),
        (["reproduce", "--open"], "open=true: does nothing for this `vaebench reproduce`, it is for `vaebench report`"),
        (["compare", "--full"], "full=true: does nothing for this `vaebench compare`, its table is shown anyway"),
        (["train", "--full"], "unknown option 'full'"),
    ],
)
def test_flags_that_do_nothing_are_refused(words, line, run):
    assert line in run.refused(*words)

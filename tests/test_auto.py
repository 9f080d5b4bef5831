"""``seeds=auto``: more seeds where verdicts are open, in the order of what they decide for their time."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from drawn import Drawn

from vaebench.config.spine import ReproduceConfig
from vaebench.papers.cells import Cells, cells_path
from vaebench.reproduce import auto, durations, planning
from vaebench.reproduce.rows import Item

WORDS = ["paper=batchtopk", "table=table2", "row=beta_vae,batchtopk", "scale=smoke", "dataset=digits", "seeds=auto"]


class Made(Drawn):
    """Accuracy falls with the noise's level, and one row is above the other."""

    gap: ClassVar[float] = 0.0  # between the two rows, in standard deviations of a seed
    fails: ClassVar[bool] = False
    lacks: ClassVar[str] = ""  # a column that no more seeds are measured in

    def value(self, item: Item, column: str, noise: float) -> float:
        level = float(column.partition("@")[2].replace("clean", "0")) * -40
        return level + self.gap * (item.row == "beta_vae") + noise

    def run(self) -> int:
        self.began()
        if self.fails and len(self.steps) > 1:
            return 1
        self.measure(self.plan.items)
        if self.lacks and len(self.steps) > 1:
            path = cells_path(Path(self.cfg.results), "batchtopk")
            frame = Cells.read(path).frame
            Cells(frame[(frame["column"] != self.lacks) | (frame["seed"] < 3)]).write(path)
        return 0


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr(auto, "Work", Made)
    monkeypatch.setattr(durations, "learnt", lambda store, todo: lambda request: 60.0)
    monkeypatch.setattr(Made, "steps", [])
    return Made


def test_what_is_decided_at_the_first_look_gets_no_more_seeds(made, run, tmp_path, monkeypatch):
    monkeypatch.setattr(made, "gap", 1000.0)
    out = run.done("reproduce", *WORDS, f"results={tmp_path}", "seeds.max=5")
    assert made.steps[0] == {"beta_vae": 3, "batchtopk": 3}
    assert all(len(step) == 1 for step in made.steps[1:]), (
        "claims between the rows are decided, those on one may not be"
    )
    assert "verdicts are open" in out or "all is decided" in out


def test_open_rows_go_on_look_by_look_up_to_the_most(made, run, tmp_path):
    out = run.done("reproduce", *WORDS, f"results={tmp_path}", "seeds.max=10")
    both = [step["beta_vae"] for step in made.steps if len(step) == 2]
    assert both == sorted(both)
    assert both[0] == 3
    assert both[-1] == 10, "the last look is at the most"
    assert {*both} <= {3, 5, 8, 10}
    assert "verdicts are open after" in out
    assert "they would probably take" in out


def test_the_budget_ends_it_and_is_said(made, run, tmp_path):
    out = run.done("reproduce", *WORDS, f"results={tmp_path}", "budget=5m", "executor.workers=1")
    assert len(made.steps) == 1, "each step takes at least eight minutes by the estimate"
    assert "budget=5m is spent: the next look takes about" in out


def test_rows_whose_jobs_fail_are_not_tried_again(made, run, tmp_path, monkeypatch):
    monkeypatch.setattr(made, "fails", True)
    said = run("reproduce", *WORDS, f"results={tmp_path}")
    assert said.code == 1
    assert len({*map(lambda step: tuple(sorted(step)), made.steps[1:])}) == len(made.steps) - 1


def test_what_a_missing_package_leaves_open_does_not_go_on_for_ever(made, run, tmp_path, monkeypatch):
    monkeypatch.setattr(made, "lacks", "accuracy@0.7")
    out = run.done("reproduce", *WORDS, f"results={tmp_path}", "seeds.max=5")
    assert "verdicts are open" in out
    assert len(made.steps) < 6


def test_what_another_table_has_measured_is_still_to_be_put_into_this_one(composing):
    plan = planning.make(ReproduceConfig(paper="batchtopk", table="table2", row="noisy", scale="smoke"))
    keys = [(item.row, one.key) for item in plan.items for one in item.evaluations.values()]
    assert auto._without(plan, {("batchtopk", "table1", *key) for key in keys}).items == plan.items
    assert not auto._without(plan, {("batchtopk", "table2", *key) for key in keys}).items


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            "table=masks seeds=auto",
            "batchtopk masks has no printed numbers and no claims of the paper to decide; give seeds=N",
        ),
        ("table=race seeds=auto", "batchtopk race ranks readings and decides nothing; leave seeds out"),
        ("table=table2 seeds=auto seeds.max=2", "seeds.max=2: a first look takes 3 seeds"),
        ("table=table2 seeds=auto budget=1s", "budget=1s: is over before the first seed is done (about 1 min)"),
        ("table=table2 seeds=3 budget=2h", "budget=2h: is for seeds=auto and for races; add it, or leave budget out"),
        ("table=table2 seeds=auto budget=long", "budget=long: is no duration; write 90s, 45m or 2h"),
        ("table=table2 seeds=many", "seeds.count"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_run(words, line, run, tmp_path, monkeypatch):
    monkeypatch.setattr(auto, "Work", None)
    monkeypatch.setattr(durations, "learnt", lambda store, todo: lambda request: 60.0)
    said = run.refused(
        "reproduce", "paper=batchtopk", "scale=smoke", "dataset=digits", *words.split(), f"results={tmp_path}"
    )
    assert line in said


def test_tables_that_decide_nothing_are_left_out_with_a_line(made, run, tmp_path):
    words = [*WORDS[:1], "table=table2,masks", *WORDS[3:]]
    out = " ".join(run.done("reproduce", *words, f"results={tmp_path}", "seeds.max=3").split())
    assert "left out: seeds=auto: batchtopk masks has no printed numbers and no claims of the paper" in out
    assert made.steps
    assert set(made.steps[0]) > {"beta_vae", "batchtopk"}


def test_fewer_seeds_than_a_look_takes_are_said():
    from vaebench.papers.verdicts import judge_cell

    assert judge_cell(10.0, 1.0, "higher", [3.0, 4.0], []).text == "undecided (a first look takes 3 seeds)"


def test_what_the_results_have_is_not_measured_again_though_its_runs_are_gone(run, tmp_path):
    words = ["paper=batchtopk", "table=table2", "row=noisy", "scale=smoke", "dataset=digits", f"results={tmp_path}"]
    run.done("reproduce", *words, "seeds=3", "executor.kind=inline")
    before = cells_path(tmp_path, "batchtopk").read_bytes()
    elsewhere = f"store={tmp_path / 'empty'}"
    out = run.done("reproduce", *words, "seeds=auto", "seeds.max=3", "executor.kind=inline", elsewhere)
    assert "] done" not in out
    assert cells_path(tmp_path, "batchtopk").read_bytes() == before


@pytest.mark.slow  # a minute; the test below runs one for real, too
def test_it_runs_for_real_and_resumes(run, tmp_path):
    words = [*WORDS[:-1], "seeds=auto", "seeds.max=3", f"results={tmp_path}", "executor.kind=inline"]
    first = run.done("reproduce", *words)
    assert "[1/7] done" in first
    assert "open" in first or "all is decided" in first
    assert "done" not in run.done("reproduce", *words).split("table2:")[0]

"""The race as a command: rung by rung, it resumes, keeps to its budget, and refuses what would mean something else."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from drawn import Drawn

from vaebench.papers.study import drawn
from vaebench.papers.tables import load
from vaebench.reproduce import durations, race
from vaebench.reproduce.rows import Item

TABLE = load("batchtopk").tables["race"]
WORDS = ["paper=batchtopk", "table=race", "scale=smoke", "dataset=digits"]


class Made(Drawn):
    """Every number is the paper's and some noise, less of it in longer trainings."""

    fails: ClassVar[str] = "nothing"

    def value(self, item: Item, column: str, noise: float) -> float:
        printed = TABLE.reported[item.row].get(column, 1.0)
        return printed + noise / int(TABLE.rows[item.row].reading["steps"])

    def run(self) -> int:
        self.began()
        self.measure(item for item in self.plan.items if self.fails not in item.row)
        return int(self.fails != "nothing")


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr(race, "Work", Made)
    monkeypatch.setattr(durations, "learnt", lambda store, todo: seconds)
    monkeypatch.setattr(Made, "steps", [])
    return Made


def seconds(request: Any) -> float:
    """A minute, and ten for a longer training."""
    return 600.0 if request.data.get("train", {}).get("max_steps") == 60 else 60.0


def lengths(step: dict[str, int]) -> set[str]:
    return {row.rpartition(".")[2] for row in step}


def test_each_rung_is_longer_and_smaller_and_the_nearest_get_more_seeds(made, run, tmp_path):
    out = run.done("reproduce", *WORDS, f"results={tmp_path}")
    first, second, *rest = made.steps
    assert (lengths(first), lengths(second)) == ({"20"}, {"60"})
    assert sum(row.startswith("table2.batchtopk.") for row in first) == 4
    assert sum(row.startswith("table2.batchtopk.") for row in second) == 2
    assert {*first.values(), *second.values()} == {1}
    assert rest
    assert {seeds for step in rest for seeds in step.values()} == {2}
    assert "rung 1 of 2: 4 readings to 20 steps (about" in out
    assert "Nearest of 24: " in out
    made.steps.clear()
    run.done("reproduce", *WORDS, f"results={tmp_path}")
    assert made.steps[:2] == [first, second], "seeds that were added change no rung"
    assert len(made.steps) == 2, "the nearest have their seeds"


def test_a_budget_ends_it_between_two_rungs(made, run, tmp_path):
    budget = ["executor.workers=1", f"results={tmp_path}"]
    out = run.done("reproduce", *WORDS, *budget, "budget=40m")
    assert [lengths(step) for step in made.steps] == [{"20"}]
    assert "budget=40m is spent: rung 2 of 2: 2 readings to 60 steps takes about" in out
    said = run.refused("reproduce", *WORDS, *budget, "budget=1m")
    assert "budget=1m: is over before the first rung is done (about 35 min)" in said


def test_a_reading_that_fails_is_out_and_the_others_go_on(made, run, tmp_path, monkeypatch):
    plain = ".".join(drawn(TABLE.study, "smoke")[0].values())
    monkeypatch.setattr(made, "fails", f"table2.batchtopk.{plain}")
    said = run("reproduce", *WORDS, f"results={tmp_path}")
    assert said.code == 1
    assert not [row for step in made.steps[1:] for row in step if f"batchtopk.{plain}" in row]


def test_the_plan_says_how_long_it_is(made, run):
    out = run.done("plan", *WORDS, "executor.workers=1")
    assert "race (digits): readings by steps: 4 to 20, 2 to 60; then 2 seeds for the nearest; the race is about" in out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("table=table1,race", "table=table1,race: batchtopk race is a race and run by itself"),
        ("table=race seeds=3", "seeds=3: batchtopk race says how many seeds its readings get; leave seeds out"),
        ("table=race seeds=auto", "batchtopk race ranks readings and decides nothing; leave seeds out"),
        ("table=race row=table1.batchtopk.600", "unknown row 'table1.batchtopk.600'"),
    ],
)
def test_what_cannot_be_raced_is_said_before_anything_is_run(words, line, run, tmp_path, made):
    said = run.refused("reproduce", "paper=batchtopk", "scale=smoke", *words.split(), f"results={tmp_path}")
    assert line in said
    assert made.steps == []

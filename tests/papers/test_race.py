"""A race of readings: who starts, which rows there are, who goes on, and what the nearest one says."""

from __future__ import annotations

import pandas as pd
import pytest

from vaebench.errors import UserError
from vaebench.papers.readings import few_seeds, kept, looks, numbers, rank, reaches, rungs
from vaebench.papers.study import drawn, of_report, readings, row_names
from vaebench.papers.tables import load, parse

RACE = {"drawn": 4, "lengths": [10, 40], "keep": 0.5, "seeds": 3}


@pytest.fixture
def raced(good):
    """The small paper, its study a race with a second way to measure ``psnr``, its rows in two tables."""
    tables = good["tables"]
    tables["one"]["columns"]["psnr_set"] = {**tables["one"]["columns"]["psnr"], "measurement": "psnr_set"}
    tables["two"] = {
        **tables["one"],
        "rows": {"b": {"label": "B", "experiment": "p/b"}},
        "reported": "method fid\nb 2.0",
        "claims": [],
    }
    study = tables.pop("study")
    study["axes"]["average"] = {"images": {}, "set": {"columns": {"psnr": "psnr_set"}}}
    study["of"] = [
        {"table": "one", "row": "a", "axes": ["x", "y", "average"], "columns": ["fid", "psnr"]},
        {"table": "two", "row": "b", "axes": ["y"], "columns": ["fid"]},
    ]
    good["tables"] = {**tables, "study": {**study, "race": RACE}}
    return good


@pytest.fixture
def table(raced):
    return parse("x", raced).tables["study"]


def cells(*lines: tuple) -> pd.DataFrame:
    named = ("row", "column", "value", "seed")
    found = [dict(zip(named, (*line, 0)[:4], strict=True)) for line in lines]
    return pd.DataFrame(found, columns=named)


def measured(steps: int, **values: float) -> list[tuple]:
    """``xy`` and so on: a reading by its answers; its fid of a is so far away, all else as printed."""
    found = []
    for reading, away in values.items():
        x, y = reading.strip("_")
        found += [
            (f"one.a.{x}.{y}.{steps}", "fid", 1.0 + 5 * away),
            (f"one.a.{x}.{y}.{steps}", "psnr", 20.0),
            (f"one.a.{x}.{y}.{steps}", "psnr_set", 19.0),
            (f"two.b.{y}.{steps}", "fid", 2.0),
        ]
    return found


def test_who_starts_is_drawn_once_and_for_all_and_the_plain_reading_is_among_them(raced):
    raced["tables"]["study"]["race"] = {**RACE, "drawn": 3}
    study = parse("x", raced).tables["study"].study
    assert of_report(study) == ["average"]
    started = drawn(study, "small")
    assert started == drawn(study, "paper")
    assert started[0] == {"x": "1", "y": "p"}
    assert len({tuple(one.items()) for one in started}) == 3
    assert len(drawn(load("batchtopk").tables["race"].study, "small")) == 36


def test_more_than_there_are_is_all_of_them(raced):
    raced["tables"]["study"]["race"] = {**RACE, "drawn": 100}
    study = parse("x", raced).tables["study"].study
    assert len({tuple(one.items()) for one in drawn(study, "small")}) == 4
    assert len(list(readings(study, "small"))) == 4 * 2 * 2


def test_rows_are_of_runs_and_lengths_and_are_made_when_asked_for(table):
    assert {"one.a.1.p.10", "one.a.1.p.40", "two.b.p.40"} <= set(table.rows)
    assert len(table.rows) == 2 * (4 + 2)
    assert not table.rows._made
    row = table.rows["one.a.1.p.40"]
    assert table.training(row, "small") == ("model.x=1", "model.y=p", "train.max_steps=40", "train.epochs=null")
    assert row.columns == ("fid", "psnr", "psnr_set")
    assert list(table.rows._made) == ["one.a.1.p.40"]
    assert table.reported["one.a.1.p.40"] == {"fid": 1.0, "psnr": 20.0}


def test_an_answer_may_change_what_measures_alone(raced):
    raced["tables"]["study"]["axes"]["y"] = {"p": {}, "q": {"options": {"generation": {"latent": "fitted_gaussian"}}}}
    table = parse("x", raced).tables["study"]
    rows = {row.reading["y"]: row for name, row in table.rows.items() if name.startswith("two") and "40" in name}
    assert table.training(rows["q"], "small") == table.training(rows["p"], "small")
    assert table.suite(table.columns["fid"], rows["p"], "small") == ("suite=generation",)
    assert table.suite(table.columns["fid"], rows["q"], "small") == (
        "suite=generation",
        "suite.latent=fitted_gaussian",
    )


def test_the_nearest_of_those_left_go_on_by_their_first_seed(table):
    left = [{"x": "1", "y": "p"}, {"x": "1", "y": "q"}, {"x": "2", "y": "p"}]
    found = cells(*measured(10, _1p=3, _1q=1, _2p=2))
    assert kept(table, found, "small", 10, left) == [left[1], left[2]]
    later = cells(*measured(10, _1p=3, _1q=1, _2p=2), ("one.a.1.q.10", "fid", 1e6, 1))
    assert kept(table, later, "small", 10, left) == [left[1], left[2]]
    assert kept(table, found, "small", 10, left[:1]) == left[:1], "whoever is out stays out"
    failed = found[found["row"] != "one.a.1.q.10"]
    assert kept(table, failed, "small", 10, left) == [left[2]]
    assert kept(table, cells(), "small", 10, left) == []


def test_every_measured_length_and_convention_is_a_reading(table):
    found = cells(*measured(10, _1p=1, _1q=1, _2p=1), *measured(40, _1p=0.2))
    ranking = rank(table, found, "small")
    assert len(ranking.ranked) == (3 + 1) * 2, "each under two averages"
    nearest = ranking.ranked.iloc[0]
    assert (nearest["x"], nearest["y"], nearest["average"], nearest["steps"]) == ("1", "p", "images", "40")
    assert nearest["distance"] == pytest.approx(0.2 / 3**0.5)
    assert (nearest["distance_one"], nearest["distance_two"]) == pytest.approx((0.2 / 2**0.5, 0))
    by_set = ranking.ranked.query("steps == '40' and average == 'set'").iloc[0]
    assert by_set["one.a.psnr"] == 19.0
    assert by_set["distance"] == pytest.approx(((0.2**2 + 1) / 3) ** 0.5)
    first, last = rungs(table, found, "small")
    assert (first.steps, first.readings, first.kept, last.steps, last.readings, last.kept) == (10, 3, 1, 40, 1, 0)
    assert (first.distance, last.distance) == pytest.approx((1 / 3**0.5, 0.2 / 3**0.5))


def test_a_fit_to_one_table_is_looked_at_on_the_other(table):
    found = cells(
        *((f"one.a.1.{y}.10", column, value + away) for y, away in (("p", 0.0), ("q", 2.0)) for column, value in
          (("fid", 1.0), ("psnr", 20.0), ("psnr_set", 20.0))),
        ("two.b.p.10", "fid", 12.0),
        ("two.b.q.10", "fid", 2.0),
    )  # fmt: skip
    ranking = rank(table, found, "small")
    both, one, two = looks(table, ranking)
    assert (both.fitted, one.fitted, two.fitted) == (("one", "two"), ("one",), ("two",))
    assert (one.line["y"], two.line["y"]) == ("p", "q")
    assert one.away == {"one": (0.0, 1), "two": (2.0, 3)}, "two conventions of the other reading are nearer"
    assert two.away["one"][1] == 3
    assert two.distance == two.away["two"][0] == 0
    assert few_seeds(table, ranking, "small") == row_names(table.study, [both.line, one.line, two.line])


def test_what_no_reading_reaches_is_told_with_the_range_of_all(table):
    found = cells(*measured(10, _1p=1, _1q=2, _2p=3), ("one.a.1.p.10", "fid", 4.0, 1), ("one.a.1.p.10", "fid", 8.0, 2))
    ranking = rank(table, found, "small")
    fid, psnr, other = numbers(table, ranking, ranking.ranked.iloc[0].to_dict())
    assert (fid.printed, fid.low, fid.high, fid.ours.count) == (1.0, 6.0, max(fid.high, 6.0), 3)
    assert fid.reached == 2, "the wide interval of three seeds, under both averages"
    assert psnr.reached == len(ranking.ranked)
    assert other.table == "two"


@pytest.mark.parametrize(
    ("values", "reached"),
    [((1.5,), True), ((3.5,), False), ((3.0, 3.1, 3.2), True), ((3.5, 3.5, 3.5), False), ((), False)],
)
def test_an_interval_reaches_a_band_and_one_seed_by_itself(values, reached):
    assert reaches(values, 1.0, 1.9) == reached


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"lengths": [40, 10]}, "race at scale=small: lengths=[40, 10]: expected steps, the fewest first"),
        ({"lengths": []}, "race at scale=small: lengths=[]: expected a list of one or more whole numbers"),
        ({"keep": 1.5}, "race at scale=small: keep=1.5: expected"),
        ({"drawn": 1}, "race at scale=small: drawn=1: expected a whole number"),
        ({"drawn": {"smoke": 2}}, "race at scale=small: drawn is missing"),
        ({"rungs": 3}, "race: unknown key 'rungs'. Valid: drawn, keep, lengths, seed, seeds"),
    ],
)
def test_a_race_that_cannot_be_run_is_refused(raced, change, line):
    raced["tables"]["study"]["race"] = RACE | change
    with pytest.raises(UserError) as caught:
        parse("x", raced)
    assert f"paper x, study, {line}" in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ({"options": {"nose": {"clip": True}}}, "axes, y.q, options: unknown suite 'nose'; did you mean 'noise'?"),
        ({"columns": {"psnr": "psnr_st"}}, "of one.a: unknown column 'psnr_st'; did you mean 'psnr_set'?"),
        ({"columns": {"psnr": "psnr_set"}, "model.y": 1}, "axes, y.q: chooses columns and changes runs"),
    ],
)
def test_an_answer_that_means_nothing_is_refused(raced, answer, line):
    raced["tables"]["study"]["axes"]["y"]["q"] = answer
    with pytest.raises(UserError) as caught:
        parse("x", raced)
    assert f"paper x, study, {line}" in str(caught.value)

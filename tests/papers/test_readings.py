"""The ranking of readings against distances worked out by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from vaebench.papers.readings import main_effects, rank
from vaebench.papers.tables import load, parse


@pytest.fixture
def table(good):
    return parse("x", good).tables["study"]


def cells(*lines: tuple) -> pd.DataFrame:
    return pd.DataFrame(
        [{"row": r, "column": c, "value": v} for r, c, v in lines],
        columns=["row", "column", "value"],
    )


# Printed: a: fid 1, psnr 20; b: fid 2. Units: fid 5, psnr 1.
COMPLETE = [
    *(("one.a.1.p.10", "fid", v) for v in (0.0, 2.0)),  # two seeds, mean 1: distance 0
    ("one.a.1.p.10", "psnr", 20.0),
    ("one.a.1.q.10", "fid", 6.0),  # 1
    ("one.a.1.q.10", "psnr", 22.0),  # 2
    ("one.a.2.p.10", "fid", 1.0),
    ("one.a.2.p.10", "psnr", 17.0),  # 3
    ("one.a.2.q.10", "fid", 1.0),
    ("one.a.2.q.10", "psnr", 20.5),  # 0.5
    ("one.b.p.10", "fid", 12.0),  # 2
    ("one.b.q.10", "fid", 2.0),
]


def test_distance_is_the_root_mean_square_in_units(table):
    ranking = rank(table, cells(*COMPLETE), "paper")
    found = {(line["x"], line["y"]): line for line in ranking.frame.to_dict("records")}
    assert found["1", "p"]["distance"] == pytest.approx(math.sqrt((0 + 0 + 4) / 3))
    assert found["1", "q"]["distance"] == pytest.approx(math.sqrt((1 + 4 + 0) / 3))
    assert found["2", "p"]["distance"] == pytest.approx(math.sqrt((0 + 9 + 4) / 3))
    assert found["2", "q"]["distance"] == pytest.approx(math.sqrt(0.25 / 3))
    assert [(line["x"], line["y"]) for line in ranking.frame.to_dict("records")] == [
        ("2", "q"),
        ("1", "p"),
        ("1", "q"),
        ("2", "p"),
    ]
    assert list(ranking.frame["rank"]) == [1, 2, 3, 4]
    assert set(ranking.frame["cells"]) == {3}
    assert ranking.wanted == 3
    assert found["1", "p"]["one.a.fid"] == 1.0
    assert found["1", "p"]["one.b.fid"] == 12.0


def test_main_effects_are_means_over_the_other_axes(table):
    ranking = rank(table, cells(*COMPLETE), "paper")
    effects = {(e["axis"], e["answer"]): e for e in main_effects(table, ranking).to_dict("records")}
    expected = (math.sqrt(4 / 3) + math.sqrt(5 / 3)) / 2
    assert effects["x", "1"]["distance"] == pytest.approx(expected)
    assert effects["x", "1"]["readings"] == 2
    assert set(effects) == {("x", "1"), ("x", "2"), ("y", "p"), ("y", "q")}


def test_a_reading_with_fewer_cells_has_no_rank(table):
    ranking = rank(table, cells(*(line for line in COMPLETE if line[:2] != ("one.a.2.q.10", "psnr"))), "paper")
    last = ranking.frame.iloc[-1]
    assert (last["x"], last["y"], last["cells"], last["rank"]) == ("2", "q", 2, 0)
    assert len(ranking.ranked) == 3


def test_without_cells_nothing_is_ranked(table):
    ranking = rank(table, cells(), "paper")
    assert ranking.frame.empty
    assert main_effects(table, ranking)["distance"].isna().all()


def test_a_row_that_no_longer_exists_is_ignored(table):
    with_old = cells(*COMPLETE, ("one.a.3.p.10", "fid", 0.0))
    assert rank(table, with_old, "paper").frame.equals(rank(table, cells(*COMPLETE), "paper").frame)


def test_the_paper_itself_has_distance_zero():
    table = load("batchtopk").tables["race"]
    conventions = {"psnr_set": "psnr", "ssim_reflect": "ssim_valid"}
    printed = {row: dict(numbers) for row, numbers in table.reported.items()}
    for numbers in printed.values():
        numbers |= {other: numbers[own] for other, own in conventions.items() if own in numbers}
    lines = [(row, column, value) for row, numbers in printed.items() for column, value in numbers.items()]
    ranking = rank(table, cells(*lines), "smoke")
    assert len(ranking.frame) == 4 * 2 * 4, "drawn, lengths, conventions of the mean and of the border"
    assert ranking.wanted == 10
    assert set(ranking.frame["cells"]) == {10}
    assert (ranking.frame["distance"] < 1e-12).all()

"""cells.csv: exact round trip, keys that look like numbers, replacement by key, damaged files."""

from __future__ import annotations

import math

import pytest

from vaebench.errors import UserError
from vaebench.papers.cells import COLUMNS, Cells, cells_path, digest


def test_a_missing_file_is_no_cells(tmp_path):
    cells = Cells.read(tmp_path / "none.csv")
    assert len(cells.frame) == 0
    assert tuple(cells.frame.columns) == COLUMNS
    assert cells.merged([]) is cells


def test_cells_come_back_exactly_and_keys_stay_text(tmp_path, measure):
    lines = measure("table2", value=0.1 + 0.2, seeds=1)
    for number, line in enumerate(lines):
        line.update(run=["123456789012", "12e456789012", "0012e3456789"][number % 3], unit="", commit="1234567")
    path = cells_path(tmp_path, "batchtopk")
    written = Cells.read(path).merged(lines)
    written.write(path)
    again = Cells.read(path)
    assert again.frame.equals(written.frame)
    assert set(again.frame["run"]) == {"123456789012", "12e456789012", "0012e3456789"}
    assert set(again.frame["value"]) == {0.1 + 0.2}
    assert set(again.frame["unit"]) == {""}
    assert set(again.frame["commit"]) == {"1234567"}
    content = path.read_bytes()
    again.write(path)
    assert path.read_bytes() == content
    assert [p.name for p in path.parent.iterdir()] == ["cells.csv"]


def test_a_new_cell_takes_the_place_of_the_old_one(measure, tmp_path):
    first = Cells.read(tmp_path / "x").merged(measure("table2", value=1.0))
    second = first.merged(measure("table2", value=2.0, seeds=1))
    assert len(second.frame) == len(first.frame)
    assert set(second.frame[second.frame["seed"] == 0]["value"]) == {2.0}
    assert set(second.frame[second.frame["seed"] > 0]["value"]) == {1.0}
    other = second.merged(measure("table2", scale="smoke", dataset="digits", seeds=1))
    assert len(other.frame) == len(first.frame) + len(first.frame) // 3


def test_the_order_of_measuring_does_not_show(measure, tmp_path):
    lines = measure("table1", "table2")
    forwards = Cells.read(tmp_path / "x").merged(lines)
    backwards = Cells.read(tmp_path / "x").merged(lines[::-1])
    assert forwards.frame.equals(backwards.frame)


def test_a_damaged_file_is_one_line(tmp_path):
    path = tmp_path / "cells.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="has other columns"):
        Cells.read(path)
    path.write_text(",".join(COLUMNS) + "\n" + ",".join("x" for _ in COLUMNS) + "\n")
    with pytest.raises(UserError, match="is damaged"):
        Cells.read(path)


def test_a_digest_does_not_depend_on_order_and_tells_values_apart():
    assert digest({"a": 1, "b": {"c": 2, "d": 3}}) == digest({"b": {"d": 3, "c": 2}, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert len(digest({"a": math.pi})) == 12

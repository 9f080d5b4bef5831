"""Whatever stands in a paper's YAML, what comes of it is a paper or lines that name the place; never a traceback."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from vaebench.config.choices import choices, leaf
from vaebench.errors import UserError
from vaebench.papers.tables import names, parse

ODD = (None, 5, 2.5, True, "x", "{z}", "", [], [8], ["x", [5]], {}, {"x": 5}, {8: {"smoke": [1]}}, {"smoke": 5})


def places(node: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value in nested data."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield (*way, key)
        yield from places(value, (*way, key))


def changed(data: dict[str, Any], way: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A copy, with another value in one place."""
    found = node = copy.deepcopy(data)
    for key in way[:-1]:
        node = node[key]
    node[way[-1]] = value
    return found


def outcome(data: Any) -> str:
    """The lines of a paper's mistakes; empty if it has none and every row says what it changes."""
    try:
        paper = parse("x", data)
    except UserError as error:
        wrong = [line for line in error.lines if not line.startswith("paper x") or "\n" in line]
        return f"no line of ours: {wrong}" if wrong else str(error)
    for table in paper.tables.values():
        for scale in choices("scale"):
            table.stage(scale)
            for row in table.rows.values():
                table.training(row, scale, stand_in=True)
                for column in table.columns.values():
                    table.suite(column, row, scale)
    return ""


def test_any_value_anywhere_is_taken_or_refused_in_lines(good):
    found = [outcome(changed(good, way, value)) for way in places(good) for value in ODD]
    assert sum(map(bool, found)) > len(found) / 2
    assert not [lines for lines in found if lines.startswith("no line of ours")]


@pytest.mark.parametrize("name", names())
def test_any_value_in_the_papers_there_are_is_taken_or_refused_in_lines(name):
    data = leaf("paper", name)
    ways = list(places(data))
    for number, way in enumerate(ways[:: max(1, len(ways) // 40)]):
        assert "no line of ours" not in outcome(changed(data, way, ODD[number % len(ODD)]))


@pytest.mark.parametrize(
    ("way", "value", "line"),
    [
        (("rows", "a", "grid"), [8], "tables.one.rows.a.grid=[8]: expected a mapping"),
        (("rows", "a", "grid"), {"k": None}, "tables.one.rows.a.grid.k=None: expected a list"),
        (("rows", "a", "grid"), {"k": []}, "tables.one.rows.a.grid.k=[]: expected one or more"),
        (("rows", "a", "set"), 5, "tables.one.rows.a.set=5: expected a mapping"),
        (("rows", "a", "set"), {"smoke": 5}, "row a: smoke=5: expected a mapping"),
        (("rows", "a", "set"), {"links": {"x": 5}}, "row a: links.x=5: expected a mapping"),
        (("rows", "a"), [5], "tables.one.rows.a=[5]: expected a text or a mapping"),
        (("claims",), [5], "tables.one.claims[0]=5: expected a mapping or a list"),
        (("claims",), 5, "tables.one.claims=5: expected a list"),
        (("columns", "fid", "digits"), "x", "column fid: digits='x': expected a whole number, 0 to 15"),
        (("columns", "fid", "tolerance"), -1, "column fid: tolerance=-1: expected a finite number, at least 0"),
        (("columns", "fid", "snapshot"), 0, "column fid: snapshot=0: expected a whole number, at least 1"),
        (("seeds",), {"smoke": "x"}, "one: seeds.smoke='x': expected a whole number, at least 1"),
        (("seeds",), {"smal": 1}, "one: unknown seeds 'smal'; did you mean 'small'"),
        (("dataset",), {"smal": "mnist", "paper": "mnist"}, "one: unknown datasets 'smal'; did you mean 'small'"),
        (("rows", 8), {"label": "x"}, "tables.one.rows: the name 8 is no text"),
        (("reported",), "method fid\nc failed", "one, reported: unknown row 'c'"),
    ],
)
def test_a_malformed_place_is_named(good, way, value, line):
    assert line in outcome(changed(good, ("tables", "one", *way), value))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"smoke": 5}, "smoke=5: expected a mapping"),
        ({"train.x": {"smal": 5}}, "unknown scale 'smal'; did you mean 'small'"),
    ],
)
@pytest.mark.parametrize("place", ["set", "stages"])
def test_what_a_study_changes_is_looked_at_like_a_tables(good, place, change, line):
    assert line in outcome(changed(good, ("tables", "study", place), change))

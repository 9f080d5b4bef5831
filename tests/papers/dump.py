"""All that the papers' YAML expands to: ``python tests/papers/dump.py`` writes it to ``tests/papers/expansion.json``.

The shape of the YAML may change, its meaning may not: `test_expansion` compares. Options are written as they take
effect, the last word on each; claims by what they compare, so that their order and their names are free.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from vaebench.config.choices import choices
from vaebench.papers.changes import Change, at_scale, words
from vaebench.papers.tables import Claim, Column, Paper, Row, Table, load, names

FILE = Path(__file__).with_name("expansion.json")


def expansion(paper: Paper) -> dict[str, Any]:
    """A paper as plain data."""
    facts = ("title", "authors", "source", "year", "unstated")
    return _plain({**{name: getattr(paper, name) for name in facts}, "tables": _each(paper.tables, _table)})


def _table(table: Table) -> dict[str, Any]:
    facts = ("caption", "dataset", "seeds", "features", "notes", "datasets", "stand_ins", "stand_in")
    scales, rows = choices("scale"), {} if table.study else table.rows  # a study draws its rows from the axes
    return {
        **{name: getattr(table, name) for name in (*facts, "train_on")},
        "reported": {} if table.study else table.reported,
        "study": {**asdict(table.study), "axes": _each(table.study.axes, _words)} if table.study else None,
        "rows": {name: _row(table, row) for name, row in rows.items()},
        "columns": _each(table.columns, _column),
        "claims": {_compared(claim): [claim.asserted, claim.text] for claim in table.claims},
        "on_stages": {scale: _effect(table.stage(scale)) for scale in scales},
        "on_suites": {scale: _each(at_scale(table.options, scale), _of_suite) for scale in scales},
        "trained": {name: _trained(table, name) for name in rows},
    }


def _row(table: Table, row: Row) -> dict[str, Any]:
    facts = ("label", "experiment", "scales", "failed", "note", "measures", "optional", "reading", "of")
    some = () if set(row.columns) == set(table.columns) else row.columns
    return {**{name: getattr(row, name) for name in facts}, "columns": some, "on_suites": _of_suite(row.options)}


def _column(column: Column) -> dict[str, Any]:
    found = asdict(column)
    return {name: value for name, value in found.items() if name not in ("short", "point", "written")}


def _of_suite(options: Change) -> dict[str, Any]:
    return _effect(words(options, within="suite"))


def _words(answers: Mapping[str, Change]) -> dict[str, Any]:
    return _each(answers, words)


def _trained(table: Table, name: str) -> dict[str, Any]:
    """By scale, the options of a row's training: of the table's own sets, then what a stand-in changes of them."""
    row, found = table.rows[name], {}
    for scale in (one for one in choices("scale") if name in table.run_at(one)):
        here, there = (_effect(table.training(row, scale, stand_in=stands)) for stands in (False, True))
        found[scale] = [here, {name: value for name, value in there.items() if here.get(name, ...) != value}]
    return found


def _effect(words: Iterable[str]) -> dict[str, Any]:
    """Each option with its last value; a list of words inside a word likewise."""
    found: dict[str, Any] = {}
    for word in words:
        name, _, text = word.partition("=")
        value = yaml.safe_load(text)
        found[name] = _effect(value) if name.endswith(".overrides") else _number(value)
    return found


def _number(value: Any) -> Any:
    """YAML takes 1e-06 for a text."""
    try:
        return value if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return value


def _compared(claim: Claim) -> str:
    than = f"{claim.than}.{claim.than_column}" if claim.value is None else f"{claim.value:.12g}"
    return f"{claim.row}.{claim.column} {claim.holds} {claim.factor:g} {than} {claim.margin:g}"


def _each(entries: Any, function: Any) -> dict[str, Any]:
    return {name: function(entry) for name, entry in entries.items()}


def _plain(value: Any) -> Any:
    """As JSON gives it back, without what is empty; all numbers as floats, since 1 and 1.0 are the same."""
    if isinstance(value, dict):
        return {str(name): _plain(entry) for name, entry in value.items() if entry not in ("", [], (), {})}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def everything() -> dict[str, Any]:
    """By paper."""
    return {name: expansion(load(name)) for name in names()}


def text(value: Any, depth: int = 5) -> str:
    """JSON with a row, a column or a claim on each line."""
    if not isinstance(value, dict) or not depth:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    lines = [f"{json.dumps(name, ensure_ascii=False)}:{text(value[name], depth - 1)}" for name in sorted(value)]
    return "{\n" + ",\n".join(lines) + "\n}"


def main() -> None:
    """Write the file."""
    FILE.write_text(text(everything()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

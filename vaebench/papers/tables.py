"""The papers there are, read from ``conf/paper/<name>.yaml`` into `records`; all mistakes in a file are shown at once.

What a file says once for several tables (``every_table``), rows (``every_row``) or columns (``every_column``, and by
name ``quantities``) is merged into each, and of the ``parts`` those that a table ``takes``. How a grid, claims and
printed numbers are written say `grid`, `claims` and `printed`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from functools import cache
from typing import Any, TypeVar

import yaml

from vaebench.config.choices import choices, conf_dir
from vaebench.errors import UserError, unknown
from vaebench.papers import grid, printed
from vaebench.papers.changes import merged
from vaebench.papers.claims import Claims, short
from vaebench.papers.mistakes import in_study, in_table
from vaebench.papers.records import Claim, Column, Paper, Readings, Row, Table

__all__ = ["Claim", "Column", "Paper", "Readings", "Row", "Table", "load", "names", "parse", "study_row"]

Record = TypeVar("Record")


def names() -> list[str]:
    """The papers there are."""
    return choices("paper")


@cache
def load(name: str) -> Paper:
    """The paper ``conf/paper/<name>.yaml``. Raises `UserError` with one line per mistake in it."""
    if name not in names():
        raise UserError(unknown("paper", name, names()))
    path = conf_dir() / "paper" / f"{name}.yaml"
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"conf/paper/{name}.yaml: is not YAML ({str(error).splitlines()[0]})") from error
    return parse(name, data)


def parse(name: str, data: Any) -> Paper:
    """A paper from plain data. Raises `UserError` with one line per mistake."""
    mistakes: list[str] = []
    where = f"paper {name}"
    if not isinstance(data, Mapping):
        raise UserError(f"{where}: expected a mapping with title, source, tables")
    shared = {key: data.get(key) or {} for key in ("every_table", "quantities", "parts")}
    own = {key: value for key, value in data.items() if key not in shared}
    tables: dict[str, Table] = {}
    for key, value in (data.get("tables") or {}).items():
        taken = [value["takes"]] if isinstance(value.get("takes"), str) else value.get("takes", [])
        mistakes += [
            f"{where}, {key}: {unknown('part', n, shared['parts'])}" for n in taken if n not in shared["parts"]
        ]
        there = (shared["parts"].get(name, {}) for name in taken)
        whole = _given(merged(shared["every_table"], *there, {**value, "takes": None}))
        tables[key] = _table(f"{where}, {key}", whole, shared["quantities"], tables, mistakes)
    if not tables:
        mistakes.append(f"{where}: has no tables")
    mistakes += [f"{where}: {key} is empty" for key in ("title", "authors", "source") if not data.get(key)]
    paper = _record(Paper, {**own, "name": name, "tables": tables}, where, mistakes)
    if mistakes:
        raise UserError(*dict.fromkeys(mistakes))
    return paper


def _table(
    where: str,
    data: dict[str, Any],
    quantities: Mapping[str, Any],
    earlier: Mapping[str, Table],
    mistakes: list[str],
) -> Table:
    """A printed table, or with ``axes`` a study of earlier ones. ``protocol``, ``reading``: shared by its columns."""
    if "axes" in data:
        return _study(where, data, earlier, mistakes)
    every = {key: data.pop(key, {}) for key in ("protocol", "reading", "every_column", "every_row")}
    own = {key: data.pop(key, {}) for key in ("columns", "rows", "reported", "claims")}
    named = {key: {} for key in own["columns"]} if isinstance(own["columns"], list) else own["columns"]
    facts = {key: every[key] for key in ("protocol", "reading")}
    whole = {k: merged(facts, every["every_column"], quantities.get(k, {}), v or {}) for k, v in named.items()}
    columns = {
        key: _record(Column, {"measurement": key, **_given(value)}, f"{where}, column {key}", mistakes)
        for key, value in grid.spread(whole, "@").items()
    }
    reported, failed, lines = printed.read(own["reported"] or "", columns)
    whole = {key: merged(every["every_row"], value or {}) for key, value in own["rows"].items()}
    rows = {
        key: _record(Row, {**_of_label(value), "failed": failed.get(key, ())}, f"{where}, row {key}", mistakes)
        for key, value in grid.spread(whole, "_").items()
    }
    found = list(Claims(rows, columns, lines).spread(own["claims"]))
    mistakes += [f"{where}, {line}" for line in lines]
    claims = tuple(_record(Claim, one, f"{where}, claim {one['id']}", mistakes) for one in found)
    claims = tuple(replace(c, than=c.than or c.row, than_column=c.than_column or c.column) for c in claims)
    parts = {"rows": rows, "columns": columns, "reported": reported, "claims": claims}
    table = _record(Table, {**data, **parts}, where, mistakes)
    mistakes += in_table(where, table)
    return table


def _of_label(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"short": short(str(row.get("label", ""))), **_given(row)}


def _given(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What is not null: that takes back what stands for several."""
    return {key: value for key, value in entry.items() if value is not None}


def _study(where: str, data: dict[str, Any], earlier: Mapping[str, Table], mistakes: list[str]) -> Table:
    """The rows of a study: for each printed row it re-reads, every combination of the axes that row depends on."""
    own: dict[str, Any] = {key: data.pop(key) for key in ("axes", "of", "units", "must_match") if key in data}
    axes = own.get("axes", {})
    own["axes"] = {axis: {str(name): change for name, change in answers.items()} for axis, answers in axes.items()}
    readings = _record(Readings, own, where, mistakes)
    rows: dict[str, Row] = {}
    columns: dict[str, Column] = {}
    reported: dict[str, Mapping[str, float]] = {}
    for entry in own.get("of", ()):
        lines = in_study(f"{where}, of {entry.get('table')}.{entry.get('row')}", entry, readings, earlier)
        mistakes += lines
        if lines:
            continue
        there = earlier[entry["table"]]
        source = there.rows[entry["row"]]
        columns |= {key: there.columns[key] for key in entry["columns"]}
        for answers in itertools.product(*(readings.axes[axis] for axis in entry["axes"])):
            reading = dict(zip(entry["axes"], answers, strict=True))
            key = study_row(entry["table"], entry["row"], reading)
            rows[key] = replace(
                source,
                label=f"{source.label}: {', '.join(answers)}",
                set=merged(source.set, *(readings.axes[axis][answer] for axis, answer in reading.items())),
                columns=tuple(entry["columns"]),
                reading=reading,
                of=(entry["table"], entry["row"]),
            )
            reported[key] = {name: there.reported[entry["row"]][name] for name in entry["columns"]}
    parts = {"rows": rows, "columns": columns, "reported": reported, "study": readings}
    return _record(Table, {**data, **parts}, where, mistakes)


def study_row(table: str, row: str, reading: Mapping[str, str]) -> str:
    """The name of a study's row: ``table1.batchtopk.abs_z.dimension.mse_sum.mlp``."""
    return ".".join((table, row, *reading.values()))


def _record(kind: type[Record], data: Mapping[str, Any], where: str, mistakes: list[str]) -> Record:
    """A record from a mapping; lists become tuples. What is unknown, missing or null is noted in ``mistakes``."""
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    mistakes += [f"{where}: {unknown('key', key, known)}" for key in data if key not in known]
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known}
    for name, entry in known.items():
        required = entry.default is MISSING and entry.default_factory is MISSING
        if required and values.get(name) is None:
            mistakes.append(f"{where}: {name} is missing")
            values[name] = None
    return kind(**values)

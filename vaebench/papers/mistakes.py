"""What is wrong with a paper's file: its shape, the values of its records, and what these say together.

Before anything is made of a file, mappings, lists and texts have to stand where they belong (`of_shape`). What each
value may be say the hints of the records (`of_field`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from vaebench.config.choices import choices
from vaebench.config.signatures import mistake
from vaebench.errors import shown, unknown
from vaebench.papers.cells import no_name
from vaebench.papers.changes import Change, scales
from vaebench.papers.records import Claim, Column, Paper, Race, Readings, Row, Table
from vaebench.papers.study import STEPS, trained
from vaebench.papers.verdicts import RELATIONS, WITHIN


def _fields(record: type) -> set[str]:
    return {one.name for one in fields(record)}


# A dict stands for a mapping, a list for a list, a tuple for one of several; anything else is a type.
EACH = "*"  # all names of a mapping; where there is none, names that are not in the shape are left alone
_NAMES = (str, [str])
_GRID = {EACH: [str | float | bool]}
_ENTRY = {"grid": _GRID, "protocol": {}, "reading": {}, "set": {}, "on_stand_in": {}, "options": {}}
_ENTRIES = {EACH: (str, _ENTRY)}
_CLAIM = {"pairs": {EACH: _NAMES}, "grid": _GRID, "than_column": str, "text": str, "factor": float}
_CLAIM |= dict.fromkeys(("row", "than", *RELATIONS), _NAMES)
_CLAIMS: list[Any] = []
_CLAIMS.append((_CLAIM, _CLAIMS))
_TABLE = {"dataset": (str, {EACH: _NAMES}), "takes": _NAMES, "reported": str, "claims": _CLAIMS}
_TABLE |= {"every_row": _ENTRY, "rows": _ENTRIES, "every_column": _ENTRY, "columns": (_ENTRIES, [str])}
_TABLE |= {"protocol": {}, "reading": {}, "set": {}, "stages": {}, "options": {EACH: {}}}
_ANSWER = {"options": {EACH: {}}, "columns": {EACH: str}}
_TABLE |= {
    "axes": {EACH: {EACH: _ANSWER}},
    "race": {},
    "of": [{"table": str, "row": str, "axes": [str], "columns": [str]}],
}
PAPER = {"every_table": _TABLE, "quantities": {EACH: _ENTRY}, "parts": {EACH: _TABLE}, "tables": {EACH: _TABLE}}
_CALLED = {dict: "a mapping", list: "a list", str: "a text"}
_MADE = {"study", "datasets", "stand_ins"}  # of a table's dataset and axes
# What can be written for each record (`Readings`: for a study): its fields, without those that are made; and more.
_KEYS = {
    Paper: _fields(Paper) - {"name", "again"} | {"every_table", "quantities", "parts"},
    Table: _fields(Table) - _MADE | {"takes", "every_row", "every_column", "protocol", "reading"},
    Readings: _fields(Readings) | _fields(Table) - _MADE - {"rows", "columns", "reported", "claims"} | {"takes"},
    Row: _fields(Row) - {"point", "written", "failed", "reading", "of", "suites"} | {"grid"},
    Column: _fields(Column) - {"point", "written"} | {"grid"},
    Claim: _fields(Claim) - {"id", "column", "holds"} | {"grid", "pairs", "remark", *RELATIONS},
}


def of_shape(where: str, value: Any, shape: Any, *, needed: bool = False) -> Iterator[str]:
    """One line for each place in plain data that has another shape; in mappings what is null counts as absent."""
    options = shape if isinstance(shape, tuple) else (shape,)
    kinds = {type(one) if isinstance(one, dict | list) else one: one for one in options}
    here = next((one for kind, one in kinds.items() if kind in _CALLED and isinstance(value, kind)), None)
    if isinstance(here, list):
        if needed and not value:
            yield f"{where}=[]: expected one or more"
        for number, item in enumerate(value):
            yield from of_shape(f"{where}[{number}]", item, here[0], needed=True)
    elif isinstance(here, dict):
        yield from (f"{where}: the name {name!r} is no text" for name in value if not isinstance(name, str))
        axes = isinstance(here.get(EACH), list)  # an axis without values would leave nothing, in silence
        for name in value.keys() & here.keys() if EACH not in here else value:
            yield from of_shape(f"{where}.{name}", value[name], here.get(name, here.get(EACH)), needed=axes)
    elif (value is None and not needed) or here is str:
        return
    elif not kinds.keys() <= _CALLED.keys():
        yield from filter(None, [mistake(where, value, shape)])
    else:
        yield f"{where}={shown(repr(value))}: expected {' or '.join(_CALLED[kind] for kind in kinds)}"


def of_keys(where: str, record: type, written: Iterable[Any]) -> Iterator[str]:
    """One line for each name in what is written for a record that means nothing there."""
    valid = _KEYS[record]
    yield from (f"{where}: {unknown('key', str(key), valid)}" for key in written if key not in valid)


def of_field(record: type, name: str, value: Any) -> Iterator[str]:
    """One line for each part of a value that is not as the hint of the record's field says."""
    return _of_hint(name, value, _hints(record)[name])


def _of_hint(name: str, value: Any, hint: Any) -> Iterator[str]:
    """Mappings and lists are looked into, so that the line names the place."""
    if type(value) is hint:
        return
    origin, inner = _taken_apart(hint)
    if origin is Mapping and isinstance(value, Mapping):
        for key, item in value.items():
            yield from _of_hint(name, key, inner[0])
            yield from _of_hint(f"{name}.{key}", item, inner[1])
    elif origin is Mapping:
        yield f"{name}={shown(repr(value))}: expected a mapping"
    elif origin is tuple and inner[-1] is ... and isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _of_hint(name, item, inner[0])
    elif line := mistake(name, value, hint):
        yield line


@cache
def _taken_apart(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    return get_origin(hint), get_args(hint)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def of_change(change: Change) -> Iterator[str]:
    """One line for each mapping in a change that is no change of another run and does not go by scale."""
    for name, value in change.items():
        if name in ("parent", "links", *scales()):
            changes = {name: value}
            if name == "links" and isinstance(value, Mapping):
                changes = {f"links.{link}": inner for link, inner in value.items()}
            for where, inner in changes.items():
                if isinstance(inner, Mapping):
                    yield from of_change(inner)
                elif inner is not None:
                    yield f"{where}={inner!r}: expected a mapping"
        elif isinstance(value, Mapping):
            wrong = value.keys() - scales() if scales() & value.keys() or "." in name else [name]
            yield from (unknown("scale", str(one), scales()) for one in sorted(map(str, wrong)))


def in_changes(where: str, table: Table) -> Iterator[str]:
    """One line for each part of what a table changes that is no change, or of a suite that there is none of."""
    suites = choices("suite") if table.options else []
    yield from (f"{where}, options: {unknown('suite', name, suites)}" for name in table.options if name not in suites)
    changes = [(where, table.set), (f"{where}, stages", table.stages)]
    changes += [(f"{where}, options, {suite}", options) for suite, options in table.options.items()]
    for key, row in table.rows.items():
        changes += [(f"{where}, row {key}", change) for change in (row.set, row.on_stand_in, row.options)]
    changes += [(f"{where}, column {key}", column.options) for key, column in table.columns.items()]
    yield from (f"{at}: {line}" for at, change in changes for line in of_change(change))


def in_names(where: str, tables: Mapping[str, Table]) -> Iterator[str]:
    """One line for each name by which a number could not be stored, or its table or row not be chosen."""
    named = [(where, "table", name) for name in tables]
    for key, table in tables.items():
        named += [(f"{where}, {key}", kind, n) for kind in ("row", "column") for n in getattr(table, f"{kind}s")]
    for at, kind, name in named:
        if line := no_name(kind, name):
            yield f"{at}: {line}"
        elif name == "all" and kind != "column":
            yield f"{at}: {kind}=all stands for every {kind} and can be the name of none"


def in_table(where: str, table: Table) -> list[str]:
    """Unknown names and directions, reported numbers without tolerance, claims that stand twice or compare nothing."""
    rows, columns = table.rows, table.columns
    lines = [f"{where}: has no {kind}" for kind, found in (("rows", rows), ("columns", columns)) if not found]
    uses = [(f"{where}, row {key}", "", name) for key, row in rows.items() for name in (*row.columns, *row.failed)]
    uses += [(f"{where}, reported", row, name) for row, numbers in table.reported.items() for name in numbers]
    for claim in table.claims:
        at = f"{where}, claim {claim.id}"
        uses += [(at, claim.row, claim.column), (at, claim.than, claim.than_column)]
        if claim.holds == WITHIN and not claim.margin:
            lines.append(f"{at}: within needs a margin above 0")
        if claim.value is None and (claim.row, claim.column) == (claim.than, claim.than_column):
            lines.append(f"{at}: compares a cell with itself")
        if claim.than in table.quoted and claim.than_column not in table.reported.get(claim.than, {}):
            lines.append(f"{at}: row {claim.than} has no experiment, and no {claim.than_column} is reported for it")
    lines += [
        f"{where}, row {key}: has neither an experiment nor reported numbers"
        for key in table.quoted
        if key not in table.reported
    ]
    lines += [f"{at}: {unknown('row', row, rows)}" for at, row, _ in uses if row and row not in rows]
    lines += [f"{at}: {unknown('column', name, columns)}" for at, _, name in uses if name not in columns]
    lines += in_changes(where, table)
    for key, column in columns.items():
        if column.minus and (column.minus not in columns or columns[column.minus].minus):
            plain = [name for name, other in columns.items() if not other.minus]
            lines.append(f"{where}, column {key}: minus: {unknown('column', column.minus, plain)}")
        if any(key in numbers for numbers in table.reported.values()) and column.tolerance is None:
            lines.append(f"{where}, column {key}: has reported numbers and no tolerance")
    ids = [claim.id for claim in table.claims]
    return lines + [f"{where}: claim {name} stands twice" for name in sorted({i for i in ids if ids.count(i) > 1})]


def in_axes(where: str, study: Readings) -> Iterator[str]:
    """One line for each axis without answers, and each part of an answer that is no change or of an unknown suite."""
    suites = choices("suite")
    for axis, answers in study.axes.items():
        if not answers:
            yield f"{where}, axes: {axis} has no answers"
        if axis == STEPS:
            yield f"{where}, axes: {axis} is what the length of a training is called; choose another name"
        for name, answer in answers.items():
            at, answer = f"{where}, axes, {axis}.{name}", answer or {}
            yield from (f"{at}: {line}" for line in of_change(trained(answer)))
            for suite, options in (answer.get("options") or {}).items():
                yield from (f"{at}: {line}" for line in of_change(options or {}))
                if suite not in suites:
                    yield f"{at}, options: {unknown('suite', suite, suites)}"
            if answer.get("columns") and answer.keys() != {"columns"}:
                yield f"{at}: chooses columns and changes runs; make two axes of it"


def in_race(where: str, races: Mapping[str, Race]) -> Iterator[str]:
    """One line for each scale at which the lengths do not rise."""
    for scale, race in races.items():
        if list(race.lengths) != sorted(set(race.lengths)):
            yield f"{where}, race at scale={scale}: lengths={list(race.lengths)}: expected steps, the fewest first"


def in_study(at: str, entry: Mapping[str, Any], readings: Readings, earlier: Mapping[str, Table]) -> list[str]:
    """The same of a printed row that a study reads anew."""
    missing = [key for key in ("table", "row", "axes", "columns") if entry.get(key) is None]
    if missing:
        return [f"{at}: {', '.join(missing)} missing"]
    if not entry["columns"]:
        return [f"{at}: has no columns"]
    table = earlier.get(entry["table"])
    if table is None:
        return [f"{at}: {unknown('table', entry['table'], earlier)} (it must stand above)"]
    if entry["row"] not in table.rows:
        return [f"{at}: {unknown('row', entry['row'], table.rows)}"]
    there = {name: value for name, value in table.reported.get(entry["row"], {}).items() if name in table.columns}
    lines = [f"{at}: {unknown('axis', axis, readings.axes)}" for axis in entry["axes"] if axis not in readings.axes]
    lines += [f"{at}: no number is reported for {name}" for name in entry["columns"] if name not in there]
    answers = [answer or {} for axis in entry["axes"] for answer in readings.axes.get(axis, {}).values()]
    renamed = {new for answer in answers for new in (answer.get("columns") or {}).values()}
    lines += [f"{at}: {unknown('column', name, table.columns)}" for name in sorted(renamed - table.columns.keys())]
    return lines + [f"{at}: units has no {name}" for name in entry["columns"] if name not in readings.units]

"""The papers there are, read from ``conf/paper/<name>.yaml`` into `records`; all mistakes in a file are shown at once.

What a file says once for several tables (``every_table``), rows (``every_row``) or columns (``every_column``, and by
name ``quantities``) is merged into each, and of the ``parts`` those that a table ``takes``. How a grid, claims and
printed numbers are written say `grid`, `claims` and `printed`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from vaebench.config.choices import choices, leaf, mapping
from vaebench.errors import UserError, shown, unknown
from vaebench.papers import grid, printed
from vaebench.papers.changes import at_scale, merged, scales
from vaebench.papers.claims import Claims, short
from vaebench.papers.mistakes import (
    PAPER,
    in_axes,
    in_changes,
    in_names,
    in_race,
    in_study,
    in_table,
    of_field,
    of_keys,
    of_shape,
)
from vaebench.papers.records import Claim, Column, Paper, Race, Readings, Row, Table
from vaebench.papers.study import Made, columns_of, row, rows_of, study_row

__all__ = ["Claim", "Column", "Paper", "Race", "Readings", "Row", "Table", "load", "names", "parse", "study_row"]

Record = TypeVar("Record")


_added: dict[str, Paper] = {}  # papers of this command that no choice names: of a file, or with rows of one's own


def names() -> list[str]:
    """The papers there are."""
    return sorted({*choices("paper"), *_added})


def load(name: str) -> Paper:
    """The paper ``conf/paper/<name>.yaml``. Raises `UserError` with one line per mistake in it."""
    return _added.get(name) or _chosen(name)


def add(paper: Paper) -> None:
    """Let this command know a paper that no choice names. Raises `UserError` if one is called so."""
    if paper.name in choices("paper"):
        raise UserError(f"paper {paper.name}: there is a paper of that name; give yours another")
    _added[paper.name] = paper


def opened(path: str) -> str:
    """The name of the paper in a YAML file, which this command knows from now on.

    Raises `UserError` if there is no such file, for mistakes in it, and if another paper is called so.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"paper={shown(path)}: there is no such file")
    add(replace(parse(file.stem, mapping(file, str(file))), again=f"vaebench reproduce paper={shlex.quote(path)}"))
    return file.stem


@cache
def _chosen(name: str) -> Paper:
    return parse(name, leaf("paper", name))


def captions(name: str) -> dict[str, str]:
    """The tables of the paper ``conf/paper/<name>.yaml`` and what they are about; nothing else in it is looked at."""
    tables = _shaped(name, leaf("paper", name)).get("tables", {})
    return {key: str((table or {}).get("caption") or "") for key, table in tables.items()}


def _shaped(name: str, data: Any) -> dict[str, Any]:
    """What is written of a paper. Raises `UserError` if mappings and lists are not where they belong."""
    if mistakes := list(of_shape(f"paper {name}", data or {}, PAPER)):
        raise UserError(*mistakes)
    return _given(data or {})


def parse(name: str, data: Any) -> Paper:
    """A paper from plain data. Raises `UserError` with one line per mistake."""
    where, own = f"paper {name}", _shaped(name, data)
    mistakes = list(of_keys(where, Paper, own))
    shared = {key: own.pop(key, {}) for key in ("every_table", "quantities", "parts")}
    tables: dict[str, Table] = {}
    for key, value in own.get("tables", {}).items():
        found, table_name = {**(value or {})}, f"{where}, {key}"
        taken = found.pop("takes", None) or []
        taken = [taken] if isinstance(taken, str) else taken
        mistakes += [f"{table_name}: {unknown('part', n, shared['parts'])}" for n in taken if n not in shared["parts"]]
        whole = merged(shared["every_table"], *(shared["parts"].get(part) or {} for part in taken), found)
        whole = _given(whole)
        mistakes += of_keys(table_name, Readings if "axes" in whole else Table, whole)
        if "axes" in whole:
            tables[key] = _study(table_name, whole, tables, mistakes)
        else:
            tables[key] = _table(table_name, whole, shared["quantities"], mistakes)
    mistakes += in_names(where, tables)
    if not tables:
        mistakes.append(f"{where}: has no tables")
    mistakes += [f"{where}: {key} is empty" for key in ("title", "authors", "source") if not own.get(key)]
    paper = _record(Paper, {**own, "name": name, "tables": tables}, where, mistakes)
    if mistakes:
        raise UserError(*dict.fromkeys(mistakes))
    return paper


def _table(where: str, data: dict[str, Any], quantities: Mapping[str, Any], mistakes: list[str]) -> Table:
    """A table whose rows are written out.

    ``protocol``, ``reading``: shared by its columns. Printed numbers are on the table's own set unless they say so.
    """
    data |= _sets(data.get("dataset"))
    own = {key: data.pop(key, {}) for key in ("every_column", "every_row", "columns", "rows", "claims")}
    facts = {"protocol": data.pop("protocol", {}), "reading": data.pop("reading", {})}
    if data.get("reported"):
        facts["protocol"] = _given({"dataset": data.get("dataset"), **facts["protocol"]})
    named = dict.fromkeys(own["columns"]) if isinstance(own["columns"], list) else own["columns"]
    whole = {
        key: merged(facts, own["every_column"], quantities.get(key) or {}, _labelled(value))
        for key, value in named.items()
    }
    lines: list[str] = []
    lines += (line for key, value in whole.items() for line in of_keys(f"column {key}", Column, value))
    columns = {
        key: _record(Column, {"measurement": key, **_given(value)}, f"{where}, column {key}", mistakes)
        for key, value in grid.spread("column", whole, lines).items()
    }
    reported, failed, odd = printed.read(data.pop("reported", ""), columns, quantities)
    lines += odd
    whole = {key: _filled(key, merged(own["every_row"], _labelled(value))) for key, value in own["rows"].items()}
    lines += (line for key, value in whole.items() for line in of_keys(f"row {key}", Row, value))
    rows = {}
    for key, value in grid.spread("row", whole, lines).items():
        found = {"short": short(str(value.get("label", ""))), **_given(value), "failed": failed.pop(key, ())}
        rows[key] = _record(Row, found, f"{where}, row {key}", mistakes)
    lines += [f"reported: {unknown('row', key, rows)}" for key in failed]
    claims = []
    for one in Claims(rows, columns, lines).spread(own["claims"]):
        claim = _record(Claim, one, f"{where}, claim {one['id']}", mistakes)
        claims.append(replace(claim, than=claim.than or claim.row, than_column=claim.than_column or claim.column))
    parts = {"rows": rows, "columns": columns, "reported": reported, "claims": claims}
    table = _record(Table, {**data, **parts}, where, mistakes)
    mistakes += (f"{where}, {line}" for line in lines)
    mistakes += in_table(where, table)
    return table


def _labelled(entry: Any) -> Mapping[str, Any]:
    """A text is a label."""
    return {"label": entry} if isinstance(entry, str) else entry or {}


def _filled(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its name in place of ``{row}``."""
    return dict(grid.at(row, {"row": name}, {"row": ()}))


def _sets(dataset: Any) -> dict[str, Any]:
    """A table's sets by scale: the paper's; at other scales some of these, or what stands for them."""
    if not isinstance(dataset, Mapping) or not dataset.get("paper"):
        return {}
    sets = {scale: [names] if isinstance(names, str) else names for scale, names in _given(dataset).items()}
    own = sets["paper"]
    if {name for names in sets.values() for name in names} == set(own):
        return {"dataset": own[0], "datasets": sets}
    return {"dataset": own[0], "stand_ins": {scale: names for scale, names in sets.items() if scale != "paper"}}


def _given(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What is not null: that takes back what stands for several."""
    return {key: value for key, value in entry.items() if value is not None}


def _study(where: str, data: dict[str, Any], earlier: Mapping[str, Table], mistakes: list[str]) -> Table:
    """A study of earlier tables: of each printed row it re-reads, a row for every reading that may be measured."""
    own: dict[str, Any] = {key: data.pop(key) for key in ("axes", "of", "units") if key in data}
    before = len(mistakes)
    race = _race(where, data.pop("race", {}), mistakes)
    study = _record(Readings, {**own, "race": race}, where, mistakes)
    if len(mistakes) == before:
        mistakes += in_axes(where, study)
        mistakes += [] if study.of else [f"{where}, of: names no row to read anew"]
        mistakes += in_race(where, race)
    entries = study.of if len(mistakes) == before else ()
    columns: dict[str, Column] = {}
    for entry in entries:
        mistakes += in_study(f"{where}, of {entry.get('table')}.{entry.get('row')}", entry, study, earlier)
        if len(mistakes) == before:
            columns |= {key: earlier[entry["table"]].columns[key] for key in columns_of(study, entry)}
    made: dict[str, Callable[[], Row]] = {}
    reported: dict[str, Mapping[str, float]] = {}
    for entry in entries if len(mistakes) == before else ():
        there = earlier[entry["table"]]
        numbers = {name: there.reported[entry["row"]][name] for name in entry["columns"]}
        for key, (reading, places) in rows_of(study, entry).items():
            made[key] = partial(row, there.rows[entry["row"]], study, entry, reading, places)
            reported[key] = numbers
    parts = {"rows": {}, "columns": columns, "reported": reported, "study": study}
    table = replace(_record(Table, {**data, **_sets(data.get("dataset")), **parts}, where, mistakes), rows=Made(made))
    mistakes += in_changes(where, replace(table, rows={}))
    return table


def _race(where: str, written: Mapping[str, Any], mistakes: list[str]) -> dict[str, Race]:
    """A race at each scale."""
    if not written:
        mistakes.append(f"{where}: race is missing")
        return {}
    known = [one.name for one in fields(Race)]
    mistakes += (
        f"{where}, race: {unknown('key', str(name), known)}" for name in written if name not in {*known, *scales()}
    )
    places = {scale: f"{where}, race at scale={scale}" for scale in sorted(scales())}
    return {scale: _record(Race, at_scale(written, scale), at, mistakes) for scale, at in places.items()}


def _record(kind: type[Record], data: Mapping[str, Any], where: str, mistakes: list[str]) -> Record:
    """A record from its fields in a mapping; lists become tuples. What is missing or ill-typed is in ``mistakes``."""
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    values = {}
    for name, value in ((name, value) for name, value in data.items() if name in known):
        lines = list(of_field(kind, name, value))
        mistakes += [f"{where}: {line}" for line in lines]
        if not lines:
            values[name] = tuple(value) if isinstance(value, list) else value
    for name, entry in known.items():
        if entry.default is MISSING and entry.default_factory is MISSING and name not in values:
            mistakes += [] if name in data else [f"{where}: {name} is missing"]
            values[name] = None
    return kind(**values)

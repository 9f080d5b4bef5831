"""The tables of a paper as data: what it reports, under which protocol, and what it leaves open.

``conf/paper/<name>.yaml`` is read into the frozen records below; all mistakes in the file are shown at once. A *study*
is a table whose rows are not written out but are all combinations of what the paper leaves open (`Readings`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from typing import Any, TypeVar

import yaml

from vaebench.choices import choices, conf_dir
from vaebench.errors import UserError, unknown
from vaebench.papers.verdicts import WITHIN

DIRECTIONS = ("lower", "higher")
Record = TypeVar("Record")


@dataclass(frozen=True)
class Row:
    """One row: the training it stands for. ``columns``: only these are measured (empty: all).

    ``experiment``: empty where the paper quotes another work's numbers; such a row is never run, and claims compare
    with what is printed.
    ``scales``: at which it is run (empty: all). ``failed``: columns in which the paper says that the training failed.
    ``measures`` fills the ``{measures}`` of a column's measurement (which selector picks); with ``optional`` a
    measurement that the data cannot give is left empty. ``on_stand_in``: further overrides where the table runs on its
    stand-in; ``at``: further overrides by scale. In a study ``reading`` holds the answer on each axis the row depends
    on, ``of`` the printed (table, row) it reads.
    """

    label: str
    experiment: str
    overrides: tuple[str, ...] = ()
    eval_overrides: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    scales: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    note: str = ""
    measures: str = ""
    optional: bool = False
    on_stand_in: tuple[str, ...] = ()
    at: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reading: Mapping[str, str] = field(default_factory=dict)
    of: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Column:
    """One column: the suite and the measurement that fill it.

    ``better``: ``lower``, ``higher`` or ``none``. ``tolerance``: half the width of the band round a reported number
    inside which it counts as reproduced. ``protocol``: what the paper states, or what the quantity's name means (FID:
    Inception features); ``reading``: what it leaves open, as we read it. Both are compared with how ours was measured.
    ``optional``: left empty where the suite cannot measure it (weights or a package that are not at hand).
    ``stage``: an experiment; the column is measured on the model that this stage trains on the row's (a diffusion
    model).
    ``snapshot``: as the model was after so many of the parts its training is kept in (`TrainSpec.snapshots`).
    ``minus``: another column, whose number of the same row and seed is taken off (gFID less rFID).
    """

    label: str
    suite: str
    measurement: str
    better: str
    digits: int
    unit: str = ""
    tolerance: float | None = None
    optional: bool = False
    stage: str = ""
    snapshot: int | None = None
    minus: str = ""
    overrides: tuple[str, ...] = ()
    protocol: Mapping[str, Any] = field(default_factory=dict)
    reading: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """An ordering: (``row``, ``column``) is lower or higher (``holds``) than (``than``, ``than_column``).

    More exactly, than ``factor`` times that cell plus ``margin``; with ``holds: within`` the two differ by ``margin``
    at most. With ``value`` the cell is compared with that number.

    ``asserted``: whether the paper says so; else it is a control that gives the paper's claims their meaning.
    """

    id: str
    text: str
    row: str
    column: str
    holds: str
    than: str = ""
    than_column: str = ""
    value: float | None = None
    factor: float = 1.0
    margin: float = 0.0
    asserted: bool = True


@dataclass(frozen=True)
class Readings:
    """What the paper leaves open: ``axes`` maps each question to its answers, each a list of training overrides.

    ``of``: the printed rows that are measured again, with the axes they depend on and the columns that count;
    ``units``: per column, the difference that weighs as one; ``must_match``: protocol fields that must be as the
    paper's for a cell to count at all.
    """

    axes: Mapping[str, Mapping[str, tuple[str, ...]]]
    of: tuple[Mapping[str, Any], ...]
    units: Mapping[str, float]
    must_match: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """One table. ``reported``: row -> column -> the printed number.

    ``datasets``: by scale, the sets it is measured on one by one, where that is not just ``dataset``; ``stand_ins``: by
    scale, sets that stand for them. ``stand_in``: the embedded set that is taken where none of them can be had; empty:
    the table is not run then. ``train_on``: the set a model is trained on, by the set it is measured on, where they
    differ. ``seeds``: by scale, where not the scale's own number; ``overrides``: by scale, training overrides for all
    rows; ``stage_overrides``: those of the columns' stages. ``features``: by scale, the network behind Frechet
    distances where it is at hand and images fit it. ``eval_overrides``: by scale and suite, options of the suite.
    """

    caption: str
    dataset: str
    rows: Mapping[str, Row]
    columns: Mapping[str, Column]
    reported: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    seeds: Mapping[str, int] = field(default_factory=dict)
    overrides: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stage_overrides: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    eval_overrides: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    features: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    datasets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stand_ins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stand_in: str = "digits"
    train_on: Mapping[str, str] = field(default_factory=dict)
    study: Readings | None = None

    @property
    def own(self) -> tuple[str, ...]:
        """The sets the table is about; any other is a stand-in."""
        return tuple(dict.fromkeys((self.dataset, *(name for sets in self.datasets.values() for name in sets))))

    def sets(self, scale: str) -> tuple[str, ...]:
        """The sets to measure on at a scale."""
        if scale in self.stand_ins:
            return tuple(self.stand_ins[scale])
        return tuple(self.datasets.get(scale, ())) if self.datasets else (self.dataset,)

    def instead(self, scale: str) -> str:
        """The embedded set for where none of `sets` can be had; empty: there is none at this scale.

        Where a scale has stand-ins of its own, the others keep to the paper's sets: their networks fit nothing else.
        """
        return self.stand_in if not self.stand_ins or scale in self.stand_ins else ""

    @property
    def printed(self) -> tuple[str, ...]:
        """The rows that the paper has, with numbers or with failed trainings."""
        return tuple(key for key, row in self.rows.items() if key in self.reported or row.failed)

    def only(self, rows: Iterable[str]) -> Table:
        """The table without its other rows, their numbers and the claims about them."""
        kept = {key: entry for key, entry in self.rows.items() if key in set(rows)}
        return replace(
            self,
            rows=kept,
            reported={key: numbers for key, numbers in self.reported.items() if key in kept},
            claims=tuple(claim for claim in self.claims if {claim.row, claim.than} <= kept.keys()),
        )

    @property
    def quoted(self) -> tuple[str, ...]:
        """The rows that are printed numbers and nothing to run."""
        return tuple(key for key, row in self.rows.items() if not row.experiment)

    def run_at(self, scale: str) -> list[str]:
        """The rows that are run at a scale."""
        rows = {key: row for key, row in self.rows.items() if row.experiment}
        return [key for key, row in rows.items() if not row.scales or scale in row.scales]

    def trained_on(self, dataset: str) -> str:
        """The set behind the models that are measured on ``dataset``."""
        return self.train_on.get(dataset, dataset)


@dataclass(frozen=True)
class Paper:
    """A paper: ``source`` is where it can be found, ``unstated`` what it leaves open with the reading taken here."""

    name: str
    title: str
    authors: str
    source: str
    year: int
    tables: Mapping[str, Table]
    unstated: Mapping[str, str] = field(default_factory=dict)


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
    tables: dict[str, Table] = {}
    for key, value in (data.get("tables") or {}).items():
        tables[key] = _table(f"{where}, {key}", value, tables, mistakes)
    if not tables:
        mistakes.append(f"{where}: has no tables")
    mistakes += [f"{where}: {key} is empty" for key in ("title", "authors", "source") if not data.get(key)]
    paper = _record(Paper, {**data, "name": name, "tables": tables}, where, mistakes)
    if mistakes:
        raise UserError(*dict.fromkeys(mistakes))
    return paper


def _table(where: str, data: Mapping[str, Any], earlier: Mapping[str, Table], mistakes: list[str]) -> Table:
    """A printed table, or with ``axes`` a study of earlier ones. ``protocol``, ``reading``: shared by its columns."""
    data = dict(data)
    if "axes" in data:
        return _study(where, data, earlier, mistakes)
    shared = {key: data.pop(key, {}) for key in ("protocol", "reading")}
    columns = {}
    for key, value in data.get("columns", {}).items():
        merged = {**value, **{part: {**shared[part], **value.get(part, {})} for part in shared}}
        columns[key] = _record(Column, merged, f"{where}, column {key}", mistakes)
    rows = {k: _record(Row, v, f"{where}, row {k}", mistakes) for k, v in data.get("rows", {}).items()}
    claims = tuple(_record(Claim, v, f"{where}, claim {v.get('id')}", mistakes) for v in data.get("claims", ()))
    claims = tuple(replace(c, than=c.than or c.row, than_column=c.than_column or c.column) for c in claims)
    table = _record(Table, {**data, "rows": rows, "columns": columns, "claims": claims}, where, mistakes)
    mistakes += _table_mistakes(where, table)
    return table


def _table_mistakes(where: str, table: Table) -> list[str]:
    """Unknown names and directions, reported numbers without tolerance, claims that stand twice or compare nothing."""
    rows, columns = table.rows, table.columns
    lines = [f"{where}: has no {kind}" for kind, found in (("rows", rows), ("columns", columns)) if not found]
    uses = [(f"{where}, row {key}", "", name) for key, row in rows.items() for name in (*row.columns, *row.failed)]
    scales = choices("scale")
    uses += [(f"{where}, reported", row, name) for row, numbers in table.reported.items() for name in numbers]
    for claim in table.claims:
        at = f"{where}, claim {claim.id}"
        uses += [(at, claim.row, claim.column), (at, claim.than, claim.than_column)]
        if claim.value is not None and not _is_number(claim.value):
            lines.append(f"{at}: value={claim.value!r} is no number")
        if claim.holds not in (*DIRECTIONS, WITHIN):
            lines.append(f"{at}: holds={claim.holds!r}; Valid: {', '.join((*DIRECTIONS, WITHIN))}")
        if claim.holds == WITHIN and claim.margin <= 0:
            lines.append(f"{at}: holds=within needs a margin above 0")
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
    lines += [
        f"{where}, row {key}: {unknown('scale', scale, scales)}"
        for key, row in rows.items()
        for scale in (*row.scales, *row.at)
        if scale not in scales
    ]
    for key, column in columns.items():
        if column.better not in (*DIRECTIONS, "none"):
            lines.append(f"{where}, column {key}: better={column.better!r}; Valid: lower, higher, none")
        if column.minus and (column.minus not in columns or columns[column.minus].minus):
            plain = [name for name, other in columns.items() if not other.minus]
            lines.append(f"{where}, column {key}: minus: {unknown('column', column.minus, plain)}")
        if any(key in numbers for numbers in table.reported.values()) and column.tolerance is None:
            lines.append(f"{where}, column {key}: has reported numbers and no tolerance")
    numbers = [(row, key, value) for row, cells in table.reported.items() for key, value in cells.items()]
    lines += [f"{where}, reported {row}.{key}: {v!r} is no number" for row, key, v in numbers if not _is_number(v)]
    ids = [claim.id for claim in table.claims]
    return lines + [f"{where}: claim {name} stands twice" for name in sorted({i for i in ids if ids.count(i) > 1})]


def _study(where: str, data: dict[str, Any], earlier: Mapping[str, Table], mistakes: list[str]) -> Table:
    """The rows of a study: for each printed row it re-reads, every combination of the axes that row depends on."""
    own: dict[str, Any] = {key: data.pop(key) for key in ("axes", "of", "units", "must_match") if key in data}
    axes = own.get("axes", {})
    own["axes"] = {axis: {str(k): tuple(v) for k, v in answers.items()} for axis, answers in axes.items()}
    readings = _record(Readings, own, where, mistakes)
    rows: dict[str, Row] = {}
    columns: dict[str, Column] = {}
    reported: dict[str, Mapping[str, float]] = {}
    for entry in own.get("of", ()):
        lines = _of_mistakes(f"{where}, of {entry.get('table')}.{entry.get('row')}", entry, readings, earlier)
        mistakes += lines
        if lines:
            continue
        printed = earlier[entry["table"]]
        source = printed.rows[entry["row"]]
        columns |= {key: printed.columns[key] for key in entry["columns"]}
        for answers in itertools.product(*(readings.axes[axis] for axis in entry["axes"])):
            reading = dict(zip(entry["axes"], answers, strict=True))
            key = study_row(entry["table"], entry["row"], reading)
            options = [option for axis, answer in reading.items() for option in readings.axes[axis][answer]]
            rows[key] = replace(
                source,
                label=f"{source.label}: {', '.join(answers)}",
                overrides=(*source.overrides, *options),
                columns=tuple(entry["columns"]),
                reading=reading,
                of=(entry["table"], entry["row"]),
            )
            reported[key] = {name: printed.reported[entry["row"]][name] for name in entry["columns"]}
    parts = {"rows": rows, "columns": columns, "reported": reported, "study": readings}
    return _record(Table, {**data, **parts}, where, mistakes)


def study_row(table: str, row: str, reading: Mapping[str, str]) -> str:
    """The name of a study's row: ``table1.batchtopk.abs_z.dimension.mse_sum.mlp``."""
    return ".".join((table, row, *reading.values()))


def _of_mistakes(at: str, entry: Mapping[str, Any], readings: Readings, earlier: Mapping[str, Table]) -> list[str]:
    missing = [key for key in ("table", "row", "axes", "columns") if key not in entry]
    if missing:
        return [f"{at}: {', '.join(missing)} missing"]
    table = earlier.get(entry["table"])
    if table is None:
        return [f"{at}: {unknown('table', entry['table'], earlier)} (it must stand above)"]
    there = table.reported.get(entry["row"], {})
    lines = [f"{at}: {unknown('axis', axis, readings.axes)}" for axis in entry["axes"] if axis not in readings.axes]
    lines += [f"{at}: no number is reported for {name}" for name in entry["columns"] if name not in there]
    return lines + [f"{at}: units has no {name}" for name in entry["columns"] if name not in readings.units]


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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

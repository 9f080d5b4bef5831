"""What is wrong with a table that could be read: names that nothing has, numbers without a tolerance, idle claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vaebench.config.choices import choices
from vaebench.errors import unknown
from vaebench.papers.verdicts import WITHIN

if TYPE_CHECKING:
    from vaebench.papers.records import Readings, Table

DIRECTIONS = ("lower", "higher")
KINDS = ("paper", "control", "gate", "watch")


def in_table(where: str, table: Table) -> list[str]:
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
        if claim.kind not in KINDS:
            lines.append(f"{at}: kind={claim.kind!r}; Valid: {', '.join(KINDS)}")
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
    ids = [claim.id for claim in table.claims]
    return lines + [f"{where}: claim {name} stands twice" for name in sorted({i for i in ids if ids.count(i) > 1})]


def in_study(at: str, entry: Mapping[str, Any], readings: Readings, earlier: Mapping[str, Table]) -> list[str]:
    """The same of a printed row that a study reads anew."""
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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

"""What is wrong with a table that could be read: names that nothing has, numbers without a tolerance, idle claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vaebench.errors import unknown
from vaebench.papers.shape import of_change
from vaebench.papers.verdicts import WITHIN

if TYPE_CHECKING:
    from vaebench.papers.records import Readings, Table


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
    changes = [(where, table.set), (f"{where}, stages", table.stages)]
    changes += [(f"{where}, options, {suite}", options) for suite, options in table.options.items()]
    for key, row in rows.items():
        changes += [(f"{where}, row {key}", change) for change in (row.set, row.on_stand_in, row.options)]
    changes += [(f"{where}, column {key}", column.options) for key, column in columns.items()]
    lines += [f"{at}: {line}" for at, change in changes for line in of_change(change)]
    for key, column in columns.items():
        if column.minus and (column.minus not in columns or columns[column.minus].minus):
            plain = [name for name, other in columns.items() if not other.minus]
            lines.append(f"{where}, column {key}: minus: {unknown('column', column.minus, plain)}")
        if any(key in numbers for numbers in table.reported.values()) and column.tolerance is None:
            lines.append(f"{where}, column {key}: has reported numbers and no tolerance")
    ids = [claim.id for claim in table.claims]
    return lines + [f"{where}: claim {name} stands twice" for name in sorted({i for i in ids if ids.count(i) > 1})]


def in_study(at: str, entry: Mapping[str, Any], readings: Readings, earlier: Mapping[str, Table]) -> list[str]:
    """The same of a printed row that a study reads anew."""
    missing = [key for key in ("table", "row", "axes", "columns") if entry.get(key) is None]
    if missing:
        return [f"{at}: {', '.join(missing)} missing"]
    table = earlier.get(entry["table"])
    if table is None:
        return [f"{at}: {unknown('table', entry['table'], earlier)} (it must stand above)"]
    if entry["row"] not in table.rows:
        return [f"{at}: {unknown('row', entry['row'], table.rows)}"]
    there = {name: value for name, value in table.reported.get(entry["row"], {}).items() if name in table.columns}
    lines = [f"{at}: {unknown('axis', axis, readings.axes)}" for axis in entry["axes"] if axis not in readings.axes]
    lines += [f"{at}: no number is reported for {name}" for name in entry["columns"] if name not in there]
    return lines + [f"{at}: units has no {name}" for name in entry["columns"] if name not in readings.units]

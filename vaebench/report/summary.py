"""From cells to what a report says: every renderer (Markdown, LaTeX, HTML, JSON, terminal) reads these records only."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vaebench.config.choices import about
from vaebench.contracts.infinite import number
from vaebench.papers.cells import POOLED, Cells
from vaebench.papers.readings import Ranking, rank
from vaebench.papers.tables import Claim, Column, Paper, Table
from vaebench.papers.verdicts import (
    WITHIN,
    Interval,
    Verdict,
    interval,
    judge_cell,
    judge_claim,
    judge_interval,
    less,
    plain,
    protocol_differences,
)

if TYPE_CHECKING:
    from pandas import DataFrame

SCALES = ("paper", "small", "smoke")
# The scale of a table that has not been run at all.
NOT_RUN = ""
NOT_RUN_VERDICT = Verdict("not run", "not run")
# What makes two numbers of a column the same quantity, so that their difference means something.
_QUANTITY = ("features", "features_digest", "classifier")
# Columns of a cell that are part of how it was measured, beside the suite's own protocol.
_FACTS = ("dataset", "train_images", "epochs", "count")


@dataclass(frozen=True)
class Cell:
    """One number of a table: ours by seed, what the paper prints, the verdict.

    There is none where the paper prints nothing, or quotes what is never run here.

    ``pooled``: the interval is the measurement's own, over questions and seeds, and not Student's t over seeds.
    ``same_quantity``: False where ours is another quantity under the same name (FID on other features).
    ``failed``: the paper prints no number because its training failed.
    """

    row: str
    column: str
    values: Mapping[int, float]
    ours: Interval | None
    reported: float | None
    pooled: bool
    same_quantity: bool
    verdict: Verdict | None
    differences: tuple[str, ...]
    protocols: tuple[Mapping[str, Any], ...]
    digests: tuple[str, ...]
    runs: Mapping[int, tuple[str, str]]
    failed: bool

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, if they are the same quantity."""
        if self.ours is None or self.reported is None or not self.same_quantity:
            return None
        return self.ours.mean - self.reported


@dataclass(frozen=True)
class JudgedClaim:
    """A claim, its verdict, the interval of the paired differences, and what stood in for what when it was judged."""

    claim: Claim
    verdict: Verdict
    difference: Interval | None
    stand_ins: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """One table measured under one scale on one dataset. ``headings`` by column; ``ranking`` only for a study."""

    key: str
    table: Table
    scale: str
    dataset: str
    stand_ins: tuple[str, ...]
    headings: Mapping[str, str]
    cells: Mapping[tuple[str, str], Cell]
    claims: tuple[JudgedClaim, ...]
    commits: tuple[str, ...]
    devices: tuple[str, ...]
    ranking: Ranking | None = None

    @property
    def name(self) -> str:
        """As part of a file's name or an anchor."""
        if self.scale == NOT_RUN:
            return f"{self.key}-not-run"
        return f"{self.key}-{self.scale}-{self.dataset}"

    @property
    def place(self) -> str:
        """Scale and dataset in words; a stand-in is named."""
        if self.scale == NOT_RUN:
            return "not run"
        shown = dataset_name(self.dataset)
        stands = "" if self.dataset in self.table.own else f", a stand-in for {dataset_name(self.table.dataset)}"
        return f"scale={self.scale} on {shown}{stands}"

    def measured_rows(self) -> list[str]:
        """Rows with at least one number of ours, in the table's order."""
        return [row for row in self.table.rows if any(r == row and cell.ours for (r, _), cell in self.cells.items())]


def dataset_name(name: str) -> str:
    """What to call a dataset in a text."""
    return str(about(name).get("title", name))


def sections(paper: Paper, cells: Cells) -> list[Section]:
    """What has been measured of a paper: the biggest scale first, the paper's own dataset before a stand-in.

    Sets in the order of the tables that are measured on them, the tables of a set together.

    Printed rows that have not been measured at any scale are a section of their own.
    """
    found = []
    for key, table in paper.tables.items():
        frame = cells.frame[(cells.frame["paper"] == paper.name) & (cells.frame["table"] == key)]
        frame = frame[frame["row"].isin(list(table.rows)) & frame["column"].isin(list(table.columns))]
        for (scale, dataset), part in frame.groupby(["scale", "dataset"]):
            shown = table.only([*table.run_at(str(scale)), *table.quoted])
            found.append(_section(key, shown, str(scale), str(dataset), part))
        left = [row for row in table.printed if row not in {*frame["row"], *table.quoted}]
        if left and not table.study:
            shown = table.only([*left, *table.quoted])
            found.append(_section(key, shown, NOT_RUN, table.dataset, frame[:0]))
    order = {scale: number for number, scale in enumerate(SCALES)}
    first = {section.dataset: number for number, section in reversed(list(enumerate(found)))}
    return sorted(found, key=lambda s: (order.get(s.scale, len(order)), s.dataset not in s.table.own, first[s.dataset]))


def _section(key: str, table: Table, scale: str, dataset: str, frame: DataFrame) -> Section:
    measured = {column: _field(part, "features") for column, part in frame.groupby("column")}
    headings, stand_ins = {}, _dataset_stand_in(table, dataset, frame)
    for name, column in table.columns.items():
        headings[name] = column.label
        wanted = column.protocol.get("features")
        used = measured.get(name, [])
        if wanted and used and used != [wanted]:
            headings[name] = f"{column.label} ({' / '.join(used)})"
            stand_ins += (
                f"{headings[name]}, features of a classifier trained here, stands in for {column.label}"
                if used == ["classifier"]
                else f"{headings[name]} stands in for {column.label}",
            )
    found = {} if table.study else _cells(table, frame)
    return Section(
        key=key,
        table=table,
        scale=scale,
        dataset=dataset,
        stand_ins=stand_ins,
        headings=headings,
        cells=found,
        claims=tuple(_judge(claim, found, table, dataset, headings) for claim in table.claims),
        commits=tuple(sorted(set(frame["commit"]) - {""})),
        devices=tuple(sorted(set(frame["device"]) - {""})),
        ranking=rank(table, frame) if table.study else None,
    )


def _cells(table: Table, frame: DataFrame) -> dict[tuple[str, str], Cell]:
    """Every number that is measured or printed."""
    groups = {key: part for key, part in frame.groupby(["row", "column"])}
    found = {}
    for row, entry in table.rows.items():
        for name, column in table.columns.items():
            part, reported = groups.get((row, name)), table.reported.get(row, {}).get(name)
            if entry.columns and name not in entry.columns:
                continue
            if part is not None or reported is not None or name in entry.failed:
                cell = _cell(row, name, column, part, reported, name in entry.failed)
                found[row, name] = cell if entry.experiment else replace(cell, verdict=None)
    return found


def _cell(row: str, name: str, column: Column, frame: DataFrame | None, reported: float | None, failed: bool) -> Cell:
    lines = [] if frame is None else frame.sort_values("seed").to_dict("records")
    pooled = next((line for line in lines if line["seed"] == POOLED), None)
    values = {int(line["seed"]): float(line["value"]) for line in lines}
    protocols = [{**json.loads(line["protocol"]), **{fact: line[fact] for fact in _FACTS}} for line in lines]
    ours = interval(list(values.values()))
    if pooled is not None:
        values = dict(enumerate(number(json.loads(pooled["by_seed"]))))
        ours = _own_interval(pooled, list(values.values()))
        protocols = [{**json.loads(pooled["protocol"]), "dataset": pooled["dataset"], "count": pooled["count"]}]
    digests = tuple(dict.fromkeys(line["protocol_digest"] for line in lines))
    verdict, differences = None, []
    if reported is not None:
        differences = protocol_differences(column.protocol, column.reading, protocols)
        if len(digests) > 1:
            differences.append(f"seeds measured under {len(digests)} protocols")
        verdict = judge_cell(reported, column.tolerance or 0.0, column.better, ours, differences)
    elif failed:
        verdict = NOT_RUN_VERDICT if ours is None else Verdict("failed there", "the paper's training failed")
    return Cell(
        row=row,
        column=name,
        values=values,
        ours=ours,
        pooled=pooled is not None,
        reported=reported,
        same_quantity=all(p.get("features") == column.protocol.get("features") for p in protocols),
        verdict=verdict,
        differences=tuple(differences),
        protocols=tuple(protocols),
        digests=digests,
        runs={int(line["seed"]): (line["run"], line["eval"]) for line in lines},
        failed=failed,
    )


def _own_interval(line: Mapping[Any, Any], by_seed: list[float]) -> Interval | None:
    """The interval a pooled number comes with; Student's t over its seeds if it comes with none."""
    value, low, high = (float(line[name]) for name in ("value", "low", "high"))
    if low == low and high == high:
        return Interval(value, low, high, len(by_seed))
    return interval(by_seed or [value])


def _judge(
    claim: Claim, cells: Mapping[tuple[str, str], Cell], table: Table, dataset: str, headings: Mapping[str, str]
) -> JudgedClaim:
    quoted = claim.than in table.quoted
    value = table.reported[claim.than][claim.than_column] if quoted else claim.value
    sides = [(claim.row, claim.column), *([(claim.than, claim.than_column)] if value is None else [])]
    there = [cells[side] for side in sides if side in cells and cells[side].ours is not None]
    if len(there) < len(sides):
        return JudgedClaim(claim, NOT_RUN_VERDICT, None, ())
    mixed = [f for f in _QUANTITY if len({str(p.get(f)) for cell in there for p in cell.protocols}) > 1]
    why = f"the two sides differ in {', '.join(mixed)}" if mixed else ""
    if quoted:  # of another method, measured by others
        why = why or "; ".join(there[0].differences)
    if why:
        return JudgedClaim(claim, Verdict("not comparable", f"not comparable ({why})"), None, ())
    notes = []
    if value is None and not all(cell.pooled for cell in there):
        sides_by_seed = (there[0].values, there[1].values)
        verdict, difference = judge_claim(*sides_by_seed, claim.holds, factor=claim.factor, margin=claim.margin)
    else:
        other = there[1].ours if value is None else Interval(value, value, value, 0)
        verdict, difference = _judge_pooled(there[0], other, claim)
        if value is None and not (there[0].ours and there[0].ours.exact):
            notes.append("the two sides are not paired: their intervals are added in quadrature")
    if difference is not None:
        if dataset not in table.own:
            notes.append(f"judged on {dataset}, a stand-in for {dataset_name(table.dataset)}")
        for name in dict.fromkeys((claim.column, claim.than_column)):
            if headings[name] != table.columns[name].label:
                notes.append(f"{headings[name]} stands in for {table.columns[name].label}")
    return JudgedClaim(claim, verdict, difference, tuple(notes))


def _judge_pooled(cell: Cell, other: Interval | None, claim: Claim) -> tuple[Verdict, Interval | None]:
    assert cell.ours is not None
    assert other is not None
    needs = "the interval over questions and seeds includes 0" if cell.pooled else ""
    offset = 0.0 if claim.holds == WITHIN else claim.margin
    low, high = (None if end is None else claim.factor * end + offset for end in (other.low, other.high))
    beyond = Interval(claim.factor * other.mean + offset, low, high, other.count)
    return judge_interval(less(cell.ours, beyond), claim.holds, needs, margin=claim.margin)


def _dataset_stand_in(table: Table, dataset: str, frame: DataFrame) -> tuple[str, ...]:
    if dataset in table.own and not frame["stand_in"].any():
        return ()
    own = ", ".join(dataset_name(name) for name in table.own if name != dataset)
    embedded = about(dataset).get("embedded")
    shown = f"{dataset} (embedded: {embedded})" if embedded else dataset_name(dataset)
    return (f"{shown} stands in for {own}" if own else f"{shown}: no paper reports numbers on it",)


def _field(frame: DataFrame, name: str) -> list[str]:
    """The values a protocol field takes."""
    values = (json.loads(text).get(name) for text in frame["protocol"])
    return sorted({str(value) for value in values if value is not None})


def protocol_lines(section: Section) -> list[tuple[str, str]]:
    """(columns, protocol) of a section, columns that were measured alike together; rows named where they differ."""
    merged: dict[str, dict[str, list[str]]] = {}
    for (row, column), cell in section.cells.items():
        for protocol in cell.protocols:
            text = ", ".join(f"{name} {plain(value)}" for name, value in protocol.items())
            merged.setdefault(column, {}).setdefault(text, []).append(section.table.rows[row].label)
    lines: dict[str, list[str]] = {}
    for column, texts in merged.items():
        common = max(texts, key=lambda text: len(texts[text]))
        for text, rows in texts.items():
            only = "" if text == common else f" ({', '.join(dict.fromkeys(rows))})"
            lines.setdefault(text + "\0" + only, []).append(section.headings[column])
    return [(", ".join(columns) + key.split("\0")[1], key.split("\0")[0]) for key, columns in lines.items()]


def counts(section: Section) -> dict[str, dict[str, int]]:
    """How many cells and asserted claims got each kind of verdict."""
    cells = Counter(cell.verdict.kind for cell in section.cells.values() if cell.verdict)
    claims = Counter(judged.verdict.kind for judged in section.claims if judged.claim.asserted)
    return {"cells": dict(cells), "claims": dict(claims)}

"""A table's numbers and claims with their verdicts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from vaebench.config.choices import about
from vaebench.contracts.infinite import number
from vaebench.papers.cells import POOLED
from vaebench.papers.tables import Claim, Column, Table
from vaebench.papers.verdicts import (
    WITHIN,
    Interval,
    Judged,
    Verdict,
    collapse,
    holm,
    interval,
    judge_cell,
    judge_claim,
    judge_interval,
    judge_pooled,
    less,
    of_alike,
    protocol_differences,
)

if TYPE_CHECKING:
    from pandas import DataFrame

NOT_RUN_VERDICT = Verdict("not run", "not run")
# What makes two numbers of a column the same quantity, so that their difference means something.
_QUANTITY = ("features", "features_digest", "classifier")
# Columns of a cell that are part of how it was measured, beside the suite's own protocol.
_FACTS = ("dataset", "train_images", "epochs", "count")


class Made(NamedTuple):
    """Where a number comes from: keys of its run ("": it is over several) and evaluation, commit, device."""

    run: str
    evaluation: str
    commit: str
    device: str


@dataclass(frozen=True)
class Cell:
    """One number of a table: ours by seed, what the paper prints, the verdict.

    There is none where the paper prints nothing, or quotes what is never run here.

    ``pooled``: the interval is the measurement's own, over questions and seeds, and not Student's t over seeds.
    ``same_quantity``: False where ours is another quantity under the same name (FID on other features).
    ``failed``: the paper prints no number because its training failed.
    ``differences``: in what our protocol is not the one that the paper states; ``readings``: in what it is another
    reading of what the paper leaves open than ours at scale=paper. ``collapse``: which seeds do, in words.
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
    readings: tuple[str, ...]
    collapse: str
    protocols: tuple[Mapping[str, Any], ...]
    digests: tuple[str, ...]
    runs: Mapping[int, Made]
    failed: bool

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, if they are the same quantity."""
        if self.ours is None or self.reported is None or not self.same_quantity:
            return None
        return self.ours.mean - self.reported


@dataclass(frozen=True)
class JudgedClaim:
    """A claim, its verdict with the interval of the paired differences, and what stood in for what.

    ``corrected``: whether it is also decided with all the paper's claims of the table in view (Holm's correction); None
    where the paper does not say so, or seeds say nothing.
    """

    claim: Claim
    judged: Judged
    stand_ins: tuple[str, ...] = ()
    corrected: bool | None = None

    @property
    def verdict(self) -> Verdict:
        """On this claim alone."""
        return self.judged.verdict

    @property
    def difference(self) -> Interval | None:
        """Of its two sides, 95 %."""
        return self.judged.difference


def dataset_name(name: str) -> str:
    """What to call a dataset in a text."""
    return str(about(name).get("title", name))


def cells_of(table: Table, frame: DataFrame) -> dict[tuple[str, str], Cell]:
    """Every number that is measured or printed."""
    lines: dict[tuple[str, str], list[Mapping[Any, Any]]] = {}
    for line in frame.sort_values("seed", kind="stable").to_dict("records"):
        lines.setdefault((line["row"], line["column"]), []).append(line)
    found = {}
    for row, entry in table.rows.items():
        for name, column in table.columns.items():
            measured, reported = lines.get((row, name), []), table.reported.get(row, {}).get(name)
            if not entry.has(name):
                continue
            if measured or reported is not None or name in entry.failed:
                cell = _cell(row, name, column, measured, reported, name in entry.failed)
                found[row, name] = cell if entry.made else replace(cell, verdict=None)
    return found


def _cell(
    row: str, name: str, column: Column, lines: Sequence[Mapping[Any, Any]], reported: float | None, failed: bool
) -> Cell:
    """``lines``: of ``cells.csv``, in the order of their seeds."""
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
        differences = protocol_differences(column.protocol, protocols)
        if len(digests) > 1:
            differences.append(f"seeds measured under {len(digests)} protocols")
        beside = (reported, column.tolerance or 0.0, column.better)
        by_seed = [values[seed] for seed in sorted(values)]
        verdict = (
            judge_cell(*beside, by_seed, differences) if pooled is None else judge_pooled(*beside, ours, differences)
        )
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
        readings=tuple(protocol_differences(column.reading, protocols)) if reported is not None else (),
        collapse=collapse(list(values.values())) if pooled is None else "",
        protocols=tuple(protocols),
        digests=digests,
        runs={int(line["seed"]): Made(line["run"], line["eval"], line["commit"], line["device"]) for line in lines},
        failed=failed,
    )


def _own_interval(line: Mapping[Any, Any], by_seed: list[float]) -> Interval | None:
    """The interval a pooled number comes with; Student's t over its seeds if it comes with none."""
    value, low, high = (float(line[name]) for name in ("value", "low", "high"))
    if low == low and high == high:
        found = Interval(value, low, high, len(by_seed))
        return found if found.exact or low < high else of_alike(found, int(line["count"]), line["unit"])
    return interval(by_seed or [value])


def claims_of(
    table: Table, cells: Mapping[tuple[str, str], Cell], dataset: str, headings: Mapping[str, str]
) -> tuple[JudgedClaim, ...]:
    """Every claim; those that the paper asserts and seeds speak of with Holm's correction over all of them."""
    claims = [_judge(claim, cells, table, dataset, headings) for claim in table.claims]
    known = {n: one.judged.evidence for n, one in enumerate(claims) if one.claim.asserted and one.judged.evidence}
    told = dict(zip(known, holm(list(known.values())), strict=True))
    return tuple(replace(one, corrected=told.get(n)) for n, one in enumerate(claims))


def _judge(
    claim: Claim, cells: Mapping[tuple[str, str], Cell], table: Table, dataset: str, headings: Mapping[str, str]
) -> JudgedClaim:
    quoted = claim.than in table.quoted
    value = table.reported[claim.than][claim.than_column] if quoted else claim.value
    sides = [(claim.row, claim.column), *([(claim.than, claim.than_column)] if value is None else [])]
    there = [cells[side] for side in sides if side in cells and cells[side].ours is not None]
    if len(there) < len(sides):
        return JudgedClaim(claim, Judged(NOT_RUN_VERDICT))
    mixed = [f for f in _QUANTITY if len({str(p.get(f)) for cell in there for p in cell.protocols}) > 1]
    why = f"the two sides differ in {', '.join(mixed)}" if mixed else ""
    if quoted:  # of another method, measured by others
        why = why or "; ".join(there[0].differences)
    if why:
        return JudgedClaim(claim, Judged(Verdict("not comparable", f"not comparable ({why})")))
    notes = []
    if value is None and not all(cell.pooled for cell in there):
        sides_by_seed = (there[0].values, there[1].values)
        judged = judge_claim(*sides_by_seed, claim.holds, factor=claim.factor, margin=claim.margin)
    else:
        other = there[1].ours if value is None else Interval(value, value, value, 0)
        judged = _judge_beside(there[0], other, claim)
        if value is None and not (there[0].ours and there[0].ours.exact):
            notes.append("the two sides are not paired: their intervals are added in quadrature")
    if judged.difference is not None:
        if dataset not in table.own:
            notes.append(f"judged on {dataset}, a stand-in for {dataset_name(table.dataset)}")
        for name in dict.fromkeys((claim.column, claim.than_column)):
            if headings[name] != table.columns[name].label:
                notes.append(f"{headings[name]} stands in for {table.columns[name].label}")
    return JudgedClaim(claim, judged, tuple(notes))


def _judge_beside(cell: Cell, other: Interval | None, claim: Claim) -> Judged:
    """A claim against a number that shares no seeds with ours: fixed, or with an interval of its own."""
    assert cell.ours is not None
    assert other is not None
    if other.exact and not cell.pooled and not cell.ours.exact:
        fixed = dict.fromkeys(cell.values, other.mean)
        return judge_claim(cell.values, fixed, claim.holds, factor=claim.factor, margin=claim.margin)
    needs = "the interval over questions and seeds includes 0" if cell.pooled else ""
    offset = 0.0 if claim.holds == WITHIN else claim.margin
    low, high = (None if end is None else claim.factor * end + offset for end in (other.low, other.high))
    beyond = Interval(claim.factor * other.mean + offset, low, high, other.count)
    return judge_interval(less(cell.ours, beyond), claim.holds, needs, margin=claim.margin)

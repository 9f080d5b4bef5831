"""From cells to what a report says: every renderer (Markdown, LaTeX, HTML, JSON, terminal) reads these records only."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import TYPE_CHECKING

from vaebench.config.choices import about
from vaebench.papers.cells import Cells
from vaebench.papers.readings import Ranking, Rung, looks, rank, rungs
from vaebench.papers.study import row_name
from vaebench.papers.tables import Paper, Table
from vaebench.papers.verdicts import DECIDED, plain
from vaebench.report.judged import Cell, JudgedClaim, cells_of, claims_of, dataset_name

if TYPE_CHECKING:
    from pandas import DataFrame

SCALES = ("paper", "small", "smoke")
# The scale of a table that has not been run at all.
NOT_RUN = ""


@dataclass(frozen=True)
class Moved:
    """The lowest and the highest mean of a number over so many ``readings``, and the scale they were measured at."""

    low: float
    high: float
    readings: int
    scale: str


@dataclass(frozen=True)
class Section:
    """One table measured under one scale on one dataset. ``headings`` by column; of a study, ``ranking`` and ``rungs``.

    ``moved``: by cell, how far a study of what the paper leaves open moves its number, where there is such a study.
    """

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
    rungs: tuple[Rung, ...] = ()
    moved: Mapping[tuple[str, str], Moved] = field(default_factory=dict)

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
            here = cells.frame[(cells.frame["scale"] == scale) & (cells.frame["dataset"] == dataset)]
            shown, part = _with_nearest(paper, key, shown, part, here[here["paper"] == paper.name])
            found.append(_section(key, shown, str(scale), str(dataset), part))
        shown_already = {*frame["row"], *table.quoted}
        left = [row for row in table.printed if row not in shown_already]
        if left and not table.study:
            shown = table.only([*left, *table.quoted])
            found.append(_section(key, shown, NOT_RUN, table.dataset, frame[:0]))
    order = {scale: number for number, scale in enumerate(SCALES)}
    found = [replace(section, moved=_moved(section, found)) for section in found]
    first = {section.dataset: number for number, section in reversed(list(enumerate(found)))}
    return sorted(found, key=lambda s: (order.get(s.scale, len(order)), s.dataset not in s.table.own, first[s.dataset]))


def _with_nearest(paper: Paper, key: str, table: Table, part: DataFrame, here: DataFrame) -> tuple[Table, DataFrame]:
    """A table, and its cells, with rows of the nearest reading of each race that reads its rows anew.

    ``here``: all cells of the paper at that scale on that set.
    """
    import pandas as pd

    rows, parts = dict(table.rows), [part]
    for name, study in paper.tables.items():
        if table.study or not study.study:
            continue
        entries = [one for one in study.study.of if one["table"] == key and one["row"] in rows]
        raced = here[(here["table"] == name) & here["row"].isin(list(study.rows))] if entries else here[:0]
        if raced.empty:
            continue
        ranking = rank(study, raced, str(raced["scale"].iloc[0]))
        for look in looks(study, ranking)[:1]:
            for entry in entries:
                source, own = row_name(study.study, entry, look.line), f"{entry['row']}.{name}"
                label = f"{rows[entry['row']].label}, nearest of {len(ranking.ranked)} readings ({name}: a fit)"
                rows[own] = replace(study.rows[source], label=label)
                parts.append(raced[raced["row"] == source].assign(table=key, row=own))
    return replace(table, rows=rows), pd.concat(parts) if len(parts) > 1 else part


def _moved(section: Section, found: list[Section]) -> dict[tuple[str, str], Moved]:
    """Over the readings of a study on the same set: the one at the section's own scale, else at the biggest."""
    studies = [one for one in found if one.ranking is not None and one.dataset == section.dataset]
    studies.sort(key=lambda one: (one.scale != section.scale, SCALES.index(one.scale)))
    moved: dict[tuple[str, str], Moved] = {}
    for study in studies:
        assert study.ranking is not None
        frame = study.ranking.frame
        for row, column in section.cells:
            name = f"{section.key}.{row}.{column}"
            values = frame[name].dropna() if name in frame else frame["cells"][:0]
            if len(values):
                one = Moved(float(min(values)), float(max(values)), values.nunique(), study.scale)
                moved.setdefault((row, column), one)
    return moved


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
    found = {} if table.study else cells_of(table, frame)
    return Section(
        key=key,
        table=table,
        scale=scale,
        dataset=dataset,
        stand_ins=stand_ins,
        headings=headings,
        cells=found,
        claims=claims_of(table, found, dataset, headings),
        commits=tuple(sorted(set(frame["commit"]) - {""})),
        devices=tuple(sorted(set(frame["device"]) - {""})),
        ranking=rank(table, frame, scale) if table.study else None,
        rungs=tuple(rungs(table, frame, scale)) if table.study else (),
    )


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


@dataclass(frozen=True)
class Score:
    """How much of a paper is decided: of its ``printed`` numbers, comparable with ours or not, and of its claims.

    A number counts once, however many scales and sets it is measured on: as the biggest scale decides it. ``outside``:
    better, worse or beyond the spread of our seeds. A claim counts in each; ``judged``: those whose two sides were run
    and can be compared.
    """

    printed: int
    comparable: int
    reproduced: int
    outside: int
    claims: int
    judged: int
    hold: int
    reversed: int

    @property
    def undecided(self) -> int:
        """Claims that were judged and neither hold nor are reversed."""
        return self.judged - self.hold - self.reversed

    @property
    def within(self) -> int:
        """Comparable numbers that are neither reproduced nor outside: undecided, or within the spread of our seeds."""
        return self.comparable - self.reproduced - self.outside


def score(paper: Paper, found: Iterable[Section]) -> Score:
    """The score of a paper with these sections, the biggest scale first."""
    sections_of = [section for section in found if not section.table.study]
    verdicts: dict[tuple[str, str, str], list[str]] = {}
    for section in sections_of:
        for (row, column), cell in section.cells.items():
            if cell.reported is not None and cell.verdict:
                verdicts.setdefault((section.key, row, column), []).append(cell.verdict.kind)
    numbers = Counter(_of_scales(kinds) for kinds in verdicts.values())
    claims = Counter(one.verdict.kind for section in sections_of for one in section.claims if one.claim.asserted)
    own = [table for table in paper.tables.values() if not table.study]
    return Score(
        printed=sum(
            len(printed) for table in own for row, printed in table.reported.items() if row not in table.quoted
        ),
        comparable=numbers.total() - numbers["not comparable"],
        reproduced=numbers["reproduced"],
        outside=sum(numbers[kind] for kind in DECIDED - {"reproduced", "within our spread"}),
        claims=claims.total(),
        judged=claims.total() - claims["not run"] - claims["not comparable"],
        hold=claims["holds"],
        reversed=claims["reversed"],
    )


def total(scores: Iterable[Score]) -> Score:
    """Of several papers together."""
    return Score(*(sum(numbers) for numbers in zip(*map(astuple, scores), strict=True)))


def _of_scales(kinds: Sequence[str]) -> str:
    """A number's verdict, of those at each scale, the biggest first: the first that compares at all."""
    return next((kind for kind in kinds if kind not in ("not run", "not comparable")), "not comparable")

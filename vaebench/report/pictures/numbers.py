"""Our numbers beside the paper's, row by row: what a table that prints numbers has to show first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from textwrap import fill
from typing import Any

from vaebench.contracts.pictures import PAPER, Line, Mark, Panel, Panels, Picture, intervals, listing
from vaebench.papers.verdicts import Interval
from vaebench.report import words
from vaebench.report.judged import Cell
from vaebench.report.pictures.house import TONES
from vaebench.report.stored import Shown
from vaebench.report.summary import Section

_ACROSS = 3
_ROW = 0.19  # inches
# By tone of the verdict: what it is called, and a mark of its own, so that colour is not all that tells them apart.
_OURS = {
    "good": ("ours: reproduced", "o"),
    "bad": ("ours: outside", "s"),
    "open": ("ours: undecided", "^"),
    "quiet": ("ours: not comparable", "v"),
}

Placed = Mapping[float, Cell]


def _numbers(shown: Shown) -> Panels | None:
    """A panel per printed column; where ours is another quantity under the same name, a second one for the paper's."""
    section = shown.section
    measured = set(section.measured_rows())
    rows = [row for row in section.table.printed if row in measured]
    panels: list[Panel] = []
    for name in section.table.columns:
        placed = {float(place): cell for place, row in enumerate(rows) if (cell := section.cells.get((row, name)))}
        if any(cell.ours and cell.reported is not None for cell in placed.values()):
            panels += _of_column(section, name, placed)
    listed = listing([fill(section.table.rows[row].label, 40) for row in rows])
    bare = replace(listed, ticks={})
    across = min(_ACROSS, len(panels))
    panels = [replace(panel, y=bare if number % across else listed) for number, panel in enumerate(panels)]
    return Panels(panels=panels, title=shown.finding, across=across, height=0.6 + _ROW * len(rows), legend=5)


def _of_column(section: Section, name: str, placed: Placed) -> list[Panel]:
    column = section.table.columns[name]
    unit = f", {column.unit}" if column.unit else ""
    printed = _printed({place: cell.reported for place, cell in placed.items() if cell.reported is not None})
    arrow = words.ARROWS[column.better]
    title = f"{section.headings[name]}{unit} {arrow}".strip()
    if all(cell.same_quantity for cell in placed.values()):
        return [Panel(marks=[*_ours(placed), *printed], title=title)]
    return [
        Panel(marks=_ours(placed), title=title),
        Panel(marks=printed, title=f"{column.label}{unit}, the paper's {arrow}".strip()),
    ]


def _ours(placed: Placed) -> list[Mark]:
    """A mark per tone of the verdicts; a row whose seeds collapse has no mean, so each seed is shown."""
    found: dict[str, dict[float, Interval]] = {}
    marks: list[Mark] = []
    for place, cell in placed.items():
        if cell.collapse:
            seeds = [value for value in cell.values.values() if math.isfinite(value)]
            marks.append(_dots(seeds, [place] * len(seeds), label="single seeds: some collapse"))
        elif cell.ours and math.isfinite(cell.ours.mean):
            tone = words.tone(cell.verdict.kind if cell.verdict else "", "quiet")
            found.setdefault(tone, {})[place] = cell.ours
    for tone, (label, marker) in _OURS.items():
        if tone in found:
            style: dict[str, Any] = {"dash": "", "marker": marker, "size": 5, "colour": TONES[tone]}
            marks.append(intervals(found[tone], sideways=True, label=label, **style))
    return marks


def _dots(x: Sequence[float], y: Sequence[float], label: str) -> Line:
    return Line(x=x, y=y, label=label, dash="", marker=".", colour=TONES["open"])


def _printed(found: Mapping[float, float]) -> list[Mark]:
    return [Line(x=list(found.values()), y=list(found), label="the paper's number", **PAPER)] if found else []


PICTURES = (
    Picture(
        kind="numbers",
        caption="Ours, means with 95 % intervals, beside what the paper prints",
        draw=_numbers,
        of_numbers=True,
        place=0,
    ),
)

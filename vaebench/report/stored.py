"""What a report reads from the store: a run that cannot be read is named on stderr and left out."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vaebench.contracts.pictures import Line, intervals
from vaebench.errors import UserError, printable
from vaebench.papers.tables import Row
from vaebench.papers.verdicts import Interval
from vaebench.report import words
from vaebench.report.judged import Cell
from vaebench.report.summary import Section
from vaebench.runs.store import Run

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray]

T = TypeVar("T")
Log = list[dict[str, float]]


@dataclass(frozen=True)
class Shown:
    """A section as the pictures of one suite see it: its numbers, and what the store has of its runs."""

    section: Section
    store: Path
    suite: str

    @property
    def rows(self) -> Mapping[str, Row]:
        """The table's rows, in its order."""
        return self.section.table.rows

    @property
    def columns(self) -> dict[str, str]:
        """The suite's columns by what they measure."""
        return {c.measurement: name for name, c in self.section.table.columns.items() if c.suite == self.suite}

    def cells(self, column: str) -> dict[str, Cell]:
        """The cells of a column, by row."""
        return {row: cell for (row, name), cell in self.section.cells.items() if name == column}

    def levels(self, quantity: str) -> dict[float, str]:
        """The suite's columns that measure ``quantity@level``, by level, the smallest first."""
        found: dict[float, str] = {}
        for measured, column in self.columns.items():
            name, _, level = measured.partition("@")
            with suppress(ValueError):  # not every level is a number
                found |= {float(level): column} if name == quantity else {}
        return dict(sorted(found.items()))

    def along(self, columns: Mapping[float, str]) -> dict[str, dict[float, Interval]]:
        """By row, our numbers in the columns by place."""
        return self._of_cells(columns, lambda cell: cell.ours)

    def printed(self, columns: Mapping[float, str]) -> dict[str, dict[float, float]]:
        """By row, the paper's numbers in the columns by place."""
        return self._of_cells(columns, lambda cell: cell.reported)

    def _of_cells(self, columns: Mapping[float, str], read: Callable[[Cell], T | None]) -> dict[str, dict[float, T]]:
        found: dict[str, dict[float, T]] = {row: {} for row in self.rows}
        for place, column in columns.items():
            for row, cell in self.cells(column).items():
                number = read(cell)
                if number is not None:
                    found[row][place] = number
        return {row: numbers for row, numbers in found.items() if numbers}

    def lines(self, columns: Mapping[float, str]) -> list[Line]:
        """A line per row through its numbers `along` the columns, with their intervals."""
        return [intervals(found, **self.style(row)) for row, found in self.along(columns).items()]

    def style(self, row: str) -> dict[str, Any]:
        """A row's label and colour, the same in every picture of a table."""
        return {"label": self.rows[row].label, "colour": list(self.rows).index(row)}

    def heading(self, column: str) -> str:
        """A column's heading with its unit."""
        unit = self.section.table.columns[column].unit
        return f"{self.section.headings[column]}{unit and f', {unit}'}"

    @property
    def finding(self) -> str:
        """What came of the paper's claims and numbers: a title."""
        return words.finding(self.section)

    def leader(self, column: str, called: str = "") -> str:
        """Which of our rows has the best mean in a column: a title; "" where none is better, as printed."""
        one = self.section.table.columns[column]
        found = {row: cell for row, cell in self.cells(column).items() if cell.ours and not cell.collapse}
        means = {row: cell.ours.mean for row, cell in found.items() if cell.ours and math.isfinite(cell.ours.mean)}
        if len(means) < 2 or one.better == "none":
            return ""
        pick, best = (max, "Highest") if one.better == "higher" else (min, "Lowest")
        row = pick(means, key=means.__getitem__)
        if sum(round(value, one.digits) == round(means[row], one.digits) for value in means.values()) > 1:
            return ""
        return f"{best} {called or self.heading(column)}: {self.rows[row].label}, {means[row]:.{one.digits}f}"

    def labelled(self, *needed: str) -> dict[str, Arrays]:
        """`arrays` by label."""
        return {self.rows[row].label: found for row, found in self.arrays(*needed).items()}

    def arrays(self, *needed: str) -> dict[str, Arrays]:
        """By row, what the suite stored for pictures, where ``needed`` are among it."""
        return {row: found for row, found in self._arrays.items() if all(name in found for name in needed)}

    @cached_property
    def _arrays(self) -> dict[str, Arrays]:
        """Of each row's first seed, or over all its seeds."""
        found: dict[str, Arrays] = {}
        for (row, column), cell in self.section.cells.items():
            if self.section.table.columns[column].suite != self.suite or row in found or not cell.runs:
                continue
            measured = Run(_evaluation(self.store, *cell.runs[min(cell.runs)][:2]))
            stored = or_none(measured.arrays) if os.path.lexists(measured.path("arrays.npz")) else None
            if stored is not None:
                found[row] = stored
        return found

    def logs(self) -> dict[str, list[Log]]:
        """By row, the log of each seed's training; of two rows that evaluate the same training the first has it."""
        found: dict[str, list[Log]] = {}
        seen = set()
        for (row, _), cell in self.section.cells.items():
            for run in _trainings(cell, self.store):
                training = Run(self.store / run)
                if run in seen or not os.path.lexists(training.path("metrics.jsonl")):
                    continue
                seen.add(run)
                lines = or_none(training.log)
                if lines:
                    found.setdefault(row, []).append(lines)
        return found


def is_whole(section: Section, store: Path) -> bool:
    """Whether everything that was measured is still in the store."""
    evaluations = {found for cell in section.cells.values() for found in cell.runs.values()}
    return all(_evaluation(store, *made[:2]).exists() for made in evaluations)


def or_none(read: Callable[[], T]) -> T | None:
    """What ``read`` gives; None, and one line, if a file of the store is not what it should be."""
    try:
        return read()
    except UserError as error:
        say(" ".join(error.lines))
        return None


@cache
def say(line: str) -> None:
    """Say once what is left out."""
    sys.stderr.write(f"left out: {printable(line)}\n")


def _evaluation(store: Path, run: str, key: str) -> Path:
    """The folder of an evaluation; one over all seeds belongs to no run."""
    return store / run / "evals" / key if run else store / key


def _trainings(cell: Cell, store: Path) -> list[str]:
    """The keys of the runs behind a number; one over all seeds names them in its evaluation's request."""
    found = [made.run for made in cell.runs.values() if made.run]
    for made in cell.runs.values():
        measured = Run(store / made.evaluation)
        if made.run or not os.path.lexists(measured.path("request.yaml")):
            continue
        request = or_none(measured.request)
        parents = {} if request is None else request["parents"]
        seeds = [role for role in parents if role.startswith("seed")]
        found += [parents[role] for role in sorted(seeds, key=lambda role: int(role.removeprefix("seed")))]
    return found

"""Which reading of what a paper leaves open comes nearest to its numbers: distances, ranking, main effects, races.

The nearest of many readings is a fit to the printed numbers and confirms nothing. What can be learnt of it: how it does
on a table that it was not fitted to (`looks`), and which numbers no reading reaches (`numbers`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaebench.papers.records import Entry, Readings
from vaebench.papers.study import STEPS, at_length, column_of, drawn, readings, row_name, row_names
from vaebench.papers.tables import Table
from vaebench.papers.verdicts import Interval, interval

if TYPE_CHECKING:
    from pandas import DataFrame

DISTANCE = "distance"  # to all the printed numbers; ``distance_table1``: to those of one table alone
REACHED = "reached"  # of all the printed numbers, likewise
Values = Mapping[tuple[str, str], Sequence[float]]
Line = Mapping[str, Any]


@dataclass(frozen=True)
class Ranking:
    """``frame``: a line per reading with its answers, ``table.row.column`` means, ``distance``, ``cells``, ``rank``.

    ``rank`` counts from 1 and is 0 for a reading with fewer cells than the best covered ones; ``cells`` of ``wanted``
    numbers entered the distance, with so many ``seeds`` at least; ``reached`` of them are within reach (`reaches`).
    Distances and what is reached stand there for each table too. ``values``: by row and column, one per seed.
    """

    frame: DataFrame
    wanted: int
    values: Values

    @property
    def ranked(self) -> DataFrame:
        """Only the readings that have a rank, nearest first."""
        return self.frame[self.frame["rank"] > 0].sort_values("rank", kind="stable")


@dataclass(frozen=True)
class Look:
    """The ``line`` of the reading that is nearest to the tables ``fitted``.

    ``away``: by table, its distance there and its place among all readings, 1 for the nearest.
    """

    fitted: tuple[str, ...]
    line: Line
    away: Mapping[str, tuple[float, int]]

    @property
    def distance(self) -> float:
        """To what it was fitted to."""
        return float(self.line[DISTANCE] if len(self.away) == len(self.fitted) else self.away[self.fitted[0]][0])


@dataclass(frozen=True)
class Number:
    """A printed number beside a reading's: ``ours``, measured in ``column``.

    ``low``, ``high``: between what the means of all readings lie; ``reached``: how many of them reach it.
    """

    table: str
    row: str
    printed_in: str
    column: str
    printed: float
    tolerance: float
    ours: Interval | None
    low: float
    high: float
    reached: int


@dataclass(frozen=True)
class Rung:
    """A length of training: how many ``readings`` were measured there, the nearest one's ``distance`` with one seed."""

    steps: int
    readings: int
    kept: int
    distance: float


def rank(table: Table, cells: DataFrame, scale: str) -> Ranking:
    """Rank the readings of a study by their distance to the printed numbers.

    ``cells``: the study's measured cells of one scale and dataset. The distance is the root mean square of
    (mean over seeds - printed) / unit.
    """
    import pandas as pd

    study = _study(table)
    known = cells[cells["row"].isin(list(table.rows))]
    values = {key: tuple(part) for key, part in known.groupby(["row", "column"], sort=False)["value"]}
    lines = [_line(table, study, reading, values) for reading in readings(study, scale)]
    frame = pd.DataFrame(lines)
    frame = frame.astype({name: "float64" for name in frame if str(name).startswith(DISTANCE)})
    most = int(frame["cells"].max())
    complete = (frame["cells"] == most) & (most > 0)
    frame["rank"] = frame["distance"].where(complete).rank(method="first").fillna(0).astype(int)
    frame = frame.sort_values("rank", key=lambda r: r.where(r > 0, len(frame) + 1), kind="stable")
    frame = frame[frame["cells"] > 0].reset_index(drop=True)
    return Ranking(frame, sum(len(entry["columns"]) for entry in study.of), values)


def _line(table: Table, study: Readings, reading: Mapping[str, str], values: Values) -> dict[str, Any]:
    line: dict[str, Any] = dict(reading)
    squares: dict[str, list[float]] = {entry["table"]: [] for entry in study.of}
    reached, seeds = dict.fromkeys(squares, 0), []
    for entry in study.of:
        row = row_name(study, entry, reading)
        for column in entry["columns"]:
            measured = column_of(study, entry, reading, column)
            found, printed = values.get((row, measured)), table.reported[row][column]
            mean = None if found is None else sum(found) / len(found)
            line[_name(entry, column)] = mean
            if found is not None and mean is not None:
                squares[entry["table"]].append(((mean - printed) / study.units[column]) ** 2)
                reached[entry["table"]] += reaches(found, printed, table.columns[column].tolerance or 0.0)
                seeds.append(len(found))
    every = [square for part in squares.values() for square in part]
    line[DISTANCE] = _root_mean(every)
    line |= {f"{DISTANCE}_{name}": _root_mean(part) for name, part in squares.items()}
    line |= {f"{REACHED}_{name}": count for name, count in reached.items()}
    return line | {"cells": len(every), REACHED: sum(reached.values()), "seeds": min(seeds, default=0)}


def reaches(values: Sequence[float], printed: float, tolerance: float) -> bool:
    """Whether the interval of the mean meets the band round a printed number; of one seed, the number itself."""
    found = interval(values)
    if found is None:
        return False
    low, high = (found.mean if end is None else end for end in (found.low, found.high))
    return low <= printed + tolerance and high >= printed - tolerance


def main_effects(table: Table, ranking: Ranking) -> DataFrame:
    """Mean distance over the ranked readings of the first length: ``axis``, ``answer``, ``distance``, ``readings``.

    Those of later lengths were chosen.
    """
    import pandas as pd

    frame = ranking.ranked
    frame = frame[frame[STEPS] == str(min(map(int, frame[STEPS]), default=0))]
    lines = []
    for axis, answers in _study(table).axes.items():
        for answer in answers:
            those = frame[frame[axis] == answer]["distance"]
            mean = float(those.mean()) if len(those) else None
            lines.append({"axis": axis, "answer": answer, "distance": mean, "readings": len(those)})
    return pd.DataFrame(lines).astype({"distance": "float64"})


def kept(
    table: Table, cells: DataFrame, scale: str, steps: int, left: Sequence[dict[str, str]]
) -> list[dict[str, str]]:
    """Of the readings ``left``, those that go on after ``steps``, nearest first; what failed is out.

    Judged by the first seed alone, so that seeds that are added later change no race that was run.
    """
    frame = rank(table, cells[cells["seed"] == 0], scale).ranked
    nearest = frame[frame[STEPS] == str(steps)].to_dict("records")
    order = dict.fromkeys(place for line in nearest for place, one in enumerate(left) if one.items() <= line.items())
    return [left[place] for place in list(order)[: math.ceil(_study(table).race[scale].keep * len(order))]]


def rungs(table: Table, cells: DataFrame, scale: str) -> list[Rung]:
    """What was run, by length."""
    study, found = _study(table), []
    frame = rank(table, cells[cells["seed"] == 0], scale).ranked
    axes = list(drawn(study, scale)[0])
    lengths = study.race[scale].lengths
    there = {steps: frame[frame[STEPS] == str(steps)] for steps in lengths}
    for steps, after in zip(lengths, (*lengths[1:], None), strict=True):
        here = there[steps]
        if len(here):
            went_on = len(there[after].drop_duplicates(axes)) if after else 0
            count = len(here.drop_duplicates(axes))
            found.append(Rung(steps, count, went_on, float(here[DISTANCE].min())))
    return found


def fits(study: Readings) -> list[tuple[str, ...]]:
    """What a reading is fitted to: all tables together, then each of several alone."""
    tables = tuple(dict.fromkeys(entry["table"] for entry in study.of))
    return [tables, *((name,) for name in tables if len(tables) > 1)]


def looks(table: Table, ranking: Ranking) -> list[Look]:
    """The nearest reading of each fit, and how near it is to each table. Empty if nothing is ranked."""
    found, frame = [], ranking.ranked
    tables = fits(_study(table))[0]
    names = {name: f"{DISTANCE}_{name}" for name in tables}
    for fitted in fits(_study(table)) if len(frame) else []:
        by = DISTANCE if fitted == tables else names[fitted[0]]
        if frame[by].isna().all():
            continue
        line = frame.loc[frame[by].idxmin()].to_dict()
        away = {name: (float(line[key]), int((frame[key] < line[key]).sum()) + 1) for name, key in names.items()}
        found.append(Look(fitted, line, away))
    return found


def numbers(table: Table, ranking: Ranking, line: Line) -> list[Number]:
    """The printed numbers that count, beside those of the reading in a ``line`` and of all readings."""
    study, found, frame = _study(table), [], ranking.ranked
    others = frame.to_dict("records")
    for entry in study.of:
        row = row_name(study, entry, line)
        for column in entry["columns"]:
            means = frame[_name(entry, column)].dropna()
            if means.empty:
                continue
            measured = column_of(study, entry, line, column)
            tolerance = table.columns[column].tolerance or 0.0
            printed = table.reported[row][column]
            places = ((row_name(study, entry, one), column_of(study, entry, one, column)) for one in others)
            reached = sum(reaches(ranking.values.get(place, ()), printed, tolerance) for place in places)
            ours = interval(ranking.values.get((row, measured), ()))
            ends = (float(means.min()), float(means.max()))
            found.append(
                Number(*(entry["table"], entry["row"], column, measured, printed, tolerance), ours, *ends, reached)
            )
    return found


def few_seeds(table: Table, ranking: Ranking, scale: str) -> list[str]:
    """The rows of the nearest readings, if they have fewer seeds than the nearest shall have."""
    study = _study(table)
    lines = [look.line for look in looks(table, ranking) if look.line["seeds"] < study.race[scale].seeds]
    return row_names(study, lines)


def begins(table: Table, scale: str) -> list[str]:
    """The rows that a race begins with."""
    study = _study(table)
    return row_names(study, at_length(drawn(study, scale), study.race[scale].lengths[0]))


def _study(table: Table) -> Readings:
    assert table.study is not None, "only a study has readings"
    return table.study


def _name(entry: Entry, column: str) -> str:
    return f"{entry['table']}.{entry['row']}.{column}"


def _root_mean(squares: Sequence[float]) -> float | None:
    return (sum(squares) / len(squares)) ** 0.5 if squares else None

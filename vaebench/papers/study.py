"""The readings of a study: which there are, and the rows that measure them.

A study is a race (`Race`): some readings are drawn, all of them are trained shortly, and the nearest go on to longer
trainings. A reading has an answer on every axis and, once it is trained, one on `STEPS`. The first answers of all axes
are the reading taken elsewhere; it is always among those drawn.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from vaebench.papers.changes import Change, merged
from vaebench.papers.records import Entry, Readings, Row

STEPS = "steps"  # how long the trainings of a reading are
Reading = Mapping[str, str]  # axis -> answer


class Made(Mapping[str, Row]):
    """Rows by name, each made when it is asked for: a race may take thousands, and a command needs a few."""

    def __init__(self, makers: Mapping[str, Callable[[], Row]]) -> None:
        self._makers = makers
        self._made: dict[str, Row] = {}

    def __getitem__(self, name: str) -> Row:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def of_report(study: Readings) -> list[str]:
    """The axes whose answers choose among measured columns: they are no part of any run."""
    return [axis for axis, answers in study.axes.items() if any(_part(one, "columns") for one in answers.values())]


def of_runs(study: Readings, axes: Iterable[str]) -> list[str]:
    """The other ones among ``axes``."""
    others = of_report(study)
    return [axis for axis in axes if axis not in others]


def combinations(study: Readings, axes: Iterable[str]) -> Iterator[dict[str, str]]:
    """Every combination of the answers on some axes."""
    axes = list(axes)
    for answers in itertools.product(*(study.axes[axis] for axis in axes)):
        yield dict(zip(axes, answers, strict=True))


def drawn(study: Readings, scale: str) -> list[dict[str, str]]:
    """The readings that start at a scale, without a length; the first one has all first answers."""
    race, axes = study.race[scale], of_runs(study, study.axes)
    sizes = [len(study.axes[axis]) for axis in axes]
    most = math.prod(sizes)
    others = random.Random(race.seed).sample(range(1, most), min(race.drawn, most) - 1)
    found = []
    for number in (0, *others):
        answers = {}
        for axis, size in zip(reversed(axes), reversed(sizes), strict=True):
            number, place = divmod(number, size)
            answers[axis] = list(study.axes[axis])[place]
        found.append({axis: answers[axis] for axis in axes})
    return found


def at_length(readings: Iterable[Reading], steps: int) -> list[dict[str, str]]:
    """Readings, trained for so many steps."""
    return [{**reading, STEPS: str(steps)} for reading in readings]


def readings(study: Readings, scale: str) -> Iterator[dict[str, str]]:
    """All readings at a scale: those that were drawn, at every length."""
    started, conventions = drawn(study, scale), list(combinations(study, of_report(study)))
    for steps in study.race[scale].lengths:
        for reading, convention in itertools.product(at_length(started, steps), conventions):
            yield {**reading, **convention}


def row_name(study: Readings, entry: Entry, reading: Reading) -> str:
    """The row that measures a printed one under a reading."""
    return study_row(entry["table"], entry["row"], _own(study, entry, reading))


def rows_of(study: Readings, entry: Entry) -> dict[str, tuple[Reading, list[str]]]:
    """The rows that may measure a printed one: by name, what they read, and at which scales."""
    found: dict[str, tuple[Reading, list[str]]] = {}
    axes = _own_axes(study, entry)
    for scale, race in study.race.items():
        started = drawn(study, scale)
        every = itertools.chain(*(at_length(started, steps) for steps in race.lengths))
        here = {study_row(entry["table"], entry["row"], {axis: one[axis] for axis in axes}): one for one in every}
        for name, reading in here.items():
            found.setdefault(name, (reading, []))[1].append(scale)
    return found


def study_row(table: str, row: str, reading: Reading) -> str:
    """The name of a study's row: ``table1.batchtopk.abs_z.dimension.mse.mlp.3000``."""
    return ".".join((table, row, *reading.values()))


def row_names(study: Readings, readings: Iterable[Reading]) -> list[str]:
    """The rows that measure readings, each once."""
    return list(dict.fromkeys(row_name(study, entry, reading) for reading in readings for entry in study.of))


def column_of(study: Readings, entry: Entry, reading: Reading, column: str) -> str:
    """The column that a printed number is compared with under a reading."""
    for axis in (axis for axis in entry["axes"] if axis in reading):
        column = _part(study.axes[axis][reading[axis]], "columns").get(column, column)
    return column


def columns_of(study: Readings, entry: Entry) -> tuple[str, ...]:
    """All the columns that any reading compares a printed row's numbers with."""
    conventions = list(combinations(study, (axis for axis in of_report(study) if axis in entry["axes"])))
    pairs = itertools.product(entry["columns"], conventions)
    return tuple(dict.fromkeys(column_of(study, entry, convention, column) for column, convention in pairs))


def row(source: Row, study: Readings, entry: Entry, reading: Reading, scales: Iterable[str]) -> Row:
    """A printed row as a reading has it."""
    own = _own(study, entry, reading)
    answers = [study.axes[axis][answer] or {} for axis, answer in own.items() if axis != STEPS]
    length = {"train.max_steps": int(own[STEPS]), "train.epochs": None}
    return replace(
        source,
        label=f"{source.label}: {', '.join(own.values())}",
        set=merged(source.set, *map(trained, answers), length),
        suites=merged(*(_part(answer, "options") for answer in answers)),
        columns=columns_of(study, entry),
        reading=own,
        of=(entry["table"], entry["row"]),
        scales=tuple(scales),
    )


def trained(answer: Change) -> Change:
    """What an answer changes of the training; the rest is of suites, or of what is compared."""
    return {name: value for name, value in (answer or {}).items() if name not in ("options", "columns")}


def _own(study: Readings, entry: Entry, reading: Reading) -> dict[str, str]:
    """The answers on the axes that the runs of a printed row depend on."""
    return {axis: reading[axis] for axis in _own_axes(study, entry)}


def _own_axes(study: Readings, entry: Entry) -> list[str]:
    return [*of_runs(study, entry["axes"]), STEPS]


def _part(answer: Change, name: str) -> Mapping[str, str]:
    return (answer or {}).get(name) or {}

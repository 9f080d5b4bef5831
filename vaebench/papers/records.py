"""A paper as data: its tables, their rows, columns, printed numbers and claims.

A *study* is a table whose rows are not written out but are all combinations of what the paper leaves open (`Readings`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Annotated, Any, Literal

from annotated_types import Interval, Len

from vaebench.config.choices import choices
from vaebench.config.signatures import AtLeast2, Count, NonNegative, OneOf, Positive, Seed
from vaebench.papers.changes import Change, at_scale, merged, scales, words
from vaebench.papers.verdicts import RELATIONS

Scale = Annotated[str, OneOf(scales)]
Set = Annotated[str, OneOf(partial(choices, "dataset"))]
Suite = Annotated[str, OneOf(partial(choices, "suite"))]
Entry = Mapping[str, Any]  # a printed row that a study reads: table, row, axes, columns
Digits = Annotated[int, Interval(ge=0, le=15)]


@dataclass(frozen=True)
class Row:
    """One row: the training it stands for. ``columns``: only these are measured (empty: all).

    ``experiment``: empty where the paper quotes another work's numbers; such a row is never run, and claims compare
    with what is printed. ``words``: overrides that make a row of one's own. ``set`` changes it, ``on_stand_in`` where
    the table runs on its stand-in; ``options`` are those of the suites that measure it; ``suites``: the same by suite.
    ``scales``: at which it is run (empty: all). ``failed``: columns in which the paper says that the training failed.
    ``measures`` fills the ``{measures}`` of a column's measurement (which selector picks); with ``optional`` a
    measurement that the data cannot give is left empty. ``short``: what a claim's sentence calls it. ``point``: where
    on the table's grid it is, ``written`` the name it has there in the YAML. In a study ``reading`` holds the answer on
    each axis the row depends on, ``of`` the printed (table, row) it reads.
    """

    label: str
    experiment: str
    words: tuple[str, ...] = ()
    set: Change = field(default_factory=dict)
    on_stand_in: Change = field(default_factory=dict)
    options: Change = field(default_factory=dict)
    suites: Mapping[str, Change] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    scales: tuple[Scale, ...] = ()
    failed: tuple[str, ...] = ()
    note: str = ""
    measures: str = ""
    optional: bool = False
    short: str = ""
    point: Mapping[str, Any] = field(default_factory=dict)
    written: str = ""
    reading: Mapping[str, str] = field(default_factory=dict)
    of: tuple[str, str] = ("", "")

    def has(self, column: str) -> bool:
        """Whether it has a number in a column."""
        return not self.columns or column in self.columns

    @property
    def made(self) -> bool:
        """Whether it is trained here."""
        return bool(self.experiment or self.words)


@dataclass(frozen=True)
class Column:
    """One column: the suite and the measurement that fill it, of the column's own name unless another is given.

    ``better``: ``lower``, ``higher`` or ``none``. ``tolerance``: half the width of the band round a reported number
    inside which it counts as reproduced. ``protocol``: what the paper states, or what the quantity's name means (FID:
    Inception features); ``reading``: what it leaves open, as we read it. Both are compared with how ours was measured.
    ``optional``: left empty where the suite cannot measure it (weights or a package that are not at hand).
    ``stage``: an experiment; the column is measured on the model that this stage trains on the row's (a diffusion
    model).
    ``snapshot``: as the model was after so many of the parts its training is kept in (`TrainSpec.snapshots`).
    ``minus``: another column, whose number of the same row and seed is taken off (gFID less rFID). ``options``: of the
    suite. ``short``, ``point``, ``written``: as of a `Row`.
    """

    label: str
    suite: Suite
    measurement: str
    better: Literal["lower", "higher", "none"]
    digits: Digits
    unit: str = ""
    tolerance: NonNegative | None = None
    optional: bool = False
    stage: str = ""
    snapshot: Count | None = None
    minus: str = ""
    options: Change = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)
    reading: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    short: str = ""
    point: Mapping[str, Any] = field(default_factory=dict)
    written: str = ""


@dataclass(frozen=True)
class Claim:
    """An ordering: (``row``, ``column``) is lower or higher (``holds``) than (``than``, ``than_column``).

    More exactly, than ``factor`` times that cell plus ``margin``; with ``holds: within`` the two differ by ``margin``
    at most. With ``value`` the cell is compared with that number.

    ``kind``: the ``paper`` says so; or it is ours: a ``control`` of what the paper leaves out, a ``gate`` that has to
    hold if the method is built rightly, or something to ``watch``.
    """

    id: str
    text: str
    row: str
    column: str
    holds: Annotated[str, OneOf(tuple(RELATIONS))]
    than: str = ""
    than_column: str = ""
    value: float | None = None
    factor: Positive = 1.0
    margin: NonNegative = 0.0
    kind: Literal["paper", "control", "gate", "watch"] = "paper"

    @property
    def asserted(self) -> bool:
        """Whether the paper says so."""
        return self.kind == "paper"


@dataclass(frozen=True)
class Race:
    """Successive halving (Jamieson and Talwalkar 2016) of ``drawn`` readings, chosen with ``seed``.

    Those that are left are trained for the next of the ``lengths`` (steps); the nearest of them, the share ``keep``, go
    on. At the end the nearest of all get so many ``seeds``.
    """

    drawn: AtLeast2
    lengths: Annotated[tuple[Count, ...], Len(1)]
    keep: Annotated[float, Interval(gt=0, lt=1)]
    seeds: Count
    seed: Seed = 0


@dataclass(frozen=True)
class Readings:
    """What the paper leaves open: ``axes`` maps each question to its answers.

    An answer is a change of the training; ``options`` in it, by suite, are of what measures it. Or it only says by
    ``columns`` which measured column stands for a printed one.
    ``of``: the printed rows that are measured again, with the axes they depend on and the columns that count;
    ``units``: per column, the difference that weighs as one; ``race``: by scale.
    """

    axes: Mapping[str, Mapping[str, Change]]
    of: tuple[Entry, ...]
    units: Mapping[str, Positive]
    race: Mapping[Scale, Race]


@dataclass(frozen=True)
class Table:
    """One table. ``reported``: row -> column -> the printed number.

    ``datasets``: by scale, the sets it is measured on one by one, where that is not just ``dataset``; ``stand_ins``: by
    scale, sets that stand for them. ``stand_in``: the embedded set that is taken where none of them can be had; empty:
    the table is not run then. ``train_on``: the set a model is trained on, by the set it is measured on, where they
    differ. ``seeds``: by scale, where not the scale's own number. ``set``: what is changed of all rows, ``stages``: of
    the columns' stages, ``options``: by suite, of the suites. ``features``: by scale, the network behind Frechet
    distances where it is at hand and images fit it.
    """

    caption: str
    dataset: Set
    rows: Mapping[str, Row]
    columns: Mapping[str, Column]
    reported: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    seeds: Mapping[Scale, Count] = field(default_factory=dict)
    set: Change = field(default_factory=dict)
    stages: Change = field(default_factory=dict)
    options: Mapping[str, Change] = field(default_factory=dict)
    features: Mapping[Scale, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    datasets: Mapping[Scale, tuple[Set, ...]] = field(default_factory=dict)
    stand_ins: Mapping[Scale, tuple[Set, ...]] = field(default_factory=dict)
    stand_in: str = "digits"
    train_on: Mapping[Set, Set] = field(default_factory=dict)
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
        wanted = set(rows)
        kept = {key: entry for key, entry in self.rows.items() if key in wanted}
        return replace(
            self,
            rows=kept,
            reported={key: numbers for key, numbers in self.reported.items() if key in kept},
            claims=tuple(claim for claim in self.claims if {claim.row, claim.than} <= kept.keys()),
        )

    @cached_property
    def quoted(self) -> tuple[str, ...]:
        """The rows that are printed numbers and nothing to run. Each claim asks, and a race has thousands of rows."""
        return tuple(key for key, row in self.rows.items() if not row.made)

    def run_at(self, scale: str) -> list[str]:
        """The rows that are run at a scale."""
        rows = {key: row for key, row in self.rows.items() if row.made}
        return [key for key, row in rows.items() if not row.scales or scale in row.scales]

    def training(self, row: Row, scale: str, *, stand_in: bool = False) -> tuple[str, ...]:
        """What is changed of a row's experiment, as overrides: by the table, then by the row."""
        there = row.on_stand_in if stand_in else {}
        return words(merged(*(at_scale(change, scale) for change in (self.set, row.set, there))))

    def stage(self, scale: str) -> tuple[str, ...]:
        """The same of the columns' stages."""
        return words(at_scale(self.stages, scale))

    def suite(self, column: Column, row: Row, scale: str) -> tuple[str, ...]:
        """The suite that measures a cell, and its options, as overrides."""
        own = row.suites.get(column.suite, {})
        here = (self.options.get(column.suite, {}), column.options, row.options, own)
        return (f"suite={column.suite}", *words(merged(*(at_scale(one, scale) for one in here)), within="suite"))

    def trained_on(self, dataset: str) -> str:
        """The set behind the models that are measured on ``dataset``."""
        return self.train_on.get(dataset, dataset)


@dataclass(frozen=True)
class Paper:
    """A paper: ``source`` is where it can be found, ``unstated`` what it leaves open with the reading taken here.

    ``again``: the command that knows it, where no choice names it.
    """

    name: str
    title: str
    authors: str
    source: str
    year: Count
    tables: Mapping[str, Table]
    unstated: Mapping[str, str] = field(default_factory=dict)
    again: str = ""

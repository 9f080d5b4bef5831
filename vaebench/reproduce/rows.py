"""A row of a table as requests: its training with each seed, stages on it, and the evaluations that fill its cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from vaebench.chains.chain import judge, needed, on, training
from vaebench.chains.check import inside
from vaebench.chains.evaluation import design, evaluation
from vaebench.compat import install, missing
from vaebench.config.choices import kind_of, usual
from vaebench.config.compose import compose, dataset
from vaebench.config.request import Request
from vaebench.config.signatures import require
from vaebench.config.spine import TrainConfig
from vaebench.contracts import Suite
from vaebench.data.leaves import dataset_leaf
from vaebench.papers.cells import POOLED
from vaebench.papers.changes import at_scale
from vaebench.papers.tables import Column, Row, Table
from vaebench.runs import build
from vaebench.runs.kinds.eval import of_run


@dataclass(frozen=True)
class Setting:
    """Under which conditions a table is run here: scale, dataset (``stand_in``: not the table's own), FID features."""

    scale: str
    dataset: str
    stand_in: bool
    features: str
    seeds: int

    @cached_property
    def on_texts(self) -> bool:
        """Whether the dataset is a set of problems and who answered them."""
        return kind_of(self.dataset) == "text"


@dataclass(frozen=True)
class Item:
    """One row of one table with one seed (or ``POOLED``): its training and, by column, the evaluation that measures it.

    ``names`` fills the placeholders of a column's measurement. On texts a row has no training of its own.
    """

    paper: str
    table: str
    row: str
    setting: Setting
    seed: int
    train: Request | None
    evaluations: dict[str, Request]
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RowHere:
    """A row of a paper's table under a setting."""

    paper: str
    key: str
    table: Table
    name: str
    setting: Setting

    def planned(self, left_out: list[str]) -> tuple[list[Item], list[Request]]:
        """The row's items and all the requests behind them; what cannot be run here is noted in ``left_out``.

        Raises `UserError` with the row in front of each line: what its YAML sets may be no option.
        """
        with inside(self._where):
            if of_design(self.table):
                return self._on_design()
            return self._on_texts(left_out) if self.setting.on_texts else self._by_seed(left_out)

    def trainings(self) -> list[Request]:
        """All trainings with seed 0 and what they build on; the data need not be here."""
        with inside(self._where):
            cfg, stages = self._configurations()
            for one in (cfg, *stages.values()):
                one.dataset.pop("splits", None)  # of folders, which would be looked into
            return [request for chain in _chains(cfg, stages, 0).values() for request in chain]

    @property
    def _where(self) -> str:
        return f"paper {self.paper}, {self.key}, row {self.name}"

    @property
    def row(self) -> Row:
        """As the paper's YAML has it."""
        return self.table.rows[self.name]

    @property
    def columns(self) -> dict[str, Column]:
        """Those of the table's columns that are measured for this row."""
        return {name: column for name, column in self.table.columns.items() if self.row.has(name)}

    def overrides(self) -> list[str]:
        """What makes the row's configuration."""
        changed = self.table.training(self.row, self.setting.scale, stand_in=self.setting.stand_in)
        if not self.row.words:
            return [f"experiment={self.row.experiment}", *self._here(), *changed]
        words = [*self._here(), *changed, *self.row.words]
        return [*usual("train", words), *words]

    def _here(self) -> list[str]:
        return [f"dataset={self.table.trained_on(self.setting.dataset)}", f"scale={self.setting.scale}"]

    def _configurations(self) -> tuple[TrainConfig, dict[str, TrainConfig]]:
        """Of the row's training, and by name of the stages on it that its columns need."""
        here = [*self._here(), *self.table.stage(self.setting.scale)]
        named = dict.fromkeys(column.stage for column in self.columns.values() if column.stage)
        stages = {name: compose("train", [f"experiment={name}", *here]) for name in named}
        cfg = compose("train", self.overrides())
        own = at_scale(self.row.set, self.setting.scale).get("links")
        idle = sorted(own.keys() - needed(cfg)) if own else []
        advice = "leave it out, or set it for the whole table"
        require(*(f"links.{name}: is not needed for {self.row.experiment}; {advice}" for name in idle))
        return cfg, stages

    def _item(self, seed: int, train: Request | None, evaluations: dict[str, Request], **names: str) -> Item:
        return Item(self.paper, self.key, self.name, self.setting, seed, train, evaluations, names)

    def _by_seed(self, left_out: list[str]) -> tuple[list[Item], list[Request]]:
        """A training and its evaluations for each seed, some of them of a model that a stage trains on the first."""
        cfg, stages = self._configurations()
        if lacking := _lacking(cfg.model):
            left_out.append(f"{self.paper} {self.key}, {self.row.label}: {lacking}")
            return [], []
        tested = self.setting.dataset
        other = None if cfg.dataset["name"] == tested else dataset_leaf(dataset(tested))
        suites = {name: self._suite(column) for name, column in self.columns.items()}
        items: list[Item] = []
        behind: list[Request] = []
        for seed in range(self.setting.seeds):
            chains = _chains(cfg, stages, seed)
            behind += [request for chain in chains.values() for request in chain]
            evaluations = {}
            for name, column in self.columns.items():
                suite, built = suites[name]
                run = chains[column.stage][-1]
                judged_by = judge(cfg, built, run, column.snapshot)
                evaluations[name] = of_run(suite, run, judged_by, other, column.snapshot)
                behind += [*([judged_by] if judged_by else []), evaluations[name]]
            items.append(self._item(seed, chains[""][-1], evaluations))
        return items, behind

    def _on_design(self) -> tuple[list[Item], list[Request]]:
        """One evaluation of the design for each suite; nothing is trained and no data is read."""
        cfg = compose("train", self.overrides())
        evaluations = {name: design(cfg, self._suite(column)[0]) for name, column in self.columns.items()}
        return [self._item(POOLED, None, evaluations)], list(evaluations.values())

    def _on_texts(self, left_out: list[str]) -> tuple[list[Item], list[Request]]:
        """One evaluation over all seeds together for each suite."""
        if lacking := _lacking(dataset(self.setting.dataset)["answers"]):
            left_out.append(f"{self.paper} {self.key} on {self.setting.dataset}: {lacking}")
            return [], []
        evaluations: dict[str, Request] = {}
        behind: list[Request] = []
        names: dict[str, str] = {}
        for name, column in self.columns.items():
            suite = self.table.suite(column, self.row, self.setting.scale)
            chain, scorers, lacking = _chain((*self.overrides(), *suite), self.setting.seeds)
            names |= scorers
            if lacking:
                left_out.append(f"{self.paper} {self.key}, {self.row.label}: {lacking}")
                return [], []
            evaluations[name] = chain[-1]
            behind += chain
        return [self._item(POOLED, None, evaluations, **names, measures=self.row.measures)], behind

    def _suite(self, column: Column) -> tuple[dict[str, Any], Suite]:
        """A column's suite as plain data, and built."""
        takes_features = "features" in _suite_leaf((f"suite={column.suite}",))[0]
        features = [f"suite.features={self.setting.features}"] if takes_features else []
        chosen, *options = self.table.suite(column, self.row, self.setting.scale)
        return _suite_leaf((chosen, *features, *options))


def _chains(cfg: TrainConfig, stages: Mapping[str, TrainConfig], seed: int) -> dict[str, list[Request]]:
    """By name of the stage, its training after all it needs; "" is the row's own."""
    for one in (cfg, *stages.values()):
        one.seed = seed
    found = {"": training(cfg)}
    return found | {name: on(stage, found[""]) for name, stage in stages.items()}


@cache
def _chain(overrides: tuple[str, ...], seeds: int) -> tuple[list[Request], dict[str, str], str]:
    """An evaluation of texts after all it needs, its scorers by role, and which packages it lacks."""
    cfg = compose("eval", overrides)
    chain, suite = evaluation(cfg, range(seeds))
    leaf = cfg.embedder if getattr(suite, "needs_model", False) else {}
    scorers = list(cfg.dataset["problems"]["scorers"])
    roles = {"main": scorers[0], "other": scorers[min(1, len(scorers) - 1)], "strict": scorers[-1]}
    return chain, roles, _lacking(leaf)


def _lacking(leaf: Mapping[str, Any]) -> str:
    """Which packages a leaf needs that are not installed, and where they come from; empty if none."""
    lacking = missing(leaf.get("needs") or ())
    how = install(leaf.get("extra", "reasoning"), leaf.get("distribution"))
    return f"needs {', '.join(lacking)} ({how})" if lacking else ""


def of_design(table: Table) -> bool:
    """Whether all of the table is measured on designs, without training and data."""
    suites = {column.suite for column in table.columns.values()}
    return all(getattr(suite_of((f"suite={name}",)), "of_design", False) for name in suites)


def suite_of(overrides: tuple[str, ...]) -> Suite:
    """The suite that measures a cell, built. Raises `UserError` for options it refuses."""
    return _suite_leaf(overrides)[1]


@cache
def _suite_leaf(overrides: tuple[str, ...]) -> tuple[dict[str, Any], Suite]:
    """A suite as plain data, and built. Raises `UserError` for options it refuses."""
    leaf: dict[str, Any] = compose("eval", ["dataset=digits", *overrides]).suite
    return leaf, build.suite(Request({"suite": leaf}))

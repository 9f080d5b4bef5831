"""A row of a table as requests: its training with each seed, stages on it, and the evaluations that fill its cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from vaebench.chains.chain import classifier, design, evaluation, on, training
from vaebench.compat import missing
from vaebench.config.choices import kind_of, leaf
from vaebench.config.compose import compose, dataset
from vaebench.config.request import Request
from vaebench.config.spine import TrainConfig
from vaebench.data.contents import dataset_leaf
from vaebench.errors import UserError
from vaebench.papers.cells import POOLED
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


def of_row(
    paper: str, key: str, row_name: str, table: Table, setting: Setting, left_out: list[str]
) -> tuple[list[Item], list[Request]]:
    """The items of a row, and all the requests behind them; what cannot be run here is noted in ``left_out``.

    Raises `UserError` with the row in front of each line: what its YAML sets may be no option.
    """
    if of_design(table):
        make = _design_items
    elif kind_of(setting.dataset) == "text":
        make = _text_items
    else:
        make = _items_by_seed
    try:
        return make(paper, key, row_name, table, setting, left_out)
    except UserError as error:
        raise UserError(*(f"paper {paper}, {key}, row {row_name}: {line}" for line in error.lines)) from error


def _base(row: Row, table: Table, setting: Setting) -> list[str]:
    """The overrides that make a row's configuration."""
    dataset = table.trained_on(setting.dataset)
    chosen_by = [f"experiment={row.experiment}", f"dataset={dataset}", f"scale={setting.scale}"]
    return [*chosen_by, *table.training(row, setting.scale, stand_in=setting.stand_in)]


def _items_by_seed(
    paper: str, key: str, row_name: str, table: Table, setting: Setting, left_out: list[str]
) -> tuple[list[Item], list[Request]]:
    """A training and its evaluations for each seed, some of them of a model that a stage trains on the first."""
    row = table.rows[row_name]
    columns = _columns(row, table)
    cfg, stages = _configurations(row, table, setting)
    if lacking := _lacking(cfg.model):
        left_out.append(f"{paper} {key}, {row.label}: {lacking}")
        return [], []
    other = None if cfg.dataset["name"] == setting.dataset else dataset_leaf(dataset(setting.dataset))
    judge = classifier(cfg) if any(_suite(c, row, table, setting)[1] for c in columns.values()) else None
    items, behind = [], [judge] if judge else []
    for seed in range(setting.seeds):
        chains = _chains(cfg, stages, seed)
        evaluations = {}
        for name, column in columns.items():
            suite, needs_judge = _suite(column, row, table, setting)
            run = chains[column.stage][-1]
            evaluations[name] = of_run(suite, run, judge if needs_judge else None, other, column.snapshot)
        items.append(Item(paper, key, row_name, setting, seed, chains[""][-1], evaluations))
        behind += [*(request for chain in chains.values() for request in chain), *evaluations.values()]
    return items, behind


def trainings(row_name: str, table: Table, setting: Setting) -> list[Request]:
    """All trainings of a row with seed 0 and what they build on; the data need not be here."""
    cfg, stages = _configurations(table.rows[row_name], table, setting)
    for one in (cfg, *stages.values()):
        one.dataset.pop("splits", None)  # of folders, which would be looked into
    return [request for chain in _chains(cfg, stages, 0).values() for request in chain]


def _columns(row: Row, table: Table) -> dict[str, Column]:
    """Those of the table's columns that are measured for this row."""
    return {name: column for name, column in table.columns.items() if not row.columns or name in row.columns}


def _configurations(row: Row, table: Table, setting: Setting) -> tuple[TrainConfig, dict[str, TrainConfig]]:
    """Of the row's training, and by name of the stages on it that its columns need."""
    dataset = table.trained_on(setting.dataset)
    here = [f"dataset={dataset}", f"scale={setting.scale}", *table.stage(setting.scale)]
    named = dict.fromkeys(column.stage for column in _columns(row, table).values() if column.stage)
    stages = {name: compose("train", [f"experiment={name}", *here]) for name in named}
    return compose("train", _base(row, table, setting)), stages


def _chains(cfg: TrainConfig, stages: Mapping[str, TrainConfig], seed: int) -> dict[str, list[Request]]:
    """By name of the stage, its training after all it needs; "" is the row's own."""
    for one in (cfg, *stages.values()):
        one.seed = seed
    found = {"": training(cfg)}
    return found | {name: on(stage, found[""]) for name, stage in stages.items()}


def _design_items(
    paper: str, key: str, row_name: str, table: Table, setting: Setting, left_out: list[str]
) -> tuple[list[Item], list[Request]]:
    """One evaluation of a row's design for each suite; nothing is trained and no data is read."""
    del left_out
    row = table.rows[row_name]
    cfg = compose("train", _base(row, table, setting))
    columns = _columns(row, table)
    evaluations = {name: design(cfg, _suite(c, row, table, setting)[0]) for name, c in columns.items()}
    return [Item(paper, key, row_name, setting, POOLED, None, evaluations)], list(evaluations.values())


def _text_items(
    paper: str, key: str, row_name: str, table: Table, setting: Setting, left_out: list[str]
) -> tuple[list[Item], list[Request]]:
    """One evaluation over all seeds together for each suite."""
    if lacking := _lacking(dataset(setting.dataset)["answers"]):
        left_out.append(f"{paper} {key} on {setting.dataset}: {lacking}")
        return [], []
    row = table.rows[row_name]
    evaluations: dict[str, Request] = {}
    behind: list[Request] = []
    names: dict[str, str] = {}
    for column_name, column in _columns(row, table).items():
        suite = table.suite(column, row, setting.scale)
        chain, scorers, lacking = _chain((*_base(row, table, setting), *suite), setting.seeds)
        names |= scorers
        if lacking:
            left_out.append(f"{paper} {key}, {row.label}: {lacking}")
            return [], []
        evaluations[column_name] = chain[-1]
        behind += chain
    names["measures"] = row.measures
    return [Item(paper, key, row_name, setting, POOLED, None, evaluations, dict(names))], behind


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
    return f"needs {', '.join(lacking)} (pip install 'vaebench[{leaf.get('extra', 'reasoning')}]')" if lacking else ""


def _suite(column: Column, row: Row, table: Table, setting: Setting) -> tuple[dict[str, Any], bool]:
    features = [f"suite.features={setting.features}"] if "features" in leaf("suite", column.suite) else []
    chosen, *options = table.suite(column, row, setting.scale)
    return _suite_leaf((chosen, *features, *options))


def of_design(table: Table) -> bool:
    """Whether all of the table is measured on designs, without training and data."""
    return all(_isof_design(suite) for suite in {column.suite for column in table.columns.values()})


@cache
def _isof_design(suite: str) -> bool:
    found = build.suite(Request({"suite": compose("eval", ["dataset=digits", f"suite={suite}"]).suite}))
    return bool(getattr(found, "of_design", False))


@cache
def _suite_leaf(overrides: tuple[str, ...]) -> tuple[dict[str, Any], bool]:
    """A suite as plain data, and whether it asks for the classifier. Raises `UserError` for options it refuses."""
    leaf: dict[str, Any] = compose("eval", ["dataset=digits", *overrides]).suite
    return leaf, build.suite(Request({"suite": leaf})).needs_classifier

"""What a reproduction consists of: paper YAML -> tables under a setting -> requests; and what it will cost here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table as Grid

from vaebench import build, executors, requests
from vaebench.compose import compose
from vaebench.config import Request, choices, freeze, freeze_eval, plain
from vaebench.data.fetch import available
from vaebench.errors import UserError, unknown
from vaebench.papers.tables import Column, Paper, Row, Table, load, names
from vaebench.store import Store

# Images per second and core (float32), for the plan's estimate only; measured on a 2 GHz server core.
_RATES = {"mlp": 12_000, "conv": 2_000, "classifier": 4_500}
_EVALUATION_SECONDS = 6.0
STAND_IN = "digits"


@dataclass(frozen=True)
class Setting:
    """Under which conditions a table is run here: scale, dataset (``stand_in``: not the paper's), FID features."""

    scale: str
    dataset: str
    stand_in: bool
    features: str
    seeds: int


@dataclass(frozen=True)
class Item:
    """One row of one table with one seed: its training and, by column, the evaluation that measures it."""

    paper: str
    table: str
    row: str
    setting: Setting
    train: Request
    evaluations: dict[str, Request]


@dataclass(frozen=True)
class Plan:
    """All items, and the requests they consist of by key; parents (trainings, classifiers) apart from evaluations."""

    items: tuple[Item, ...]
    trainings: dict[str, Request]
    evaluations: dict[str, Request]


def make(cfg: DictConfig) -> Plan:
    """The plan of a ``reproduce`` command. Raises `UserError` for unknown papers, tables, scales, or zero seeds."""
    mistakes = [
        unknown(group, cfg[group], choices(group))
        for group in ("scale", "dataset")
        if cfg[group] is not None and cfg[group] not in choices(group)
    ]
    if cfg.seeds is not None and cfg.seeds < 1:
        mistakes.append(f"seeds={cfg.seeds}: at least 1")
    if mistakes:
        raise UserError(*mistakes)
    papers = [load(name) for name in chosen("paper", cfg.paper, names())]
    items: list[Item] = []
    trainings: dict[str, Request] = {}
    evaluations: dict[str, Request] = {}
    for paper in papers:
        for key in _tables(paper, cfg.table):
            table = paper.tables[key]
            setting = _setting(cfg, table)
            for row_name, row in table.rows.items():
                for cfg_train in _configurations(row, table, setting):
                    item, judge = _item(paper.name, key, row_name, row, table, setting, cfg_train)
                    items.append(item)
                    trainings |= {item.train.key: item.train} | ({judge.key: judge} if judge else {})
                    evaluations |= {request.key: request for request in item.evaluations.values()}
    return Plan(tuple(items), trainings, evaluations)


def chosen(kind: str, value: str, valid: list[str]) -> list[str]:
    """``all``, or the names in a comma-separated list. Raises `UserError` for those that do not exist."""
    wanted = valid if value == "all" else [name.strip() for name in value.split(",")]
    bad = [name for name in wanted if name not in valid]
    if bad:
        raise UserError(*(unknown(kind, name, ["all", *valid]) for name in bad))
    return wanted


def _tables(paper: Paper, value: str) -> list[str]:
    """The tables to run: ``all`` means those the paper prints; a study (readings) is run when it is named."""
    if value == "all":
        return [key for key, table in paper.tables.items() if not table.study]
    return chosen("table", value, list(paper.tables))


def _setting(cfg: DictConfig, table: Table) -> Setting:
    wanted = cfg.dataset or table.dataset
    there = available(wanted) != "unavailable"
    if cfg.dataset and not there:
        raise UserError(
            f"dataset={wanted} is neither here nor can it be downloaded; set VAEBENCH_DATA, or leave dataset out"
        )
    dataset = wanted if there else STAND_IN
    scale = cfg.scale or ("small" if there and dataset != STAND_IN else "smoke")
    seeds = (
        cfg.seeds or table.seeds.get(scale) or int(compose("train", [f"scale={scale}", "dataset=digits"]).scale.seeds)
    )
    return Setting(
        scale, dataset, dataset != table.dataset, cfg.features or _features(scale, cfg.runtime.device), seeds
    )


@cache
def _features(scale: str, device: str) -> str:
    """Inception where its weights are at hand or can be downloaded and there is a GPU, else the bench's own classifier.

    On a CPU core the Inception features of 10,000 samples take about half an hour per model: there it is for
    ``scale=paper``, or for who asks with ``features=inception``.
    """
    from vaebench import runtime
    from vaebench.metrics.features import inception_available

    worth_it = scale == "paper" or runtime.resolve_device(device).type == "cuda"
    return "inception" if worth_it and inception_available() else "classifier"


def _configurations(row: Row, table: Table, setting: Setting) -> Iterator[DictConfig]:
    extra = table.overrides.get(setting.scale, ())
    base = [f"experiment={row.experiment}", f"dataset={setting.dataset}", f"scale={setting.scale}"]
    cfg = compose("train", [*base, *extra, *row.overrides])
    for seed in range(setting.seeds):
        cfg.seed = seed
        yield cfg


def _item(
    paper: str, key: str, row_name: str, row: Row, table: Table, setting: Setting, cfg: DictConfig
) -> tuple[Item, Request | None]:
    train = freeze(cfg)
    judge: Request | None = None
    evaluations = {}
    for column_name, column in table.columns.items():
        if row.columns and column_name not in row.columns:
            continue
        suite, needs_judge = _suite(column, row, setting)
        if needs_judge:
            judge = judge or requests.classifier(cfg)
        evaluations[column_name] = freeze_eval(suite, train, judge if needs_judge else None)
    return Item(paper, key, row_name, setting, train, evaluations), judge


def _suite(column: Column, row: Row, setting: Setting) -> tuple[dict[str, Any], bool]:
    features = [f"suite.features={setting.features}"] if column.suite == "generation" else []
    overrides = (f"suite={column.suite}", *column.overrides, *features, *row.eval_overrides)
    return _suite_leaf(overrides)


@cache
def _suite_leaf(overrides: tuple[str, ...]) -> tuple[dict[str, Any], bool]:
    """A suite as plain data, and whether it asks for the classifier. Raises `UserError` for options it refuses."""
    leaf: dict[str, Any] = plain(compose("eval", ["dataset=digits", *overrides]).suite)
    return leaf, build.suite(Request({"suite": leaf})).needs_classifier


def show(plan: Plan, store: Store, cfg: DictConfig, console: Console) -> None:
    """Print what will be run: tables, scale, where the data comes from, device, what is left and how long it takes."""
    from vaebench.runtime import overload_warning

    grid = Grid("table", "scale", "dataset", "FID features", "jobs", title="plan")
    sections: dict[tuple[str, str, Setting], list[Item]] = {}
    for item in plan.items:
        sections.setdefault((item.paper, item.table, item.setting), []).append(item)
    for (paper, table, setting), items in sections.items():
        source = f"{setting.dataset}, {available(setting.dataset)}" + (" (a stand-in)" if setting.stand_in else "")
        runs = {item.train.key for item in items}
        tests = {request.key for item in items for request in item.evaluations.values()}
        scale = f"{setting.scale}, {setting.seeds} seed{'s' * (setting.seeds > 1)}"
        grid.add_row(f"{paper} {table}", scale, source, setting.features, f"{len(runs)} + {len(tests)}")
    console.print(grid)
    todo = [r for r in (*plan.trainings.values(), *plan.evaluations.values()) if not store.find(r).done]
    count = workers(cfg)
    minutes = sum(map(seconds, todo)) / count / 60
    total = len(plan.trainings) + len(plan.evaluations)
    left = f"about {max(1, round(minutes))} min on a CPU core each" if todo else "nothing to compute"
    console.print(
        f"device {_device(cfg)}, {count} worker{'s' * (count > 1)} of {cfg.runtime.threads} thread; "
        f"{len(todo)} of {total} jobs (trainings + evaluations) to do, {left}"
    )
    warning = overload_warning(count, cfg.runtime.threads) if todo else None
    if warning:
        console.print(warning)


def _device(cfg: DictConfig) -> str:
    from vaebench import runtime

    return runtime.device_name(runtime.resolve_device(cfg.runtime.device))


def workers(cfg: DictConfig) -> int:
    """How many jobs run at a time. Raises `UserError` for less than one."""
    from vaebench import runtime

    gpu = runtime.resolve_device(cfg.runtime.device).type == "cuda"
    default = 1 if cfg.executor.kind == "inline" else executors.default_workers(gpu=gpu)
    count = default if cfg.executor.workers is None else cfg.executor.workers
    if count < 1:
        raise UserError(f"executor.workers={count}: at least 1")
    return int(count)


def seconds(request: Request) -> float:
    """A rough estimate of a job on one core."""
    if request["verb"] == "eval":
        return _EVALUATION_SECONDS
    spec, model = request["train"], request["model"]
    kind = "classifier" if "classes" in model else model.get("network")
    if kind is None:  # fitted in closed form
        return 5.0
    images = 1_437 if request["dataset"]["name"] == STAND_IN else 60_000
    from vaebench.train import total_steps

    steps = total_steps(images, spec["batch_size"], spec["epochs"], spec["max_steps"])
    return 3.0 + steps * spec["batch_size"] / _RATES[kind]

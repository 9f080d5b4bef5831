"""What a reproduction consists of: paper YAML -> tables under a setting -> requests; and what it will cost here."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from rich.console import Console
from rich.table import Table as Grid

from vaebench.config.choices import kind_of, leaf
from vaebench.config.compose import compose
from vaebench.config.request import Request
from vaebench.config.spine import ReproduceConfig
from vaebench.data.contents import one_look
from vaebench.data.fetch import at_hand, available
from vaebench.data.places import NAMED
from vaebench.errors import UserError, unknown
from vaebench.papers.evidence import LOOKS
from vaebench.papers.readings import begins
from vaebench.papers.tables import Paper, Table, load, names
from vaebench.reproduce.absent import absent, why_not, why_not_on
from vaebench.reproduce.rows import Item, RowHere, Setting, of_design
from vaebench.runs import executors, schedule
from vaebench.runs.store import Store, store_root


@dataclass(frozen=True)
class Plan:
    """All items, the requests they consist of by key (parents before children), and what was left out and why."""

    items: tuple[Item, ...]
    requests: dict[str, Request]
    left_out: tuple[str, ...] = ()

    def todo(self, store: Store) -> list[Request]:
        """What is not done yet."""
        return [request for request in self.requests.values() if not store.find(request).done]

    def only(self, items: Iterable[Item]) -> Plan:
        """Of these items, with the requests that they need."""
        kept = tuple(items)
        behind = self.behind(kept)
        return Plan(kept, {key: request for key, request in self.requests.items() if key in behind}, self.left_out)

    def behind(self, items: Iterable[Item]) -> set[str]:
        """The keys of all requests these items need."""
        keys = {request.key for item in items for request in item.evaluations.values()}
        pending = list(keys)
        while pending:
            new = set(self.requests[pending.pop()].data.get("parents", {}).values()) - keys
            keys |= new
            pending += new
        return keys


@contextmanager
def _uncollected() -> Iterator[None]:
    """Inside it nobody looks for circles of objects.

    Of the million objects of a plan none stands in one, and looking takes a sixth of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@one_look()
@_uncollected()
def make(cfg: ReproduceConfig) -> Plan:
    """The plan of a ``reproduce`` command. Raises `UserError` for unknown papers, tables and rows."""
    tables, rows = _selected(cfg)
    items: list[Item] = []
    found: dict[str, Request] = {}
    left_out: list[str] = []
    for paper, keys in tables:
        scale = cfg.scale or _scale(cfg, [paper.tables[key] for key in keys])
        for key in keys:
            table = paper.tables[key]
            settings = _settings(cfg, table, scale)
            if quoted := [table.rows[name].label for name in table.quoted if name in rows]:
                what = f"{paper.name} {key}: {', '.join(quoted)}"
                left_out.append(f"{what}: printed numbers only, nothing of ours to run")
            if not settings:
                left_out.append(why_not(cfg.dataset, paper.name, key, table, scale))
            for setting in settings:
                for row_name in _run_at(cfg, table, setting.scale, rows):
                    new, behind = RowHere(paper.name, key, table, row_name, setting).planned(left_out)
                    items += new
                    found |= {request.key: request for request in behind}
    if not items:
        lines = dict.fromkeys(left_out) or [f"row={cfg.row}: is not run at this scale; see scale=paper"]
        raise NothingToRun(*lines)
    _check_read(cfg, items)
    return Plan(tuple(items), found, tuple(dict.fromkeys(left_out)))


class NothingToRun(UserError):  # noqa: N818  # it is said as it is read
    """None of the tables can be run here; a line for each says why."""


def _check_read(cfg: ReproduceConfig, items: Iterable[Item]) -> None:
    """Raise `UserError` for options that none of the tables reads."""
    tables = {(item.paper, item.table): load(item.paper).tables[item.table] for item in items}.values()
    suites = {column.suite for table in tables for column in table.columns.values()}
    idle = {} if any("features" in leaf("suite", suite) for suite in suites) else {"features": "judge no samples"}
    if all(map(of_design, tables)):
        idle |= {"dataset": "read no data", "seeds": "train nothing"}
    options = {"features": cfg.features, "dataset": cfg.dataset, "seeds": cfg.seeds.count or cfg.seeds.auto}
    given = {name: options[name] for name in idle}
    lines = [f"{one}={value}: these tables {idle[one]}; leave it out" for one, value in given.items() if value]
    if lines:
        raise UserError(*lines)


def trainings(cfg: ReproduceConfig, scale: str) -> tuple[list[tuple[str, Request]], dict[str, Request]]:
    """All trainings of the tables with what to call each, and the requests they build on; the data need not be here."""
    tables, rows = _selected(cfg)
    found: list[tuple[str, Request]] = []
    behind: dict[str, Request] = {}
    for paper, keys in tables:
        for key in keys:
            table = paper.tables[key]
            if of_design(table) or kind_of(table.dataset) != "images":
                continue
            for name in _run_at(cfg, table, scale, rows):
                dataset = next(iter(table.sets(scale)), table.dataset)
                setting = Setting(scale, dataset, dataset not in table.own, "", 1)
                chain = RowHere(paper.name, key, table, name, setting).trainings()
                behind |= {request.key: request for request in chain}
                label = table.rows[name].label
                found += [(label, request) for request in chain if request["verb"] == "train"]
    return found, behind


def chosen(kind: str, value: str, valid: list[str]) -> list[str]:
    """``all``, or the names in a comma-separated list. Raises `UserError` for those that do not exist."""
    wanted = valid if value == "all" else [name.strip() for name in value.split(",")]
    bad = [name for name in wanted if name not in valid]
    if bad:
        raise UserError(*(unknown(kind, name, ["all", *valid]) for name in bad))
    return wanted


def _tables(paper: Paper, value: str) -> list[str]:
    """The tables to run: ``all`` means those the paper prints; a study of readings is run when it is named."""
    if value == "all":
        return [key for key, table in paper.tables.items() if not table.study]
    return chosen("table", value, list(paper.tables))


def _selected(cfg: ReproduceConfig) -> tuple[list[tuple[Paper, list[str]]], set[str]]:
    """The papers to run with their tables, and the rows, of whatever table has them."""
    papers = [load(name) for name in chosen("paper", cfg.paper, names())]
    tables = [(paper, _tables(paper, cfg.table)) for paper in papers]
    there = dict.fromkeys(row for paper, keys in tables for key in keys for row in paper.tables[key].rows)
    return tables, set(chosen("row", cfg.row, list(there)))


def raced(cfg: ReproduceConfig) -> bool:
    """Whether the command races readings. Raises `UserError` if it names tables beside them, or other seeds."""
    tables = [(f"{paper.name} {key}", paper.tables[key]) for paper, keys in _selected(cfg)[0] for key in keys]
    races = [name for name, table in tables if table.study]
    if not races or cfg.row != "all" or cfg.seeds.auto:
        return False
    if len(tables) > 1:
        raise UserError(f"table={cfg.table}: {races[0]} is a race and run by itself; give it a command of its own")
    if cfg.seeds.count:
        raise UserError(f"seeds={cfg.seeds.count}: {races[0]} says how many seeds its readings get; leave seeds out")
    return True


def _run_at(cfg: ReproduceConfig, table: Table, scale: str, rows: set[str]) -> list[str]:
    """Those of the ``rows`` that are run at a scale; of a race that none were chosen of, those it begins with."""
    if table.study and cfg.row == "all":
        rows = set(begins(table, scale))
    return [name for name in table.run_at(scale) if name in rows]


def _scale(cfg: ReproduceConfig, tables: list[Table]) -> str:
    """``small`` where some table's own data is at hand, ``smoke`` where there are stand-ins only."""
    found = (name for table in tables for name in _there(table, [cfg.dataset] if cfg.dataset else table.sets("small")))
    return "small" if any(available(name) != "embedded" for name in found) else "smoke"


def _settings(cfg: ReproduceConfig, table: Table, scale: str) -> list[Setting]:
    """The sets a table is measured on, one setting each; none if it is not run here."""
    wanted = table.sets(scale)
    if of_design(table):
        return [Setting(scale, table.dataset, False, "-", 1)]
    if cfg.dataset:
        if why_not_on(cfg.dataset, table):
            return []
        wanted = (cfg.dataset,)
        if available(cfg.dataset) == NAMED and NAMED not in table.set and leaf("dataset", cfg.dataset)["path"] is None:
            raise UserError(
                f"dataset={cfg.dataset}: is data of your own; `vaebench compare` measures a table's rows on them, with "
                f"{NAMED}=DIR"
            )
        if not at_hand(cfg.dataset):
            raise UserError(
                f"dataset={cfg.dataset} is neither here nor can it be downloaded; "
                "set VAEBENCH_DATA, or leave dataset out"
            )
    instead = "" if cfg.dataset else table.instead(scale)
    sets = _there(table, wanted) or ([instead] if instead else [])
    embedded = compose("train", [f"scale={scale}", "dataset=digits"])
    return [
        Setting(
            scale,
            name,
            name not in table.own,
            cfg.features or _features(scale, cfg.runtime.device, table.features.get(scale, ""), name),
            _seeds(cfg, name) or table.seeds.get(scale) or int(embedded.scale.seeds),
        )
        for name in sets
    ]


def _seeds(cfg: ReproduceConfig, dataset: str) -> int | None:
    """What is asked for. Until decided: as many as the first look takes; over texts all seeds are one evaluation."""
    if cfg.seeds.auto:
        return None if kind_of(dataset) == "text" else LOOKS[0]
    return cfg.seeds.count


def _there(table: Table, names: Iterable[str]) -> list[str]:
    """Those that are at hand, and so is what their models are trained on."""
    return [name for name in names if not absent(table, name)]


@cache
def _features(scale: str, device: str, wanted: str, dataset: str) -> str:
    """What the table asks for where it can be had; else Inception or the bench's own classifier.

    Inception where its weights are at hand or can be downloaded and there is a GPU.
    On a CPU core the Inception features of 10,000 samples take about half an hour per model: there it is for
    ``scale=paper``, or for who asks with ``features=inception``.
    """
    from vaebench.engine import runtime
    from vaebench.metrics.features import cifar10_resnet_available, inception_available

    if (
        wanted == "cifar10_resnet"
        and leaf("dataset", dataset).get("shape") == [3, 32, 32]
        and cifar10_resnet_available()
    ):
        return wanted
    worth_it = scale == "paper" or runtime.resolve_device(device).type == "cuda"
    return "inception" if worth_it and inception_available() else "classifier"


def show(
    plan: Plan, todo: list[Request], seconds: Callable[[Request], float], cfg: ReproduceConfig, console: Console
) -> None:
    """Print what will be run: tables, scale, where the data comes from, device, what is left and how long it takes.

    ``todo``: what is not done yet; ``seconds``: how long a request takes (`learnt`).
    """
    grid = Grid("table", "scale", "dataset", "FID features", "jobs", title="plan")
    sections: dict[tuple[str, str, Setting], list[Item]] = {}
    for item in plan.items:
        sections.setdefault((item.paper, item.table, item.setting), []).append(item)
    for (paper, table, setting), items in sections.items():
        stood_in = " (a stand-in)" if setting.stand_in else ""
        source = f"{setting.dataset}, {available(setting.dataset)}{stood_in}"
        if of_design(load(paper).tables[table]):
            source = "none: designs only"
        scale = f"{setting.scale}, {setting.seeds} seed{'s' * (setting.seeds > 1)}"
        suites = {load(paper).tables[table].columns[name].suite for item in items for name in item.evaluations}
        features = setting.features if any("features" in leaf("suite", suite) for suite in suites) else "-"
        grid.add_row(f"{paper} {table}", scale, source, features, str(len(plan.behind(items))))
    console.print(grid)
    for line in plan.left_out:
        console.print(f"left out: {line}")
    minutes = schedule.lasts(todo, seconds, executors.workers(cfg)) / 60
    left = f"about {max(1, round(minutes))} min on a CPU core each" if todo else "nothing to compute"
    console.print(
        f"{executors.described(cfg)}; {len(todo)} of {len(plan.requests)} jobs to do, {left}{_under_way(todo, cfg)}"
    )
    asked = sum(request["verb"] == "answers" and bool(request["answers"].get("model")) for request in todo)
    if asked:
        console.print(
            f"{asked} of them ask a language model thousands of questions: hours on a GPU, not estimated here"
        )
    if todo and (warning := executors.overload_warning(cfg)):
        console.print(warning)


def _under_way(todo: Iterable[Request], cfg: ReproduceConfig) -> str:
    """How many of the jobs are with a cluster, or in the hands of another command."""
    store = Store(store_root(cfg.store))
    states = Counter(run.state() for run in map(store.find, todo) if run.path("status.json").exists())
    words = [f"{states[name]} of them {name}" for name in ("running", "submitted") if states[name]]
    return f" ({', '.join(words)})" if words else ""

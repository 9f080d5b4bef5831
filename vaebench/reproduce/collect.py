"""A paper's tables: plan -> jobs -> cells -> results.

Finished requests are skipped, so the same command resumes an interrupted reproduction and collects a finished one.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from vaebench.config import rehearsal
from vaebench.config.choices import called
from vaebench.config.request import Request
from vaebench.config.spine import ReproduceConfig
from vaebench.contracts.infinite import difference, spelled
from vaebench.disk import locked
from vaebench.errors import UserError, shown
from vaebench.papers.cells import POOLED, Cells, cells_path, digest
from vaebench.papers.tables import load, names
from vaebench.reproduce import durations, ending, planning
from vaebench.reproduce.planning import Plan
from vaebench.reproduce.rows import Item
from vaebench.runs import build, schedule
from vaebench.runs.kinds import title
from vaebench.runs.store import Run, Store, store_root


def run(cfg: ReproduceConfig, console: Console) -> int:
    """``vaebench reproduce``: plan, train, evaluate, collect, report. Returns 1 if some job failed, else 0."""
    store = Store(store_root(cfg.store))
    where = build.tracker(cfg.tracker).where(store.root) if cfg.tracker else ""
    if where and not cfg.quiet:
        console.print(f"tracked: {where}")
    raced = planning.raced(cfg)
    if cfg.budget and not (cfg.seeds.auto or raced):
        raise UserError(f"budget={cfg.budget}: is for seeds=auto and for races; add it, or leave budget out")
    if cfg.seeds.auto:
        from vaebench.reproduce import auto

        return auto.run(cfg, store, console)
    if raced:
        from vaebench.reproduce import race

        return race.run(cfg, store, console)
    return Work(planning.make(cfg), store, cfg, console).run()


def _check_writable(results: Path) -> None:
    """Raise `UserError` now, not after hours, if the results cannot be written where they are wanted."""
    try:
        results.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=results):
            pass
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise UserError(f"results={shown(results)}: cannot be written ({why}); choose another folder") from error


@dataclass(frozen=True)
class Work:
    """A reproduction that is under way."""

    plan: Plan
    store: Store
    cfg: ReproduceConfig
    console: Console
    brief: bool = False  # neither the plan nor what came out is shown

    def run(self) -> int:
        """Run what is not done yet, collect what is, write the report. Returns 1 if some job failed, else 0."""
        _check_writable(Path(self.cfg.results))
        todo = self.plan.todo(self.store)
        seconds = durations.learnt(self.store, todo)
        if not (self.cfg.quiet or self.brief):
            planning.show(self.plan, todo, seconds, self.cfg, self.console)
        unmade = schedule.make(
            self.plan.requests,
            self.store,
            self.cfg,
            label=self.label,
            tags=self.tags,
            seconds=seconds,
            console=self.console,
        )
        failed = [outcome for outcome in unmade if outcome.status == "failed"]
        if (out := len(self.plan.todo(self.store)) - len(unmade)) > 0:
            self.console.print(f"left out: {out} jobs that need a failed one")
        with locked(Path(self.cfg.results)):
            unreadable = self.collect()
        lines = [f"failed: {outcome.job.folder}: {outcome.reason}" for outcome in failed]
        lines += [*(f"left out: {line}" for line in unreadable), *self.left_out()]
        ending.problems(lines, self.cfg, self.console)
        return 1 if failed or unreadable else 0

    def label(self, request: Request) -> str:
        """What to call a job: the first row that it is a part of, or what it is."""
        item = self.item(request)
        if item is None:
            return title(request)
        if request["verb"] == "train":
            return f"{item.table} {item.row} seed={request['seed']}"
        seed = "" if item.seed == POOLED else f" seed={item.seed}"
        return f"{called(request['suite'])} {item.table} {item.row}{seed} ({item.setting.dataset})"

    def tags(self, request: Request) -> tuple[tuple[str, str], ...]:
        """Paper, table and row of the first row that a job is a part of."""
        item = self.item(request)
        return () if item is None else (("paper", item.paper), ("table", item.table), ("row", item.row))

    def item(self, request: Request) -> Item | None:
        """The first item that a request is the training or an evaluation of."""
        for item in self.plan.items:
            if (item.train is not None and request.key == item.train.key) or request in item.evaluations.values():
                return item
        return None

    def collect(self) -> list[str]:
        """Put every finished cell of the plan into ``results/<paper>/cells.csv`` and write the report again.

        A cell of the plan that was measured under another definition (other options, another version) is taken out,
        whether or not there is a new number: the table would show it as one of now.

        Returns what is wrong with the runs that cannot be read, a line each; the others are there.
        """
        from vaebench import report

        results, wrong, told = Path(self.cfg.results), dict[str, None](), list[ending.Told]()
        for paper in dict.fromkeys(item.paper for item in self.plan.items):
            items = [item for item in self.plan.items if item.paper == paper]
            found = [cell for item in items for cell in _differences(item, _cells(item, self.store, wrong))]
            cells = Cells.read(cells_path(results, paper)).current(_evaluations(items)).merged(found)
            cells.write(cells_path(results, paper))
            report.write(paper, results, self.store.root)
            measured = {(item.table, item.setting.scale, item.setting.dataset) for item in items}
            told.append((load(paper), cells, measured))
        report.write_index(results)
        if not (self.cfg.quiet or self.brief):
            ending.show(told, self.cfg, self.console)
        return list(wrong)

    def left_out(self) -> list[str]:
        """One line for each number that an evaluation could not measure."""
        runs = {request.key: self.store.find(request) for request in self.plan.requests.values()}
        return [
            f"not measured: {self.label(request)}: {name}: {why}"
            for key, request in self.plan.requests.items()
            if request["verb"] == "eval" and runs[key].done
            for name, why in runs[key].result().get("left_out", {}).items()
        ]


def _evaluations(items: Iterable[Item]) -> dict[tuple[Any, ...], str]:
    """Which evaluation is to measure each cell of a plan, by `KEY`."""
    return {
        (item.paper, item.table, item.row, column, item.seed, item.setting.scale, item.setting.dataset): request.key
        for item in items
        for column, request in item.evaluations.items()
    }


def _differences(item: Item, cells: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cells of an item, those of a column with ``minus`` less that column's; without it they are left out."""
    columns = load(item.paper).tables[item.table].columns
    measured = {cell["column"]: cell for cell in cells}
    found = []
    for name, cell in measured.items():
        other = measured.get(columns[name].minus)
        if other is not None:
            both = f"{cell['measurement']} - {other['measurement']}"
            found.append(cell | {"value": difference(cell["value"], other["value"]), "measurement": both})
        elif not columns[name].minus:
            found.append(cell)
    return found


def _cells(item: Item, store: Store, wrong: dict[str, None]) -> Iterator[dict[str, Any]]:
    """The cells of an item that are measured; what is wrong with a run that cannot be read is noted in ``wrong``."""
    table = load(item.paper).tables[item.table]
    for column, request in item.evaluations.items():
        run = store.find(request)
        if not run.done:
            continue
        trained = request.data["parents"].get("run", "")
        try:
            result = run.result()
            training = Run(store.root / trained).result() if trained else {"epochs": 0}
        except UserError as error:
            wrong.update(dict.fromkeys(error.lines))
            continue
        wanted = table.columns[column].measurement.format(**item.names)
        found = next((m for m in result["measurements"] if m["name"] == wanted), None)
        if found is None:
            if wanted in result.get("left_out", {}) or table.rows[item.row].optional or table.columns[column].optional:
                continue
            there = ", ".join(sorted(m["name"] for m in result["measurements"]))
            line = f"suite {called(request['suite'])} measures no {shown(wanted)}. Valid: {there}"
            wrong[f"paper {item.paper}, {item.table}, column {column}: {line}"] = None
            continue
        dataset = result["dataset"]
        protocol = found["protocol"] | ({rehearsal.MARK: True} if rehearsal.MARK in request.data else {})
        stated = {name: value for name, value in request["suite"].items() if value is not None}
        yield {
            "paper": item.paper,
            "table": item.table,
            "row": item.row,
            "column": column,
            "seed": item.seed,
            "value": found["value"],
            "low": found.get("low"),
            "high": found.get("high"),
            "by_seed": json.dumps(spelled(found.get("by_seed", []))),
            "count": found["count"],
            "unit": found["unit"],
            "measurement": found["name"],
            "protocol": json.dumps(protocol, sort_keys=True),
            "protocol_digest": digest({**protocol, "dataset": dataset["digest"], "suite": stated}),
            "run": trained,
            "eval": run.key,
            "dataset": item.setting.dataset,
            "dataset_digest": dataset["digest"][:12],
            "stand_in": int(item.setting.stand_in or dataset["stand_in"]),
            "scale": item.setting.scale,
            "epochs": training["epochs"],
            "train_images": dataset.get("train_images", 0),
            "commit": result["provenance"]["commit"],
            "device": result["provenance"]["device"],
        }


def write_report(cfg: ReproduceConfig, console: Console) -> int:
    """``vaebench report``: write the tables and pictures of every paper that has cells."""
    from vaebench import report

    results, written = Path(cfg.results), 0
    wrong: list[str] = []
    papers = planning.chosen("paper", cfg.paper, names())
    if not any(os.path.lexists(cells_path(results, paper)) for paper in papers):
        raise UserError(f"{results}: no cells.csv of any paper yet; run vaebench reproduce first")
    with locked(results):
        for paper in papers:
            try:
                if os.path.lexists(cells_path(results, paper)):
                    written += len(report.write(paper, results, store_root(cfg.store)))
            except UserError as error:
                wrong += error.lines
        if wrong:
            raise UserError(*wrong)
        report.write_index(results)
    console.print(f"{written} files are up to date" + ("" if cfg.open else f"; open {results}/index.html"))
    return 0

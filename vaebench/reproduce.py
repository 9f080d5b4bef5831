"""A paper's tables: plan -> jobs -> cells -> results.

Finished requests are skipped, so the same command resumes an interrupted reproduction and collects a finished one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console

from vaebench import executors, planning
from vaebench.config import Request
from vaebench.contracts import Job, Outcome
from vaebench.errors import UserError
from vaebench.papers.tables import load, names
from vaebench.planning import Item, Plan
from vaebench.report.cells import Cells, cells_path, digest
from vaebench.store import Store, store_root


def run(cfg: DictConfig, machine: dict[str, Any], console: Console) -> int:
    """``vaebench reproduce``: plan, train, evaluate, collect, report. Returns 1 if some job failed, else 0."""
    plan = planning.make(cfg)
    store = Store(store_root(cfg.store))
    if not cfg.quiet:
        planning.show(plan, store, cfg, console)
    failed = []
    for wave in (plan.trainings, plan.evaluations):
        failed += _wave(list(wave.values()), plan, store, cfg, machine, console)
    collect(plan, store, cfg, console)
    for outcome in failed:
        console.print(f"failed: {outcome.job.folder}: {outcome.reason}", markup=False)
    return 1 if failed else 0


def _wave(
    wanted: list[Request], plan: Plan, store: Store, cfg: DictConfig, machine: dict[str, Any], console: Console
) -> list[Outcome]:
    """Run what is not done yet, the longest first; evaluations without a finished parent are left out."""
    todo = [request for request in wanted if not store.find(request).done]
    done = {key for key, request in plan.trainings.items() if store.find(request).done}
    ready = [request for request in todo if done.issuperset(request.data.get("parents", {}).values())]
    if len(ready) < len(todo):
        console.print(f"left out: {len(todo) - len(ready)} evaluations whose training or classifier is not done")
    ready.sort(key=planning.seconds, reverse=True)
    runs = [store.open(request) for request in ready]
    jobs = [Job(request["verb"], run.folder) for request, run in zip(ready, runs, strict=True)]
    labels = {run.folder: _label(request, plan) for request, run in zip(ready, runs, strict=True)}
    kind, workers = cfg.executor.kind, planning.workers(cfg)
    outcomes = executors.run(
        jobs, labels, kind=kind, workers=workers, machine=machine, quiet=cfg.quiet, console=console
    )
    if any(outcome.status == "interrupted" for outcome in outcomes):
        raise KeyboardInterrupt
    return [outcome for outcome in outcomes if outcome.status == "failed"]


def _label(request: Request, plan: Plan) -> str:
    for item in plan.items:
        if request.key == item.train.key:
            return f"{item.table} {item.row} seed={request['seed']}"
        if request in item.evaluations.values():
            return f"{request['suite']['_target_'].split('.')[2]} {item.table} {item.row} seed={item.train['seed']}"
    return f"classifier on {request['dataset']['name']}"


def collect(plan: Plan, store: Store, cfg: DictConfig, console: Console) -> None:
    """Put every finished cell of the plan into ``results/<paper>/cells.csv`` and write the report again."""
    from vaebench import report

    results = Path(cfg.results)
    for paper in dict.fromkeys(item.paper for item in plan.items):
        found = [cell for item in plan.items if item.paper == paper for cell in _cells(item, store)]
        cells = Cells.read(cells_path(results, paper)).merged(found)
        cells.write(cells_path(results, paper))
        report.write(paper, results, store.root)
        if not cfg.quiet:
            shown = {
                (item.table, item.setting.scale, item.setting.dataset) for item in plan.items if item.paper == paper
            }
            report.console(load(paper), cells, shown, console)
    report.write_index(results)
    if not cfg.quiet:
        console.print(
            f"written: {results}/index.html and {results}/<paper>/ (cells.csv, table.md, table.tex, table.json)"
        )


def _cells(item: Item, store: Store) -> Iterator[dict[str, Any]]:
    table = load(item.paper).tables[item.table]
    trained = store.find(item.train)
    for column, request in item.evaluations.items():
        run = store.find(request)
        if not (run.done and trained.done):
            continue
        result, training = run.result(), trained.result()
        wanted = table.columns[column].measurement
        found = next((m for m in result["measurements"] if m["name"] == wanted), None)
        if found is None:
            raise UserError(f"paper {item.paper}, {item.table}, column {column}: suite measures no {wanted!r}")
        yield {
            "paper": item.paper,
            "table": item.table,
            "row": item.row,
            "column": column,
            "seed": item.train["seed"],
            "value": found["value"],
            "count": found["count"],
            "unit": found["unit"],
            "measurement": found["name"],
            "protocol": json.dumps(found["protocol"], sort_keys=True),
            "protocol_digest": digest(
                {**found["protocol"], "dataset": result["dataset"]["digest"], "suite": request["suite"]}
            ),
            "run": trained.key,
            "eval": run.key,
            "dataset": result["dataset"]["name"],
            "dataset_digest": result["dataset"]["digest"][:12],
            "stand_in": int(item.setting.stand_in or result["dataset"]["stand_in"]),
            "scale": item.setting.scale,
            "epochs": training["epochs"],
            "train_images": result["dataset"]["train_images"],
            "commit": result["provenance"]["commit"],
            "device": result["provenance"]["device"],
        }


def write_report(cfg: DictConfig, console: Console) -> int:
    """``vaebench report``: write the tables and pictures of every paper that has cells."""
    from vaebench import report

    results, written = Path(cfg.results), 0
    for paper in planning.chosen("paper", cfg.paper, names()):
        if cells_path(results, paper).exists():
            written += len(report.write(paper, results, store_root(cfg.store)))
    if not written:
        raise UserError(f"{results}: no cells.csv of any paper yet; run vaebench reproduce first")
    report.write_index(results)
    console.print(f"{written} files written; open {results}/index.html")
    return 0

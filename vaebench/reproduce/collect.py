"""A paper's tables: plan -> jobs -> cells -> results.

Finished requests are skipped, so the same command resumes an interrupted reproduction and collects a finished one.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from vaebench.config.request import Request
from vaebench.config.spine import ReproduceConfig
from vaebench.config.targets import called
from vaebench.contracts import Job, Outcome
from vaebench.contracts.infinite import difference, spelled
from vaebench.disk import locked
from vaebench.errors import UserError, shown
from vaebench.papers.cells import POOLED, Cells, cells_path, digest
from vaebench.papers.tables import load, names
from vaebench.reproduce import planning
from vaebench.reproduce.durations import learnt
from vaebench.reproduce.planning import Plan
from vaebench.reproduce.rows import Item
from vaebench.runs import executors
from vaebench.runs.kinds import title
from vaebench.runs.store import Run, Store, store_root


def run(cfg: ReproduceConfig, machine: dict[str, Any], console: Console) -> int:
    """``vaebench reproduce``: plan, train, evaluate, collect, report. Returns 1 if some job failed, else 0."""
    plan = planning.make(cfg)
    store = Store(store_root(cfg.store))
    _check_writable(Path(cfg.results))
    if not cfg.quiet:
        planning.show(plan, store, cfg, console)
    failed: list[Outcome] = []
    while ready := _ready(plan, store, failed):
        failed += _wave(ready, plan, store, cfg, machine, console)
    unmade = [request for request in plan.requests.values() if not store.find(request).done]
    if len(unmade) > len(failed):
        console.print(f"left out: {len(unmade) - len(failed)} jobs that need a failed one")
    unreadable = collect(plan, store, cfg, console)
    for line in _left_out(plan, store):
        console.print(line)
    for outcome in failed:
        console.print(f"failed: {outcome.job.folder}: {outcome.reason}")
    for line in unreadable:
        console.print(f"left out: {line}")
    return 1 if failed or unreadable else 0


def _check_writable(results: Path) -> None:
    """Raise `UserError` now, not after hours, if the results cannot be written where they are wanted."""
    try:
        results.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=results):
            pass
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise UserError(f"results={shown(results)}: cannot be written ({why}); choose another folder") from error


def _ready(plan: Plan, store: Store, failed: list[Outcome]) -> list[Request]:
    """What is not done yet and has all its parents, the longest first; what failed now is not tried again."""
    done = {key for key, request in plan.requests.items() if store.find(request).done}
    given_up = {outcome.job.folder for outcome in failed}
    ready = [
        request
        for key, request in plan.requests.items()
        if key not in done
        and done.issuperset(request.data.get("parents", {}).values())
        and store.find(request).folder not in given_up
    ]
    return sorted(ready, key=learnt(store, ready), reverse=True)


def _wave(
    ready: list[Request], plan: Plan, store: Store, cfg: ReproduceConfig, machine: dict[str, Any], console: Console
) -> list[Outcome]:
    """Run these requests; returns those that failed."""
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
    """What to call a job: the first row that it is a part of, or what it is."""
    for item in plan.items:
        if item.train is not None and request.key == item.train.key:
            return f"{item.table} {item.row} seed={request['seed']}"
        if request in item.evaluations.values():
            suite = called(request["suite"])
            seed = "" if item.seed == POOLED else f" seed={item.seed}"
            return f"{suite} {item.table} {item.row}{seed} ({item.setting.dataset})"
    return title(request)


def collect(plan: Plan, store: Store, cfg: ReproduceConfig, console: Console) -> list[str]:
    """Put every finished cell of the plan into ``results/<paper>/cells.csv`` and write the report again.

    Returns what is wrong with the runs that cannot be read, a line each; the others are there.
    """
    with locked(Path(cfg.results)):
        return _collect(plan, store, cfg, console)


def _collect(plan: Plan, store: Store, cfg: ReproduceConfig, console: Console) -> list[str]:
    from vaebench import report

    results, wrong = Path(cfg.results), dict[str, None]()
    for paper in dict.fromkeys(item.paper for item in plan.items):
        of_paper = [item for item in plan.items if item.paper == paper]
        found = [cell for item in of_paper for cell in _differences(item, _cells(item, store, wrong))]
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
    return list(wrong)


def _left_out(plan: Plan, store: Store) -> list[str]:
    """One line for each evaluation that could not measure all it was to."""
    lines = []
    for request in plan.requests.values():
        run = store.find(request)
        if request["verb"] == "eval" and run.done:
            lines += [
                f"not measured: {_label(request, plan)}: {name}: {why}"
                for name, why in run.result().get("left_out", {}).items()
            ]
    return lines


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
            raise UserError(f"paper {item.paper}, {item.table}, column {column}: suite measures no {wanted!r}")
        dataset = result["dataset"]
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
            "protocol": json.dumps(found["protocol"], sort_keys=True),
            "protocol_digest": digest({**found["protocol"], "dataset": dataset["digest"], "suite": stated}),
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
    console.print(f"{written} files written; open {results}/index.html")
    return 0

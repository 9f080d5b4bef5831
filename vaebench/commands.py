"""What each verb does with its composed configuration; returns the exit code."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from vaebench import build, executors, requests
from vaebench.config import Request, RuntimeSpec
from vaebench.contracts import Job
from vaebench.errors import UserError
from vaebench.store import Run, Store, store_root

console = Console(highlight=False, soft_wrap=True)


def train(cfg: DictConfig) -> int:
    """``vaebench train``: make the run of this configuration, or show it if it is there."""
    request = requests.checked(cfg)
    _try_out(cfg, request)
    store = Store(store_root(cfg.store))
    run = store.find(request)
    _say(cfg, f"run {run.key}: {_title(request)}")
    if run.done:
        _say(cfg, f"already done: {_short(run.folder)} (seed=N or another option makes another run)")
    else:
        _make(cfg, store, [request])
    _show_training(cfg, run)
    return 0


def evaluate(cfg: DictConfig) -> int:
    """``vaebench eval``: evaluate the run that ``vaebench train`` makes of the same configuration."""
    request = requests.checked(cfg)
    evaluation, judge, suite = requests.evaluation(cfg, request)
    model = _try_out(cfg, request)
    build.check_capabilities(_suite_name(evaluation), suite, model)
    store = Store(store_root(cfg.store))
    for parent, role in ((request, "run"), (judge, "classifier")):
        if parent is None or store.find(parent).done:
            continue
        _say(cfg, f"{role} {parent.key} ({_title(parent)}) is not there yet: training it first")
        _make(cfg, store, [parent])
    run = store.find(evaluation)
    _say(cfg, f"evaluation {run.key} of run {request.key}: {_suite_name(evaluation)} on {_title(request)}")
    if not run.done:
        _make(cfg, store, [evaluation])
    _show_measurements(run)
    return 0


def reproduce(cfg: DictConfig) -> int:
    """``vaebench reproduce``: a paper's tables."""
    from vaebench import reproduce as module

    return module.run(cfg, machine(cfg), console)


def plan(cfg: DictConfig) -> int:
    """``vaebench plan``: what `reproduce` would do."""
    from vaebench import planning

    planning.show(planning.make(cfg), Store(store_root(cfg.store)), cfg, console)
    return 0


def report(cfg: DictConfig) -> int:
    """``vaebench report``: tables and pictures from what is stored."""
    from vaebench import reproduce as module

    return module.write_report(cfg, console)


def machine(cfg: DictConfig) -> dict[str, Any]:
    """The runtime part of a configuration as plain data, all a worker needs to know of the machine."""
    spec = OmegaConf.to_object(cfg.runtime)
    assert isinstance(spec, RuntimeSpec)
    return asdict(spec)


def _try_out(cfg: DictConfig, request: Request) -> Any:
    """Build the model and look at the device, so that a bad value is an error before any folder is made."""
    from vaebench import runtime
    from vaebench.train import check_spec

    runtime.setup(device=cfg.runtime.device, threads=cfg.runtime.threads)
    check_spec(request["train"])
    warning = runtime.overload_warning(1, cfg.runtime.threads)
    if warning:
        Console(stderr=True, highlight=False, soft_wrap=True).print(warning)
    model = build.model(request)
    build.optimizers(request, model)
    return model


def _make(cfg: DictConfig, store: Store, wanted: list[Request]) -> None:
    """Run the requests here. Raises `UserError` with the reason of one that failed."""
    runs = [store.open(request) for request in wanted]
    jobs = [Job(request["verb"], run.folder) for request, run in zip(wanted, runs, strict=True)]
    labels = {run.folder: _title(request) for request, run in zip(wanted, runs, strict=True)}
    outcomes = executors.run(
        jobs, labels, kind="inline", workers=1, machine=machine(cfg), quiet=cfg.quiet, console=console
    )
    for outcome in outcomes:
        if outcome.status == "interrupted":
            raise KeyboardInterrupt
        if outcome.status == "failed":
            raise UserError(*(outcome.reason.splitlines() or ["failed"]))


def _title(request: Request) -> str:
    """What to call a request on the screen."""
    if request["verb"] == "eval":
        return f"{_suite_name(request)} of {request['parents']['run']}"
    name = request["model"]["_target_"].split(".")[2]
    options = [f"{key}={request['model'][key]}" for key in ("latent_dim", "k") if key in request["model"]]
    return " ".join([name, *options, f"on {request['dataset']['name']}", f"seed={request['seed']}"])


def _suite_name(request: Request) -> str:
    return str(request["suite"]["_target_"].split(".")[2])


def _say(cfg: DictConfig, line: str) -> None:
    if not cfg.quiet:
        console.print(line, markup=False)


def _show_training(cfg: DictConfig, run: Run) -> None:
    if cfg.quiet:
        return
    result = run.result()
    last = (
        [json.loads(line) for line in run.path("metrics.jsonl").read_text().splitlines()[-1:]]
        if result["steps"]
        else []
    )
    table = Table("", "", show_header=False)
    table.add_row("steps", f"{result['steps']} ({result['epochs']:g} epochs of {result['train_images']} images)")
    table.add_row("parameters", f"{result['parameters']:,}")
    for record in last:
        for name, value in record.items():
            if name not in ("step", "epoch"):
                table.add_row(name, f"{value:.5g}")
    table.add_row("folder", _short(run.folder))
    console.print(table)


def _show_measurements(run: Run) -> None:
    """The numbers; what their protocols have in common stands once below them."""
    result = run.result()
    protocols = [found["protocol"].items() for found in result["measurements"]]
    common = {name: value for name, value in protocols[0] if all((name, value) in other for other in protocols)}
    own = [", ".join(f"{name}={value}" for name, value in items if name not in common) for items in protocols]
    table = Table("measurement", "value", "count", *(["protocol"] if any(own) else []))
    for found, text in zip(result["measurements"], own, strict=True):
        value = f"{found['value']:.4f} {found['unit']}".rstrip()
        table.add_row(found["name"], value, str(found["count"]), *([text] if any(own) else []))
    console.print(table)
    console.print("; ".join(f"{name}={value}" for name, value in common.items()), markup=False)
    if result["dataset"]["stand_in"]:
        console.print(f"{result['dataset']['name']} is a stand-in dataset: no paper reports these numbers")


def _short(path: Path) -> str:
    """A path as seen from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)

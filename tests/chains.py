"""Runs that build on each other, made one after the other: what the tests of their chains share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vaebench.config.request import Request
from vaebench.contracts import Job
from vaebench.runs import worker
from vaebench.runs.store import Run, Store

MACHINE = {"device": "cpu", "threads": 1, "checkpoint_seconds": 1e9}


def do(store: Path, *wanted: Request) -> list[Run]:
    """Make these requests, in order."""
    runs = [Store(store).open(request) for request in wanted]
    for request, run in zip(wanted, runs, strict=True):
        outcome = worker.work(Job(request["verb"], run.folder), MACHINE)
        assert outcome.status == "done", outcome.reason
    return runs


def stop_and_resume(store: Path, request: Request, calls: int) -> Run:
    """Make a request in two goes: the first is stopped at its ``calls``-th report of progress, as Ctrl-C does."""
    run = Store(store).open(request)
    worker.work(Job(request["verb"], run.folder), MACHINE | {"checkpoint_seconds": 0.0}, track=_interrupting(calls))
    assert run.status()["status"] == "interrupted", request["verb"]
    assert worker.work(Job(request["verb"], run.folder), MACHINE).status == "done"
    return run


def files(run: Run) -> dict[str, bytes]:
    """What a run is for: weights, log and result of a training, shards of latents."""
    names = ["model.safetensors", "metrics.jsonl", "result.json"]
    return {
        path.name: path.read_bytes() for path in run.folder.iterdir() if path.name in names or "latents" in path.name
    }


def _interrupting(calls: int) -> Callable[[int, int], None]:
    seen = []

    def track(done: int, total: int) -> None:
        seen.append(done)
        if len(seen) == calls:
            raise KeyboardInterrupt

    return track

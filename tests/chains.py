"""Runs made one after the other, alone or in a chain: what the tests of them share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from vaebench.chains import evaluation
from vaebench.config.compose import compose, configurations, session
from vaebench.config.request import Request
from vaebench.contracts import Job, Outcome
from vaebench.reproduce import planning
from vaebench.runs import build, worker
from vaebench.runs.kinds import train as trainings
from vaebench.runs.store import Run, Store

MACHINE = {"device": "cpu", "threads": 1, "checkpoint_seconds": 1e9}
# A transformer of one block, for the digits.
VIT = ["model.network.patch=7", "model.network.width=8", "model.network.depth=1", "model.network.heads=2"]
VIT += ["model.network.decoder_width=8", "model.network.decoder_depth=1", "model.network.decoder_heads=2"]
OFF = {"right": 0, "more": 1, "less": -1}

Line = dict[str, Any]


def listed(options: Iterable[str]) -> str:
    """Overrides as one option takes them."""
    return f"[{','.join(map(repr, options))}]"


def frozen(*words: str) -> Request:
    """The request of a training without parents, as the command line makes it."""
    with session():
        return trainings.request(configurations("train", words, sweep=False)[0], {})


def plan(*words: str) -> planning.Plan:
    """What a reproduction would do."""
    with session():
        return planning.make(configurations("reproduce", words, sweep=False)[0])


def work(run: Run, machine: dict[str, Any] = MACHINE, **rest: Any) -> Outcome:
    """Do what a run's request asks for, or as much as can be done."""
    return worker.work(Job(run.request()["verb"], run.folder), machine, **rest)


def do(store: Path, *wanted: Request) -> list[Run]:
    """Make these requests, in order; one that is asked for twice is made once."""
    runs = [Store(store).open(request) for request in wanted]
    for run in {run.key: run for run in runs}.values():
        outcome = work(run)
        assert outcome.status == "done", outcome.reason
    return runs


def failed(store: Path, request: Request) -> str:
    """Try to make a request that must fail: the reason, of one line."""
    outcome = worker.work(Job(request["verb"], Store(store).open(request).folder), MACHINE)
    assert outcome.status == "failed"
    assert "\n" not in outcome.reason
    return outcome.reason


def stop_and_resume(store: Path, request: Request, calls: int) -> Run:
    """Make a request in two goes: the first is stopped at its ``calls``-th report of progress, as Ctrl-C does."""
    run = stopped(store, request, calls)
    assert work(run).status == "done"
    return run


def stopped(store: Path, request: Request, calls: int) -> Run:
    """A run that was stopped at its ``calls``-th report of progress, as Ctrl-C does."""
    run = Store(store).open(request)
    work(run, MACHINE | {"checkpoint_seconds": 0.0}, track=_interrupting(calls))
    assert run.status()["status"] == "interrupted", request["verb"]
    return run


def files(run: Run) -> dict[str, bytes]:
    """What a run is for: weights, log and result of a training, shards of latents."""
    names = ["model.safetensors", "metrics.jsonl", "result.json"]
    return {
        path.name: path.read_bytes() for path in run.folder.iterdir() if path.name in names or "latents" in path.name
    }


def stamps(folder: Path, pattern: str = "*") -> dict[Path, int]:
    """When each file below a folder was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob(pattern) if path.is_file()}


def recorded(words: list[str], *sources: str) -> list[Line]:
    """Answers of these sources to each test problem of a configuration; what a source is off by is in `OFF`."""
    with session():
        request = evaluation.answers(compose("train", [*words, f"dataset.answers.path={__file__}"]))[-1]
    values = [
        (problem.question, source, int(problem.gold) + OFF[source])
        for problem in build.problems(request).test
        for source in sources or OFF
    ]
    return [{"question": q, "source": source, "answer": f"It is {value}.\n#### {value}"} for q, source, value in values]


def written(path: Path, lines: Iterable[Line | bytes]) -> str:
    """A file of these lines; the option that names it."""
    path.write_bytes(b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in lines))
    return f"dataset.answers.path={path}"


def _interrupting(calls: int) -> Callable[[int, int], None]:
    seen = []

    def track(done: int, total: int) -> None:
        seen.append(done)
        if len(seen) == calls:
            raise KeyboardInterrupt

    return track

"""Requests that need each other, made wave by wave: those whose parents are all done, the longest first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from rich.console import Console

from vaebench.config.request import Request
from vaebench.config.spine import Common
from vaebench.contracts import Job, Outcome
from vaebench.runs import executors
from vaebench.runs.store import Store


def make(
    wanted: Mapping[str, Request],
    store: Store,
    cfg: Common,
    *,
    label: Callable[[Request], str],
    seconds: Callable[[Request], float],
    console: Console,
    tags: Callable[[Request], tuple[tuple[str, str], ...]] = lambda request: (),
) -> list[Outcome]:
    """Make what is not done yet, on the command's executor; what needs a failed run is left out.

    ``wanted``: by key, with all that they build on. ``label``: what to call one on the screen; ``seconds``: about how
    long it takes; ``tags``: what a tracker is told of it besides.

    Returns what failed. Raises KeyboardInterrupt when asked to stop: what is done stays done.
    """
    failed: dict[str, Outcome] = {}
    while ready := _ready(wanted, store, failed):
        runs = {store.open(request).folder: request for request in sorted(ready, key=seconds, reverse=True)}
        outcomes = executors.run(
            [Job(request["verb"], folder, tags(request)) for folder, request in runs.items()],
            {folder: label(request) for folder, request in runs.items()},
            kind=cfg.executor.kind,
            workers=executors.workers(cfg),
            machine=executors.machine(cfg),
            quiet=cfg.quiet,
            console=console,
            go_on=True,
        )
        if any(outcome.status == "interrupted" for outcome in outcomes):
            raise KeyboardInterrupt
        failed |= {runs[one.job.folder].key: one for one in outcomes if one.status == "failed"}
    return list(failed.values())


def _ready(wanted: Mapping[str, Request], store: Store, given_up: Collection[str]) -> list[Request]:
    """What is not done yet and has all its parents; what failed now is not tried again."""
    todo = {key: request for key, request in wanted.items() if not store.find(request).done}
    done = wanted.keys() - todo
    return [
        request
        for key, request in todo.items()
        if key not in given_up and done.issuperset(request.data.get("parents", {}).values())
    ]

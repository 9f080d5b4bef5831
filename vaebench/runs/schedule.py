"""Requests that need each other: each is made as soon as all that it builds on is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from rich.console import Console

from vaebench.config.request import Request
from vaebench.config.spine import Common
from vaebench.contracts import Job, Outcome, Queue
from vaebench.runs import executors
from vaebench.runs.executors import outlook
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

    Returns what failed, or goes on without this command. Raises KeyboardInterrupt when asked to stop: what is done
    stays done.
    """
    folders = {key: run.folder for key, request in wanted.items() if not (run := store.find(request)).done}
    if not folders:
        return []
    todo = {key: wanted[key] for key in folders}
    times = {key: seconds(request) for key, request in todo.items()}
    jobs = [
        Job(todo[key]["verb"], folders[key], tags(todo[key]), _needed(todo[key], folders), times[key])
        for key in _urgent(todo, times)
    ]
    requests = {folders[key]: request for key, request in todo.items()}
    outcomes = executors.run(
        Queue(jobs, begin=lambda job: store.open(requests[job.folder])),
        {folder: label(request) for folder, request in requests.items()},
        executor=executors.of(cfg),
        store=store.root,
        machine=executors.machine(cfg),
        quiet=cfg.quiet,
        console=console,
    )
    if any(outcome.status == "interrupted" for outcome in outcomes):
        raise KeyboardInterrupt
    return [outcome for outcome in outcomes if outcome.status != "done"]


def lasts(todo: Iterable[Request], seconds: Callable[[Request], float], workers: int) -> float:
    """About how many seconds requests take together if each of the ``workers`` begins the most urgent one that can be.

    At the end of a chain workers wait for parents: the longest path counts, not the sum alone.
    """
    wanted = {request.key: request for request in todo}
    times = {key: seconds(request) for key, request in wanted.items()}
    needs = {key: _parents(request) for key, request in wanted.items()}
    return outlook.lasts({key: times[key] for key in _urgent(wanted, times)}, needs, workers)


def _needed(request: Request, folders: Mapping[str, Path]) -> tuple[Path, ...]:
    """The folders of what a request builds on, of those that are not done yet."""
    return tuple(folders[key] for key in _parents(request) if key in folders)


def _urgent(todo: Mapping[str, Request], times: Mapping[str, float]) -> list[str]:
    """The keys, first those after which the most remains to be done one after the other: the longest path."""
    children = _children(todo)
    path: dict[str, float] = {}
    for key in reversed(_parents_first(todo)):
        path[key] = times[key] + max((path[child] for child in children[key]), default=0.0)
    return sorted(todo, key=lambda key: path[key], reverse=True)


def _children(todo: Mapping[str, Request]) -> dict[str, list[str]]:
    """By key, what builds on it, once for each role."""
    found: dict[str, list[str]] = {key: [] for key in todo}
    for key, request in todo.items():
        for parent in _parents(request):
            found.get(parent, []).append(key)
    return found


def _parents_first(todo: Mapping[str, Request]) -> list[str]:
    found: dict[str, None] = {}

    def visit(key: str) -> None:
        if key in todo and key not in found:
            for parent in _parents(todo[key]):
                visit(parent)
            found[key] = None

    for key in todo:
        visit(key)
    return list(found)


def _parents(request: Request) -> Iterable[str]:
    return request.data.get("parents", {}).values()

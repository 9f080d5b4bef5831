"""Where jobs run: a module for each executor. Another is a choice in ``conf/executor``, a class like `Executor`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from vaebench.contracts import Executor, Outcome, Queue, Told
from vaebench.runs.executors.progress import Display

if TYPE_CHECKING:
    from vaebench.config.spine import Common


def run(
    queue: Queue,
    labels: Mapping[Path, str],
    *,
    executor: Executor,
    store: Path,
    machine: Mapping[str, Any],
    quiet: bool,
    console: Console,
) -> list[Outcome]:
    """Run the jobs, showing their progress under ``labels`` (by folder), and return how each ended."""
    if not queue:
        return []
    outcomes = []
    with Display({job.folder: labels[job.folder] for job in queue}, quiet=quiet, console=console) as display:
        for outcome in executor.submit(queue, Told(machine, display.track, display.note, store)):
            queue.ended(outcome)
            display.finish(outcome)
            outcomes.append(outcome)
    return outcomes


def machine(cfg: Common) -> dict[str, Any]:
    """What a command tells its workers beside the jobs, as `vaebench.runs.worker.work` takes it."""
    return {**asdict(cfg.runtime), "tracker": cfg.tracker}


def of(cfg: Common) -> Executor:
    """The command's executor. Raises `UserError` for options that it cannot have."""
    from vaebench.runs import build
    from vaebench.runs.executors.local import Local

    return build.executor(cfg.executor) if cfg.executor else Local()


def workers(cfg: Common) -> int:
    """How many jobs of a command run at a time."""
    from vaebench.engine import runtime

    return of(cfg).at_once(gpus=len(runtime.gpus(cfg.runtime.device)))

"""Where jobs run. An executor turns jobs into outcomes, in any order; a job is (verb, run folder) and nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.errors import UserError, unknown

if TYPE_CHECKING:
    from rich.console import Console

    from vaebench.contracts import Executor, Job, Outcome
    from vaebench.runs.executors.progress import Display


def run(
    jobs: list[Job],
    labels: Mapping[Path, str],
    *,
    kind: str,
    workers: int,
    machine: dict[str, Any],
    quiet: bool,
    console: Console,
) -> list[Outcome]:
    """Run the jobs, showing their progress under ``labels`` (by folder), and return how each ended."""
    if not jobs:
        return []
    from vaebench.runs.executors.progress import Display

    outcomes = []
    with Display({job.folder: labels[job.folder] for job in jobs}, quiet=quiet, console=console) as display:
        executor = _executor(kind, workers, machine, display)
        for outcome in executor.submit(jobs):
            display.finish(outcome)
            outcomes.append(outcome)
    return outcomes


def default_workers(*, gpu: bool) -> int:
    """One worker per core that this process may use; at most four share a GPU, whose memory each takes a part of."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 4) if gpu else cores


def _executor(kind: str, workers: int, machine: dict[str, Any], display: Display) -> Executor:
    if kind == "inline":
        from vaebench.runs.executors.inline import Inline

        return Inline(machine=machine, track=display.track, note=display.note)
    if kind == "local":
        from vaebench.runs.executors.local import Local

        return Local(workers=workers, machine=machine, track=display.track, note=display.note)
    from vaebench.config.spine import EXECUTORS

    raise UserError(unknown("executor.kind", kind, EXECUTORS))

"""Where jobs run: a module for each executor. Another is a choice in ``conf/executor``, a class like `Executor`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from vaebench.contracts import Executor, Outcome, Queue, Told
from vaebench.errors import UserError
from vaebench.runs.executors.outlook import Outlook
from vaebench.runs.executors.progress import Display, resumed

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
    outcomes, jobs = [], list(queue)
    outlook = Outlook(jobs, _at_once(executor, machine), {job.folder for job in jobs if resumed(job)})
    with Display(labels, outlook, quiet=quiet, console=console) as display:
        for outcome in executor.submit(queue, Told(machine, display.track, display.note, display.say, store)):
            queue.ended(outcome)
            display.finish(outcome)
            outcomes.append(outcome)
    return outcomes


def _at_once(executor: Executor, machine: Mapping[str, Any]) -> int:
    """How many jobs run at a time."""
    from vaebench.engine import runtime

    return executor.at_once(gpus=len(runtime.gpus(machine["device"])), processes=int(machine.get("processes") or 1))


def machine(cfg: Common) -> dict[str, Any]:
    """What a command tells its workers beside the jobs, as `vaebench.runs.worker.work` takes it."""
    return {**asdict(cfg.runtime), "tracker": cfg.tracker}


def of(cfg: Common) -> Executor:
    """The command's executor; where it is one of several processes, one run after the other.

    Raises `UserError` for options that it cannot have.
    """
    from vaebench.runs import along, build
    from vaebench.runs.executors.inline import Inline
    from vaebench.runs.executors.local import Local

    found = build.executor(cfg.executor) if cfg.executor else Local()
    _, processes = along.started(os.environ)
    if processes == 1 or isinstance(found, Inline):
        return found
    if not isinstance(found, Local):
        raise UserError(
            f"executor: {processes} processes were started for this command, which trains with them; leave it out"
        )
    return Inline()


def must_wait(cfg: Common, what: str) -> None:
    """Raise `UserError` if the command's executor is not to wait for its jobs."""
    if cfg.executor and cfg.executor.get("wait") is False:
        raise UserError(f"executor.wait=false: {what} needs the numbers of its runs to go on; leave it out")


def described(cfg: Common) -> str:
    """Where the command's jobs run, and how many at a time."""
    from vaebench.engine import runtime

    count = workers(cfg)
    if not of(cfg).here:
        return f"up to {count} jobs at a time, elsewhere"
    device = runtime.device_name(runtime.resolve_device(cfg.runtime.device))
    return f"device {device}, {count} worker{'s' * (count > 1)} of {cfg.runtime.threads} thread"


def overload_warning(cfg: Common) -> str | None:
    """One line if this machine is too busy for the command's jobs; None if it is not, or they run elsewhere."""
    from vaebench.engine import runtime

    return runtime.overload_warning(workers(cfg), cfg.runtime.threads) if of(cfg).here else None


def workers(cfg: Common) -> int:
    """How many jobs of a command run at a time."""
    return _at_once(of(cfg), machine(cfg))

"""Where jobs run: one after the other in this process, or in worker processes (`local`); and what is seen of them.

Bars with rate and time left on a terminal, plain lines elsewhere.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rich import progress
from rich.console import Console
from rich.text import Text

from vaebench.contracts import Job, Outcome
from vaebench.errors import printable
from vaebench.runs.executors.local import Local

if TYPE_CHECKING:
    from vaebench.config.spine import Common

_PLAIN_EVERY = 10.0  # seconds between two plain lines about one job


def run(
    jobs: list[Job],
    labels: Mapping[Path, str],
    *,
    kind: str,
    workers: int,
    machine: dict[str, Any],
    quiet: bool,
    console: Console,
    go_on: bool,
) -> list[Outcome]:
    """Run the jobs, showing their progress under ``labels`` (by folder), and return how each ended.

    ``kind``: one of `config.spine.EXECUTORS`. ``go_on``: whether an error of the code is a job's outcome in this
    process too; else it is raised, and its traceback seen.
    """
    if not jobs:
        return []
    outcomes = []
    with Display({job.folder: labels[job.folder] for job in jobs}, quiet=quiet, console=console) as display:
        ended = (
            inline(jobs, machine, display.track, display.note, go_on=go_on)
            if kind == "inline"
            else Local(workers=workers, machine=machine, track=display.track, note=display.note).submit(jobs)
        )
        for outcome in ended:
            display.finish(outcome)
            outcomes.append(outcome)
    return outcomes


def inline(
    jobs: list[Job],
    machine: dict[str, Any],
    track: Callable[[Job, int, int], None],
    note: Callable[[Job, str], None],
    *,
    go_on: bool,
) -> Iterator[Outcome]:
    """Run jobs here and yield each one's outcome; after one that was interrupted none begins.

    ``track(job, done, total)`` reports their progress, ``note(job, line)`` what is to be known.
    """
    from vaebench.runs.worker import work

    for job in jobs:
        try:
            outcome = work(job, machine, partial(track, job), note=partial(note, job))
        except Exception as error:
            if not go_on:
                raise
            outcome = Outcome(job, "failed", f"{type(error).__name__}: {error}")
        yield outcome
        if outcome.status == "interrupted":
            return


def machine(cfg: Common) -> dict[str, Any]:
    """What a command tells its workers beside the jobs, as `vaebench.runs.worker.work` takes it."""
    return {**asdict(cfg.runtime), "tracker": cfg.tracker}


def workers(cfg: Common) -> int:
    """How many jobs of a command run at a time."""
    from vaebench.engine import runtime

    gpu = runtime.resolve_device(cfg.runtime.device).type == "cuda"
    default = 1 if cfg.executor.kind == "inline" else default_workers(gpu=gpu)
    return default if cfg.executor.workers is None else int(cfg.executor.workers)


def default_workers(*, gpu: bool) -> int:
    """One worker per core that this process may use; at most four share a GPU, whose memory each takes a part of."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 4) if gpu else cores


class _Rate(progress.ProgressColumn):
    """Steps per second."""

    def render(self, task: progress.Task) -> Text:
        return Text(f"{task.speed:.0f}/s" if task.speed else "", style="progress.data.speed")


class Display:
    """Progress of a list of jobs; ``labels`` maps a job's folder to what to call it."""

    def __init__(self, labels: Mapping[Path, str], *, quiet: bool, console: Console) -> None:
        self.labels, self.quiet, self.console = labels, quiet, console
        self.finished, self.total = 0, len(labels)
        self.bars = console.is_terminal and not quiet
        self.started: dict[Path, tuple[float, int]] = {}
        self.spoken: dict[Path, float] = {}
        self.tasks: dict[Path, progress.TaskID] = {}
        self.progress = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            _Rate(),
            progress.TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not self.bars,
        )

    def __enter__(self) -> Self:
        self.progress.start()
        self.overall = self.progress.add_task("all jobs", total=self.total) if self.total > 1 else None
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def track(self, job: Job, done: int, total: int) -> None:
        """``done`` of ``total`` steps of one job."""
        if total == 0 or self.quiet:
            return
        if self.bars:
            if job.folder not in self.tasks:
                self.tasks[job.folder] = self.progress.add_task(self._label(job), total=total)
            self.progress.update(self.tasks[job.folder], completed=done, total=total)
            return
        now = time.monotonic()
        since, first = self.started.setdefault(job.folder, (now, done))
        if now - self.spoken.setdefault(job.folder, now) >= _PLAIN_EVERY and done > first:
            self.spoken[job.folder] = now
            rate = (done - first) / (now - since)
            minutes, seconds = divmod(int((total - done) / rate), 60)
            left = f"{minutes}:{seconds:02d} left"
            self.console.print(f"{self._label(job)}: {done}/{total}, {rate:.0f}/s, {left}")

    def finish(self, outcome: Outcome) -> None:
        """One job has ended."""
        self.finished += 1
        if self.overall is not None:
            self.progress.update(self.overall, completed=self.finished)
        if outcome.job.folder in self.tasks:
            self.progress.remove_task(self.tasks.pop(outcome.job.folder))
        if not self.quiet and (not self.bars or outcome.status != "done"):
            reason = f": {outcome.reason}" if outcome.reason else ""
            self.console.print(f"[{self.finished}/{self.total}] {outcome.status} {self._label(outcome.job)}{reason}")

    def note(self, job: Job, line: str) -> None:
        """Something to know of a job while it lasts, quiet or not: on stderr, above the bars if there are some."""
        sys.stderr.write(f"{self._label(job)}: {line}\n")

    def _label(self, job: Job) -> str:
        return printable(f"{job.verb} {self.labels.get(job.folder, job.folder.name)}")

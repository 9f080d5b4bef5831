"""What is seen of jobs that run: bars with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from rich import progress
from rich.console import Console
from rich.text import Text

from vaebench.contracts import Job, Outcome
from vaebench.errors import printable
from vaebench.runs.records import spent
from vaebench.runs.store import Run

_PLAIN_EVERY = 10.0  # seconds between two plain lines about one job


def steps_of(job: Job) -> tuple[int, int] | None:
    """How many steps of how many its run has done, as its own status says; None if it is not running."""
    status = Run(job.folder).status()
    running = status["status"] == "running" and {"step", "total"} <= status.keys()
    return (status["step"], status["total"]) if running else None


def mark(job: Job, status: str, reason: str) -> None:
    """Say of a run what its process cannot say any more, or not yet, unless another has it or has finished it."""
    run = Run(job.folder)
    if run.place() is None:  # it was removed
        return
    with run.lock(timeout=0) as free:
        if free and not run.done:
            run.set_status(status, reason=reason, spent=spent(run.status()))


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
        if outcome.status != "left" and not self.quiet and (not self.bars or outcome.status != "done"):
            reason = f": {outcome.reason}" if outcome.reason else ""
            self.console.print(f"[{self.finished}/{self.total}] {outcome.status} {self._label(outcome.job)}{reason}")

    def note(self, job: Job, line: str) -> None:
        """Something to know of a job while it lasts, quiet or not: on stderr, above the bars if there are some."""
        sys.stderr.write(f"{self._label(job)}: {line}\n")

    def say(self, line: str) -> None:
        """Something to know of all jobs."""
        if not self.quiet:
            self.console.print(line, markup=False, highlight=False)

    def _label(self, job: Job) -> str:
        return printable(f"{job.verb} {self.labels.get(job.folder, job.folder.name)}")

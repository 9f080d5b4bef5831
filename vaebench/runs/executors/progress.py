"""What is seen of jobs that run: a bar with those that run now on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.live import Live

from vaebench.contracts import Job, Outcome
from vaebench.errors import printable
from vaebench.runs.executors.bars import Bars, about, clock
from vaebench.runs.executors.outlook import Look, Outlook
from vaebench.runs.records import spent
from vaebench.runs.store import Run

_PLAIN_EVERY = 10.0  # seconds between two plain lines about a job that is alone
_LOOK_EVERY = 1.0  # seconds between two estimates of the time left
_SELDOM = 60.0  # and about one of several, whose beginning and end are lines as well


def steps_of(job: Job) -> tuple[int, int] | None:
    """How many steps of how many its run has done, as its status says, at first 0 of 0; None if it is not running."""
    status = Run(job.folder).status()
    return (status.get("step", 0), status.get("total", 0)) if status["status"] == "running" else None


def resumed(job: Job) -> bool:
    """Whether an earlier command has begun its run: what it still takes says little of what such a run takes."""
    return spent(Run(job.folder).status()) > 0


def mark(job: Job, status: str, reason: str) -> None:
    """Say of a run what its process cannot say any more, or not yet, unless another has it or has finished it."""
    run = Run(job.folder)
    if run.place() is None:  # it was removed
        return
    with run.lock(timeout=0) as free:
        if free and not run.done:
            run.set_status(status, reason=reason, spent=spent(run.status()))


class Display:
    """Progress of a list of jobs; ``labels`` maps a job's folder to what to call it, ``outlook`` knows what is left."""

    def __init__(self, labels: Mapping[Path, str], outlook: Outlook, *, quiet: bool, console: Console) -> None:
        self.labels, self.outlook, self.quiet, self.console = labels, outlook, quiet, console
        self.several = outlook.total > 1
        self.bars = console.is_interactive and not quiet
        self.began = time.monotonic()
        self.spoken: dict[Path, float] = {}
        self.looked: tuple[float, Look] = (self.began - _LOOK_EVERY, Look(None, 0.0))
        self.live = Live(get_renderable=self._drawn, console=console, transient=True, refresh_per_second=4)

    def __enter__(self) -> Self:
        if self.bars:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def track(self, job: Job, done: int, total: int) -> None:
        """A job runs and has done ``done`` of ``total`` steps; 0 of 0: more is not known."""
        now = time.monotonic()
        begins = self.outlook.heard(job, done, total, now)
        if self.bars or self.quiet:
            return
        if begins and self.several:
            self.console.print(f"begins: {self._label(job)}")
        every = _SELDOM if self.several else _PLAIN_EVERY
        if now - self.spoken.setdefault(job.folder, now) >= every:
            self.spoken[job.folder] = now
            self._say_how_far(job, now)

    def _say_how_far(self, job: Job, now: float) -> None:
        doing = self.outlook.running[job.folder]
        left = doing.by_steps(now)
        if left is not None:
            rate = f"{doing.rate(now):.0f}/s"
            self.console.print(f"{self._label(job)}: {doing.done}/{doing.total}, {rate}, {clock(left)} left")

    def finish(self, outcome: Outcome) -> None:
        """One job has ended."""
        job, now = outcome.job, time.monotonic()
        whole = Run(job.folder).status().get("spent") if outcome.status == "done" else None
        taken = self.outlook.ended(outcome, now, whole)
        if outcome.status != "left" and not self.quiet and (not self.bars or outcome.status != "done"):
            reason = f": {outcome.reason}" if outcome.reason else ""
            count = f"[{self.outlook.finished}/{self.outlook.total}]"
            self.console.print(f"{count} {outcome.status} {self._label(job)}{reason}{self._times(taken, now)}")

    def _times(self, taken: float | None, now: float) -> str:
        """How long a job took and how long the others will; nothing where it is the only one."""
        left = self.outlook.look(now).left if self.several else None
        words = [clock(taken)] if taken is not None and self.several else []
        words += [f"{about(left)} left"] if left else []
        return f" ({'; '.join(words)})" if words else ""

    def note(self, job: Job, line: str) -> None:
        """Something to know of a job while it lasts, quiet or not: on stderr, above the bars if there are some."""
        sys.stderr.write(f"{self._label(job)}: {line}\n")

    def say(self, line: str) -> None:
        """Something to know of all jobs."""
        if not self.quiet:
            self.console.print(line, markup=False, highlight=False)

    # The screen is drawn by a thread of its own, while jobs begin and end: it is given copies.
    def _drawn(self) -> Bars:
        now, outlook = time.monotonic(), self.outlook
        running = [(self._label(doing.job), doing) for doing in list(outlook.running.values())]
        return Bars(outlook.finished, outlook.total, now - self.began, self._look(now), running, now)

    def _look(self, now: float) -> Look:
        """What is left, worked out once a second: of thousands of jobs it takes a hundredth of one."""
        if now - self.looked[0] >= _LOOK_EVERY:
            self.looked = now, self.outlook.look(now)
        return self.looked[1]

    def _label(self, job: Job) -> str:
        return printable(f"{job.verb} {self.labels.get(job.folder, job.folder.name)}")

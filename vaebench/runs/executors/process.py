"""A worker process as its parent sees it: started with a job, given more of them, watched. Its own side is serve.py."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context, resource_tracker
from typing import Any

from vaebench.contracts import Job, Outcome
from vaebench.runs.executors.serve import serve
from vaebench.stopping import SIGNALS, signal_group

_TO_END = 10.0  # seconds that a process without a job has to go


class Worker:
    """A process with a job. It leads a group, so that what it started ends with it."""

    def __init__(self, job: Job, machine: dict[str, Any]) -> None:
        # spawn: a forked child of a process that has used torch's threads can hang.
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, machine))
        with _signals_wait():
            self.process.start()
        theirs.close()
        self.leaves_by: float | None = None
        self.give(job)

    def give(self, job: Job) -> None:
        """Hand it a job. If it has just died, `hear` says so."""
        self.job, self.begun = job, False
        with suppress(OSError):
            self.connection.send(job)

    def hear(self) -> str | Outcome | None:
        """What it says next: a line for the user, or how its job ended, ``lost`` if it died with it; None: nothing."""
        ended = self.process.exitcode is not None  # asked first: what it said last is still to be heard
        try:
            while self.connection.poll():
                said: str | Outcome | bool = self.connection.recv()
                if not isinstance(said, bool):
                    return said
                self.begun = said
        except (EOFError, OSError):
            self.process.join(_TO_END)
            ended = True
        return Outcome(self.job, "lost", _death(self.process.exitcode)) if ended else None

    def dismiss(self) -> None:
        """Let it end, it has no job."""
        self.connection.close()
        self.leaves_by = time.monotonic() + _TO_END

    def gone(self) -> bool:
        """Whether it has ended after `dismiss`; one that takes too long is killed."""
        if self.leaves_by is None or (self.process.exitcode is None and time.monotonic() < self.leaves_by):
            return False
        self.bury()
        return True

    def kill(self) -> None:
        """Send it and all that it started the signal that cannot be refused."""
        if self.process.pid is not None:
            signal_group(self.process.pid, signal.SIGKILL)
        self.process.kill()

    def bury(self) -> None:
        """Kill it, and wait until it has ended."""
        self.kill()
        self.process.join(_TO_END)
        self.connection.close()

    def pause(self, number: signal.Signals) -> None:
        """SIGSTOP or SIGCONT for it and all that it started."""
        if self.process.exitcode is None and self.process.pid is not None:
            signal_group(self.process.pid, number)


def _death(code: int | None) -> str:
    if code is None:
        return "the worker process does not answer"
    if code >= 0:
        return f"the worker process ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else "unknown"
    hint = ": out of memory?" if -code == signal.SIGKILL else ""
    return f"the worker process was killed by signal {-code} ({name}){hint}"


@contextmanager
def _signals_wait() -> Iterator[None]:
    """A process that is started here gets its signals when it listens to them, instead of dying of them."""
    resource_tracker.ensure_running()  # or it is started within, which lets the signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

"""A worker process: started with a job, given more of them, watched; and what it does on its own side."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from vaebench.contracts import Job, Outcome
from vaebench.stopping import SIGNALS, stop_on_signal, when_parent_ends

_TO_END = 10.0  # seconds that a process without a job has to go
# From the death of its parent a worker has these seconds to store what it does, then these to drop it.
_TO_STORE, _TO_DROP = 5.0, 3.0


class Worker:
    """A process with a job, as its parent sees it. It leads a group, so that what it started ends with it."""

    def __init__(self, job: Job, machine: dict[str, Any]) -> None:
        # spawn: a forked child of a process that has used torch's threads can hang.
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, machine))
        with _signals_wait():
            self.process.start()
        theirs.close()
        self.leaves_by: float | None = None
        self.give(job)

    def give(self, job: Job) -> None:
        """Hand it a job. If it has just died, `hear` says so."""
        self.job = job
        with suppress(OSError):
            self.connection.send(job)

    def hear(self) -> str | Outcome | None:
        """What it says next: a line for the user, or how its job ended, ``lost`` if it died with it; None: nothing."""
        ended = self.process.exitcode is not None  # asked first: what it said last is still to be heard
        try:
            if self.connection.poll():
                return self.connection.recv()
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
            _signal_group(self.process.pid, signal.SIGKILL)
        self.process.kill()

    def bury(self) -> None:
        """Kill it, and wait until it has ended."""
        self.kill()
        self.process.join(_TO_END)
        self.connection.close()

    def pause(self, number: signal.Signals) -> None:
        """SIGSTOP or SIGCONT for it and all that it started."""
        if self.process.exitcode is None and self.process.pid is not None:
            _signal_group(self.process.pid, number)


def _death(code: int | None) -> str:
    if code is None:
        return "the worker process does not answer"
    if code >= 0:
        return f"the worker process ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else "unknown"
    hint = ": out of memory?" if -code == signal.SIGKILL else ""
    return f"the worker process was killed by signal {-code} ({name}){hint}"


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(OSError):  # there is none, or none any more
        os.killpg(leader, number)


@contextmanager
def _signals_wait() -> Iterator[None]:
    """A process that is started here gets its signals when it listens to them, instead of dying of them."""
    resource_tracker.ensure_running()  # or it is started within, which lets the signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, machine: dict[str, Any]) -> None:
    """A worker's life: jobs come in, lines for the user and outcomes go out, until the connection is closed."""
    with suppress(OSError):
        os.setpgid(0, 0)
    with stop_on_signal() as asked:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        when_parent_ends(_store_and_end)
        try:
            while True:
                connection.send(_outcome(connection.recv(), machine, connection.send, asked))
        except (EOFError, OSError, KeyboardInterrupt):
            pass
    parent = parent_process()
    if parent is not None and not parent.is_alive():
        _signal_group(os.getpid(), signal.SIGKILL)


def _store_and_end() -> None:
    """Nobody waits for this process any more: ask it to store, to stop at once, and then end it."""
    for seconds in (_TO_STORE, _TO_DROP):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(seconds)
    _signal_group(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _outcome(job: Job, machine: dict[str, Any], note: Callable[[str], None], asked: Callable[[], bool]) -> Outcome:
    from vaebench.worker import work

    try:
        return Outcome(job, "interrupted", "not started") if asked() else work(job, machine, note=note, stop=asked)
    except KeyboardInterrupt:
        return Outcome(job, "interrupted")
    except Exception as error:
        return Outcome(job, "lost" if _out_of_memory(error) else "failed", f"{type(error).__name__}: {error}")


def _out_of_memory(error: Exception) -> bool:
    """Whether it may be for the other jobs' sake that there was too little."""
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)

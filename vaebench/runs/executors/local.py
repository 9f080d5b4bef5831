"""Several worker processes on this machine, one job each at a time."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from types import FrameType
from typing import Any

from vaebench.contracts import Job, Outcome
from vaebench.runs.executors.process import Worker
from vaebench.runs.store import Run
from vaebench.stopping import STOPPING, stop_on_signal

_TICK = 0.2  # seconds between two looks at whether one was asked to stop
_REPORT_EVERY = 1.0  # seconds
_UNBEGUN = 2  # processes that may die before they began a job without it being the job's fault


class Local:
    """Runs jobs in ``workers`` processes. Progress is read from the runs' own status files once a second.

    The job of a process that dies is tried once more, when no other process is left; the other jobs go on.
    """

    def __init__(
        self,
        *,
        workers: int,
        machine: dict[str, Any],
        track: Callable[[Job, int, int], None],
        note: Callable[[Job, str], None],
    ) -> None:
        self.workers = workers
        self.machine = machine
        self.track = track
        self.note = note
        self.crew: list[Worker] = []
        self.waiting: deque[Job] = deque()
        self.again: deque[Job] = deque()
        self.lost: set[Job] = set()
        self.unbegun: Counter[Job] = Counter()

    def submit(self, jobs: list[Job]) -> Iterator[Outcome]:
        """Yield each job's outcome when it has ended. Asked to stop, let the jobs store and raise KeyboardInterrupt."""
        self.waiting.extend(jobs)
        told, reported = False, time.monotonic()
        with stop_on_signal(STOPPING) as asked, self._suspending():
            try:
                while self.crew or ((self.waiting or self.again) and not asked()):
                    if asked() and not told:
                        told = True
                        for worker in self.crew:
                            worker.process.terminate()
                    self._hire(stopping=asked())
                    if self.crew:
                        wait([worker.process.sentinel for worker in self.crew] + self._connections(), timeout=_TICK)
                    for worker in list(self.crew):
                        yield from self._look_after(worker, stopping=asked())
                    if time.monotonic() - reported >= _REPORT_EVERY:
                        reported = time.monotonic()
                        self._report()
                if asked():
                    raise KeyboardInterrupt
            finally:
                self._end()

    def _connections(self) -> list[Any]:
        return [worker.connection for worker in self.crew if worker.leaves_by is None]

    def _hire(self, *, stopping: bool) -> None:
        """A process for each job that waits, as far as there may be; what died has the machine for itself."""
        while self.waiting and len(self.crew) < self.workers and not stopping:
            self.crew.append(Worker(self.waiting.popleft(), self.machine))
        if self.again and not self.crew and not stopping:
            self.crew.append(Worker(self.again.popleft(), self.machine))

    def _look_after(self, worker: Worker, *, stopping: bool) -> Iterator[Outcome]:
        """Hear what it says, and give it its next job; one without a job goes."""
        while worker.leaves_by is None and (said := worker.hear()) is not None:
            if isinstance(said, str):
                self.note(worker.job, said)
                continue
            if said.status in ("lost", "interrupted"):
                worker.bury()  # with all that it started, and its memory
                self.crew.remove(worker)
                yield from self._once_more(said, begun=worker.begun, stopping=stopping)
                return
            if self.waiting and not stopping:
                worker.give(self.waiting.popleft())
            else:
                worker.dismiss()
            yield said
        if worker.gone():
            self.crew.remove(worker)

    def _once_more(self, ended: Outcome, *, begun: bool, stopping: bool) -> Iterator[Outcome]:
        """What becomes of a job that did not come to its end."""
        job, reason = ended.job, ended.reason or "the worker process was asked to stop"
        if not (begun or stopping) and self.unbegun[job] < _UNBEGUN:
            self.unbegun[job] += 1
            (self.again if job in self.lost else self.waiting).appendleft(job)
            self.note(job, f"{reason} before it began; another one takes it")
            return
        status = "failed" if job in self.lost and not stopping else "interrupted"
        if ended.status == "lost" or status == "failed":
            _mark(job, status, reason)
        if stopping:
            yield Outcome(job, status, reason)
        elif job in self.lost:
            yield Outcome(job, status, f"{reason} (the second time; the same command tries again)")
        else:
            self.lost.add(job)
            self.again.append(job)
            self.note(job, f"{reason}; it is tried once more, alone, after the others")

    def _end(self) -> None:
        """Nothing is left behind, whatever stopped the loop."""
        for worker in self.crew:
            worker.kill()
        for worker in self.crew:
            worker.bury()
            if worker.leaves_by is None:
                _mark(worker.job, "interrupted", "stopped at once")
        self.crew.clear()

    def _report(self) -> None:
        for worker in self.crew:
            if worker.leaves_by is None:
                status = Run(worker.job.folder).status()
                if status.get("status") == "running" and {"step", "total"} <= status.keys():
                    self.track(worker.job, status["step"], status["total"])

    @contextmanager
    def _suspending(self) -> Iterator[None]:
        """Ctrl-Z stops the workers too, which are in groups of their own, until this process goes on."""

        def suspend(number: int, frame: FrameType | None) -> None:
            for worker in self.crew:
                worker.pause(signal.SIGSTOP)
            os.kill(os.getpid(), signal.SIGSTOP)
            for worker in self.crew:
                worker.pause(signal.SIGCONT)

        try:
            previous = signal.signal(signal.SIGTSTP, suspend)
        except ValueError:  # not in the main thread
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGTSTP, previous)


def _mark(job: Job, status: str, reason: str) -> None:
    """Say of a run what its process cannot say any more, unless another has it or has finished it."""
    run = Run(job.folder)
    with run.lock(timeout=0) as free:
        if free and not run.done:
            run.set_status(status, reason=reason)

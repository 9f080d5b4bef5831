"""Several worker processes on this machine, one job each at a time. Their own side is `serve`."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import wait
from types import FrameType
from typing import Any

from vaebench.compat import cores
from vaebench.config.signatures import checked
from vaebench.config.spine import AtOnce
from vaebench.contracts import Job, Outcome, Queue, Told
from vaebench.runs.executors.progress import mark, steps_of
from vaebench.runs.serve import serve
from vaebench.stopping import SIGNALS, STOPPING, signal_group, stop_on_signal

_TICK = 0.2  # seconds between two looks at whether one was asked to stop
_REPORT_EVERY = 1.0  # seconds
_TO_END = 10.0  # seconds that a process without a job has to go
_PER_GPU = 4  # processes that share a GPU, whose memory each takes a part of
_UNBEGUN = 2  # processes that may die before they began a job without it being the job's fault


@checked("executor")
@dataclass(kw_only=True)
class Local:
    """``workers``: how many processes; None: one per free core, at most four per GPU.

    Where a training is of several processes, it has as many cores or GPUs.
    """

    workers: AtOnce | None = None

    here = True

    def at_once(self, *, gpus: int, processes: int) -> int:
        """The workers."""
        room = cores() if not gpus else gpus if processes > 1 else min(cores(), _PER_GPU * gpus)
        return self.workers or max(1, room // processes)

    def submit(self, queue: Queue, told: Told) -> Iterator[Outcome]:
        """Yield each job's outcome when it has ended. Asked to stop, let the jobs store and raise KeyboardInterrupt."""
        from vaebench.engine import runtime

        gpus, processes = runtime.gpus(told.machine["device"]), int(told.machine.get("processes") or 1)
        size = self.at_once(gpus=len(gpus), processes=processes)
        return Crew(queue=queue, told=told, size=size, gpus=shares(gpus, processes)).work()


def shares(gpus: Sequence[str], processes: int) -> list[str]:
    """The GPUs of each worker, one for each process of a training, as CUDA_VISIBLE_DEVICES names them."""
    return [",".join(gpus[first : first + processes]) for first in range(0, len(gpus), processes)]


@dataclass(kw_only=True)
class Crew:
    """Up to ``size`` processes for the jobs of a queue, each with its share of the ``gpus`` if there are several.

    Progress is read from the runs' own status files once a second. The job of a process that dies is tried once more,
    when no other process is left; the other jobs go on.
    """

    queue: Queue
    told: Told
    size: int
    gpus: Sequence[str] = ()
    workers: list[Worker] = field(default_factory=list)
    again: deque[Job] = field(default_factory=deque)
    lost: set[Job] = field(default_factory=set)
    unbegun: Counter[Job] = field(default_factory=Counter)

    def work(self) -> Iterator[Outcome]:
        """What `Local.submit` yields."""
        told, reported = False, time.monotonic()
        with stop_on_signal(STOPPING) as asked, self._suspending():
            try:
                while self.workers or ((self.queue.ready or self.again) and not asked()):
                    if asked() and not told:
                        told = True
                        for worker in self.workers:
                            worker.process.terminate()
                    self._assign(stopping=asked())
                    if self.workers:
                        wait([worker.process.sentinel for worker in self.workers] + self._connections(), timeout=_TICK)
                    for worker in list(self.workers):
                        yield from self._look_after(worker, stopping=asked())
                    if time.monotonic() - reported >= _REPORT_EVERY:
                        reported = time.monotonic()
                        self._report()
                if asked():
                    raise KeyboardInterrupt
            finally:
                self._end()

    def _connections(self) -> list[Any]:
        return [worker.connection for worker in self.workers if worker.leaves_by is None]

    def _assign(self, *, stopping: bool) -> None:
        """A job for each process that has none and for new ones, as far as there may be; what died works alone."""
        idle = [worker for worker in self.workers if worker.job is None and worker.leaves_by is None]
        while not stopping and (idle or len(self.workers) < self.size) and (job := self.queue.take()):
            if idle:
                idle.pop(0).give(job)
            else:
                self._hire(job)
        busy = any(worker.job for worker in self.workers)
        for worker in idle:
            if stopping or not (busy and self.queue):  # else one of the jobs that run now may free some for it
                worker.dismiss()
        if self.again and not self.workers and not stopping:
            self._hire(self.again.popleft())

    def _hire(self, job: Job) -> None:
        there = Counter(worker.gpu for worker in self.workers)
        gpu = min(self.gpus, key=there.__getitem__) if len(self.gpus) > 1 else None
        self.workers.append(Worker(job, self.told.machine, gpu))

    def _look_after(self, worker: Worker, *, stopping: bool) -> Iterator[Outcome]:
        """Hear what it says."""
        while worker.job is not None and (said := worker.hear()) is not None:
            if isinstance(said, str):
                self.told.note(worker.job, said)
                continue
            if said.status in ("lost", "interrupted"):
                worker.bury()  # with all that it started, and its memory
                self.workers.remove(worker)
                yield from self._once_more(said, begun=worker.begun, stopping=stopping)
                return
            worker.job = None
            yield said
        if worker.job is None and worker.gone():
            self.workers.remove(worker)

    def _once_more(self, ended: Outcome, *, begun: bool, stopping: bool) -> Iterator[Outcome]:
        """What becomes of a job that did not come to its end."""
        job, reason = ended.job, ended.reason or "the worker process was asked to stop"
        if not (begun or stopping) and self.unbegun[job] < _UNBEGUN:
            self.unbegun[job] += 1
            if job in self.lost:
                self.again.appendleft(job)
            else:
                self.queue.put_back(job)
            self.told.note(job, f"{reason} before it began; another one takes it")
            return
        status = "failed" if job in self.lost and not stopping else "interrupted"
        if ended.status == "lost" or status == "failed":
            mark(job, status, reason)
        if stopping:
            yield Outcome(job, status, reason)
        elif job in self.lost:
            yield Outcome(job, status, f"{reason} (the second time; the same command tries again)")
        else:
            self.lost.add(job)
            self.again.append(job)
            self.told.note(job, f"{reason}; it is tried once more, alone, after the others")

    def _end(self) -> None:
        """Nothing is left behind, whatever stopped the loop."""
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            worker.bury()
            if worker.job is not None:
                mark(worker.job, "interrupted", "stopped at once")
        self.workers.clear()

    def _report(self) -> None:
        for job in (worker.job for worker in self.workers if worker.job and worker.begun):
            if steps := steps_of(job):
                self.told.track(job, *steps)

    @contextmanager
    def _suspending(self) -> Iterator[None]:
        """Ctrl-Z stops the workers too, which are in groups of their own, until this process goes on."""

        def suspend(number: int, frame: FrameType | None) -> None:
            for worker in self.workers:
                worker.pause(signal.SIGSTOP)
            os.kill(os.getpid(), signal.SIGSTOP)
            for worker in self.workers:
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


class Worker:
    """A process with a job. It leads a group, so that what it started ends with it."""

    def __init__(self, job: Job, machine: Mapping[str, Any], gpu: str | None = None) -> None:
        # spawn: a forked child of a process that has used torch's threads can hang.
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, dict(machine), gpu))
        with _signals_wait():
            self.process.start()
        theirs.close()
        self.leaves_by: float | None = None
        self.gpu = gpu
        self.job: Job | None = None
        self.give(job)

    def give(self, job: Job) -> None:
        """Hand it a job. If it has just died, `hear` says so."""
        self.job, self.begun = job, False
        with suppress(OSError):
            self.connection.send(job)

    def hear(self) -> str | Outcome | None:
        """What it says next: a line for the user, or how its job ended, ``lost`` if it died with it; None: nothing."""
        assert self.job is not None, "who has no job says nothing"
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
        """Whether it has ended, without a job; after `dismiss`, one that takes too long is killed."""
        if self.process.exitcode is None and (self.leaves_by is None or time.monotonic() < self.leaves_by):
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

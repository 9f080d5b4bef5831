"""Several worker processes on this machine, one job each at a time."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from types import FrameType
from typing import Any

from vaebench.contracts import Job, Outcome


class Local:
    """Runs jobs in ``workers`` processes. Progress is read from the runs' own status files once a second."""

    def __init__(self, *, workers: int, machine: dict[str, Any], track: Callable[[Job, int, int], None]) -> None:
        self.workers = workers
        self.machine = machine
        self.track = track

    def submit(self, jobs: list[Job]) -> Iterator[Outcome]:
        """Yield each job's outcome when it has ended."""
        # spawn: a forked child of a process that has used torch's threads can hang.
        context = get_context("spawn")
        previous = signal.signal(signal.SIGTERM, _pass_on)
        with ProcessPoolExecutor(min(self.workers, len(jobs)), context, initializer=_listen) as pool:
            pending = {pool.submit(_work, job, self.machine): job for job in jobs}
            try:
                while pending:
                    finished, _ = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
                    for future in finished:
                        yield _outcome(pending.pop(future), future)
                    for job in pending.values():
                        self._report(job)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
            finally:
                signal.signal(signal.SIGTERM, previous)

    def _report(self, job: Job) -> None:
        try:
            status = json.loads((job.folder / "status.json").read_text())
        except (OSError, ValueError):
            return
        if status.get("status") == "running" and "step" in status:
            self.track(job, status["step"], status["total"])


_asked_to_stop = False  # of a worker process


def _listen() -> None:
    """Let a worker finish or store what it is doing on Ctrl-C, and begin nothing more."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    global _asked_to_stop
    _asked_to_stop = True


def _pass_on(number: int, frame: FrameType | None) -> None:
    """A terminal sends Ctrl-C to the workers too; `kill` reaches only this process."""
    for worker in active_children():
        worker.terminate()
    raise KeyboardInterrupt


def _work(job: Job, machine: dict[str, Any]) -> Outcome:
    from vaebench.worker import work

    global _asked_to_stop
    if _asked_to_stop:  # the pool hands each worker one job ahead, which cannot be cancelled
        return Outcome(job, "interrupted", "not started")
    outcome = work(job, machine)
    _asked_to_stop = _asked_to_stop or outcome.status == "interrupted"
    return outcome


def _outcome(job: Job, future: Future[Outcome]) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        return Outcome(job, "failed", "the worker process died (out of memory?); the same command resumes it")
    except Exception as error:
        return Outcome(job, "failed", f"{type(error).__name__}: {error}")

"""Several worker processes on this machine, one job each at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
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
        with ProcessPoolExecutor(min(self.workers, len(jobs)), mp_context=get_context("spawn")) as pool:
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

    def _report(self, job: Job) -> None:
        try:
            status = json.loads((job.folder / "status.json").read_text())
        except (OSError, ValueError):
            return
        if status.get("status") == "running" and "step" in status:
            self.track(job, status["step"], status["total"])


def _work(job: Job, machine: dict[str, Any]) -> Outcome:
    from vaebench.worker import work

    return work(job, machine)


def _outcome(job: Job, future: Future[Outcome]) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        return Outcome(job, "failed", "the worker process died (out of memory?); the same command resumes it")
    except Exception as error:
        return Outcome(job, "failed", f"{type(error).__name__}: {error}")

"""An executor that measures: every run in a process of its own, and what it took in a line of a ledger."""

from __future__ import annotations

import json
import multiprocessing
import resource
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measure import peak_bytes
from vaebench.contracts import Job, Outcome, Queue, Told
from vaebench.runs.worker import work
from vaebench.stopping import end_with_parent

# Children of this process itself could hang: it has used PyTorch's threads.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["benchmarks.rehearsal.loaded"])


class Used(NamedTuple):
    """What a process and those that it started took: CPU seconds, and the largest one's memory in gigabytes."""

    cpu: float
    gigabytes: float


@dataclass(kw_only=True)
class Measured:
    """``ledger``: the file that gets a line for each run. ``gigabytes``: more than these no run may allocate.

    The processes are forked from one that has only loaded what runs need; what it holds counts as theirs. They end with
    this one.
    """

    ledger: str
    gigabytes: float

    here = True

    def at_once(self, *, gpus: int, processes: int) -> int:
        """One."""
        return 1

    def submit(self, queue: Queue, told: Told) -> Iterator[Outcome]:
        """Yield each job's outcome; after one that was interrupted none begins."""
        while job := queue.take():
            begun = time.monotonic()
            outcome, used = self._forked(job, dict(told.machine))
            self._note(outcome, used, time.monotonic() - begun)
            yield outcome
            if outcome.status == "interrupted":
                return

    def _forked(self, job: Job, machine: dict[str, Any]) -> tuple[Outcome, Used | None]:
        ours, theirs = _SERVER.Pipe(duplex=False)
        child = _SERVER.Process(target=self._work, args=(job, machine, theirs))
        child.start()
        theirs.close()
        told: tuple[Outcome, Used] | None = None
        with suppress(EOFError):
            told = ours.recv()
        child.join()
        return told or (Outcome(job, "failed", f"its process ended with {child.exitcode}"), None)

    def _work(self, job: Job, machine: dict[str, Any], said: Connection) -> None:
        end_with_parent()
        said.send((self._done(job, machine), _used()))

    def _done(self, job: Job, machine: dict[str, Any]) -> Outcome:
        """In the process of its own."""
        most = int(self.gigabytes * 1e9)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        try:
            return work(job, machine)
        except BaseException as error:
            with suppress(OSError):
                (job.folder / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
            lines = str(error).splitlines()
            return Outcome(job, "failed", f"{type(error).__name__}: {lines[0] if lines else ''}")

    def _note(self, outcome: Outcome, used: Used | None, wall: float) -> None:
        """``used``: None of a process that was killed."""
        tags = dict(outcome.job.tags)
        entry = {
            "key": outcome.job.folder.name,
            "verb": outcome.job.verb,
            "status": outcome.status,
            "reason": outcome.reason,
            "table": f"{tags['paper']} {tags['table']}" if tags else "",
            "wall": round(wall, 2),
            "cpu": used and round(used.cpu, 2),
            "gigabytes": used and round(used.gigabytes, 3),
        }
        with Path(self.ledger).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")


def _used() -> Used:
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Used(sum(one.ru_utime + one.ru_stime for one in found), max(map(peak_bytes, found)) / 1e9)

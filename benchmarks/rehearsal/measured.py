"""An executor that measures: every run in a process of its own, and what it took in a line of a ledger."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.measure import peak_bytes
from vaebench.contracts import Job, Outcome, Queue, Told
from vaebench.runs.worker import work
from vaebench.stopping import end_with_parent

_FORK = multiprocessing.get_context("fork")


@dataclass(kw_only=True)
class Measured:
    """``ledger``: the file that gets a line for each run. ``gigabytes``: more than these no run may allocate.

    The processes are forked, so none loads PyTorch anew; what this process holds counts as theirs. They end with it.
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
            outcome, used, wall = self._forked(job, dict(told.machine))
            self._note(outcome, used, wall)
            yield outcome
            if outcome.status == "interrupted":
                return

    def _forked(self, job: Job, machine: dict[str, Any]) -> tuple[Outcome, resource.struct_rusage, float]:
        begun = time.monotonic()
        ours, theirs = _FORK.Pipe(duplex=False)
        child = _FORK.Process(target=self._work, args=(job, machine, theirs))
        child.start()
        theirs.close()
        outcome: Outcome | None = None
        with suppress(EOFError):
            outcome = ours.recv()
        assert child.pid is not None, "it has been started"
        _, status, used = os.wait4(child.pid, 0)
        reason = f"its process ended with {os.waitstatus_to_exitcode(status)}"
        return outcome or Outcome(job, "failed", reason), used, time.monotonic() - begun

    def _work(self, job: Job, machine: dict[str, Any], said: Connection) -> None:
        end_with_parent()
        said.send(self._done(job, machine))

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

    def _note(self, outcome: Outcome, used: resource.struct_rusage, wall: float) -> None:
        tags = dict(outcome.job.tags)
        entry = {
            "key": outcome.job.folder.name,
            "verb": outcome.job.verb,
            "status": outcome.status,
            "reason": outcome.reason,
            "table": f"{tags['paper']} {tags['table']}" if tags else "",
            "wall": round(wall, 2),
            "cpu": round(used.ru_utime + used.ru_stime, 2),
            "gigabytes": round(peak_bytes(used) / 1e9, 3),
        }
        with Path(self.ledger).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")

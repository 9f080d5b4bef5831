"""One job after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from vaebench.contracts import Outcome, Queue, Told


@dataclass(kw_only=True)
class Inline:
    """``go_on``: whether an error of the code is a job's outcome too; else it is raised, and its traceback seen."""

    go_on: bool = True

    here = True

    def at_once(self, *, gpus: int, processes: int) -> int:
        """One."""
        return 1

    def submit(self, queue: Queue, told: Told) -> Iterator[Outcome]:
        """Yield each job's outcome; after one that was interrupted none begins."""
        from vaebench.runs.worker import work

        while job := queue.take():
            try:
                outcome = work(job, dict(told.machine), partial(told.track, job), note=partial(told.note, job))
            except Exception as error:
                if not self.go_on:
                    raise
                outcome = Outcome(job, "failed", f"{type(error).__name__}: {error}")
            yield outcome
            if outcome.status == "interrupted":
                return

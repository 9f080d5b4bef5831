"""One job after the other, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from vaebench.contracts import Job, Outcome


class Inline:
    """Runs jobs here; ``track(job, done, total)`` reports their progress, ``note(job, line)`` what is to be known."""

    def __init__(
        self, *, machine: dict[str, Any], track: Callable[[Job, int, int], None], note: Callable[[Job, str], None]
    ) -> None:
        self.machine = machine
        self.track = track
        self.note = note

    def submit(self, jobs: list[Job]) -> Iterator[Outcome]:
        """Yield each job's outcome when it has ended; after one that was interrupted none begins."""
        from vaebench.runs.worker import work

        for job in jobs:
            outcome = work(job, self.machine, partial(self.track, job), note=partial(self.note, job))
            yield outcome
            if outcome.status == "interrupted":
                return

"""One job after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vaebench.contracts import Job, Outcome


class Inline:
    """Runs jobs here; ``track(job, done, total)`` reports their progress."""

    def __init__(self, *, machine: dict[str, Any], track: Any) -> None:
        self.machine = machine
        self.track = track

    def submit(self, jobs: list[Job]) -> Iterator[Outcome]:
        """Yield each job's outcome when it has ended."""
        from vaebench.worker import work

        for job in jobs:
            yield work(job, self.machine, lambda done, total, job=job: self.track(job, done, total))  # type: ignore[misc]

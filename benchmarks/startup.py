"""How long the commands take that only answer a question."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from benchmarks.measure import Row, run_process

RUNS = 7
GOAL_SECONDS = 0.5


def rows() -> Iterator[Row]:
    """Wall and CPU seconds of a fresh process, median of seven after one that warms the page cache."""
    for command in ("--help", "list"):
        run_process("-m", "vaebench", command)
        usages = [run_process("-m", "vaebench", command) for _ in range(RUNS)]
        wall = [usage.wall for usage in usages]
        cpu = statistics.median(usage.cpu for usage in usages)
        yield Row(
            f"vaebench {command}",
            "seconds",
            statistics.median(wall),
            low=min(wall),
            high=max(wall),
            goal=GOAL_SECONDS if command == "--help" else None,
            note=f"{cpu:.2f} CPU-seconds",
        )

"""How long the commands take that only answer a question, and a report of which nothing has changed."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.measure import Row, run_process

GOAL_SECONDS = 0.5
GOAL_OF_PLAN = 5.0
# A command with its goal in seconds, and how often it is measured.
ANSWERS = [
    (["--help"], GOAL_SECONDS, 7),
    (["list"], GOAL_SECONDS, 7),
    (["plan", "paper=all", "scale=smoke"], GOAL_OF_PLAN, 3),
]
OF_DATA = (["plan", "paper=all", "scale=small"], GOAL_OF_PLAN, 3)
RESULTS = Path(__file__).parents[1] / "results"


def rows() -> Iterator[Row]:
    """Wall and CPU seconds of a fresh process, the median after one that warms the page cache."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {"VAEBENCH_HOME": f"{folder}/store", "VAEBENCH_CACHE": f"{folder}/cache"}
        for words, goal, runs in [*ANSWERS, *([OF_DATA] if os.environ.get("VAEBENCH_DATA") else [])]:
            yield _row(words, goal, runs, environment)
        yield _redrawn(Path(folder), environment)


def _row(words: Sequence[str], goal: float, runs: int, environment: Mapping[str, str]) -> Row:
    command = ["-m", "vaebench", *words]
    run_process(*command, environment=environment)
    usages = [run_process(*command, environment=environment) for _ in range(runs)]
    wall = [usage.wall for usage in usages]
    cpu = statistics.median(usage.cpu for usage in usages)
    return Row(
        f"vaebench {' '.join(words)}",
        "seconds",
        statistics.median(wall),
        low=min(wall),
        high=max(wall),
        goal=goal,
        note=f"{cpu:.2f} CPU-seconds",
    )


def _redrawn(folder: Path, environment: Mapping[str, str]) -> Row:
    """A report of the committed numbers, of which nothing has changed, beside one that draws all again."""
    results = shutil.copytree(RESULTS, folder / "results")

    def spent(cache: str) -> float:
        command = ["-m", "vaebench", "report", "paper=rcvae", f"results={results}"]
        return run_process(*command, environment={**environment, "VAEBENCH_CACHE": f"{folder}/{cache}"}).cpu

    spent("kept")
    times = [(spent("kept"), spent(f"anew{number}")) for number in range(3)]
    ratios = [anew / kept for kept, anew in times]
    kept, anew = (statistics.median(one) for one in zip(*times, strict=True))
    return Row(
        "vaebench report paper=rcvae, nothing changed",
        "CPU-seconds",
        kept,
        anew,
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        note="against one that draws all that cells.csv gives",
    )

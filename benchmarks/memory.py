"""The largest memory of a training on a dataset of MNIST's size, set-up and weights' writing included."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

from benchmarks.measure import Row, run_process

GOAL_GB = 1.5
STEPS = 600


def rows() -> Iterator[Row]:
    """Peak resident memory of the whole process, as the operating system counts it."""
    for network in ("mlp", "conv"):
        with tempfile.TemporaryDirectory() as store:
            usage = run_process(
                "-m", "vaebench", "train", "model=batchtopk", f"model.network={network}", "dataset=mnist",
                f"train.max_steps={STEPS}", f"store={store}", "quiet=true",
            )  # fmt: skip
        note = f"{STEPS} steps of 128, {usage.wall:.0f} s in all"
        yield Row(
            f"vaebench train model=batchtopk model.network={network}", "GB", usage.peak / 1e9, goal=GOAL_GB, note=note
        )

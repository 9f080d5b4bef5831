"""The length of a training and its learning rate, from its options alone; without torch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from vaebench.config.spine import SCHEDULES, TrainSpec, mistakes
from vaebench.errors import UserError

_WARMED_UP = ("constant", "cosine")  # the schedules that ``warmup_steps`` is for
VALIDATION_SHARE = 0.1  # of the training items, held out with train.keep=best
_WARM_UP = 0.1  # of the steps of a one-cycle schedule


def check_spec(spec: Mapping[str, Any]) -> None:
    """Raise one `UserError` for all values of a `TrainSpec` (as plain data) that make no training."""
    # Options are absent from requests that were stored before they existed.
    lines = mistakes(TrainSpec, spec, "train.")
    if spec.get("epochs") is None and spec.get("max_steps") is None:
        lines.append("train.epochs=null: the training has no end; give train.max_steps")
    if spec.get("warmup_steps") and spec["schedule"] in SCHEDULES and spec["schedule"] not in _WARMED_UP:
        lines.append(
            f"train.warmup_steps={spec['warmup_steps']}: is for train.schedule={' or '.join(_WARMED_UP)}, "
            f"not {spec['schedule']}"
        )
    size, parts = spec.get("batch_size"), spec.get("accumulate")
    if not lines and parts and size % parts:
        lines.append(f"train.accumulate={parts}: train.batch_size={size} cannot be cut into so many equal parts")
    steps, kept = spec.get("max_steps"), spec.get("snapshots")
    if not lines and steps and kept and kept > steps:
        lines.append(too_many_snapshots(kept, steps))
    if lines:
        raise UserError(*lines)


def total_steps(items: int, batch_size: int, epochs: int | None, max_steps: int | None) -> int:
    """Steps of a training: whole epochs without their last incomplete batch, cut at ``max_steps``; one may be None."""
    limits = [max_steps, None if epochs is None else epochs * (items // batch_size)]
    return min(limit for limit in limits if limit is not None)


def training_count(items: int, keep: str | None) -> int:
    """How many of the items are trained on: all, or what ``keep=best`` does not hold out."""
    return items - max(1, round(VALIDATION_SHARE * items)) if keep == "best" else items


def too_many_snapshots(count: int, steps: int) -> str:
    """What to say of more snapshots than steps."""
    return f"train.snapshots={count}: the training has only {steps} steps; keep fewer, or train longer"


def snapshot_steps(total: int, count: int | None) -> dict[int, int]:
    """After which step which of the ``count`` snapshots is taken; the last one is the end of the training.

    Raises `UserError` if there are fewer steps.
    """
    if count and total and count > total:
        raise UserError(too_many_snapshots(count, total))
    return {max(1, round(total * k / count)): k for k in range(1, count + 1)} if count and total else {}


def rate_factor(schedule: str, step: int, total: int, warmup: int) -> float:
    """What the rate is multiplied with at a step: 0 to 1."""
    if schedule == "linear":
        return 1 - step / total
    rise = max(1, round(_WARM_UP * total)) if schedule == "onecycle" else warmup
    if step < rise:
        return (step + 1) / rise
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


def every(seconds: float) -> Callable[[], bool]:
    """True once each time ``seconds`` have passed."""
    last = time.monotonic()

    def due() -> bool:
        nonlocal last
        now = time.monotonic()
        if now - last < seconds:
            return False
        last = now
        return True

    return due

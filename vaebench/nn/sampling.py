"""Looking at training items outside the training: evenly spread, with crops that are the same every time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from vaebench.contracts import HasClasses, TrainingData

SEED = 0
_LOOKED_AT = 10_000  # items whose labels are looked at
_BATCH = 500


@contextmanager
def own_draws() -> Iterator[None]:
    """Inside it the global generators begin at a constant seed; afterwards they are as if nothing had been drawn."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(SEED)
        yield


def spread(items: int, count: int, device: torch.device) -> Tensor:
    """``count`` row numbers evenly spread over ``items``, all of them if there are fewer; int64, ascending."""
    count = min(items, count)
    return torch.arange(count, device=device) * items // count


def highest_label(data: TrainingData) -> int:
    """Of data that `HasClasses`; else among at most 10,000 evenly spread items. Draws from no global generator."""
    if isinstance(data, HasClasses):
        return data.classes - 1
    with own_draws():
        rows = spread(len(data), _LOOKED_AT, data.device).split(_BATCH)
        return max(int(data.batch(some).y.max()) for some in rows)

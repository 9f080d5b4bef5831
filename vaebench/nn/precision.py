"""Where a computation needs all digits whatever the precision of the training."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def full(device: torch.device) -> AbstractContextManager[object]:
    """A context without autocast on ``device``; the meta device, which has no values, has none to begin with."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)

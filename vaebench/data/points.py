"""Points in the plane: the S-shaped curve of DMVAE's study (arXiv 2512.07778, Figure 3), generated from a seed."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from annotated_types import Ge, Interval
from torch import Tensor

from vaebench.config.signatures import checked
from vaebench.data.batch import Batch

_WIDTH = 0.06  # deviation across the curve
_JITTER = 0.03  # of the diffusion, at the curve's ends; 0.4 of it in the middle


@dataclass(frozen=True)
class PointData:
    """Points float32 ``[n 2]`` in [-1, 1] in memory; the label of each is 0.

    ``digest``: 16 hex digits, of the content. ``source``, ``note`` and ``stand_in`` as `TrainingData` has them: this is
    the paper's own set.
    """

    name: str
    train_x: Tensor
    digest: str
    source: str = "embedded"
    note: str = ""
    stand_in: bool = False

    @property
    def device(self) -> torch.device:
        """Where batches go."""
        return self.train_x.device

    def __len__(self) -> int:
        """The number of training points."""
        return len(self.train_x)

    def batch(self, rows: Tensor) -> Batch:
        """``x``: points ``[b 2]``; ``y``: zeros int64 ``[b]``."""
        return Batch(self.train_x[rows], torch.zeros_like(rows))

    def reference(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` fresh points of the same law, float32 ``[count 2]`` on the CPU."""
        return draw(count, generator)

    def to(self, device: torch.device | str) -> PointData:
        """The same points on ``device``."""
        return replace(self, train_x=self.train_x.to(device))


@checked("dataset")
def s_curve(*, name: str, count: Annotated[int, Interval(ge=1, le=10**8)], seed: Annotated[int, Ge(0)]) -> PointData:
    """``count`` points of the S-shaped curve, drawn from ``seed``."""
    points = draw(count, torch.Generator().manual_seed(seed))
    # Rounded: the last bits of a sine are the machine's own, the digest is the same on all.
    content = (points * 10_000).round().to(torch.int16).numpy().tobytes()
    return PointData(name, points, hashlib.sha256(content).hexdigest()[:16])


def draw(count: int, generator: torch.Generator) -> Tensor:
    """``count`` points around the curve, float32 ``[count 2]``.

    ``u ~ U(-1, 1)``, ``(x, y) = (0.85 sin(pi u), 0.85 u - 0.15 sin(2 pi u))``, plus noise of deviation 0.06 along the
    normal, plus one draw of deviation ``0.03 (0.4 + 0.6 |u|)`` on both coordinates; then y is flipped and both are cut
    to [-1, 1]. So the authors' code has it.
    """
    u = torch.rand(count, generator=generator, dtype=torch.float64) * 2 - 1
    across, along = torch.randn(2, count, generator=generator, dtype=torch.float64)
    turn = math.pi * u
    curve = torch.stack([0.85 * turn.sin(), 0.85 * u - 0.15 * (2 * turn).sin()], dim=1)
    tangent = torch.stack([0.85 * math.pi * turn.cos(), 0.85 - 0.3 * math.pi * (2 * turn).cos()], dim=1)
    normal = torch.stack([-tangent[:, 1], tangent[:, 0]], dim=1) / tangent.norm(dim=1, keepdim=True)
    jitter = _JITTER * (0.4 + 0.6 * u.abs()) * along
    points = curve + _WIDTH * across[:, None] * normal + jitter[:, None]
    return (points * points.new_tensor([1.0, -1.0])).clamp(-1, 1).float()

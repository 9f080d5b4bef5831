"""Points in the plane: a velocity field, and losses that move points by two of them (arXiv 2512.07778, Figure 3).

The teacher has learnt the law to be reached, the student learns where the points are. With ``x = t z + (1 - t) eps``,
``v*`` the target ``z - eps`` and ``[.]`` without gradient, up to positive weights:

- ``dmd``: ``1/2 |z - [z - g]|^2``, g the difference of what the flows think the clean points are: of their scores
- ``teacher1``, ``2``, ``3``: ``|v_r - [v*]|^2``, ``|[v_r] - v*|^2``, ``|v_r - v*|^2``, real-score maximisation
- ``student1``, ``2``, ``3``: the same with ``v_f``, fake-score maximisation
- ``loss_difference``: ``teacher1`` minus ``student1``
- ``difference1``, ``2``, ``3``: ``|[v_r] - v_f|^2``, ``|v_r - [v_f]|^2``, ``|v_r - v_f|^2``
- ``ascend_teacher``, ``ascend_student``, ``descend_student``: along ``s_r``, along ``s_f`` and against it, all times
  alike: the released code's, which are not in the paper's figure. Near the data a score is as large as ``1 / (1 - t)``

Means over points and coordinates. All but ``dmd``, the ``2`` of a flow and the last three take a flow's Jacobian.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaebench.nn.flows import flow, matching
from vaebench.nn.transformers.dit import time_features

_FEATURES = 32  # of the time


class PointVelocity(nn.Module):
    """``v(x, t)``: points float32 ``[b 2]``, times ``[b]`` -> ``[b 2]``. ``depth`` hidden layers of ``width``, SiLU.

    ``time_scale``: what times are multiplied with before their features, whose frequencies go from 1 down to 1e-4.
    """

    def __init__(self, *, width: int, depth: int, time_scale: float) -> None:
        super().__init__()
        self.options = {"width": width, "depth": depth, "time_scale": time_scale}
        self.time_scale = time_scale
        widths = [2 + _FEATURES, *[width] * depth]
        hidden = [part for before, after in pairwise(widths) for part in (nn.Linear(before, after), nn.SiLU())]
        self.layers = nn.Sequential(*hidden, nn.Linear(width, 2))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """The velocity at ``x`` and ``t``, time 0 noise and 1 data."""
        output: Tensor = self.layers(torch.cat([x, time_features(self.time_scale * t, _FEATURES)], dim=1))
        return output


@dataclass(frozen=True)
class Draw:
    """Points ``z`` ``[b 2]`` that are to move, one noise and one time for each, and the two flows."""

    z: Tensor
    noise: Tensor
    t: Tensor
    real: matching.Velocity
    fake: matching.Velocity

    def side(self, name: str) -> Tensor:
        """``real`` or ``fake``: a flow's velocity on the paths; ``target``: the straight path's. ``[name]``: held."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not name.startswith("[")):
            field = {"real": self.real, "fake": self.fake}.get(name.strip("[]"))
            if field is None:
                return flow.velocity(self.z, self.noise)
            return field(flow.on_path(self.z, self.noise, self.t), self.t)


def gap(draw: Draw) -> Tensor:
    """The gradient of distribution matching without its normaliser, ``[b 2]``: ``(1 - t) (v_f - v_r)``."""
    return matching.gradient(draw.z, draw.noise, draw.t, real=draw.real, fake=draw.fake, normalise=False)


def _compared(one: str, other: str) -> Callable[[Draw], Tensor]:
    """The mean squared difference of two sides."""
    return lambda draw: F.mse_loss(draw.side(one), draw.side(other))


def _along(name: str, sign: int) -> Callable[[Draw], Tensor]:
    """Up (1) or down (-1) a flow's score, which is held; times are below 1, where it would be infinite."""

    def loss(draw: Draw) -> Tensor:
        x = flow.on_path(draw.z, draw.noise, draw.t).detach()
        return matching.loss(draw.z, -sign * flow.score(draw.side(f"[{name}]"), x, draw.t[:, None]))

    return loss


_TEACHER1, _STUDENT1 = _compared("real", "[target]"), _compared("fake", "[target]")
OBJECTIVES: dict[str, Callable[[Draw], Tensor]] = {
    "dmd": lambda draw: matching.loss(draw.z, gap(draw)),
    "loss_difference": lambda draw: _TEACHER1(draw) - _STUDENT1(draw),
    "teacher1": _TEACHER1,
    "teacher2": _compared("[real]", "target"),
    "teacher3": _compared("real", "target"),
    "student1": _STUDENT1,
    "student2": _compared("[fake]", "target"),
    "student3": _compared("fake", "target"),
    "difference1": _compared("[real]", "fake"),
    "difference2": _compared("real", "[fake]"),
    "difference3": _compared("real", "fake"),
    "ascend_teacher": _along("real", 1),
    "ascend_student": _along("fake", 1),
    "descend_student": _along("fake", -1),
}

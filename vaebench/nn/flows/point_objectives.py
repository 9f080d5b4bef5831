"""Losses that move points towards a law by the velocities of two flows (arXiv 2512.07778, Figure 3).

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

import torch
from torch import Tensor
from torch.nn import functional as F

from vaebench.nn.flows import flow, matching


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

    def compare(self, one: str, other: str) -> Tensor:
        """The mean squared difference of two sides."""
        return F.mse_loss(self.side(one), self.side(other))

    def along(self, name: str, sign: int) -> Tensor:
        """Up (1) or down (-1) a flow's score, which is held; times are below 1, where it would be infinite."""
        x = flow.on_path(self.z, self.noise, self.t).detach()
        return matching.loss(self.z, -sign * flow.score(self.side(f"[{name}]"), x, self.t[:, None]))


def gap(draw: Draw) -> Tensor:
    """The gradient of distribution matching without its normaliser, ``[b 2]``: ``(1 - t) (v_f - v_r)``."""
    return matching.gradient(draw.z, draw.noise, draw.t, real=draw.real, fake=draw.fake, normalise=False)


OBJECTIVES: dict[str, Callable[[Draw], Tensor]] = {
    "dmd": lambda d: matching.loss(d.z, gap(d)),
    "loss_difference": lambda d: d.compare("real", "[target]") - d.compare("fake", "[target]"),
    "teacher1": lambda d: d.compare("real", "[target]"),
    "teacher2": lambda d: d.compare("[real]", "target"),
    "teacher3": lambda d: d.compare("real", "target"),
    "student1": lambda d: d.compare("fake", "[target]"),
    "student2": lambda d: d.compare("[fake]", "target"),
    "student3": lambda d: d.compare("fake", "target"),
    "difference1": lambda d: d.compare("[real]", "fake"),
    "difference2": lambda d: d.compare("real", "[fake]"),
    "difference3": lambda d: d.compare("real", "fake"),
    "ascend_teacher": lambda d: d.along("real", 1),
    "ascend_student": lambda d: d.along("fake", 1),
    "descend_student": lambda d: d.along("fake", -1),
}

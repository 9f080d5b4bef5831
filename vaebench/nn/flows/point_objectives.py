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

    @property
    def x(self) -> Tensor:
        """The points on their paths."""
        return flow.on_path(self.z, self.noise, self.t)

    @property
    def target(self) -> Tensor:
        """The velocity on the straight path."""
        return flow.velocity(self.z, self.noise)

    def held(self, field: matching.Velocity) -> Tensor:
        """A flow's velocity without gradient."""
        with torch.no_grad():
            return field(self.x, self.t)

    def free(self, field: matching.Velocity) -> Tensor:
        """A flow's velocity with its gradient by ``z``."""
        return field(self.x, self.t)

    def score(self, field: matching.Velocity) -> Tensor:
        """A flow's score without gradient; times are below 1, where it would be infinite."""
        return flow.score(self.held(field), self.x.detach(), self.t[:, None])


def gap(draw: Draw) -> Tensor:
    """The gradient of distribution matching without its normaliser, ``[b 2]``: ``(1 - t) (v_f - v_r)``."""
    return matching.gradient(draw.z, draw.noise, draw.t, real=draw.real, fake=draw.fake, normalise=False)


OBJECTIVES: dict[str, Callable[[Draw], Tensor]] = {
    "dmd": lambda d: matching.loss(d.z, gap(d)),
    "loss_difference": lambda d: (
        F.mse_loss(d.free(d.real), d.target.detach()) - F.mse_loss(d.free(d.fake), d.target.detach())
    ),
    "teacher1": lambda d: F.mse_loss(d.free(d.real), d.target.detach()),
    "teacher2": lambda d: F.mse_loss(d.held(d.real), d.target),
    "teacher3": lambda d: F.mse_loss(d.free(d.real), d.target),
    "student1": lambda d: F.mse_loss(d.free(d.fake), d.target.detach()),
    "student2": lambda d: F.mse_loss(d.held(d.fake), d.target),
    "student3": lambda d: F.mse_loss(d.free(d.fake), d.target),
    "difference1": lambda d: F.mse_loss(d.held(d.real), d.free(d.fake)),
    "difference2": lambda d: F.mse_loss(d.free(d.real), d.held(d.fake)),
    "difference3": lambda d: F.mse_loss(d.free(d.real), d.free(d.fake)),
    "ascend_teacher": lambda d: matching.loss(d.z, -d.score(d.real)),
    "ascend_student": lambda d: matching.loss(d.z, -d.score(d.fake)),
    "descend_student": lambda d: matching.loss(d.z, d.score(d.fake)),
}

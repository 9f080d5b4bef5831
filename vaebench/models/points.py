"""Free points in the plane, moved towards a law by two flows: DMVAE's study of objectives (arXiv 2512.07778, Figure 3).

What the method does to latents, without an encoder: the points are what is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from vaebench.config.signatures import Count, CountOrNone, Fraction, OneOf, Positive, checked
from vaebench.contracts import Batch, LossOutput, Phase, TrainingData, draws
from vaebench.errors import UserError
from vaebench.nn.averaged import Averaged
from vaebench.nn.flows import flow
from vaebench.nn.flows.points import OBJECTIVES, Draw, PointVelocity, gap
from vaebench.nn.sampling import own_draws

_ARROWS = 384  # points whose direction of update is kept
_DRAWS = 16  # of noise, that a kept direction is the mean over


class Points(nn.Module):
    """``count`` points move down ``objective`` (of `nn.flows.points`), and a student follows where they are.

    All points make a step's batch; the training data is only there to be compared with. At each ``every``-th step the
    points move, then, at every step, the student learns where they are (flow matching, points detached): the order of
    the released code. Teacher and student's first weights come from a trained `PointFlow` (`start`).

    ``spread``: the points begin uniformly in [-spread, spread]^2. ``width``, ``depth``, ``time_scale``: of the student,
    equal to the teacher's. ``moments``: steps before which positions are kept; the last positions always are.
    ``levels``: times (0 noise, 1 data) at which the directions of distribution matching are kept too.
    """

    adopts = ("start",)
    keeps = ()

    path: Tensor
    steps: Tensor
    arrows: Tensor
    levels: Tensor
    done: Tensor  # steps

    @checked("model")
    def __init__(
        self,
        *,
        objective: Annotated[str, OneOf(tuple(OBJECTIVES))],
        count: Count,
        spread: Positive,
        every: Count,
        width: Count,
        depth: Count,
        time_scale: Positive,
        moments: Sequence[CountOrNone],
        levels: Sequence[Fraction],
    ) -> None:
        super().__init__()
        if list(moments) != sorted({*moments}):
            raise UserError(f"model.moments={list(moments)}: expected ascending steps")
        self.objective, self.every, self.moments = objective, every, tuple(moments)
        self.points = nn.Parameter(spread * (2 * torch.rand(count, 2) - 1))
        self.student = PointVelocity(width=width, depth=depth, time_scale=time_scale)
        # Its weights are buffers: stored with the points, small as they are, and never trained.
        self.teacher = Averaged(self.student, decay=0.0)
        self._taught = False
        kept = len(self.moments) + 1
        self.register_buffer("path", torch.full((kept, count, 2), torch.nan))
        self.register_buffer("arrows", torch.full((kept, len(levels), min(count, _ARROWS), 2), torch.nan))
        self.register_buffer("steps", torch.full((kept,), -1))  # -1: the training never got there
        self.register_buffer("levels", torch.tensor([float(level) for level in levels]))
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The points' turn, then the student's, which learns where they have moved to."""
        return (
            Phase("points", (self.points,), self.points_loss, every=self.every),
            Phase("student", tuple(self.student.parameters()), self.student_loss),
        )

    def adopt(self, role: str, parent: nn.Module) -> None:
        """Take the teacher, a trained `PointFlow`'s averaged weights, which are the student's first ones too.

        Raises `UserError` for another method, or a network of another size.
        """
        del role
        network: Any = getattr(getattr(parent, "averaged", None), "network", None)
        if not isinstance(network, PointVelocity):
            raise UserError(f"model points starts from a trained model point_flow, not from {type(parent).__name__}")
        own, given = self.student.options, network.options
        if given != own:
            raise UserError(f"model points has a network of {own}, its teacher one of {given}: make them equal")
        self.teacher.network.load_state_dict(network.state_dict())
        self.student.load_state_dict(network.state_dict())
        self._taught = True

    def student_loss(self, batch: Batch, step: int) -> LossOutput:
        """Flow matching on all points as they are now; ``batch`` plays no part."""
        self._begin(step)
        self.done.fill_(step + 1)
        with draws.whole():
            return LossOutput(flow.matching_loss(self.student, self.points.detach(), "uniform"))

    def points_loss(self, batch: Batch, step: int) -> LossOutput:
        """The objective, of all points; ``batch`` plays no part."""
        self._begin(step)
        with draws.whole():
            t = flow.draw_times(len(self.points), "uniform", self.points.device)
            drawn = Draw(self.points, torch.randn_like(self.points), t, self.teacher, self.student)
            return LossOutput(OBJECTIVES[self.objective](drawn))

    def finish(self, data: TrainingData) -> None:
        """Keep the last positions."""
        self._keep(len(self.moments), int(self.done))

    def kept(self) -> dict[str, Tensor]:
        """What was kept at the moments that were reached, on the CPU (`MovesPoints`)."""
        reached = self.steps >= 0
        found = {name: getattr(self, name)[reached].cpu() for name in ("path", "steps", "arrows")}
        return found | {"levels": self.levels.cpu()}

    def _begin(self, step: int) -> None:
        """Keep a moment's positions, before anything has moved in its step."""
        if not self._taught:
            raise UserError("model points needs a teacher: parent.experiment=dmvae/toy_teacher")
        if step in self.moments and int(self.steps[self.moments.index(step)]) != step:
            self._keep(self.moments.index(step), step)

    @torch.no_grad()
    def _keep(self, place: int, step: int) -> None:
        """Positions, and whither distribution matching would move them at each level, mean over draws of noise."""
        self.path[place], self.steps[place] = self.points, step
        z = self.points[: self.arrows.shape[2]].repeat(_DRAWS, 1)
        with own_draws():
            noise = torch.randn(z.shape).to(z.device)
        for number, level in enumerate(self.levels):
            found = gap(Draw(z, noise, level.expand(len(z)), self.teacher, self.student))
            self.arrows[place, number] = -found.unflatten(0, (_DRAWS, -1)).mean(0)

"""Flow matching on points in the plane: the teacher of DMVAE's study of objectives (arXiv 2512.07778, Figure 3)."""

from __future__ import annotations

from torch import nn

from vaebench.config.signatures import Count, Fraction, Positive, checked
from vaebench.contracts import Batch, LossOutput, Phase
from vaebench.nn.averaged import Averaged
from vaebench.nn.flows import flow
from vaebench.nn.flows.points import PointVelocity


class PointFlow(nn.Module):
    """``loss = |v(z_t, t) - (z - eps)|^2``, mean over elements; ``z_t = t z + (1 - t) eps``, ``t ~ U(0, 1)``.

    ``width``, ``depth``, ``time_scale``: of the `PointVelocity`, in place of the paper's transformer. ``ema_decay``: of
    the average of the weights that is the teacher (`Averaged`).
    """

    @checked("model")
    def __init__(self, *, width: Count, depth: Count, time_scale: Positive, ema_decay: Fraction) -> None:
        super().__init__()
        self.network = PointVelocity(width=width, depth=depth, time_scale=time_scale)
        self.averaged = Averaged(self.network, decay=ema_decay)
        self._step = 0  # of the last loss: the average's weight is a function of it

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase, over the network; the average follows by `average`."""
        return (Phase("flow", tuple(self.network.parameters()), self.loss),)

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """Flow matching on the points ``batch.x`` ``[b 2]``."""
        self._step = step
        return LossOutput(flow.matching_loss(self.network, batch.x, "uniform"))

    def average(self) -> None:
        """Take the weights after a step into their moving average."""
        self.averaged.update(self.network, self._step)

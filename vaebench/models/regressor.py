"""The control of R-CVAE without a latent: a plain regression from the question's embedding to the solution's."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vaebench.config.signatures import checked
from vaebench.contracts import Batch, LossOutput, Phase
from vaebench.nn.networks.vectors import PairModel


@checked("model")
@dataclass(eq=False, repr=False, kw_only=True)
class Regressor(PairModel):
    """``|R_e - f(Q_e)|^2`` with an MLP ``f`` (`PairModel`); the candidate nearest to ``f(Q_e)`` is picked."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.network = self._mlp(self.embedding_dim, self.hidden, self.embedding_dim)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase over all parameters."""
        return (Phase("regressor", tuple(self.parameters()), self.loss),)

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """Mean over the batch of the squared error, summed over coordinates; term ``distance``, the same."""
        distance = self._distance(batch.x, batch.y).mean()
        return LossOutput(distance, {"distance": distance.detach()})

    def validation_loss(self, batch: Batch) -> Tensor:
        """The loss, a scalar."""
        return self._distance(batch.x, batch.y).mean()

    def posterior(self, solution: Tensor, question: Tensor) -> None:
        """None: there is no latent."""

    def scores(self, solution: Tensor, question: Tensor) -> dict[str, Tensor]:
        """``distance`` ``[b]``: squared errors of embeddings ``[b e]``. Raises `UserError` for another width."""
        return {"distance": self._distance(solution, question)}

    def _distance(self, solution: Tensor, question: Tensor) -> Tensor:
        made: Tensor = self.network(self.question(question))
        return (self.solution(solution) - made.float()).square().sum(1)

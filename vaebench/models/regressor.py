"""The control of R-CVAE without a latent: a plain regression from the question's embedding to the solution's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vaebench.config.signatures import Count, checked
from vaebench.contracts import Batch, LossOutput, Phase, TrainingData
from vaebench.nn.networks import vectors


class Regressor(nn.Module):
    """``|R_e - f(Q_e)|^2`` with an MLP ``f``; the candidate nearest to ``f(Q_e)`` is picked.

    ``embedding_dim`` e of both texts; ``hidden`` widths of ``f``; ``activation`` relu or gelu; ``layer_norm`` before
    each activation; ``standardise``: ``coordinate`` for zero mean and unit variance of each coordinate over the
    training pairs, in which the distance is taken too; ``none``.
    """

    @checked("model")
    def __init__(
        self,
        *,
        embedding_dim: Count,
        hidden: Sequence[Count],
        activation: vectors.Activation,
        layer_norm: bool,
        standardise: vectors.Standardise,
    ) -> None:
        super().__init__()
        self.standardise = standardise
        self.solution = vectors.Standardiser(embedding_dim, "solutions")
        self.question = vectors.Standardiser(embedding_dim, "questions")
        self.network = vectors.mlp(embedding_dim, hidden, embedding_dim, activation=activation, layer_norm=layer_norm)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase over all parameters."""
        return (Phase("regressor", tuple(self.parameters()), self.loss),)

    @torch.no_grad()
    def look(self, data: TrainingData) -> None:
        """Take the statistics of the standardisation from all pairs."""
        solutions, questions = vectors.everything(data)
        if self.standardise == "coordinate":
            self.solution.look(solutions)
            self.question.look(questions)

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """Mean over the batch of the squared error, summed over coordinates; term ``distance``, the same."""
        distance = self._distance(batch.x, batch.y).mean()
        return LossOutput(distance, {"distance": distance.detach()})

    def validation_loss(self, batch: Batch) -> Tensor:
        """The loss, a scalar."""
        return self._distance(batch.x, batch.y).mean()

    def posterior(self, solution: Tensor, question: Tensor) -> None:
        """None: there is no latent."""
        del solution, question

    def scores(self, solution: Tensor, question: Tensor) -> dict[str, Tensor]:
        """``distance`` ``[b]``: the squared error of each candidate, from embeddings ``[b e]``; lower is picked.

        Raises `UserError` if the embeddings have another width than the model's.
        """
        return {"distance": self._distance(solution, question)}

    def _distance(self, solution: Tensor, question: Tensor) -> Tensor:
        made: Tensor = self.network(self.question(question))
        return (self.solution(solution) - made.float()).square().sum(1)

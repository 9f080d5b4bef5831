"""Networks on vectors: a standardisation learnt from the training data, and a multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from vaebench.config.signatures import Count
from vaebench.contracts import TrainingData
from vaebench.errors import UserError

Activation = Literal["relu", "gelu"]
_ACTIVATIONS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}
ACTIVE = 0.05  # nats of mean KL above which a latent dimension counts as used


def mlp(inputs: int, hidden: Sequence[int], outputs: int, *, activation: Activation, layer_norm: bool) -> nn.Sequential:
    """``[b inputs]`` -> ``[b outputs]`` by linear layers; between two a layer norm if asked for, and an activation."""
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(pairwise((inputs, *hidden, outputs))):
        if index:
            layers += [nn.LayerNorm(before)] if layer_norm else []
            layers.append(_ACTIVATIONS[activation]())
        layers.append(nn.Linear(before, after))
    return nn.Sequential(*layers)


class Standardiser(nn.Module):
    """``(v - mean) / std`` per coordinate; the identity until `look`. ``std`` is 1 where a coordinate does not vary.

    ``name``: what the vectors are, for the message about a wrong width.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, width: int, name: str) -> None:
        super().__init__()
        self.name = name
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    def look(self, values: Tensor) -> None:
        """Take mean and (population) standard deviation from all training vectors ``[n width]``."""
        self._check(values)
        exact = values.cpu().double()  # so that a constant coordinate has a deviation of exactly 0
        deviation = exact.std(0, correction=0)
        self.mean.copy_(exact.mean(0))
        self.std.copy_(torch.where(deviation > 0, deviation, 1.0))

    def forward(self, values: Tensor) -> Tensor:
        """``[b width]`` -> ``[b width]``. Raises `UserError` naming both widths if the vectors have another."""
        self._check(values)
        return (values - self.mean) / self.std

    def _check(self, values: Tensor) -> None:
        if values.shape[1:] != self.mean.shape:
            found, width = "x".join(map(str, values.shape[1:])), len(self.mean)
            raise UserError(
                f"embedded {self.name} have {found} dimensions and model.embedding_dim is {width}: "
                "embed and train with the same embedder"
            )


@dataclass(eq=False, repr=False, kw_only=True)
class PairModel(nn.Module):
    """What the models of embedded pairs, solution R_e and question Q_e, share; no method by itself.

    ``embedding_dim`` e of both texts; ``hidden`` widths of a network; ``activation`` relu or gelu; ``layer_norm``
    before each activation; ``standardise``: ``coordinate`` for zero mean and unit variance of each coordinate over the
    training pairs, in which errors are taken too; ``none``.
    """

    embedding_dim: Count
    hidden: Sequence[Count]
    activation: Activation
    layer_norm: bool
    standardise: Literal["coordinate", "none"]

    def __post_init__(self) -> None:
        super().__init__()
        self.solution = Standardiser(self.embedding_dim, "solutions")
        self.question = Standardiser(self.embedding_dim, "questions")

    def _mlp(self, inputs: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
        return mlp(inputs, hidden, outputs, activation=self.activation, layer_norm=self.layer_norm)

    def look(self, data: TrainingData) -> None:
        """Take the statistics of the standardisation from all pairs."""
        if self.standardise == "coordinate":
            batch = data.batch(torch.arange(len(data), device=data.device))
            self.solution.look(batch.x)
            self.question.look(batch.y)

"""A network whose weights are a moving average of another's along its training."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vaebench.contracts import parts


class Averaged(nn.Module):
    """A copy of ``network`` that follows it: ``average <- a average + (1 - a) weights`` at each `update`.

    ``a`` is ``decay``, but no more than ``(1 + n) / (10 + n)`` at the n-th update, counted from 0: a short training is
    not left with its initial weights, and the average spans about a ninth of the updates until the decay is reached.
    The copy's weights are buffers: stored and moved with the module, never trained, no parameters of it.
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.network = copy.deepcopy(network)
        for module in self.network.modules():
            for name, weight in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                module.register_buffer(name, weight.detach())

    @torch.no_grad()
    def update(self, network: nn.Module, n: int) -> None:
        """Take in the present weights of the network that was copied; buffers of its own are not averaged."""
        names = dict(network.named_parameters())
        kept = self._parted(names)
        weight = 1 - min(self.decay, (1 + n) / (10 + n))
        torch._foreach_lerp_([kept[name] for name in names], list(names.values()), weight)

    def _parted(self, others: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The averages by name, of each the part that this process has of the weights that it follows."""
        kept = dict(self.network.named_buffers())
        if any(parts.is_part(other) and not parts.is_part(kept[name]) for name, other in others.items()):
            for name, part in parts.like(kept, others).items():
                owner, _, last = name.rpartition(".")
                self.network.get_submodule(owner).register_buffer(last, part)
            kept = dict(self.network.named_buffers())
        return kept

    def forward(self, *inputs: Any) -> Tensor:
        """What the network gives with averaged weights."""
        return self.network(*inputs)

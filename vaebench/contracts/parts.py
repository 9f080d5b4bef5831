"""Tensors of which each process of a training has a part (`vaebench.engine.sharding`). Others are left as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def is_part(x: Any) -> bool:
    """Whether the other parts of it are elsewhere."""
    return hasattr(x, "full_tensor")  # PyTorch's DTensor, which takes a third of a second to import


def whole(state: Any) -> Any:
    """A state (tensors in dicts and lists) with all parts of each, on the processor. All processes have to ask."""
    if isinstance(state, dict):
        return {name: whole(value) for name, value in state.items()}
    if isinstance(state, list):
        return [whole(value) for value in state]
    return state.full_tensor().cpu() if is_part(state) else state


def like(state: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of tensors that all processes have whole the parts that this one has of those with their names."""
    return {name: _part_like(tensor, others.get(name)) for name, tensor in state.items()}


def _part_like(x: Tensor, other: Any) -> Tensor:
    if not (is_part(other) and x.shape == other.shape):  # a count of steps is no part
        return x
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(x.to(other.device), other.device_mesh, other.placements, src_data_rank=None)

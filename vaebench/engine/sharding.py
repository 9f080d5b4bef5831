"""A training in less memory: the weights of transformers cut into parts, and activations computed a second time.

A transformer is a module that is called as a whole and holds equal layers as ``blocks`` (an `nn.Sequential` or
`nn.ModuleList`), which take nearly all of its memory. Neither changes the numbers, but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vaebench.contracts import Finishes, Phase
from vaebench.engine.ranks import Ranks

_Transformer = tuple[nn.Module, Iterable[nn.Module]]  # and its layers


def lightened(model: nn.Module, ranks: Ranks, device: torch.device) -> Ranks:
    """Have a model take less memory, as ``ranks`` say, before it has optimisers; they without what is not possible.

    Cut are transformers that are trained, in a phase that has no other weights; not if one process `Finishes` them.
    """
    if ranks.recompute:
        for _, blocks in _transformers(model):
            for block in blocks:
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    found = [] if not ranks.shard or isinstance(model, Finishes) else list(_to_cut(model))
    if found:
        ranks.share(model)
        _shard(found, ranks.size, device)
    return replace(ranks, shard=bool(found))


def _shard(found: Sequence[_Transformer], size: int, device: torch.device) -> None:
    """Leave each process a part of weights, gradients and moments (FSDP2); a layer is whole while it is computed."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (size,))
    for transformer, blocks in found:
        for block in blocks:
            fully_shard(block, mesh=mesh)
        transformer.register_forward_hook(_no_view)
        fully_shard(transformer, mesh=mesh)


def _no_view(module: nn.Module, given: Any, output: Any) -> Any:
    """What is done in place to a view would take PyTorch's note of it away, that the weights are needed again."""
    return output.clone() if isinstance(output, Tensor) else output


def _transformers(model: nn.Module) -> Iterator[_Transformer]:
    """Those within a model."""
    for module in model.modules():
        blocks = getattr(module, "blocks", None)
        if isinstance(blocks, nn.Sequential | nn.ModuleList):
            yield module, blocks


def _to_cut(model: nn.Module) -> Iterator[_Transformer]:
    """Those that are trained, in phases of which they have all weights: an optimiser takes parts alone, or none.

    With several phases none whose last layer is looked at: the weight of an adversary takes its gradient alone.
    """
    phases: Sequence[Phase] = model.phases  # type: ignore[assignment]
    found = [one for one in _transformers(model) if len(phases) == 1 or not hasattr(one[0], "last_weight")]
    theirs = {id(weight) for one, _ in found for weight in one.parameters()}
    whole = [phase for phase in phases if theirs.issuperset(map(id, phase.parameters))]
    trained = {id(weight) for phase in whole for weight in phase.parameters}
    for one in found:
        if trained.intersection(map(id, one[0].parameters())):
            yield one

"""What the suite on points in the plane asks of a model and of its data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@runtime_checkable
class MovesPoints(Protocol):
    """Points that a training has moved, at m moments of it.

    ``path``: positions float32 ``[m n 2]``, the last moment the end. ``steps``: int64 ``[m]``, after how many steps;
    -1 for a moment that was not reached. ``arrows``: ``[m l k 2]``, whither distribution matching would move the first
    k points at the ``levels`` ``[l]``, times from 0 (noise) to 1 (data).
    """

    @property
    def path(self) -> Tensor: ...

    @property
    def steps(self) -> Tensor: ...

    @property
    def arrows(self) -> Tensor: ...

    @property
    def levels(self) -> Tensor: ...


@runtime_checkable
class HasReference(Protocol):
    """``reference``: ``count`` fresh points of the law that the data follows, float32 ``[count d]`` on the CPU."""

    def reference(self, count: int, generator: torch.Generator) -> Tensor: ...

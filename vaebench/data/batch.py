"""What data hands to a training step, and what all sets to train on have in common."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One training batch: ``x`` is what is modelled, ``y`` what it is modelled given.

    Images: ``x`` float32 ``[b c h w]`` in [0, 1], labels ``y`` int64 ``[b]``. Audio: ``x`` float32 ``[b 1 t]`` in
    [-1, 1], labels ``y`` as for images. Texts: embedded solutions ``x`` and questions ``y``, float32 ``[b e]``. A
    language model: token ids ``x`` int64 ``[b t]``, ``y`` the same with -100 where not scored.
    """

    x: Tensor
    y: Tensor


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a set says of itself.

    ``source``: ``embedded``, ``VAEBENCH_DATA``, ``download`` or ``dataset.path``. ``digest``: 16 hex digits, of the
    content. ``note``: which part of a set this is, and what was left out of it; empty for all of it. ``stand_in``:
    whether it stands for a paper's dataset without being it.
    """

    source: str
    digest: str
    note: str = ""
    stand_in: bool = False


@dataclass(frozen=True, kw_only=True)
class Held(Facts):
    """A set to train on, as `vaebench.contracts.TrainingData`.

    ``place``: where batches go if the data are mapped from files on disk, and so stay on the CPU; None for data in
    memory.
    """

    place: torch.device | None = None

    @property
    def device(self) -> torch.device:
        """Where batches go."""
        device: torch.device = self.place or next(iter(self._parts().values())).device
        return device

    @property
    def mapped(self) -> bool:
        """Whether the data lie on a disk."""
        return self.place is not None

    def to(self, device: torch.device | str) -> Self:
        """The same data on ``device``; mapped ones stay, and their batches go there."""
        import torch

        moved = copy(self)  # not `replace`: what is moved was checked when it was made
        if self.place is None:
            vars(moved).update({name: part.to(device) for name, part in self._parts().items()})
        else:
            vars(moved)["place"] = torch.device(device)
        return moved

    def _only(self, **parts: Any) -> Self:
        """With these parts in place of all training items, where they lie."""
        found = copy(self)
        vars(found).update(parts, place=None)
        return found

    def _parts(self) -> dict[str, Any]:
        """The tensors, by field."""
        return {name: value for name, value in vars(self).items() if hasattr(value, "to")}


def sent(values: Tensor, device: torch.device) -> Tensor:
    """The same on ``device``; on the way to a GPU from memory that is pinned, so that nobody waits for the copy."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)

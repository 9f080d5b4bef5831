"""What data hands to a training step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One training batch: ``x`` is what is modelled, ``y`` what it is modelled given.

    Images: ``x`` float32 ``[b c h w]`` in [0, 1], labels ``y`` int64 ``[b]``. Audio: ``x`` float32 ``[b 1 t]`` in
    [-1, 1], labels ``y`` as for images. Texts: embedded solutions ``x`` and
    questions ``y``, float32 ``[b e]``. A language model: token ids ``x`` int64 ``[b t]``, ``y`` the same with -100
    where not scored.
    """

    x: Tensor
    y: Tensor

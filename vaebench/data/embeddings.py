"""Embedded texts: shards of vectors on disk, and pairs (question, solution) in memory for training."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from vaebench.data.batch import Batch, Held
from vaebench.data.shards import again, tensors
from vaebench.errors import UserError

_NAME, _TRUNCATED = "vectors", "truncated"


def to_bytes(vectors: Tensor, truncated: int) -> bytes:
    """One shard, float32 ``[n e]``, as a safetensors file; ``truncated`` of its texts were cut by the embedder."""
    return save({_NAME: vectors.float().contiguous(), _TRUNCATED: torch.tensor(truncated)})


def read(paths: Sequence[Path], folder: Path) -> Tensor:
    """The vectors in the shards of a run's folder, in order, float32 ``[n e]``.

    Raises `UserError` if one cannot be read.
    """
    vectors: list[Tensor] = []
    for path, shard in zip(paths, tensors(paths, folder, _NAME), strict=True):
        part = shard[_NAME]
        if part.dtype != torch.float32 or part.ndim != 2 or (vectors and part.shape[1] != vectors[0].shape[1]):
            raise UserError(f"{path}: holds {list(part.shape)} {part.dtype}, no vectors; {again(folder)}")
        vectors.append(part)
    return torch.cat(vectors)


def truncated(paths: Sequence[Path], folder: Path) -> int:
    """How many of the texts were too long for the embedder."""
    return sum(int(shard[_TRUNCATED]) for shard in tensors(paths, folder, _TRUNCATED))


@dataclass(frozen=True)
class Pairs(Held):
    """Embedded training pairs, float32 ``[n e]`` each: a batch is solutions ``x`` given questions ``y``."""

    name: str
    questions: Tensor
    solutions: Tensor

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self.questions)

    def batch(self, rows: Tensor) -> Batch:
        """The pairs in these rows."""
        return Batch(self.solutions[rows], self.questions[rows])


def digest(*vectors: Tensor) -> str:
    """16 hex digits of the sha256 over the vectors' bytes."""
    found = hashlib.sha256()
    for part in vectors:
        found.update(part.contiguous().numpy().tobytes())
    return found.hexdigest()[:16]

"""What runs work with, and what executors exchange with workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor, nn

    from vaebench.data.answers import Answers
    from vaebench.data.latents import LatentData
    from vaebench.data.problems import Problems


@dataclass(frozen=True)
class Work:
    """What a run works with: ``parents`` are the folders of the runs it builds on, by role."""

    parents: Mapping[str, Path]
    device: torch.device


class AnswerSource(Protocol):
    """Where answers come from: recorded files or a language model.

    ``shard``: how many problems make one shard, the most that a killed process loses.
    ``open``: read the files or load the model; raises `UserError` with what to do. ``left_out`` afterwards: what could
    not be used, one line each ("file:line: reason"); ``notes``: what else is worth saying in the summary. ``answer``:
    the answers to these problems. What it returns depends on the request and ``rows`` alone, not on what was done
    before, so a resumed run gives the same answers.
    """

    shard: int
    left_out: Sequence[str]
    notes: Sequence[str]

    def open(self, problems: Problems, work: Work) -> None: ...

    def answer(self, rows: range) -> Answers: ...


class Embedder(Protocol):
    """Text to vectors. ``dim``: their width. ``shard``: how many texts make one shard.

    ``open``: load the model; raises `UserError` with what to do. ``embed``: float32 ``[n dim]`` on the CPU; ``kind`` is
    ``question`` or ``solution``. ``truncated``: how many of the texts embedded so far were cut to the model's length.
    """

    dim: int
    shard: int
    truncated: int

    def open(self, work: Work) -> None: ...

    def embed(self, texts: Sequence[str], kind: str) -> Tensor: ...


@runtime_checkable
class FittedEmbedder(Protocol):
    """An embedder that learns from the training texts before it embeds; what it learnt is stored beside the vectors."""

    def fit(self, texts: Sequence[str]) -> None: ...

    def save(self, folder: Path) -> None: ...

    def load(self, folder: Path) -> None: ...


@dataclass(frozen=True)
class ReferenceInputs:
    """What a reference distribution may be made of.

    ``latent_shape`` (l, h, w), ``latent_mean``, ``latent_std``: of the tokenizer whose latents will be matched with it.
    ``dataset``: the name of the images. ``features``: raw latents of the training images (by this or another tokenizer,
    whose normalisation is ``features_mean``, ``features_std``). ``flow``: a trained latent diffusion model, with
    ``features`` the latents it was trained on. ``embed``: texts -> float32 ``[n e]`` on the CPU.
    """

    latent_shape: tuple[int, int, int]
    latent_mean: float
    latent_std: float
    dataset: str
    seed: int
    features: LatentData | None = None
    features_mean: float = 0.0
    features_std: float = 1.0
    flow: nn.Module | None = None
    embed: Callable[[Sequence[str]], Tensor] | None = None


@dataclass(frozen=True)
class ReferenceItems:
    """Samples of a law: ``z`` float32 ``[n l h w]`` in normalised units, ``labels`` int64 ``[n]`` or None."""

    z: Tensor
    labels: Tensor | None


class Reference(Protocol):
    """A distribution that latents are matched with. ``draw`` depends on the request alone; raises `UserError`."""

    def draw(self, given: ReferenceInputs) -> ReferenceItems: ...


@dataclass(frozen=True)
class Job:
    """All an executor ships to a worker: ``verb`` says what to do with the request in ``folder``."""

    verb: str
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """How a job ended: ``status`` is ``done``, ``failed`` or ``interrupted``; ``reason`` one line."""

    job: Job
    status: str
    reason: str = ""

"""What runs work with, what an evaluation receives and gives, what executors exchange with workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch
    from torch import Tensor, nn

    from vaebench.data.answers import Answers, Grades
    from vaebench.data.audio import AudioData
    from vaebench.data.images import ImageData
    from vaebench.data.latents import LatentData
    from vaebench.data.problems import Problems


@dataclass(frozen=True)
class Measurement:
    """One number with what it takes to read it; infinite only where ``protocol`` says of how many (``infinite``).

    ``name`` as the paper YAML's column asks for it (``psnr``, ``ssim_valid``, ``accuracy@0.3``); ``count``: how many
    samples went in; ``protocol``: every choice that changes the value, as flat plain data.
    """

    name: str
    value: float
    count: int
    unit: str
    protocol: Mapping[str, Any]
    # A number over all seeds at once: its 95 % interval, and the value each seed gives by itself.
    low: float | None = None
    high: float | None = None
    by_seed: tuple[float, ...] = ()


@dataclass(frozen=True)
class SuiteInputs:
    """What a suite receives. ``model`` is in eval mode on ``device``; ``classifier`` only if the suite asked for it.

    ``cache`` is a folder for reference statistics; ``classifier_key`` the run key behind ``classifier``;
    ``reference``: samples of the law that the model's latents were matched with, in raw units; None for other models.
    ``track(done, total)`` reports progress.
    """

    model: Any
    data: ImageData | AudioData
    device: torch.device
    cache: Path
    classifier: Any | None = None
    classifier_key: str = ""
    reference: LatentData | None = None
    track: Callable[[int, int], None] = lambda done, total: None


@dataclass(frozen=True)
class AnswerInputs:
    """What a suite on recorded or generated answers receives: n answers to q problems.

    ``models``: one trained model per seed, in eval mode on ``device`` (none for the rows that need no model).
    ``questions`` ``[q e]`` and ``solutions`` ``[n e]``: embeddings float32 of the problems and of the answers (None
    without models). ``grades``: what each answer says and whether it is right. ``track(done, total)`` reports progress.
    """

    problems: Problems
    answers: Answers
    grades: Grades
    models: Sequence[Any]
    questions: Tensor | None
    solutions: Tensor | None
    device: torch.device
    track: Callable[[int, int], None] = lambda done, total: None


@dataclass(frozen=True)
class SuiteResult:
    """Measurements, and arrays for pictures (images uint8 ``[n h w c]`` or any small numeric array).

    ``left_out``: by name, why a measurement could not be taken; the others stand.
    """

    measurements: tuple[Measurement, ...]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class ChecksModel(Protocol):
    """A suite whose options ask more of a model than a capability.

    ``check``: raises `UserError` for what this model cannot be asked for, before it is trained.
    """

    def check(self, model: Any) -> None: ...


class Suite(Protocol):
    """An evaluation protocol.

    ``requires``: capabilities the model must have. ``needs_classifier``: whether a trained classifier is a parent;
    with ``own_classifier`` one that is trained on the model's reconstructions.
    On answers `run` takes `AnswerInputs`, of a design alone (``of_design = True``) a `metrics.cost.Design`.
    """

    requires: tuple[type, ...]

    @property
    def needs_classifier(self) -> bool: ...

    def run(self, inputs: Any) -> SuiteResult: ...


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

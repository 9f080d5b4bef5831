"""What the parts of vaebench promise each other: small Protocols and frozen records.

Shapes: ``b`` batch, ``c`` channels, ``h w`` height and width, ``l`` latent width, ``d`` feature width.
Images are float32 in [0, 1], ``[b c h w]``, at every boundary; another range carries its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
    from vaebench.data.problems import Problems


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


class TrainingData(Protocol):
    """What the loop trains on: in memory on the training device, so that a batch is an index.

    ``source``: ``embedded``, ``VAEBENCH_DATA`` or ``download``. ``digest``: hex digits, of the content. ``note``: which
    part of a set this is. ``stand_in``: whether it stands for a paper's dataset without being it.
    """

    @property
    def name(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def digest(self) -> str: ...

    @property
    def note(self) -> str: ...

    @property
    def stand_in(self) -> bool: ...

    @property
    def device(self) -> torch.device: ...

    def __len__(self) -> int: ...

    def batch(self, rows: Tensor) -> Batch: ...

    def to(self, device: torch.device | str) -> TrainingData: ...


@dataclass(frozen=True)
class LossOutput:
    """``total``: the scalar to differentiate. ``terms``: detached, unweighted, named as in the paper."""

    total: Tensor
    terms: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Phase:
    """One optimiser's turn within a step; exactly ``parameters`` are updated, every ``every`` steps."""

    name: str
    parameters: tuple[nn.Parameter, ...]
    loss: Callable[[Batch, int], LossOutput]
    every: int = 1


class Model(Protocol):
    """A method. ``phases`` in the order of a step; empty for a model without gradient training."""

    @property
    def phases(self) -> tuple[Phase, ...]: ...


# Capabilities: what a suite may ask of a model. They are checked before anything runs.


@runtime_checkable
class FitsInClosedForm(Protocol):
    """Fitted once to all training images ``[n c h w]`` uint8 instead of by gradient steps (PCA)."""

    def fit(self, images: Tensor) -> None: ...


@runtime_checkable
class LooksAtData(Protocol):
    """Sees all training data once before the first step (the statistics of a standardisation, kept as buffers)."""

    def look(self, data: TrainingData) -> None: ...


@runtime_checkable
class Validates(Protocol):
    """``validation_loss``: the loss on held-out data, without noise where the method allows it; lower is better."""

    def validation_loss(self, batch: Batch) -> Tensor: ...


@runtime_checkable
class Finishes(Protocol):
    """``finish``: what is done once after the last step, with the training data (VP-VAE fits its codebook)."""

    def finish(self, data: TrainingData) -> None: ...


@runtime_checkable
class Watches(Protocol):
    """``watch``: numbers that are worth following during the training, ``{"usage": 0.93}``, on training data.

    It draws from no global generator and changes nothing in the model.
    """

    def watch(self, data: TrainingData) -> Mapping[str, float]: ...


@runtime_checkable
class Exports(Protocol):
    """``export``: write the trained model in another library's format into ``folder`` (a transformers checkpoint)."""

    def export(self, folder: Path) -> None: ...


@runtime_checkable
class ScoresCandidates(Protocol):
    """``scores``: one number per candidate answer by each of the method's scores, ``{name: [b]}``; **lower is picked**.

    ``solution``, ``question``: embeddings float32 ``[b e]`` as the embedder made them. Deterministic: no sampling.
    ``posterior``: mean and log-variance ``[b l]``, for methods that have one; else None.
    """

    def scores(self, solution: Tensor, question: Tensor) -> dict[str, Tensor]: ...

    def posterior(self, solution: Tensor, question: Tensor) -> tuple[Tensor, Tensor] | None: ...


@runtime_checkable
class Reconstructs(Protocol):
    """``encode``: images or audio -> test-time code ``[b l]`` or ``[b l *grid]``. ``decode``: back to them."""

    def encode(self, x: Tensor) -> Tensor: ...

    def decode(self, z: Tensor) -> Tensor: ...


@runtime_checkable
class Tokenizes(Protocol):
    """A discrete code. ``codebook_size``: how many codes there really are; ``nominal_size``: how many the table says.

    ``tokenize``: a batch -> int64 ``[b *grid]`` in ``0 ... codebook_size - 1``; ``detokenize``: back to images or
    audio, equal to ``decode(encode(x))``.
    """

    @property
    def codebook_size(self) -> int: ...

    @property
    def nominal_size(self) -> int: ...

    def tokenize(self, x: Tensor) -> Tensor: ...

    def detokenize(self, indices: Tensor) -> Tensor: ...


@runtime_checkable
class EncodesContinuously(Protocol):
    """``encode_both``: what ``encode`` gives, and the same before it became codes; ``decode`` takes either."""

    def encode_both(self, x: Tensor) -> tuple[Tensor, Tensor]: ...


@runtime_checkable
class Samples(Protocol):
    """``sample``: ``count`` images from the prior, drawn with ``generator``."""

    def sample(self, count: int, generator: torch.Generator) -> Tensor: ...


@runtime_checkable
class MasksLatents(Protocol):
    """Keeps some latent dimensions for a whole batch: masks are bool ``[l]``.

    ``encode_masked``: the test-time code ``[b l]`` with this mask in place of the moving average's.
    """

    def batch_mask(self, x: Tensor) -> Tensor: ...

    def encode_masked(self, x: Tensor, mask: Tensor) -> Tensor: ...

    def ema_mask(self) -> Tensor: ...

    def importance_ema(self) -> Tensor: ...


@runtime_checkable
class Classifies(Protocol):
    """``logits``: images -> ``[b classes]``. ``features``: penultimate activations ``[b d]``."""

    def logits(self, x: Tensor) -> Tensor: ...

    def features(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Measurement:
    """One number with what it takes to read it.

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
    ``track(done, total)`` reports progress.
    """

    model: Any
    data: ImageData | AudioData
    device: torch.device
    cache: Path
    classifier: Any | None = None
    classifier_key: str = ""
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
class Work:
    """What a stage works with: ``parents`` are the folders of the runs it builds on, by role."""

    parents: Mapping[str, Path]
    device: torch.device
    seed: int = 0


class AnswerSource(Protocol):
    """Where answers come from: recorded files or a language model.

    ``shard``: how many problems make one shard, the most that a killed process loses.
    ``open``: read the files or load the model; raises `UserError` with what to do. ``left_out`` afterwards: what could
    not be used, one line each ("file:line: reason"); ``notes``: what else is worth saying in the summary. ``answer``:
    the answers to these problems. What it returns depends on the request and ``rows`` alone, not on what was done
    before, so a resumed stage gives the same answers.
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
class SuiteResult:
    """Measurements, and arrays for pictures (images uint8 ``[n h w c]`` or any small numeric array)."""

    measurements: tuple[Measurement, ...]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


class Suite(Protocol):
    """An evaluation protocol.

    ``requires``: capabilities the model must have. ``needs_classifier``: whether a trained classifier is a parent.
    On answers `run` takes `AnswerInputs`.
    """

    requires: tuple[type, ...]

    @property
    def needs_classifier(self) -> bool: ...

    def run(self, inputs: Any) -> SuiteResult: ...


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


class Executor(Protocol):
    """Runs jobs and yields their outcomes in any order."""

    def submit(self, jobs: list[Job]) -> Iterator[Outcome]: ...

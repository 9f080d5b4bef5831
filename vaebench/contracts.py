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
    import numpy as np
    import torch
    from torch import Tensor, nn

    from vaebench.data.images import ImageData


@dataclass(frozen=True)
class Batch:
    """One training batch: images ``x`` float32 ``[b c h w]`` in [0, 1], labels ``y`` int64 ``[b]``."""

    x: Tensor
    y: Tensor


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
class Reconstructs(Protocol):
    """``encode``: ``[b c h w]`` -> test-time code ``[b l]``. ``decode``: code -> images in [0, 1]."""

    def encode(self, x: Tensor) -> Tensor: ...

    def decode(self, z: Tensor) -> Tensor: ...


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


@dataclass(frozen=True)
class SuiteInputs:
    """What a suite receives. ``model`` is in eval mode on ``device``; ``classifier`` only if the suite asked for it.

    ``cache`` is a folder for reference statistics; ``classifier_key`` the run key behind ``classifier``;
    ``track(done, total)`` reports progress.
    """

    model: Any
    data: ImageData
    device: torch.device
    cache: Path
    classifier: Any | None = None
    classifier_key: str = ""
    track: Callable[[int, int], None] = lambda done, total: None


@dataclass(frozen=True)
class SuiteResult:
    """Measurements, and arrays for pictures (images uint8 ``[n h w c]`` or any small numeric array)."""

    measurements: tuple[Measurement, ...]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


class Suite(Protocol):
    """An evaluation protocol.

    ``requires``: capabilities the model must have. ``needs_classifier``: whether a trained classifier is a parent.
    """

    requires: tuple[type, ...]

    @property
    def needs_classifier(self) -> bool: ...

    def run(self, inputs: SuiteInputs) -> SuiteResult: ...


@dataclass(frozen=True)
class Job:
    """All an executor ships to a worker: ``verb`` is ``train`` or ``eval``, ``folder`` holds the request."""

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

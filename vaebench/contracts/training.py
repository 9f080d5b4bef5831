"""What the loop trains, on what, and what a method may ask of it.

Shapes: ``b`` batch, ``c`` channels, ``h w`` height and width, ``l`` latent width, ``d`` feature width.
Images are float32 in [0, 1], ``[b c h w]``, at every boundary; another range carries its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from vaebench.data.batch import Batch

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


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


@runtime_checkable
class HasClasses(Protocol):
    """Data with labels. ``classes``: labels run from 0 to one less; 0 or 1 where they tell nothing apart."""

    @property
    def classes(self) -> int: ...


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
class Averages(Protocol):
    """``average``: called once after every step, when all phases are done (a moving average of the weights)."""

    def average(self) -> None: ...


@runtime_checkable
class Perceives(Protocol):
    """``perceive``: takes a trained classifier (`HasLayers`) whose layers stand in for LPIPS; before the first step.

    The classifier is neither trained nor stored with the model. Asked of a model whose YAML says
    ``perceptual: classifier``.
    """

    def perceive(self, classifier: nn.Module) -> None: ...


@runtime_checkable
class Starts(Protocol):
    """``start``: begins with another run's trained model of the same method (tuning at another resolution).

    Raises `UserError` if that model does not fit.
    """

    def start(self, trained: nn.Module) -> None: ...


@runtime_checkable
class TakesEncoder(Protocol):
    """``take_encoder``: takes over the encoder of another run's trained model before the first step.

    Raises `UserError` if it is not the encoder the model was built for.
    """

    def take_encoder(self, learner: nn.Module) -> None: ...


@runtime_checkable
class TakesTeacher(Protocol):
    """``teach``: takes a trained model whose score the training follows; neither trained nor stored with this one.

    Raises `UserError` if it does not fit.
    """

    def teach(self, teacher: nn.Module) -> None: ...


@runtime_checkable
class NormalisesLike(Protocol):
    """``normalise_like``: takes over the normalisation of the autoencoder on whose latents the model is trained."""

    def normalise_like(self, autoencoder: nn.Module) -> None: ...


@runtime_checkable
class LoadsPretrained(Protocol):
    """``load_pretrained``: fetches weights that others have trained, once before a training that begins with them.

    Raises `UserError` with what to do where they cannot be had. Does nothing for a model that has none.
    """

    def load_pretrained(self) -> None: ...


@runtime_checkable
class Floors(Protocol):
    """``floors``: what a logged term (``phase/term``) must not fall below, and what it means if it does."""

    @property
    def floors(self) -> Mapping[str, tuple[float, str]]: ...

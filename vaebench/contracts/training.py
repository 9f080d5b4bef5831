"""What the loop trains, on what, and what a method may ask of it.

Shapes: ``b`` batch, ``c`` channels, ``h w`` height and width, ``l`` latent width, ``d`` feature width.
Images are float32 in [0, 1], ``[b c h w]``, at every boundary; another range carries its name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from vaebench.data.batch import Batch

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from vaebench.config.request import Request


class TrainingData(Protocol):
    """What the loop trains on: in memory on the training device, so that a batch is an index, or else `Fetches`.

    ``source``: ``embedded``, ``VAEBENCH_DATA``, ``download`` or ``dataset.path``. ``digest``: hex digits, of the
    content. ``note``: which part of a set this is. ``stand_in``: whether it stands for a paper's dataset without being
    it.
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
class Fetches(Protocol):
    """Data that may lie on a disk. ``mapped``: whether they do.

    ``fetched(rows)``, rows on the CPU: the data of these alone, as row 0 and those behind it, in memory on the training
    device. Several threads ask for some at a time, and nothing is drawn. A batch of them is that of ``rows``, to the
    last bit.
    """

    @property
    def mapped(self) -> bool: ...

    def fetched(self, rows: Tensor) -> TrainingData: ...


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
    """One optimiser's turn within a step; exactly ``parameters`` are updated, every ``every`` steps.

    A model has ``phases``, in the order of a step; none if it is trained without gradients.
    """

    name: str
    parameters: tuple[nn.Parameter, ...]
    loss: Callable[[Batch, int], LossOutput]
    every: int = 1


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
class Adopts(Protocol):
    """A model that takes something of the models of the runs it builds on.

    ``adopts``: in which roles. ``adopt``: called once for each parent before the first step, in the order in which the
    request names them; weights to begin with are copied, what is only looked at is neither trained nor stored with the
    model. ``keeps``: the roles whose parents the trained model needs as well. Raises `UserError` for a parent that does
    not fit.

    Roles: ``start`` (the weights to begin with), ``perceptual`` (a classifier, `HasLayers`, whose layers stand in for
    LPIPS), ``autoencoder`` (on whose latents the model is trained), and what the links of a chain name.
    """

    adopts: Collection[str]
    keeps: Collection[str]

    def adopt(self, role: str, parent: nn.Module) -> None: ...


class Completed(Protocol):
    """A model's class some of whose options follow from what it builds on.

    ``completed``: its options with those filled in; ``parents``: by role, the requests of its parents; ``reference``:
    the configuration's. Raises `UserError` for options that do not go with them.
    """

    @staticmethod
    def completed(
        options: Mapping[str, Any], parents: Mapping[str, Request], reference: Mapping[str, Any] | None
    ) -> dict[str, Any]: ...


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

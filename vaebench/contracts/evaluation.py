"""What an evaluation receives and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch
    from torch import Tensor

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

    ``requires``: capabilities the model must have. ``needs_classifier``: whether a trained classifier is a parent.
    On answers `run` takes `AnswerInputs`, of a design alone (``of_design = True``) a `metrics.cost.Design`.
    """

    requires: tuple[type, ...]

    @property
    def needs_classifier(self) -> bool: ...

    def run(self, inputs: Any) -> SuiteResult: ...

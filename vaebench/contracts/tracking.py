"""What a tracker is told of the runs that are made: TensorBoard, Weights & Biases, MLflow, or somebody's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np

Ended = Literal["done", "interrupted", "failed"]


@dataclass(frozen=True)
class Tracked:
    """A run as a tracker is told of it.

    ``key``: of the run, the same when it is resumed. ``parent``: that of the training which an evaluation looks at;
    else empty. ``name``: for people. ``config``: the request, nested plain data. ``tags``: texts by name (model,
    dataset, seed, ...). ``store``: the folder of all runs. ``step``: after which a training goes on, 0 for a new one.
    """

    key: str
    name: str
    config: Mapping[str, Any]
    tags: Mapping[str, str]
    store: Path
    parent: str = ""
    step: int = 0


class Tracker(Protocol):
    """Shows runs while they are made; one object for each run. Its options are the arguments of its constructor.

    ``sample_every``: steps between two grids of images, None for no grids. ``where``: what tells a person how to look
    at the runs of a store, in one line. ``begin``: returns the last step that the tracker has of this run already,
    0 for none. ``curves``: numbers by name after a training step. ``images``: grids uint8 ``[h w 3]`` by name.
    ``final``: numbers of the whole run, after its last ``step``. ``close``: how the run ended.

    `begin` and what follows are called in a thread of their own, one after the other. What they raise ends the
    tracking and never the run.
    """

    sample_every: int | None

    def where(self, store: Path) -> str: ...

    def begin(self, run: Tracked) -> int: ...

    def curves(self, step: int, values: Mapping[str, float]) -> None: ...

    def images(self, step: int, grids: Mapping[str, np.ndarray]) -> None: ...

    def final(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self, ended: Ended) -> None: ...

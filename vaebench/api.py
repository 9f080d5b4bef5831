"""From Python: what the command line does, and trained models to work with. ``import vaebench`` gives it all.

Overrides are those of the command line, ``"model.k=4"``. What a command would refuse raises `UserError`. torch is
imported when a model is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.errors import UserError

if TYPE_CHECKING:
    import torch
    from pandas import DataFrame
    from torch import Tensor, nn

    from vaebench.config.spine import TrainConfig
    from vaebench.contracts import TrainingData
    from vaebench.papers.tables import Paper
    from vaebench.runs.store import Run

Folder = str | os.PathLike[str]
__all__ = ["Model", "Trained", "UserError", "evaluate", "load", "reported", "runs", "table", "train"]


@dataclass(frozen=True)
class Model:
    """A trained model. Images are float ``[b c h w]`` in [0, 1], as everywhere; codes are what the method makes.

    ``module``: the model itself, in eval mode, with all its methods.
    """

    module: nn.Module
    device: torch.device

    def encode(self, images: Tensor) -> Tensor:
        """Images to codes.

        Raises:
            UserError: images of whole numbers (divide them by 255), a batch without four axes, a model without codes.
        """
        return self._call("encode", self._checked(images))

    def decode(self, codes: Tensor) -> Tensor:
        """Codes to images. Raises `UserError` for a model without a decoder."""
        return self._call("decode", codes)

    def reconstruct(self, images: Tensor) -> Tensor:
        """What the model makes of images. Raises as `encode` and `decode` do."""
        return self.decode(self.encode(images))

    def sample(self, count: int, seed: int = 0) -> Tensor:
        """``count`` new images, the same for the same seed. Raises `UserError` for a model that does not sample."""
        import torch

        with torch.no_grad():
            found: Tensor = self._method("sample")(count, torch.Generator().manual_seed(seed))
            return found

    def _call(self, name: str, given: Tensor) -> Tensor:
        import torch

        with torch.no_grad():
            found: Tensor = self._method(name)(given.to(self.device))
            return found

    def _method(self, name: str) -> Any:
        method = getattr(self.module, name, None)
        if method is None:
            raise UserError(f"{type(self.module).__name__} has no {name}")
        return method

    def _checked(self, images: Tensor) -> Tensor:
        if not images.is_floating_point():
            raise UserError(
                f"images are {images.dtype}: expected floats in [0, 1]; divide by 255 (images.float() / 255)"
            )
        if images.ndim != 4:
            raise UserError(f"images have the shape {list(images.shape)}: expected [b, c, h, w]")
        return images


@dataclass(frozen=True)
class Trained:
    """A finished training: its ``key``, the ``request`` it answers (plain data) and the ``folder`` that holds it."""

    key: str
    request: Mapping[str, Any]
    folder: Path
    device: str = "cpu"

    @cached_property
    def model(self) -> Model:
        """The model, with its weights. Raises `UserError` if the run is damaged."""
        from vaebench.engine.runtime import resolve_device
        from vaebench.runs.load import load_model

        device = resolve_device(self.device)
        return Model(load_model(self._run, device), device)

    @cached_property
    def dataset(self) -> TrainingData:
        """What it was trained on: of images ``train_x``, ``test_x`` (uint8 ``[n c h w]``), ``train_y``, ``test_y``.

        Raises `UserError` if the data are not here, or others than they were.
        """
        from vaebench.runs.load import dataset_of

        return dataset_of(self._run)

    @property
    def result(self) -> Mapping[str, Any]:
        """Steps, epochs, parameters."""
        return self._run.result()

    def log(self) -> DataFrame:
        """The losses, a line for every ``train.log_every`` steps."""
        import pandas as pd

        return pd.DataFrame(self._run.log())

    @property
    def _run(self) -> Run:
        from vaebench.runs.store import Run

        return Run(self.folder)


def load(key: str, *, store: Folder | None = None, device: str = "cpu") -> Trained:
    """The training whose key begins so, in ``store`` (by default $VAEBENCH_HOME, else ``./runs``).

    Raises:
        UserError: there is none, or several; it is no training, or not finished.
    """
    from vaebench.runs.listed import named, training
    from vaebench.runs.store import Store, store_root

    run = named(Store(store_root(None if store is None else os.fspath(store))), key)
    return Trained(run.key, dict(training(run, f"run {run.key}").data), run.folder, device)


def train(*overrides: str, store: Folder | None = None, device: str = "cpu") -> Trained:
    """``vaebench train``: the run of these overrides, which is made if it is not there."""
    from vaebench.cli import commands

    with _configured("train", _words(overrides, store, device)) as cfg:
        run = commands.trained(cfg)
    return Trained(run.key, dict(run.request().data), run.folder, device)


def evaluate(*overrides: str, run: str | None = None, store: Folder | None = None, device: str = "cpu") -> DataFrame:
    """``vaebench eval``: measurements, a line each: ``measurement``, ``value``, ``count``, ``unit``, ``protocol``.

    ``run``: the beginning of a finished run's key, in place of the options of its training.
    """
    import pandas as pd

    from vaebench.cli import commands, stored

    words = _words(overrides, store, device)
    with _configured("eval", words if run is None else stored.words_for(run, words)) as cfg:
        evaluated = commands.evaluated(cfg, run or "")
    found = evaluated.result()["measurements"]
    columns = ("value", "count", "unit", "protocol")
    return pd.DataFrame([{"measurement": one["name"], **{name: one[name] for name in columns}} for one in found])


def runs(*where: str, store: Folder | None = None) -> DataFrame:
    """``vaebench list runs``: a line for each run, its options by their dotted names; ``where``: ``"model=vae"``."""
    from vaebench.runs import listed

    return listed.frame(where, store)


def reported(paper: str, table: str) -> DataFrame:
    """A paper's table as it is printed: ``row``, ``column`` and ``paper``, the number.

    Raises `UserError` for an unknown paper or table.
    """
    import pandas as pd

    printed = _paper_with(paper, table).tables[table].reported
    found = [(row, column, number) for row, numbers in printed.items() for column, number in numbers.items()]
    return pd.DataFrame(found, columns=["row", "column", "paper"])


def table(paper: str, table: str, *, results: Folder = "results") -> DataFrame:
    """A paper's table as it was measured: a line for each number, ours beside the paper's, with its verdict.

    ``results``: the folder that `vaebench reproduce` wrote. Raises `UserError` for an unknown paper or table, and if
    nothing of it is measured.
    """
    import pandas as pd

    from vaebench.papers.cells import Cells, cells_path
    from vaebench.report.summary import sections

    asked = _paper_with(paper, table)
    path = cells_path(Path(results), paper)
    if not path.exists():
        raise UserError(f"{path}: nothing of {paper} is measured there; run vaebench reproduce paper={paper}")
    found = [one for one in sections(asked, Cells.read(path)) if one.key == table]
    return pd.DataFrame(_lines(found))


def _paper_with(paper: str, table: str) -> Paper:
    """A paper that has such a table. Raises `UserError` for one that there is not, or that has none."""
    from vaebench.errors import unknown
    from vaebench.papers.tables import load as paper_of
    from vaebench.papers.tables import names

    known = names()
    if paper not in known:
        raise UserError(unknown("paper", paper, known))
    found = paper_of(paper)
    if table not in found.tables:
        raise UserError(unknown("table", table, found.tables))
    return found


def _lines(sections: Iterable[Any]) -> Iterable[dict[str, Any]]:
    for section in sections:
        for (row, column), cell in section.cells.items():
            ours = cell.ours
            yield {
                "scale": section.scale,
                "dataset": section.dataset,
                "row": row,
                "column": column,
                "ours": ours.mean if ours else None,
                "low": ours.low if ours else None,
                "high": ours.high if ours else None,
                "seeds": len(cell.values),
                "paper": cell.reported,
                "verdict": cell.verdict.text if cell.verdict else "",
            }


def _words(overrides: Iterable[str], store: Folder | None, device: str) -> list[str]:
    """The overrides as a command has them."""
    where = [] if store is None else [f"store={os.fspath(store)}"]
    return [*overrides, *where, f"runtime.device={device}", "quiet=true"]


@contextmanager
def _configured(name: str, words: list[str]) -> Iterator[TrainConfig]:
    """The configuration of a command, while configurations can be composed."""
    from vaebench.config.compose import configurations, session
    from vaebench.data.fetch import usual_images

    with session():
        yield configurations(name, words, sweep=False, images=usual_images)[0]

"""TensorBoard: event files, a folder for each run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import yaml

from vaebench.config.signatures import Count
from vaebench.contracts import Ended, Tracked

if TYPE_CHECKING:
    import numpy as np

_LONGEST = 150  # characters of a folder's name
_KEY = 6  # of them, of the run's key


@dataclass(kw_only=True)
class Tensorboard:
    """Event files in ``path``; null: ``tensorboard`` in the store."""

    path: str | None
    sample_every: Count | None

    def where(self, store: Path) -> str:
        """The command that shows them."""
        return f"tensorboard --logdir {quote(str(self._folder(store)))}"

    def begin(self, run: Tracked) -> int:
        """Open the run's folder. Readers drop what an earlier file has beyond the step at which the run goes on."""
        from torch.utils.tensorboard import SummaryWriter

        name = "".join("_" if character in "/\\\0" else character for character in run.name[:_LONGEST])
        folder = self._folder(run.store) / f"{name} {run.key[:_KEY]}"
        there = any(folder.glob("events.out.tfevents.*"))
        self.writer = SummaryWriter(folder, purge_step=run.step + 1 if there else None)
        if not there:
            about = yaml.safe_dump({**run.tags, **run.config}, sort_keys=False)
            self.writer.add_text("configuration", f"```yaml\n{about}```")
        return run.step if there else 0

    def curves(self, step: int, values: Mapping[str, float]) -> None:
        """A scalar for each number, on disk at once."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def images(self, step: int, grids: Mapping[str, np.ndarray]) -> None:
        """An image for each grid."""
        for name, grid in grids.items():
            self.writer.add_image(name, grid, step, dataformats="HWC")
        self.writer.flush()

    def final(self, step: int, values: Mapping[str, float]) -> None:
        """Scalars of one step."""
        self.curves(step, {f"final/{name}": value for name, value in values.items()})

    def close(self, ended: Ended) -> None:
        """Close the file; how the run ended stands in the store."""
        self.writer.close()

    def _folder(self, store: Path) -> Path:
        return Path(self.path).expanduser() if self.path else store / "tensorboard"

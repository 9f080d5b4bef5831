"""Trackio: a database on this machine, or the Space or server that its environment variables name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from vaebench.config.signatures import Count
from vaebench.contracts import Ended, Tracked

if TYPE_CHECKING:
    import numpy as np

_KEY = 6  # characters of the run's key: it is found again by its name


@dataclass(kw_only=True)
class Trackio:
    """Runs of a ``project``, where trackio keeps them (``TRACKIO_DIR``, ``TRACKIO_SPACE_ID``)."""

    project: str
    sample_every: Count | None

    def where(self, store: Path) -> str:
        """The command that shows them."""
        return f"trackio show --project {quote(self.project)}"

    def begin(self, run: Tracked) -> int:
        """Open the run, or go on with it."""
        import trackio

        self.run = trackio.init(
            project=self.project,
            name=f"{run.name} {run.key[:_KEY]}",
            group=run.tags.get("model"),
            config={**run.tags, **run.config},
            resume="allow",
            auto_log_cpu=False,
            auto_log_gpu=False,
        )
        return max(0, int(self.run._next_step) - 1)  # nothing public tells the last step of a Space or server

    def curves(self, step: int, values: Mapping[str, float]) -> None:
        """A line of the run's log."""
        self.run.log(dict(values), step=step)

    def images(self, step: int, grids: Mapping[str, np.ndarray]) -> None:
        """Images in the run's log."""
        import trackio

        self.run.log({name: trackio.Image(grid) for name, grid in grids.items()}, step=step)

    def final(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step."""
        self.curves(step, {f"final/{name}": value for name, value in values.items()})

    def close(self, ended: Ended) -> None:
        """Write what is left."""
        self.run.finish()

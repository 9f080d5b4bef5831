"""Weights & Biases, on its servers or your own; ``WANDB_MODE=offline`` keeps all on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from vaebench.config.signatures import Count
from vaebench.contracts import Ended, Tracked

if TYPE_CHECKING:
    import numpy as np

_LONGEST = 64  # characters of a tag


@dataclass(kw_only=True)
class Wandb:
    """Runs of a ``project``. Their ids are the keys of the runs. Its environment variables say all the rest."""

    project: str
    sample_every: Count | None

    def where(self, store: Path) -> str:
        """The address, or the command that sends what is kept here."""
        if os.environ.get("WANDB_MODE") == "offline":
            return f"wandb sync {quote(str(_folder(store) / 'wandb'))}/offline-run-*"
        host = os.environ.get("WANDB_BASE_URL", "https://wandb.ai").replace("https://api.", "https://")
        return f"{host}, project {self.project}"

    def begin(self, run: Tracked) -> int:
        """Open the run, or go on with it. An offline run goes on in another file, which `wandb sync` appends."""
        import wandb

        mode = wandb.setup().settings.mode
        if mode in ("online", "shared") and not wandb.login(prompt=False):
            raise RuntimeError("not logged in; run `wandb login`, or set WANDB_MODE=offline")
        folder = _folder(run.store)
        there = mode == "offline" and any((folder / "wandb").glob(f"offline-run-*-{run.key}"))
        self.run = wandb.init(
            project=self.project,
            id=run.key,
            name=run.name,
            group=run.parent or run.key,
            job_type=run.tags["kind"],
            tags=[f"{name}: {value}"[:_LONGEST] for name, value in run.tags.items()],
            config={**run.tags, **run.config},
            dir=str(folder),
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off"),
        )
        return run.step if there else max(0, self.run.step - 1)

    def curves(self, step: int, values: Mapping[str, float]) -> None:
        """A line of the run's history."""
        self.run.log(dict(values), step=step)

    def images(self, step: int, grids: Mapping[str, np.ndarray]) -> None:
        """Images in the run's history."""
        import wandb

        self.run.log({name: wandb.Image(grid) for name, grid in grids.items()}, step=step)

    def final(self, step: int, values: Mapping[str, float]) -> None:
        """The run's summary."""
        self.run.summary.update(dict(values))

    def close(self, ended: Ended) -> None:
        """Send what is left."""
        self.run.finish(exit_code=0 if ended == "done" else 1)


def _folder(store: Path) -> Path:
    return Path(os.environ.get("WANDB_DIR") or store)

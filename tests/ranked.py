"""Trainings of every experiment's model on one process and on two, for tests/test_ranks.py; processes import it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed

from benchmarks.prepared import prepared
from vaebench.config.spine import TrainSpec
from vaebench.contracts import Batch
from vaebench.engine.loop import Hooks, fit
from vaebench.engine.ranks import ALONE, Ranks
from vaebench.engine.sharding import lightened
from vaebench.errors import Interrupted, UserError
from vaebench.runs import build
from vaebench.runs.kinds import Setup
from vaebench.runs.kinds import latents as latent_kind
from vaebench.runs.store import Run


@dataclass(frozen=True)
class Doubled:
    """Training data in double precision."""

    data: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, rows: Tensor) -> Batch:
        """The same, each number as exact as it was."""
        found = self.data.batch(rows)
        return replace(found, x=found.x.double() if found.x.is_floating_point() else found.x)


@contextmanager
def double() -> Iterator[None]:
    """Inside it numbers are of double precision, also where a model says ``float()``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "float", Tensor.double)
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)


def losses(words: str, steps: int, ranks: Ranks = ALONE) -> list[dict[str, Any]]:
    """The entries of the log of some steps of an experiment (its name, and overrides), one each.

    In double precision, because rounding grows with the steps, above all where a model chooses.
    """
    with double():
        return _losses(words, steps, ranks)


def _losses(words: str, steps: int, ranks: Ranks) -> list[dict[str, Any]]:
    few = ["model.codebook_size=64"] if words.startswith("vpvae/") else []  # fewer codes than tokens
    model, data, request = prepared(*words.split(), f"train.max_steps={steps}", "train.log_every=1", *few)
    model, data = model.double(), Doubled(data)
    ranks = lightened(model, ranks, torch.device("cpu"))
    found: list[dict[str, Any]] = []
    torch.manual_seed(1)
    optimizers = build.optimizers(request, model)
    spec = TrainSpec(**{**request["train"], "watch_every": None, "snapshots": None})
    fit(model, data, optimizers=optimizers, seed=0, spec=spec, hooks=Hooks(log=found.append), ranks=ranks)
    return found


def rank(number: int, size: int, folder: str, wanted: list[str], steps: int, memory: dict[str, bool]) -> None:
    """One of several processes: the trainings one after the other; the first writes what they logged."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/meet", rank=number, world_size=size)
    found = {words: losses(words, steps, Ranks(number, size, **memory)) for words in wanted}
    if number == 0:
        Path(folder, "losses.json").write_text(json.dumps(found))
    if memory:
        Path(folder, f"held-{number}.json").write_text(json.dumps(held(Ranks(number, size, **memory))))
    leave()


def held(ranks: Ranks) -> tuple[list[int], int]:
    """Bytes that this process holds of a diffusion model's weights, their moments and averages; and those of all."""
    model, data, request = prepared("ldmae/ldm", "train.max_steps=1")
    whole = sum(weight.nbytes for weight in model.parameters())
    ranks = lightened(model, ranks, torch.device("cpu"))
    optimizers = build.optimizers(request, model)
    fit(model, data, optimizers=optimizers, seed=0, spec=TrainSpec(**request["train"]), ranks=ranks)
    moments = [one["exp_avg"] for one in optimizers["diffusion"].state.values()]
    averages = dict(model.averaged.network.named_buffers())
    kinds = list(model.parameters()), moments, [averages[name] for name, _ in model.network.named_parameters()]
    return [sum(local(tensor).nbytes for tensor in kind) for kind in kinds], whole


def local(tensor: Any) -> Tensor:
    """What this process holds of a tensor."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def disagreeing(number: int, size: int, folder: str) -> None:
    """One of several processes that are about to train on other data; each writes what it is told."""
    distributed.init_process_group("gloo", f"file://{folder}/meet", rank=number, world_size=size)
    try:
        Ranks(number, size).check_alike({"code": "abc", "data": f"d{number}"})
    except UserError as error:
        Path(folder, str(number)).write_text(str(error))
    leave()


def encoding(number: int, size: int, folder: str, run: str, rounds: int) -> None:
    """One of several processes that make latents, 200 to a shard; they stop after so many rounds."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/meet", rank=number, world_size=size)
    encoded(Run(Path(run)), Ranks(number, size), rounds)
    leave()


def encoded(run: Run, ranks: Ranks = ALONE, rounds: int = 99) -> list[int]:
    """Make latents, 200 to a shard, or as much as is made in so many rounds; what was reported of the progress."""
    asked, reported = iter(range(1, 100)), list[int]()
    with pytest.MonkeyPatch.context() as patch, suppress(Interrupted):
        patch.setattr(latent_kind, "IMAGES_PER_SHARD", 200)
        if ranks.rank:
            latent_kind.along(run, torch.device("cpu"), ranks)
        else:
            setup = Setup(torch.device("cpu"), lambda done, total: reported.append(done), lambda: next(asked) == rounds)
            latent_kind.work(run, replace(setup, ranks=ranks))
    return reported


def leave() -> None:
    """End together: who loses a connection that it still listens to may be ended by PyTorch."""
    distributed.barrier()
    distributed.destroy_process_group()

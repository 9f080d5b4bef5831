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
from torch import Tensor, distributed, nn

from vaebench.chains import check
from vaebench.chains.chain import training
from vaebench.config.choices import kinds
from vaebench.config.compose import compose, session
from vaebench.config.request import Request
from vaebench.config.spine import TrainSpec
from vaebench.contracts import Batch, TrainingData
from vaebench.data.embeddings import Pairs
from vaebench.data.latents import LatentData
from vaebench.engine.loop import Hooks, fit
from vaebench.engine.ranks import ALONE, Ranks
from vaebench.errors import Interrupted, UserError
from vaebench.runs import build
from vaebench.runs.kinds import Setup
from vaebench.runs.kinds import latents as latent_kind
from vaebench.runs.store import Run

EMBEDDED = {"images": "digits", "text": "tiny", "tokens": "arithmetic", "audio": "tones", "points": "s_curve"}


def latents(shape: tuple[int, int, int], count: int = 20) -> LatentData:
    """Latents of some images as a stage would leave them."""
    mean = torch.randn(count, 1, *shape, generator=torch.Generator().manual_seed(0))
    facts = {"name": "toy", "source": "", "digest": "", "note": "", "stand_in": True}
    return LatentData((mean,), (mean - 4,), torch.arange(count) % 10, place=torch.device("cpu"), **facts)


def pairs(width: int) -> Pairs:
    """Embedded questions and their solutions."""
    questions, solutions = torch.randn(2, 40, width, generator=torch.Generator().manual_seed(0))
    return Pairs("toy", questions, solutions, source="", digest="", note="", stand_in=True)


def prepared(experiment: str, *words: str) -> tuple[nn.Module, TrainingData, Request]:
    """An experiment's model with fresh weights and what it adopts, data for it, and its request."""
    with session():
        options = [f"experiment={experiment}", "train.epochs=null", "train.batch_size=16", *words]
        options += ["model.codebook_size=64"] if experiment.startswith("vpvae/") else []  # fewer codes than tokens
        kind = kinds(compose("train", options).model.get("data"))[0]
        chain = training(compose("train", [*options, f"dataset={EMBEDDED[kind]}"]))
    torch.manual_seed(0)
    *_, request = chain
    models = check.try_out([one for one in chain if one["verb"] != "embed"])
    model, parents = models[request.key], request.data.get("parents", {})
    if "perceptual" in parents:
        model.adopt("perceptual", models[parents["perceptual"]])  # type: ignore[operator]
    if "latents" in parents:
        return model, latents(models[parents["autoencoder"]].latent_shape), request  # type: ignore[arg-type]
    return model, pairs(request["model"]["embedding_dim"]) if kind == "text" else build.dataset(request), request


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
    model, data, request = prepared(*words.split(), f"train.max_steps={steps}", "train.log_every=1")
    model, data = model.double(), Doubled(data)
    found: list[dict[str, Any]] = []
    torch.manual_seed(1)
    optimizers = build.optimizers(request, model)
    spec = TrainSpec(**{**request["train"], "watch_every": None, "snapshots": None})
    fit(model, data, optimizers=optimizers, seed=0, spec=spec, hooks=Hooks(log=found.append), ranks=ranks)
    return found


def rank(number: int, size: int, folder: str, wanted: list[str], steps: int) -> None:
    """One of several processes: the trainings one after the other; the first writes what they logged."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/meet", rank=number, world_size=size)
    found = {words: losses(words, steps, Ranks(number, size)) for words in wanted}
    if number == 0:
        Path(folder, "losses.json").write_text(json.dumps(found))
    distributed.destroy_process_group()


def disagreeing(number: int, size: int, folder: str) -> None:
    """One of several processes that are about to train on other data; each writes what it is told."""
    distributed.init_process_group("gloo", f"file://{folder}/meet", rank=number, world_size=size)
    try:
        Ranks(number, size).check_alike({"code": "abc", "data": f"d{number}"})
    except UserError as error:
        Path(folder, str(number)).write_text(str(error))
    distributed.destroy_process_group()


def encoding(number: int, size: int, folder: str, run: str, rounds: int) -> None:
    """One of several processes that make latents, 200 to a shard; they stop after so many rounds."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/meet", rank=number, world_size=size)
    encoded(Run(Path(run)), Ranks(number, size), rounds)
    distributed.destroy_process_group()


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

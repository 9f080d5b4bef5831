"""Every experiment's model with fresh weights and data for it, in seconds: no file and no other run is needed."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from vaebench.chains import check
from vaebench.chains.chain import training
from vaebench.config.choices import choices, experiment_choices, kinds
from vaebench.config.compose import compose, session
from vaebench.config.request import Request
from vaebench.contracts import TrainingData
from vaebench.data.embeddings import Pairs
from vaebench.data.latents import LatentData
from vaebench.runs import build

EMBEDDED = {"images": "digits", "text": "tiny", "tokens": "arithmetic", "audio": "tones", "points": "s_curve"}


def one_of_each() -> list[str]:
    """An experiment of each model."""
    return list({experiment_choices(name).get("model"): name for name in choices("experiment")}.values())


def prepared(experiment: str, *words: str) -> tuple[nn.Module, TrainingData, Request]:
    """An experiment's model with fresh weights and what it adopts, data for it, and its request; ``words``: options."""
    with session():
        options = [f"experiment={experiment}", "train.epochs=null", "train.batch_size=16", *words]
        kind = kinds(compose("train", options).model.get("data"))[0]
        chain = training(compose("train", [*options, f"dataset={EMBEDDED[kind]}"]))
    torch.manual_seed(0)
    *_, request = chain
    models = check.try_out([one for one in chain if one["verb"] != "embed"])
    model, parents = models[request.key], request.data.get("parents", {})
    if "perceptual" in parents:
        model.adopt("perceptual", models[parents["perceptual"]])
    if "latents" in parents:
        return model, _latents(models[parents["autoencoder"]].latent_shape), request
    return model, _pairs(request["model"]["embedding_dim"]) if kind == "text" else build.dataset(request), request


def _latents(shape: tuple[int, int, int], count: int = 20) -> LatentData:
    """Latents of some images as a stage would leave them."""
    mean = torch.randn(count, 1, *shape, generator=torch.Generator().manual_seed(0))
    facts: dict[str, Any] = {"name": "toy", "source": "", "digest": "", "note": "", "stand_in": True}
    return LatentData((mean,), (mean - 4,), torch.arange(count) % 10, place=torch.device("cpu"), **facts)


def _pairs(width: int) -> Pairs:
    """Embedded questions and their solutions."""
    questions, solutions = torch.randn(2, 40, width, generator=torch.Generator().manual_seed(0))
    return Pairs("toy", questions, solutions, source="", digest="", note="", stand_in=True)

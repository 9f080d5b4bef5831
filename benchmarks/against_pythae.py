"""vaebench's loop against Pythae's trainer: same network, same loss, same weights at the start."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import math
import tempfile
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from benchmarks.measure import Row, Variant, compare, interleave
from benchmarks.networks import (
    BATCH,
    BETA,
    LATENT,
    LEARNING_RATE,
    PlainVAE,
    conv,
    copy_weights,
    forward_loss,
    images,
    mlp,
)
from vaebench.config.spine import TrainSpec
from vaebench.data.images import ImageData
from vaebench.engine.loop import fit

# Network, images per round, goals in float32 and bf16. A convolutional epoch of 20,000 images would take ten minutes.
CASES = (("MLP", mlp, 12_800, 1.25, 1.9), ("ConvNet", conv, 384, 1.0, 1.5))


def rows() -> Iterator[Row]:
    """Two rows per network: float32 and bf16 of ours against Pythae's float32 (it has no bf16 on a CPU)."""
    for name, make, count, goal, goal_bf16 in CASES:
        data = images(count)
        theirs = _pythae_model(name)
        ours = make()
        copy_weights(theirs, ours)
        _check_same_loss(theirs, ours, data)
        rates = interleave(
            {
                "pythae": _pythae_epoch(theirs, data),
                "float32": _our_epoch(ours, data, "float32"),
                "bf16": _our_epoch(copy.deepcopy(ours), data, "bf16"),
            }
        )
        unit = "images per CPU-second"
        yield compare(f"{name}, float32", unit, rates["float32"], rates["pythae"], goal=goal)
        yield compare(f"{name}, bf16 against float32", unit, rates["bf16"], rates["pythae"], goal=goal_bf16)


def _our_epoch(model: PlainVAE, data: ImageData, precision: str) -> Variant:
    if precision == "bf16":  # the layout in which bf16 convolutions are a little faster; float32 ones are slower in it
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)

    def epoch() -> int:
        steps = fit(
            model,
            data,
            optimizers={"vae": optimizer},
            seed=0,
            spec=TrainSpec(epochs=1, batch_size=BATCH, precision=precision),
        )
        return steps * BATCH

    return epoch


def _pythae_model(name: str) -> nn.Module:
    from pythae.models import BetaVAE, BetaVAEConfig
    from pythae.models.nn.benchmarks.mnist import Decoder_Conv_AE_MNIST, Encoder_Conv_VAE_MNIST

    config = BetaVAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT, beta=BETA, reconstruction_loss="mse")
    parts = () if name == "MLP" else (Encoder_Conv_VAE_MNIST(config), Decoder_Conv_AE_MNIST(config))
    model = BetaVAE(config, *parts)
    # Pythae registers the decoder first; our copy of the weights goes encoder first.
    model._modules = {key: model._modules[key] for key in ("encoder", "decoder")}
    return model


def _pythae_epoch(model: Any, data: ImageData) -> Variant:
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    for name in list(logging.root.manager.loggerDict):
        if name.startswith("pythae"):
            logging.getLogger(name).setLevel(logging.ERROR)
    config = BaseTrainerConfig(
        output_dir=tempfile.mkdtemp(prefix="vaebench-pythae-"),
        num_epochs=1,
        per_device_train_batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        optimizer_cls="Adam",
        no_cuda=True,
    )
    trainer = BaseTrainer(model, BaseDataset(data.train_x.float() / 255, data.train_y), training_config=config)
    trainer.prepare_training()

    def epoch() -> int:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar stays on, out of sight
            trainer.train_step(1)
        return len(data.train_x)

    return epoch


def _check_same_loss(theirs: Any, ours: PlainVAE, data: ImageData) -> None:
    """The comparison is void unless both networks compute the same loss."""
    x = data.train_x[:BATCH].float() / 255
    torch.manual_seed(0)
    with torch.no_grad():
        wanted = float(theirs({"data": x}).loss)
    # In training mode a forward pass moves the running statistics of batch norm, in neither case the loss.
    got = forward_loss(ours, x, seed=0)
    if not math.isclose(wanted, got, rel_tol=1e-6):
        raise RuntimeError(f"the networks differ: loss {wanted} in Pythae, {got} in ours")

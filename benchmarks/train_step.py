"""vaebench's loop and beta-VAE against the leanest loop one would write by hand: same network, loss and batch."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.measure import Row, Variant, compare, interleave
from benchmarks.networks import BATCH, LATENT, copy_weights, images
from vaebench.config.spine import TrainSpec
from vaebench.contracts import Batch
from vaebench.data.images import ImageData
from vaebench.engine.loop import fit
from vaebench.models.beta_vae import BetaVAE
from vaebench.nn.networks import flat

BETA, LEARNING_RATE, GOAL = 0.001, 1e-3, 0.95


class Plain(nn.Module):
    """The same layers as vaebench's networks, written down without it."""

    def __init__(self, network: str) -> None:
        super().__init__()
        linear, relu = nn.Linear, nn.ReLU
        if network == "mlp":
            encoder = [nn.Flatten(), linear(784, 512), relu(), linear(512, 256), relu(), linear(256, 2 * LATENT)]
            decoder = [linear(LATENT, 256), relu(), linear(256, 512), relu(), linear(512, 784)]
            self.decoder = nn.Sequential(*decoder, nn.Unflatten(1, (1, 28, 28)))
        else:
            encoder = [nn.Conv2d(1, 32, 4, 2, 1), relu(), nn.Conv2d(32, 64, 4, 2, 1), relu(), nn.Flatten()]
            encoder += [linear(64 * 49, 256), relu(), linear(256, 2 * LATENT)]
            decoder = [linear(LATENT, 256), relu(), linear(256, 64 * 49), nn.Unflatten(1, (64, 7, 7)), relu()]
            self.decoder = nn.Sequential(
                *decoder, nn.ConvTranspose2d(64, 32, 4, 2, 1), relu(), nn.ConvTranspose2d(32, 1, 4, 2, 1)
            )
        self.encoder = nn.Sequential(*encoder)
        self._modules = {"encoder": self._modules["encoder"], "decoder": self._modules["decoder"]}

    def loss(self, x: Tensor) -> Tensor:
        """Squared error summed over pixels + beta KL, mean over the batch."""
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
        error = (self.decoder(z).sigmoid() - x).square().sum()
        kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum()
        return (error + BETA * kl) / len(x)


def rows() -> Iterator[Row]:
    """One row for the fully connected network, one for the convolutional one."""
    networks: dict[flat.Network, int] = {"mlp": 25, "conv": 5}
    for network, steps in networks.items():
        data = images(steps * BATCH)
        ours = BetaVAE(
            input_shape=(1, 28, 28), latent_dim=LATENT, beta=BETA, network=network, hidden=None, recon_loss="mse",
            reduction="sum", output=None, input_noise=None,
        )  # fmt: skip
        plain = Plain(network)
        copy_weights(ours, plain)
        _check_same_loss(ours, plain, data)
        rates = interleave({"ours": _our_epoch(ours, data), "plain": _plain_epoch(plain, data)}, turns=8)
        yield compare(
            f"beta_vae, {network}, batch {BATCH}", "images per CPU-second", rates["ours"], rates["plain"], goal=GOAL
        )


def _our_epoch(model: BetaVAE, data: ImageData) -> Variant:
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)

    def epoch() -> int:
        return BATCH * fit(
            model, data, optimizers={"autoencoder": optimizer}, seed=0, spec=TrainSpec(epochs=1, batch_size=BATCH)
        )

    return epoch


def _plain_epoch(model: Plain, data: ImageData) -> Variant:
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)

    def epoch() -> int:
        order = torch.randperm(len(data.train_x))
        for rows_ in order.split(BATCH):
            x = data.train_x[rows_].float().div_(255)
            optimizer.zero_grad(set_to_none=True)
            model.loss(x).backward()
            optimizer.step()
        return len(data.train_x)

    return epoch


def _check_same_loss(ours: BetaVAE, plain: Plain, data: ImageData) -> None:
    """The comparison is void unless both compute the same loss from the same noise."""
    x = data.train_x[:BATCH].float() / 255
    losses = []
    for compute in (lambda: ours.loss(Batch(x, data.train_y[:BATCH]), 0).total, lambda: plain.loss(x)):
        torch.manual_seed(0)
        losses.append(compute().item())
    if not math.isclose(*losses, rel_tol=1e-5):
        raise RuntimeError(f"the losses differ: {losses[0]} in ours, {losses[1]} in the plain loop")

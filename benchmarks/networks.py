"""Pythae's two MNIST networks as plain modules, in a beta-VAE that vaebench's loop can train."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vaebench.contracts import Batch, LossOutput, Phase
from vaebench.data.images import ImageData

BETA, LATENT, BATCH, LEARNING_RATE = 4.0, 64, 128, 1e-4


def images(count: int) -> ImageData:
    """Random images of MNIST's shape: a step takes as long on them as on digits."""
    random = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=random)
    y = torch.randint(0, 10, (count,), generator=random)
    return ImageData("random", x, y, x[:BATCH], y[:BATCH], source="embedded", digest="0" * 64)


def mlp() -> PlainVAE:
    """784-512-64-512-784: Pythae's default encoder and decoder."""
    return PlainVAE(
        nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.ReLU()),
        512,
        nn.Sequential(nn.Linear(LATENT, 512), nn.ReLU(), nn.Linear(512, 784), nn.Sigmoid()),
    )


def conv() -> PlainVAE:
    """Pythae's Encoder_Conv_VAE_MNIST and Decoder_Conv_AE_MNIST: 18 M parameters."""
    encoder: list[nn.Module] = []
    for before, after in ((1, 128), (128, 256), (256, 512), (512, 1024)):
        encoder += [nn.Conv2d(before, after, 4, 2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    decoder = nn.Sequential(
        nn.Linear(LATENT, 1024 * 4 * 4),
        nn.Unflatten(1, (1024, 4, 4)),
        *(nn.ConvTranspose2d(1024, 512, 3, 2, padding=1), nn.BatchNorm2d(512), nn.ReLU()),
        *(nn.ConvTranspose2d(512, 256, 3, 2, padding=1, output_padding=1), nn.BatchNorm2d(256), nn.ReLU()),
        *(nn.ConvTranspose2d(256, 1, 3, 2, padding=1, output_padding=1), nn.Sigmoid()),
    )
    return PlainVAE(nn.Sequential(*encoder, nn.Flatten()), 1024, decoder)


class PlainVAE(nn.Module):
    """beta-VAE with Pythae's loss: half the squared error summed over pixels + beta KL, mean over the batch."""

    def __init__(self, encoder: nn.Module, width: int, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.mu = nn.Linear(width, LATENT)
        self.log_var = nn.Linear(width, LATENT)
        self.decoder = decoder

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase over all parameters."""
        return (Phase("vae", tuple(self.parameters()), self.loss),)

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """The loss of one batch; ``step`` is not used."""
        hidden = self.encoder(batch.x)
        mu, log_var = self.mu(hidden), self.log_var(hidden)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * log_var)
        error = (self.decoder(z).float().flatten(1) - batch.x.flatten(1)).square()
        reconstruction = 0.5 * error.sum(1).mean()
        kl = -0.5 * (1 + log_var - mu.square() - log_var.exp()).sum(1).mean()
        return LossOutput(reconstruction + BETA * kl, {"recon_loss": reconstruction.detach(), "kl": kl.detach()})


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy all parameters and buffers between two modules with the same layers in the same order."""
    given, wanted = list(source.state_dict().values()), target.state_dict()
    target.load_state_dict(dict(zip(wanted, given, strict=True)))


def forward_loss(model: PlainVAE, x: Tensor, seed: int) -> float:
    """The loss on images ``x`` with the noise of ``seed``."""
    torch.manual_seed(seed)
    with torch.no_grad():
        return float(model.loss(Batch(x, torch.zeros(len(x))), 0).total)

"""Principal components: the best linear autoencoder, as an anchor for the numbers of the others."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vaebench.config.signatures import Count, checked, require, whole
from vaebench.contracts import Phase
from vaebench.errors import UserError

_CHUNK = 8192  # images that are float64 at a time


class PCA(nn.Module):
    """``encode(x) = W (x - mean)``, ``decode(z) = clip(W' z + mean)``, ``W`` the ``latent_dim`` leading eigenvectors.

    Of the covariance of the training images, computed once by `fit`; NaN until then. ``input_shape`` (c, h, w).
    """

    mean: Tensor
    components: Tensor

    @checked("model")
    def __init__(self, *, input_shape: Sequence[int], latent_dim: Count) -> None:
        super().__init__()
        pixels = math.prod(input_shape)
        require(whole("model.latent_dim", latent_dim, 1, pixels, "the number of pixels"))
        self.shape = tuple(input_shape)
        self.register_buffer("mean", torch.full((pixels,), torch.nan))
        self.register_buffer("components", torch.full((latent_dim, pixels), torch.nan))

    @property
    def phases(self) -> tuple[Phase, ...]:
        """None: nothing is trained by gradients."""
        return ()

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Fit to ``images`` uint8 ``[n c h w]``, in float64 on the CPU: the same numbers wherever they lie.

        The largest weight of each component is positive. Raises `UserError` for fewer than ``latent_dim + 1`` images.
        """
        count, latent_dim = len(images), len(self.components)
        if count <= latent_dim:
            raise UserError(f"model.latent_dim={latent_dim}: {count} images have only {count - 1} principal components")
        flat = images.cpu().flatten(1)
        total = torch.zeros(flat.shape[1], dtype=torch.float64)
        products = torch.zeros(flat.shape[1], flat.shape[1], dtype=torch.float64)
        for chunk in flat.split(_CHUNK):
            x = chunk.double().div_(255)
            total += x.sum(dim=0)
            products.addmm_(x.T, x)
        mean = total / count
        covariance = products / count - torch.outer(mean, mean)
        components = torch.linalg.eigh(covariance).eigenvectors[:, -latent_dim:].flip(1).T  # largest eigenvalue first
        largest = components.gather(1, components.abs().argmax(dim=1, keepdim=True))
        self.mean.copy_(mean)
        self.components.copy_(components * largest.sign())

    def encode(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` -> codes ``[b l]``, the component of largest variance first."""
        return (x.flatten(1) - self.mean) @ self.components.T

    def decode(self, z: Tensor) -> Tensor:
        """Codes ``[b l]`` -> images ``[b c h w]``, clipped to [0, 1]."""
        return torch.addmm(self.mean, z, self.components).clamp(0, 1).unflatten(1, self.shape)

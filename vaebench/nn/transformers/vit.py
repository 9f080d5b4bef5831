"""A Vision Transformer (Dosovitskiy et al., arXiv 2010.11929) as an autoencoder: one latent vector per patch.

The encoder can be given some of the patches only, the decoder fills in for the others (He et al., arXiv 2111.06377).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.compat import timm
from vaebench.config.signatures import Count, Positive, require

_MASK_STD = 0.02  # of the mask token's first values, arXiv 2111.06377
_NORM_EPS = 1e-6


@dataclass(eq=False, repr=False, kw_only=True)
class ViTAutoencoder(nn.Module):
    """Images ``[b c h w]`` in [-1, 1] to ``2 l`` numbers (mean and log-variance) per patch, and ``l`` numbers back.

    ``input_shape`` (c, h, w), sides multiples of ``patch``; other images are not taken. ``masked``: whether the decoder
    has a token for patches that the encoder was not given. ``width``, ``depth``, ``heads``: of the encoder, and of the
    decoder with ``decoder_``; ``mlp_ratio``: hidden over outer width of both. ``latent_channels`` l. ``smooth``: a 3x3
    convolution on the decoded image.

    Positions are fixed 2-D sines and cosines, kept as buffers in the state: `start_from` makes other ones of them.
    """

    input_shape: Sequence[int]
    masked: bool
    patch: Count
    width: Count
    depth: Count
    heads: Count
    decoder_width: Count
    decoder_depth: Count
    decoder_heads: Count
    mlp_ratio: Positive
    latent_channels: Count
    smooth: bool

    def __post_init__(self) -> None:
        super().__init__()
        require(*self._mistakes())
        height, across = self.input_shape[1:]
        self.grid = (height // self.patch, across // self.patch)
        self.latent_shape = (self.latent_channels, *self.grid)
        self.encoder = ViTEncoder(self)
        self.decoder = ViTDecoder(self)
        self.apply(_initialise)

    def _mistakes(self) -> Iterator[str]:
        """Heads share the width evenly, positions are four equal parts of it, patches fill the images."""
        for part, width, heads in (
            ("", self.width, self.heads),
            ("decoder_", self.decoder_width, self.decoder_heads),
        ):
            if width % heads or width % 4:
                option = f"model.network.{part}width={width}"
                yield f"{option}: expected a multiple of 4 and of model.network.{part}heads={heads}"
        height, across = self.input_shape[1:]
        if height % self.patch or across % self.patch:
            yield (
                f"model.network.patch={self.patch}: the sides of {height} x {across} images are no multiples of it; "
                "choose another patch, dataset or dataset.shape"
            )

    @property
    def last_weight(self) -> nn.Parameter:
        """The weights of the decoder's last layer."""
        return self.decoder.last_weight

    def encode(self, x: Tensor) -> Tensor:
        """Images in [-1, 1] -> means and log-variances ``[b 2l h/p w/p]`` of all patches, p the patch's side."""
        tokens: Tensor = self.encoder(x, None)
        return tokens.mT.unflatten(2, self.grid)

    def decode(self, z: Tensor) -> Tensor:
        """Latents ``[b l h/p w/p]`` -> images ``[b c h w]`` in about [-1, 1]."""
        return self.decoder(z.flatten(2).mT, None)

    def shuffled_patches(self, count: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        """The patches of ``count`` images, each image's in a random order, int64 ``[count patches]`` on ``device``.

        All orders are equally likely. Drawn where ``generator`` lives; None is the global one of ``device``.
        """
        where = device if generator is None else generator.device
        noise = torch.rand(count, math.prod(self.grid), generator=generator, device=where)
        return noise.argsort(dim=1).to(device)

    def start_from(self, other: ViTAutoencoder) -> None:
        """Takes the weights of a network that differs in ``input_shape`` at most; resizes both tables of positions.

        Bilinear, without anti-aliasing, as arXiv 2507.09984 goes from 128 to 256 pixels.
        """
        state = other.state_dict()
        for name in ("encoder.positions", "decoder.positions"):
            table = state[name].mT.unflatten(1, other.grid)[None]
            state[name] = F.interpolate(table, size=self.grid, mode="bilinear").flatten(2)[0].mT
        self.load_state_dict(state)


class ViTEncoder(nn.Module):
    """Patches -> blocks -> normalisation -> ``2 latent_channels`` numbers each."""

    positions: Tensor

    def __init__(self, of: ViTAutoencoder) -> None:
        super().__init__()
        channels, height, across = of.input_shape
        self.patches = timm().layers.PatchEmbed((height, across), of.patch, channels, of.width)
        self.blocks = _blocks(of.depth, of.width, of.heads, of.mlp_ratio)
        self.norm = nn.LayerNorm(of.width, eps=_NORM_EPS)
        self.moments = nn.Linear(of.width, 2 * of.latent_channels)
        self.register_buffer("positions", _positions(of.grid, of.width))

    def forward(self, x: Tensor, kept: Tensor | None) -> Tensor:
        """Images in [-1, 1] -> ``[b n 2l]`` of the patches ``kept`` int64 ``[b n]``, of all where it is None.

        Nothing but the embedding of the patches is computed of those that are not kept.
        """
        tokens = self.patches(x) + self.positions
        if kept is not None:
            tokens = tokens.gather(1, _over_width(kept, tokens.shape[2]))
        return self.moments(self.norm(self.blocks(tokens)))


class ViTDecoder(nn.Module):
    """Latents -> ``latent`` -> the mask token where there are none -> blocks -> normalisation -> patches -> image."""

    positions: Tensor

    def __init__(self, of: ViTAutoencoder) -> None:
        super().__init__()
        channels, width = of.input_shape[0], of.decoder_width
        self.shape = (channels, *of.grid, of.patch)
        blocks = _blocks(of.decoder_depth, width, of.decoder_heads, of.mlp_ratio)
        self.latent = nn.Sequential(nn.Linear(of.latent_channels, of.width), nn.Linear(of.width, width))
        self.mask_token = nn.Parameter(torch.randn(width) * _MASK_STD) if of.masked else None
        self.blocks = blocks  # drawn before what stands before them in the state
        self.norm = nn.LayerNorm(width, eps=_NORM_EPS)
        self.pixels = nn.Linear(width, channels * of.patch**2)
        self.smooth = nn.Conv2d(channels, channels, 3, padding=1) if of.smooth else None
        self.register_buffer("positions", _positions(of.grid, width))

    @property
    def last_weight(self) -> nn.Parameter:
        """The weights of the last layer."""
        weight = self.pixels.weight if self.smooth is None else self.smooth.weight
        return cast(nn.Parameter, weight)

    def forward(self, z: Tensor, kept: Tensor | None) -> Tensor:
        """``[b n l]`` of the patches ``kept`` int64 ``[b n]``, of all where it is None -> images ``[b c h w]``."""
        tokens: Tensor = self.latent(z)
        if kept is not None:
            assert self.mask_token is not None, "a network without masks gets all tokens"
            everywhere = self.mask_token.to(tokens.dtype).expand(len(z), *self.positions.shape)
            tokens = everywhere.scatter(1, _over_width(kept, tokens.shape[2]), tokens)
        tokens = self.pixels(self.norm(self.blocks(tokens + self.positions)))
        channels, height, width, patch = self.shape
        rows = tokens.view(-1, height, width, patch, patch, channels).transpose(2, 3)
        images = rows.reshape(-1, height * patch, width * patch, channels).movedim(3, 1)  # channels last in memory
        return images if self.smooth is None else self.smooth(images)


def kept_patches(patches: int, ratio: float) -> int:
    """How many patches the encoder sees: ``patches (1 - ratio)``, rounded down.

    A product that is whole but for rounding (10 patches less 0.9 of them) counts as whole.
    """
    return math.floor(patches * (1 - ratio) + 1e-9)


def _over_width(kept: Tensor, width: int) -> Tensor:
    """``[b n]`` -> ``[b n width]``, a view."""
    return kept[:, :, None].expand(-1, -1, width)


def _blocks(depth: int, width: int, heads: int, mlp_ratio: float) -> nn.Sequential:
    block = timm().models.vision_transformer.Block
    return nn.Sequential(*(block(width, heads, mlp_ratio, qkv_bias=True) for _ in range(depth)))


def _positions(grid: tuple[int, int], width: int) -> Tensor:
    """``[h w, width]``: a quarter of the width each for sines of the row, of the column, and cosines of both."""
    return cast(Tensor, timm().layers.build_sincos2d_pos_embed(list(grid), width))


def _initialise(module: nn.Module) -> None:
    """Uniform Glorot weights, zero biases; the embedding of the patches is a linear layer too (arXiv 2111.06377)."""
    if isinstance(module, timm().layers.PatchEmbed):
        nn.init.xavier_uniform_(module.proj.weight.data.flatten(1))
        nn.init.zeros_(cast(Tensor, module.proj.bias))
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)

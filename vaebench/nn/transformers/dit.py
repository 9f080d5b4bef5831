"""LightningDiT: a diffusion transformer on a grid of latents, one token per place.

DiT (Peebles & Xie, arXiv 2212.09748) with the changes of LightningDiT (Yao et al., arXiv 2501.01423): SwiGLU, rotary
positions in two dimensions, RMSNorm. Shapes: ``b`` batch, ``n`` tokens, ``l`` latent channels, ``w`` width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from vaebench.compat import timm
from vaebench.config.signatures import Count, CountOrNone, Positive, checked
from vaebench.errors import UserError

_FREQUENCIES = 256  # of the sinusoidal time embedding
_EPS = 1e-6  # of the RMSNorm


@dataclass(eq=False, repr=False, kw_only=True)
class DiTOptions:
    """What a `DiT` is like, whatever the latents.

    ``classes``: how many labels there are besides "any class"; 0: labels are ignored. ``mlp_ratio``: the SwiGLU has two
    thirds of it as its width, so that it has as many weights as a plain network of this ratio. ``qk_norm``: RMSNorm of
    queries and keys. ``positions``: fixed sine and cosine positions are added to the tokens besides the rotation.
    ``time_scale``: what times are multiplied with before their embedding.
    """

    classes: CountOrNone
    width: Count
    depth: Count
    heads: Count
    mlp_ratio: Positive
    qk_norm: bool
    positions: bool
    time_scale: Positive


@checked("model")
@dataclass(eq=False, repr=False, kw_only=True)
class DiT(DiTOptions, nn.Module):
    """Velocity of latents ``[b l h w]`` at times ``[b]`` given labels ``[b]``; zero everywhere when it is new.

    ``latent_shape`` (l, h, w). ``null``: whether there is one more label, number ``classes``, for "any class".
    """

    places: Tensor = field(init=False)
    rotation: Tensor = field(init=False)
    latent_shape: Sequence[int]
    null: bool

    def __post_init__(self) -> None:
        nn.Module.__init__(self)
        width, heads = self.width, self.heads
        if width % (4 * heads):
            raise UserError(
                f"model.width={width}: expected a multiple of four times the heads (model.heads={heads}): two rotated "
                "pairs per head, one for each side of the grid"
            )
        channels, *grid = self.latent_shape
        self.tokens = nn.Linear(channels, width)
        self.time = nn.Sequential(nn.Linear(_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.labels = nn.Embedding(self.classes + self.null, width) if self.classes else None
        self.blocks = nn.ModuleList(
            _Block(width, heads, mlp_ratio=self.mlp_ratio, qk_norm=self.qk_norm) for _ in range(self.depth)
        )
        self.norm = nn.Parameter(torch.ones(width))
        self.modulation = nn.Linear(width, 2 * width)
        self.velocity = nn.Linear(width, channels)
        table = timm().layers.build_sincos2d_pos_embed(grid, width) if self.positions else torch.zeros(1, width)
        self.register_buffer("places", table, persistent=False)
        self.register_buffer("rotation", rotations(grid, width // heads), persistent=False)
        self._initialise()

    def forward(self, z: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """``z`` ``[b l h w]``, ``t`` ``[b]`` in [0, 1], ``labels`` int64 ``[b]`` -> float32 ``[b l h w]``."""
        condition = self.time(time_features(self.time_scale * t, _FREQUENCIES))
        if self.labels is not None:
            condition = condition + self.labels(labels)
        condition = F.silu(condition)
        x = self.tokens(z.flatten(2).mT) + self.places
        rotation = torch.view_as_complex(self.rotation)
        for block in self.blocks:
            x = block(x, condition, rotation)
        shift, scale = self.modulation(condition)[:, None].chunk(2, dim=-1)
        return self.velocity(_modulated(x, self.norm, shift, scale)).float().mT.unflatten(2, z.shape[2:])

    def _initialise(self) -> None:
        """Xavier for linear layers, small normal embeddings, zeros at the gates and the output ("adaLN-zero")."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            elif isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
                if name.startswith("time."):
                    nn.init.normal_(module.weight, std=0.02)
                elif name.endswith(("modulation", "velocity")):
                    nn.init.zeros_(module.weight)
                else:
                    nn.init.xavier_uniform_(module.weight)


class _Block(nn.Module):
    """Attention and SwiGLU; each has its input shifted and scaled, and its output gated, by the condition."""

    def __init__(self, width: int, heads: int, *, mlp_ratio: float, qk_norm: bool) -> None:
        super().__init__()
        self.norm1 = nn.Parameter(torch.ones(width))
        self.attention = _Attention(width, heads, qk_norm=qk_norm)
        self.norm2 = nn.Parameter(torch.ones(width))
        self.mlp = timm().layers.SwiGLU(width, int(width * mlp_ratio * 2 / 3))
        self.modulation = nn.Linear(width, 6 * width)

    def forward(self, x: Tensor, condition: Tensor, rotation: Tensor) -> Tensor:
        """``x`` ``[b n w]``, ``condition`` ``[b w]``, ``rotation`` complex ``[n 1 1 d/2]`` for heads of width d."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition)[:, None].chunk(6, dim=-1)
        x = torch.addcmul(x, gate1, self.attention(_modulated(x, self.norm1, shift1, scale1), rotation))
        return torch.addcmul(x, gate2, self.mlp(_modulated(x, self.norm2, shift2, scale2)))


class _Attention(nn.Module):
    """Self-attention with rotary positions in two dimensions (Su et al., arXiv 2104.09864), half a head for each side.

    A rotation is a complex product here: a third of the time of the products and copies that it stands for.
    """

    def __init__(self, width: int, heads: int, *, qk_norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.norm = nn.Parameter(torch.ones(2, 1, width // heads)) if qk_norm else None
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, rotation: Tensor) -> Tensor:
        """``[b n w]`` -> ``[b n w]``."""
        qk, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).split([2, 1], dim=2)
        qk = qk.float()
        if self.norm is not None:
            qk = unit_rms(qk) * self.norm
        pairs = torch.view_as_complex(qk.unflatten(-1, (-1, 2)))
        rotated = torch.view_as_real(pairs * rotation).flatten(-2).to(v.dtype)
        q, k = rotated.transpose(1, 3).unbind(2)
        attended = F.scaled_dot_product_attention(q, k, v.squeeze(2).transpose(1, 2))
        return self.out(attended.transpose(1, 2).flatten(2))


def _modulated(x: Tensor, norm: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """RMSNorm of ``[b n w]`` with weights ``norm`` ``[w]``, scaled by ``1 + scale`` and shifted, both ``[b 1 w]``."""
    return torch.addcmul(shift, unit_rms(x), norm * (1 + scale))


def rotations(grid: Sequence[int], width: int) -> Tensor:
    """Cosine and sine of each place's angles, float32 ``[n 1 1 width/2 2]``: pairs of a head's ``width`` to rotate.

    Half of the pairs turn with the row, half with the column. Real numbers, so that a buffer of them follows its module
    to any type.
    """
    sine, cosine = timm().layers.build_rotary_pos_embed(list(grid), dim=width, in_pixels=False)
    return torch.stack([cosine, sine], dim=-1)[:, None, None, ::2].contiguous()


def time_features(t: Tensor, count: int) -> Tensor:
    """Cosines and sines of times ``[b]`` at ``count / 2`` frequencies from 1 down to 1e-4 -> float32 ``[b count]``."""
    half = count // 2
    frequencies = torch.exp(torch.arange(half, device=t.device) * (-math.log(10000) / half))
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def unit_rms(x: Tensor) -> Tensor:
    """RMSNorm (arXiv 1910.07467) without weights, over the last dimension, float32; differentiable once."""
    x = x.float()
    # torch has one kernel for it on a GPU only; on a CPU its many passes take four times as long as these.
    if x.device.type != "cpu":
        return F.rms_norm(x, (x.shape[-1],), None, _EPS)
    return _UnitRMS.apply(x)


class _UnitRMS(torch.autograd.Function):
    """With ``y = x r``, ``r = 1 / rms(x)``: ``dL/dx = r (g - y mean(g y))``, which needs ``y`` and ``r`` alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        inverse = square.div_(x.shape[-1]).add_(_EPS).rsqrt_()
        y = x * inverse
        ctx.save_for_backward(y, inverse)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        y, inverse = ctx.saved_tensors
        along = torch.linalg.vecdot(g, y).unsqueeze(-1) / y.shape[-1]
        return torch.addcmul(g, y, along, value=-1).mul_(inverse)

"""The diffusion transformer and its sampler beside diffusers', VMAE beside a lean loop, what hidden patches save."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measure import Row, Variant, compare, interleave
from benchmarks.networks import copy_weights
from vaebench.compat import ensure_torchvision
from vaebench.config.compose import compose, session
from vaebench.contracts import Batch, Sampling
from vaebench.models.ldm import LDM
from vaebench.models.vmae import VMAE
from vaebench.runs import build
from vaebench.runs.kinds import train

BATCH, STEPS, DRAWN = 64, 4, 32
LATENT, CLASSES, WIDTH, DEPTH, HEADS = (4, 8, 8), 10, 96, 4, 4  # of model=ldm on the small VMAE's latents
MASK, MASKED = 0.25, 0.6  # of the released script; of the review
GOAL, GOAL_MASKED = 0.95, 0.6


def rows() -> Iterator[Row]:
    """DiT training with and without QK-norm, sampling with and without guidance; VMAE; its encoder on fewer patches."""
    size = f"DiT {DEPTH} x {WIDTH}, {LATENT[1]} x {LATENT[2]} latents"
    for qk_norm, goal, what in ((False, GOAL, ""), (True, None, ", QK-norm, which theirs has not")):
        yield _training(f"{size}: training step{what}", qk_norm=qk_norm, goal=goal)
    for guidance, what in ((1.0, ""), (2.0, ", guidance")):
        yield _sampling(f"{size}: {STEPS} Euler steps{what}", guidance)
    yield _vmae()
    yield _encoder()


def _training(what: str, *, qk_norm: bool, goal: float | None) -> Row:
    ours, theirs = _ldm(qk_norm), _their_transformer()
    latents, labels = torch.randn(STEPS, BATCH, *LATENT), torch.randint(CLASSES, (STEPS, BATCH))

    def their_loss(z: Tensor, y: Tensor) -> Tensor:
        t, noise = torch.randn(len(z)).sigmoid(), torch.randn_like(z)
        z_t = torch.lerp(noise, z, t[:, None, None, None])
        return F.mse_loss(theirs(z_t, timestep=1000 * t, class_labels=y).sample, z - noise)

    def our_loss(z: Tensor, y: Tensor) -> Tensor:
        return ours.loss(Batch(z, y), 1000).total

    batches = list(zip(latents, labels, strict=True))
    variants = {"ours": _steps(ours.network, our_loss, batches), "theirs": _steps(theirs, their_loss, batches)}
    rates = interleave(variants, turns=4)
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in (ours.network, theirs)]
    note = f"diffusers' DiTTransformer2DModel; {counts[0]:,} weights against {counts[1]:,}"
    return compare(what, "latents per CPU-second", rates["ours"], rates["theirs"], goal=goal, note=note)


def _sampling(what: str, guidance: float) -> Row:
    """Ours with its noise, grid and guidance against diffusers' network and scheduler in a plain loop."""
    ours, theirs = _ldm(False), _their_transformer()
    labels, null = torch.arange(DRAWN) % CLASSES, torch.full((DRAWN,), CLASSES)
    sampling = Sampling("euler", STEPS, 1.0, guidance, 0.0, None)

    def our_samples() -> int:
        ours.sample_latents(labels, torch.Generator().manual_seed(0), sampling)
        return DRAWN

    @torch.no_grad()
    def their_samples() -> int:
        scheduler = _their_scheduler()
        scheduler.set_timesteps(STEPS)
        z = torch.randn(DRAWN, *LATENT, generator=torch.Generator().manual_seed(0))
        y = labels if guidance == 1 else torch.cat([labels, null])
        for time in scheduler.timesteps:
            given = z if guidance == 1 else torch.cat([z, z])
            v = theirs(given, timestep=time.expand(len(given)), class_labels=y).sample
            if guidance != 1:
                with_class, without = v.chunk(2)
                v = without + guidance * (with_class - without)
            z = scheduler.step(v, time, z).prev_sample
        return DRAWN

    rates = interleave({"ours": our_samples, "theirs": their_samples}, turns=4)
    note = "diffusers' DiTTransformer2DModel and FlowMatchEulerDiscreteScheduler"
    return compare(what, "latents per CPU-second", rates["ours"], rates["theirs"], goal=GOAL, note=note)


def _vmae() -> Row:
    ours = _our_vmae(MASK)
    plain = PlainVMAE()
    copy_weights(ours.network, plain)
    images = torch.rand(STEPS, BATCH, 3, 32, 32)
    labels = torch.zeros(BATCH, dtype=torch.int64)

    def our_loss(x: Tensor) -> Tensor:
        return ours.loss(Batch(x, labels), 0).total

    _check_same_loss(lambda: our_loss(images[0]), lambda: plain.loss(images[0]))
    batches = [(x,) for x in images]
    variants = {"ours": _steps(ours.network, our_loss, batches), "plain": _steps(plain, plain.loss, batches)}
    rates = interleave(variants, turns=8)
    what = f"vmae, mask {MASK}, batch {BATCH}: training step"
    note = "the same network and loss written as plain PyTorch"
    return compare(what, "images per CPU-second", rates["ours"], rates["plain"], goal=GOAL, note=note)


def _encoder() -> Row:
    """Forwards and backwards through the encoder, on the patches that a mask leaves over on all of them."""
    images = [torch.rand(BATCH, 3, 32, 32) * 2 - 1 for _ in range(STEPS)]

    def variant(ratio: float) -> Variant:
        model = _our_vmae(ratio)
        network, seen = model.network, model.seen

        def run() -> int:
            for x in images:
                kept = network.shuffled_patches(len(x), None, x.device)[:, :seen] if ratio else None
                network.encoder(x, kept).square().mean().backward()
            return STEPS * BATCH

        return run

    rates = interleave({"masked": variant(MASKED), "whole": variant(0.0)}, turns=8)
    shares = [whole / masked for masked, whole in zip(rates["masked"], rates["whole"], strict=True)]
    share = statistics.median(shares)
    what = f"vmae, encoder at mask {MASKED}"
    return Row(
        what,
        "times its time at mask 0",
        share,
        low=min(shares),
        high=max(shares),
        goal=GOAL_MASKED,
        note=f"{1 - MASKED:.0%} of the patches, forwards and backwards",
    )


def _steps(network: nn.Module, loss: Callable[..., Tensor], batches: Sequence[tuple[Tensor, ...]]) -> Variant:
    """Some steps of a training loop."""
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4, betas=(0.9, 0.95), weight_decay=0.0, fused=True)

    def run() -> int:
        for batch in batches:
            optimizer.zero_grad(set_to_none=True)
            loss(*batch).backward()
            optimizer.step()
        return len(batches) * BATCH

    return run


def _check_same_loss(ours: Callable[[], Tensor], theirs: Callable[[], Tensor]) -> None:
    """The comparison is void unless both compute the same loss from the same noise."""
    losses = []
    for compute in (ours, theirs):
        torch.manual_seed(0)
        losses.append(compute().item())
    if not math.isclose(*losses, rel_tol=1e-5):
        raise RuntimeError(f"the losses differ: {losses[0]} in ours, {losses[1]} in the plain loop")


def _ldm(qk_norm: bool) -> LDM:
    torch.manual_seed(0)
    return LDM(
        latent_shape=LATENT, classes=CLASSES, width=WIDTH, depth=DEPTH, heads=HEADS, mlp_ratio=4.0, qk_norm=qk_norm,
        positions=True, time_scale=1000.0, label_dropout=0.1, time_sampling="logit_normal", ema_decay=0.999,
        statistics=None,
    )  # fmt: skip


def _their_transformer() -> Any:
    ensure_torchvision()
    from diffusers import DiTTransformer2DModel

    torch.manual_seed(0)
    return DiTTransformer2DModel(
        num_attention_heads=HEADS, attention_head_dim=WIDTH // HEADS, in_channels=LATENT[0], out_channels=LATENT[0],
        num_layers=DEPTH, sample_size=LATENT[1], patch_size=1, num_embeds_ada_norm=CLASSES, attention_bias=True,
    )  # fmt: skip


def _their_scheduler() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler()


def _our_vmae(mask_ratio: float) -> VMAE:
    words = ["model=vmae", "dataset=cifar10", f"model.mask_ratio={mask_ratio}", "model.perceptual=none"]
    words += [] if mask_ratio else ["model.visible_weight=1.0"]
    with session():
        request = train.request(compose("train", words), {})
    torch.manual_seed(0)
    built = build.model(request)
    assert isinstance(built, VMAE)
    return built.train()


class PlainVMAE(nn.Module):
    """The small VMAE on 32 x 32 images as one would write it down once: the same weights, in the same order."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = PlainHalf(nn.Conv2d(3, 64, 4, 4), nn.Linear(64, 8))
        self.decoder = PlainHalf(nn.Sequential(nn.Linear(4, 64), nn.Linear(64, 64)), nn.Linear(64, 48), mask=True)
        self.smooth = nn.Conv2d(3, 3, 3, padding=1)

    def loss(self, x: Tensor) -> Tensor:
        """``(L_M + L_R) / 2 + 0.001 KL`` on images ``[b 3 32 32]`` in [0, 1]."""
        x = 2 * x - 1
        order = torch.rand(len(x), 64).argsort(1)
        kept = order[:, :48, None].expand(-1, -1, 64)
        tokens = self.encoder.first(x).flatten(2).mT + self.encoder.positions
        mu, logvar = self.encoder(tokens.gather(1, kept)).chunk(2, dim=-1)
        logvar = logvar.clamp(-30, 20)
        z = self.decoder.first(mu + torch.exp(0.5 * logvar) * torch.randn_like(mu))
        assert self.decoder.mask_token is not None
        full = self.decoder.mask_token.expand(len(x), 64, 64).scatter(1, kept, z)
        y = self.decoder(full + self.decoder.positions).view(-1, 8, 8, 4, 4, 3).permute(0, 5, 1, 3, 2, 4)
        y = self.smooth(y.reshape(-1, 3, 32, 32))
        errors = (y - x).square().view(-1, 3, 8, 4, 8, 4).mean((1, 3, 5)).flatten(1).gather(1, order)
        kl = 0.5 * (logvar.exp() - 1 - logvar).sum(-1).mean()
        return 0.5 * errors[:, 48:].mean() + 0.5 * errors[:, :48].mean() + 0.001 * kl


class PlainHalf(nn.Module):
    """Two blocks, a normalisation and a linear layer; ``first`` comes before the positions are added."""

    positions: Tensor

    def __init__(self, first: nn.Module, last: nn.Module, *, mask: bool = False) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.zeros(64)) if mask else None
        self.register_buffer("positions", torch.zeros(64, 64))
        self.first = first
        self.blocks = nn.Sequential(PlainBlock(), PlainBlock())
        self.norm = nn.LayerNorm(64, eps=1e-6)
        self.last = last

    def forward(self, tokens: Tensor) -> Tensor:
        """``[b n 64]`` -> what the last layer makes of it."""
        out: Tensor = self.last(self.norm(self.blocks(tokens)))
        return out


class PlainBlock(nn.Module):
    """Attention of four heads and a fully connected layer, each after a normalisation and added."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.qkv, self.proj = nn.LayerNorm(64, eps=1e-6), nn.Linear(64, 192), nn.Linear(64, 64)
        self.norm2, self.up, self.down = nn.LayerNorm(64, eps=1e-6), nn.Linear(64, 256), nn.Linear(256, 64)

    def forward(self, x: Tensor) -> Tensor:
        """``[b n 64]`` -> ``[b n 64]``."""
        q, k, v = self.qkv(self.norm1(x)).view(*x.shape[:2], 3, 4, 16).permute(2, 0, 3, 1, 4)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        out: Tensor = x + self.down(F.gelu(self.up(self.norm2(x))))
        return out

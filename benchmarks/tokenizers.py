"""VP-VAE's training step over the same network's VQ-VAE step, FSP's over FSQ's, and what a codebook costs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import torch

from benchmarks.measure import Row, Variant, interleave
from vaebench import build
from vaebench.compose import compose, session
from vaebench.config import freeze
from vaebench.data.images import ImageData
from vaebench.nn.tokenizer import Tokenizer

BATCH, STEPS = 32, 10
WARM_UP = 50  # steps until the queue holds latents of the network, no longer draws of N(0, I) alone
SIZES = (256, 1024, 4096, 16384)
RATES = (4, 16)  # neighbours per code and dimension: cheap, and the authors' code
GOAL_VP, GOAL_FSP, GOAL_AT = 1.15, 1.02, 1024
LATENTS = 40_000
_SHORT = ("model.update_rate=0.05", "model.tree_every=20", "model.codebook_iterations=30")  # as at scale=small


def rows() -> Iterator[Row]:
    """One row for each size and each length of the queue; FSP over FSQ; k-means and the queue at each size."""
    with session():
        data = _images()
        for size in SIZES:
            for rate in RATES:
                yield _vp_over_vq(data, size, rate)
        yield _fsp_over_fsq(data)
        for size in SIZES:
            yield _k_means(data, size)
            yield _queue(size)


def _vp_over_vq(data: ImageData, size: int, rate: int) -> Row:
    models = {
        "vq": _model("vq_vae", f"model.codebook_size={size}"),
        "vp": _model("vp_vae", f"model.codebook_size={size}", f"model.rate={rate}", *_SHORT),
    }
    tokens = BATCH * 64
    note = f"queue of {len(models['vp'].quantiser.queue):,}; {tokens:,} tokens a step"
    goal = GOAL_VP if size == GOAL_AT and rate == min(RATES) else None
    return _cost(f"vp_vae, K = {size}, rate {rate}", "vq_vae steps", models, data, goal, note)


def _fsp_over_fsq(data: ImageData) -> Row:
    models = {name: _model(name, f"model.codebook_size={GOAL_AT}") for name in ("fsq", "fsp")}
    return _cost(f"fsp, K = {GOAL_AT}", "fsq steps", models, data, GOAL_FSP, "")


def _cost(what: str, unit: str, models: dict[str, Tokenizer], data: ImageData, goal: float | None, note: str) -> Row:
    """How many steps of the first model the second one's step costs."""
    variants = {name: _steps(model, data) for name, model in models.items()}
    for variant in variants.values():
        for _ in range(WARM_UP // STEPS):
            variant()
    base, ours = interleave(variants, turns=4).values()
    costs = [one / other for one, other in zip(base, ours, strict=True)]
    milliseconds = [1000 * BATCH / statistics.median(rates) for rates in (base, ours)]
    note = "; ".join(filter(None, [note, f"{milliseconds[1]:.1f} ms against {milliseconds[0]:.1f} ms"]))
    return Row(what, unit, statistics.median(costs), low=min(costs), high=max(costs), goal=goal, note=note)


def _steps(model: Tokenizer, data: ImageData) -> Variant:
    """Some steps of the training loop, without the fit of the codes at its end."""
    (phase,) = model.phases
    optimizer = torch.optim.AdamW(phase.parameters, 1e-3, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    batches = torch.randperm(len(data)).split(BATCH)[:STEPS]

    def run() -> int:
        for step, picked in enumerate(batches):
            optimizer.zero_grad(set_to_none=True)
            phase.loss(data.batch(picked), step).total.backward()
            torch.nn.utils.clip_grad_norm_(phase.parameters, 1.0)
            optimizer.step()
        return STEPS * BATCH

    return run


def _k_means(data: ImageData, size: int) -> Row:
    """Seconds to fit the codes after a training, with the latents encoded."""
    model = _model("vp_vae", f"model.codebook_size={size}", *_SHORT)
    latents = max(LATENTS, 2 * size)
    model.quantiser.codebook_latents = latents
    start = time.process_time()
    model.finish(data)
    seconds = time.process_time() - start
    return Row(f"vp_vae, K = {size}: fitting the codes", "CPU-seconds", seconds, note=f"k-means of {latents:,} latents")


def _queue(size: int) -> Row:
    queues = {
        rate: _model("vp_vae", f"model.codebook_size={size}", f"model.rate={rate}").quantiser.queue for rate in RATES
    }
    megabytes = {rate: queue.numel() * queue.element_size() / 1e6 for rate, queue in queues.items()}
    note = ", ".join(f"rate {rate}: {value:.2f} MB" for rate, value in megabytes.items())
    return Row(f"vp_vae, K = {size}: the queue", "MB", megabytes[max(RATES)], note=note)


def _model(name: str, *options: str) -> Tokenizer:
    cfg = compose("train", [f"model={name}", "dataset=cifar10", *options])
    torch.manual_seed(0)
    built = build.model(freeze(cfg))
    assert isinstance(built, Tokenizer)
    return built.train()


def _images() -> ImageData:
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(2500, 3, 8, 8, generator=random)
    x = torch.nn.functional.interpolate(coarse, size=32, mode="bilinear").mul(255).byte()
    y = torch.zeros(len(x), dtype=torch.int64)
    return ImageData(
        name="blobs", train_x=x, train_y=y, test_x=x, test_y=y, source="", digest="", note="", stand_in=True
    )

"""VP-VAE's training step over the same network's VQ-VAE step, FSP's over FSQ's, and what a codebook costs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import torch

from benchmarks.measure import Row, Variant, interleave
from vaebench.config.compose import compose, session
from vaebench.data.images import ImageData
from vaebench.nn.tokenizers.tokenizer import Tokenizer
from vaebench.runs import build
from vaebench.runs.kinds import train

BATCH, STEPS = 32, 5
WARM_UP = 20  # steps, unmeasured: the queue is no longer all draws of N(0, I)
SIZES = (256, 1024, 4096, 16384)
AT = 1024  # the codebook size of the goals
GOAL_VP, GOAL_FSP = 1.15, 1.02
LATENTS = 40_000
SHORT = ("model.rate=4", "model.update_rate=0.05", "model.codebook_iterations=30")  # as at scale=small


def rows() -> Iterator[Row]:
    """VP-VAE over VQ-VAE by codebook, queue, tree and network; FSP over FSQ; k-means and the queue at each size."""
    with session():
        data = _images()
        for size in SIZES:
            yield _vp_over_vq(data, f"K = {size}", size, goal=GOAL_VP if size == AT else None)
        yield _vp_over_vq(data, f"K = {AT}, four times the queue (rate 16)", AT, vp=("model.rate=16",))
        for size in (AT, SIZES[-1]):
            yield _vp_over_vq(data, f"K = {size}, tree of every 20th step", size, vp=("model.tree_every=20",))
        wide = ("model.autoencoder.width=96",)
        yield _vp_over_vq(data, f"K = {AT}, a network four times as wide", AT, both=wide, goal=GOAL_VP)
        yield _fsp_over_fsq(data)
        for size in SIZES:
            yield _k_means(data, size)
            yield _queue(size)


def _vp_over_vq(
    data: ImageData,
    what: str,
    size: int,
    *,
    both: tuple[str, ...] = (),
    vp: tuple[str, ...] = (),
    goal: float | None = None,
) -> Row:
    models = {
        "vq": _model("vq_vae", f"model.codebook_size={size}", *both),
        "vp": _model("vp_vae", f"model.codebook_size={size}", *SHORT, *both, *vp),
    }
    note = f"queue of {len(models['vp'].quantiser.queue):,}, {BATCH * 64:,} tokens a step"
    return _cost(f"vp_vae, {what}", "vq_vae steps", models, data, goal, note)


def _fsp_over_fsq(data: ImageData) -> Row:
    models = {name: _model(name, f"model.codebook_size={AT}") for name in ("fsq", "fsp")}
    return _cost(f"fsp, K = {AT}", "fsq steps", models, data, GOAL_FSP, "", turns=16)


def _cost(
    what: str,
    unit: str,
    models: dict[str, Tokenizer],
    data: ImageData,
    goal: float | None,
    note: str,
    turns: int = 2,
) -> Row:
    """How many steps of the first model the second one's step costs."""
    variants = {name: _steps(model, data) for name, model in models.items()}
    for variant in variants.values():
        for _ in range(WARM_UP // STEPS):
            variant()
    base, ours = interleave(variants, turns=turns).values()
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
    model = _model("vp_vae", f"model.codebook_size={size}", *SHORT)
    latents = max(LATENTS, 2 * size)
    model.quantiser.codebook_latents = latents
    start = time.process_time()
    model.finish(data)
    seconds = time.process_time() - start
    return Row(f"vp_vae, K = {size}: fitting the codes", "CPU-seconds", seconds, note=f"k-means of {latents:,} latents")


def _queue(size: int) -> Row:
    """The queue's memory at the authors' length, and at a quarter of it."""
    long, short = (
        _model("vp_vae", f"model.codebook_size={size}", f"model.rate={rate}").quantiser.queue for rate in (16, 4)
    )
    megabytes = [queue.numel() * queue.element_size() / 1e6 for queue in (long, short)]
    return Row(f"vp_vae, K = {size}: the queue", "MB", megabytes[0], note=f"rate 4: {megabytes[1]:.2f} MB")


def _model(name: str, *options: str) -> Tokenizer:
    cfg = compose("train", [f"model={name}", "dataset=cifar10", *options])
    torch.manual_seed(0)
    built = build.model(train.request(cfg, {}))
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

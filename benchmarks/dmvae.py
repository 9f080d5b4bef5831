"""DMVAE's joint training beside a lean loop of the same step, and beside the training of its tokenizer alone."""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measure import Row, Variant, compare, interleave
from vaebench.chains.chain import training
from vaebench.config.compose import compose, session
from vaebench.config.request import Request
from vaebench.config.spine import TrainSpec
from vaebench.contracts import Batch
from vaebench.data.images import ImageData
from vaebench.engine.loop import fit
from vaebench.metrics import cost
from vaebench.models.dmvae import DMVAE
from vaebench.models.feature_ae import FeatureAutoencoder
from vaebench.runs import build

BATCH, CYCLES, RATE, DATASET = 128, 2, 3e-4, "mnist"
GOAL = 0.9


def rows() -> Iterator[Row]:
    """The loop; what a cycle (an autoencoder's turn and five of the student) costs and who costs it; its turn alone."""
    joint, tokenizer = designs()
    yield _against_lean(joint)
    yield from _against_tokenizer(joint, tokenizer)


def designs() -> tuple[list[Request], Request]:
    """The chain that ends with a joint training matched with ssl features, and the tokenizer trained whole."""
    with session():
        chain = training(compose("train", ["experiment=dmvae/joint", f"dataset={DATASET}", "reference=ssl"]))
        plain = training(compose("train", ["experiment=dmvae/plain", f"dataset={DATASET}"]))
    return chain, plain[-1]


def joint_model(chain: Sequence[Request]) -> DMVAE:
    """A joint training's model with fresh weights and a fresh teacher."""
    torch.manual_seed(0)
    model = build.model(chain[-1])
    assert isinstance(model, DMVAE)
    model.adopt("teacher", build.model(chain[-2], model.latent_shape))
    return model.train()


def _against_lean(chain: Sequence[Request]) -> Row:
    ours, theirs = joint_model(chain), Lean(joint_model(chain))
    steps = CYCLES * ours.autoencoder_every
    data = _images(chain[-1], steps * BATCH)
    epochs = [data.batch(torch.arange(start, start + BATCH)) for start in range(0, steps * BATCH, BATCH)]
    optimizers = {phase.name: _optimizer(phase.parameters) for phase in ours.phases}
    check_same_step(joint_model(chain), Lean(joint_model(chain)), epochs[0])

    def our_steps() -> int:
        return BATCH * fit(
            ours, data, optimizers=optimizers, seed=0, spec=TrainSpec(epochs=1, batch_size=BATCH, clip_norm=1.0)
        )

    def their_steps() -> int:
        for step, batch in enumerate(epochs):
            theirs.step(batch.x, batch.y, step)
        return steps * BATCH

    rates = interleave({"ours": our_steps, "lean": their_steps}, turns=2)
    what = f"dmvae, 28 x 28, batch {BATCH}: joint training, 5:1"
    note = "the same networks and losses, written as one plain loop"
    return compare(what, "images per CPU-second", rates["ours"], rates["lean"], goal=GOAL, note=note)


class Lean:
    """One joint step with nothing around it: no terms, no phases, no options."""

    def __init__(self, model: DMVAE) -> None:
        self.network, self.student = model.network, model.student
        self.teacher = copy.deepcopy(model.student).eval().requires_grad_(False)
        assert model.dm_weight is not None
        self.weight, self.every = model.dm_weight, model.autoencoder_every
        self.null, self.dropout = model.classes, model.label_dropout
        self.mean, self.std = model.latent_mean, model.latent_std
        self.optimizers = [_optimizer(self.network.parameters()), _optimizer(self.student.parameters())]

    def step(self, x: Tensor, y: Tensor, number: int) -> None:
        """Both turns, with their optimisers."""
        turns: list[tuple[nn.Module, torch.optim.Optimizer, Callable[[], Tensor]]] = []
        if number % self.every == 0:
            z = self.network.encode(x)
            seen = (z - self.mean) / self.std
            turns.append((self.network, self.optimizers[0], lambda: self.autoencoder_loss(z, seen, x, y)))
        else:
            with torch.no_grad():
                seen = (self.network.encode(x) - self.mean) / self.std
        turns.append((self.student, self.optimizers[1], lambda: self.student_loss(seen.detach(), y)))
        for network, optimizer, loss in turns:
            optimizer.zero_grad(set_to_none=True)
            loss().backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()

    def autoencoder_loss(self, z: Tensor, seen: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """L1 and distribution matching."""
        loss = F.l1_loss(self.network.decode(z), 2 * x - 1)
        with torch.no_grad():
            t, noise = torch.rand(len(z)), torch.randn_like(seen)
            state = torch.lerp(noise, seen, t.view(-1, 1, 1, 1))
            real, fake = self.teacher(state, t, y), self.student(state, t, y)
            g = (fake - real) / (seen - noise - real).abs().mean((1, 2, 3), keepdim=True)
        return loss + self.weight * F.mse_loss(seen, seen.detach() - g) / 2

    def student_loss(self, z: Tensor, y: Tensor) -> Tensor:
        """Flow matching."""
        labels = torch.where(torch.rand(len(y)) < self.dropout, self.null, y)
        t, noise = torch.rand(len(z)), torch.randn_like(z)
        return F.mse_loss(self.student(torch.lerp(noise, z, t.view(-1, 1, 1, 1)), t, labels), z - noise)


def check_same_step(ours: DMVAE, lean: Lean, batch: Batch) -> None:
    """The comparison is void unless both compute the same losses from the same draws."""
    torch.manual_seed(1)
    found = [ours.loss(batch, 0).total.item(), ours.student_loss(batch, 0).total.item()]
    torch.manual_seed(1)
    z = lean.network.encode(batch.x)
    seen = (z - lean.mean) / lean.std
    wanted = [
        lean.autoencoder_loss(z, seen, batch.x, batch.y).item(),
        lean.student_loss(seen.detach(), batch.y).item(),
    ]
    if not all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(found, wanted, strict=True)):
        raise RuntimeError(f"the losses differ: {found} in ours, {wanted} in the lean loop")


def _against_tokenizer(chain: Sequence[Request], tokenizer: Request) -> Iterator[Row]:
    """A cycle, its parts, and what the parts come to by their operations, in steps of the tokenizer trained whole."""
    model, plain = joint_model(chain), build.model(tokenizer).train()
    assert isinstance(plain, FeatureAutoencoder)
    batch = _images(chain[-1], BATCH).batch(torch.arange(BATCH))
    turns = {phase.name: phase for phase in (*model.phases, *plain.phases[:0])}
    reconstruct = plain.phases[0]
    rates = interleave(
        {
            "plain": _turn(reconstruct.parameters, lambda: reconstruct.loss(batch, 0).total),
            "autoencoder": _turn(turns["autoencoder"].parameters, lambda: turns["autoencoder"].loss(batch, 0).total),
            # Without what the autoencoder's turn has left it encodes by itself, as on four steps of five.
            "student": _turn(turns["student"].parameters, lambda: turns["student"].loss(batch, 1).total),
            "scores": _scores(model, batch),
        },
        turns=4,
    )
    every = model.autoencoder_every
    seconds = {name: [1 / rate for rate in found] for name, found in rates.items()}
    cycle = [a + every * s for a, s in zip(seconds["autoencoder"], seconds["student"], strict=True)]
    flops = {"cycle": every * _flops(chain[-1], chain[-2]), "plain": _flops(tokenizer, None)}
    by_count = f"by their operations {flops['cycle'] / flops['plain']:.2f}"
    size = f"dmvae, 28 x 28, batch {BATCH}"
    yield _times(f"{size}: the autoencoder's turn", seconds["autoencoder"], seconds["plain"], "the tokenizer's step")
    what = f"{size}: a cycle, one turn of the autoencoder and {every} of the student"
    yield _times(what, cycle, seconds["plain"], f"the tokenizer's step; {by_count}")
    scores = [every * s + a for s, a in zip(seconds["student"], seconds["scores"], strict=True)]
    yield _times(f"{size}: the flows' share of a cycle", scores, cycle, "the cycle; encoding for the student included")


def _turn(parameters: Sequence[nn.Parameter], loss: Callable[[], Tensor]) -> Variant:
    optimizer = _optimizer(parameters)

    def run() -> int:
        optimizer.zero_grad(set_to_none=True)
        loss().backward(inputs=list(parameters))
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return 1

    return run


def _scores(model: DMVAE, batch: Batch) -> Variant:
    """The two forwards of the matching."""
    z = torch.randn(BATCH, *model.latent_shape)

    def run() -> int:
        model._gradient(z, batch.y, 0)
        return 1

    return run


def _times(what: str, ours: Sequence[float], theirs: Sequence[float], of: str) -> Row:
    """A row that says how many times as long as another thing something takes."""
    shares = [a / b for a, b in zip(ours, theirs, strict=True)]
    return Row(
        what, f"times {of.partition(';')[0]}", statistics.median(shares), low=min(shares), high=max(shares), note=of
    )


def _flops(request: Request, teacher: Request | None) -> float:
    """Of a step, by count; a phase that takes its turn less often counts in part."""
    with cost.weightless():
        model: Any = build.model(request)
        if teacher is not None:
            model.teach(build.model(teacher, model.latent_shape))
        shape = request["dataset"]["shape"]
        return cost.count_step(model.phases, cost.random_batch(shape, BATCH, latents=False))[0]


def _images(request: Request, count: int) -> ImageData:
    """Random images of the dataset's shape: a step takes as long on them."""
    random = torch.Generator().manual_seed(0)
    shape = request["dataset"]["shape"]
    x = torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=random)
    y = torch.arange(count) % 10
    return ImageData("random", x, y, x[:BATCH], y[:BATCH], source="embedded", digest="0" * 64)


def _optimizer(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True)

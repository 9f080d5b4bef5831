"""R-CVAE: its training against the leanest loop one would write by hand, and how many candidates are scored."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.measure import Row, Variant, compare, interleave
from vaebench.config.spine import TrainSpec
from vaebench.contracts import Batch, Work
from vaebench.data import arithmetic
from vaebench.data.embeddings import Pairs
from vaebench.engine.loop import fit
from vaebench.models.rcvae import RCVAE

WIDTH, LATENT, BATCH, STEPS, GOAL = 384, 256, 128, 40, 0.95
EPOCHS = 5  # in a turn: a training looks at all its data once, and has 50 epochs to do so
SCORED = 4096


class Plain(nn.Module):
    """The same layers, written down without vaebench; its data is standardised beforehand."""

    def __init__(self) -> None:
        super().__init__()
        linear, relu = nn.Linear, nn.ReLU
        self.encoder = nn.Sequential(linear(2 * WIDTH, 512), relu(), linear(512, 512), relu(), linear(512, 2 * LATENT))
        self.decoder = nn.Sequential(linear(LATENT + WIDTH, 512), relu(), linear(512, 512), relu(), linear(512, WIDTH))
        self.log_variance = nn.Parameter(torch.zeros(()))

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Gaussian negative log-likelihood with a learnt variance + KL, mean over the batch."""
        mu, logvar = self.encoder(torch.cat((x, y), 1)).chunk(2, dim=1)
        logvar = logvar.clamp(-10, 10)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
        squared = (x - self.decoder(torch.cat((z, y), 1))).square().sum()
        kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum()
        constant = 0.5 * WIDTH * (math.log(2 * math.pi) + self.log_variance)
        return (0.5 * squared / self.log_variance.exp() + kl) / len(x) + constant


def rows() -> Iterator[Row]:
    """One row for training, one for scoring embedded candidates, one for embedding and scoring them."""
    data = _pairs(STEPS * BATCH)
    ours, plain = _model(data), Plain()
    _copy(ours, plain)
    _check_same_loss(ours, plain, data)
    rates = interleave({"ours": _our_epoch(ours, data), "plain": _plain_epoch(plain, ours, data)}, turns=2)
    yield compare(
        f"rcvae, {WIDTH} dimensions, batch {BATCH}", "pairs per CPU-second", rates["ours"], rates["plain"], goal=GOAL
    )
    rates = interleave({"score": _scoring(ours)})
    yield Row("rcvae, scores of embedded candidates", "candidates per CPU-second", statistics.median(rates["score"]))
    rates = interleave({"both": _embedding_and_scoring(ours)}, rounds=3)
    what = "rcvae, MiniLM embeddings and scores of short answers"
    yield Row(what, "candidates per CPU-second", statistics.median(rates["both"]))


def _pairs(count: int) -> Pairs:
    vectors = torch.randn(2, count, WIDTH, generator=torch.Generator().manual_seed(0))
    return Pairs("random", vectors[0], vectors[1], source="", digest="", note="", stand_in=True)


def _model(data: Pairs) -> RCVAE:
    torch.manual_seed(0)
    model = RCVAE(
        embedding_dim=WIDTH, latent_dim=LATENT, hidden=[512, 512], activation="relu", layer_norm=False,
        likelihood="learned_variance", beta=1.0, kl_warmup_steps=0, free_bits=0.0, logvar_clamp=10.0,
        standardise="coordinate",
    )  # fmt: skip
    model.look(data)
    return model


def _copy(ours: RCVAE, plain: Plain) -> None:
    for part in ("encoder", "decoder"):
        getattr(plain, part).load_state_dict(getattr(ours, part).state_dict())
    assert ours.log_variance is not None
    plain.log_variance.data.copy_(ours.log_variance.data)


def _check_same_loss(ours: RCVAE, plain: Plain, data: Pairs) -> None:
    """The comparison is void unless both compute the same loss from the same noise."""
    x, y = data.solutions[:BATCH], data.questions[:BATCH]
    losses = []
    for compute in (
        lambda: ours.loss(Batch(x, y), 0).total,
        lambda: plain.loss(ours.solution(x), ours.question(y)),
    ):
        torch.manual_seed(0)
        losses.append(compute().item())
    if not math.isclose(*losses, rel_tol=1e-5):
        raise RuntimeError(f"the losses differ: {losses[0]} in ours, {losses[1]} in the plain loop")


def _our_epoch(model: RCVAE, data: Pairs) -> Variant:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def epoch() -> int:
        return BATCH * fit(
            model, data, optimizers={"cvae": optimizer}, seed=0, spec=TrainSpec(epochs=EPOCHS, batch_size=BATCH)
        )

    return epoch


def _plain_epoch(model: Plain, ours: RCVAE, data: Pairs) -> Variant:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    solutions, questions = ours.solution(data.solutions), ours.question(data.questions)

    def epoch() -> int:
        for _ in range(EPOCHS):
            for chosen in torch.randperm(len(data)).split(BATCH):
                optimizer.zero_grad(set_to_none=True)
                model.loss(solutions[chosen], questions[chosen]).backward()
                optimizer.step()
        return EPOCHS * len(data)

    return epoch


def _scoring(model: RCVAE) -> Variant:
    data = _pairs(SCORED)

    @torch.no_grad()
    def score() -> int:
        model.scores(data.solutions, data.questions)
        return SCORED

    return score


def _embedding_and_scoring(model: RCVAE) -> Variant:
    from vaebench.config.compose import compose, session
    from vaebench.config.request import Request
    from vaebench.runs import build

    with session():
        leaf = compose("train", ["embedder=minilm", "dataset=tiny", "model=rcvae"]).embedder
    embedder = build.embedder(Request({"embedder": leaf}))
    embedder.open(Work({}, torch.device("cpu")))
    problems = arithmetic.problems(name="arithmetic", train=128, test=8, seed=0, steps=[1, 3], largest=20, most=99)
    texts = [pair.solution for pair in problems.train]
    questions = embedder.embed([pair.question for pair in problems.train], "question")

    @torch.no_grad()
    def both() -> int:
        model.scores(embedder.embed(texts, "solution"), questions)
        return len(texts)

    return both

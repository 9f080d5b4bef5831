"""VP-VAE (Zhai et al., 2026, arXiv 2602.17133): no codebook in training, but noise of a codebook's size and shape.

What the paper leaves open, or its authors' code does otherwise, is an option here.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vaebench.config.signatures import Count, Positive, Share, checked, require, whole
from vaebench.errors import UserError
from vaebench.nn import across
from vaebench.nn.tokenizers.neighbours import Neighbours, nearest
from vaebench.nn.tokenizers.quantise import Codebook, MomentNorm, Quantised, width_for
from vaebench.nn.tokenizers.tokenizer import tokenizer_of

# Distances below this count as this: repeated latents (digital silence) are 0 apart, and the ratio takes logarithms.
_LEAST = 1e-8
Algorithm = Literal["lloyd", "minibatch"]
# Above this many codes k-means takes batches of latents, unless it is told how to go about it.
_BATCHES_ABOVE = 1024


@dataclass(frozen=True)
class Move:
    """One Metropolis-Hastings step of ``n`` tokens: ``change`` ``[n d]`` (0 where rejected), its parts ``[n]``.

    ``accepted``: bool. ``radius``: of the ball the proposal was drawn from. ``length``: of the proposed move.
    ``supported``: bool, whether the way back is possible.
    """

    change: Tensor
    accepted: Tensor
    supported: Tensor
    radius: Tensor
    length: Tensor


@torch.no_grad()
def perturb(z: Tensor, near: Neighbours, *, k: int, m: int, eta: float, metropolis: bool) -> Move:
    """The perturbation operator: a uniform proposal, kept with Metropolis-Hastings probability; a single step.

    ``R(z) = eta D_m(z)``; ``z' = z + u``, u uniform in the ball of radius R(z); accepted with probability
    ``[D_k(z) D_m(z) / (D_k(z') D_m(z'))]^d`` if ``|u| <= R(z')``, else 0. ``D_k``: distance to the k-th nearest point
    of ``near``; ``D_k^-d`` stands for the density. ``metropolis`` false: every proposal is accepted. Draws from the
    global generator: directions, lengths, and the uniform numbers of the test, in this order.
    """
    width = z.shape[1]
    own = near.kth(z, (k, m)).clamp(min=_LEAST)
    radius = eta * own[:, 1]
    direction = torch.randn_like(z)
    length = radius * torch.rand_like(radius) ** (1 / width)
    change = direction * (length / direction.norm(dim=1).clamp(min=_LEAST))[:, None]
    draw = torch.rand_like(radius)
    accepted = supported = torch.ones_like(radius, dtype=torch.bool)
    if metropolis:
        there = near.kth(z + change, (k, m)).clamp(min=_LEAST)
        supported = length <= eta * there[:, 1]
        accepted = supported & (draw.log() < width * (own.log() - there.log()).sum(dim=1))
    return Move(change.where(accepted[:, None], 0.0), accepted, supported, radius, length)


@checked("model")
@dataclass(eq=False, repr=False, kw_only=True)
class VectorPerturbation(MomentNorm, Codebook):
    """Training: ``z + sg(change)`` of `perturb` within a queue of earlier latents. Else: the nearest of K centroids.

    Loss: that of `MomentNorm` at variance 1. The queue, a ring of ``[K m d]`` that starts as N(0, I), takes in each
    token with probability ``update_rate`` after its neighbours are found.

    ``rate``: m = round(rate d) neighbours per code, the queue holds K m (the authors' code, 16); or
    ``queue_length``: m = ceil(queue_length / K) (the paper); the other is null. ``density_neighbour``: k, below m.
    ``tree_every``: the neighbours are those of the queue as it was up to this many steps ago, less one; 1: as it is.
    ``codebook_from``: k-means of training latents (paper) or of the queue (code). ``codebook_latents``,
    ``codebook_iterations``: how many latents, and passes over them, at most. ``codebook_algorithm``: lloyd, or
    minibatch (Sculley 2010), which stops early: a higher CVU, a larger error; null: minibatch above 1,024 codes.
    """

    queue: Tensor = field(init=False)
    pointer: Tensor = field(init=False)
    snapshot: Tensor = field(init=False)
    age: Tensor = field(init=False)
    codebook: Tensor = field(init=False)
    fitted: Tensor = field(init=False)

    rate: Positive | None
    queue_length: Count | None
    density_neighbour: Count
    eta: Positive
    update_rate: Share
    metropolis: bool
    tree_every: Count
    codebook_from: Literal["train", "queue"]
    codebook_latents: Count
    codebook_iterations: Count
    codebook_algorithm: Algorithm | None

    def __post_init__(self, dim: int | None) -> None:
        nn.Module.__init__(self)
        size = self.nominal_size = self.codebook_size
        self.inputs = self.dim = dim = width_for(size, dim)
        self.m = neighbours_per_code(size, dim, self.rate, self.queue_length)
        length = size * self.m if self.queue_length is None else self.queue_length
        require(
            _density_mistake(self.density_neighbour, self.m),
            whole("model.codebook_latents", self.codebook_latents, size),
        )
        self.k_means: dict[str, Any] = {
            "algorithm": self.codebook_algorithm or algorithm_for(size),
            "iterations": self.codebook_iterations,
            "init": "k-means++",
        }
        # The queue is state, as an optimiser's moments are: a buffer, so it goes into checkpoints and a resumed
        # training moves latents to the same places. It begins as N(0, I), the law that L_norm pulls latents to, because
        # the first batch already needs neighbours. A token enters after its own neighbours were found, else it would be
        # its own nearest, at distance 0; and only by a coin, because the tokens of a batch resemble each other and the
        # queue should hold the latents of many.
        self.register_buffer("queue", torch.randn(length, dim))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        self.register_buffer("codebook", torch.zeros(size, dim))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))
        if self.tree_every > 1:  # saved, so that a resumed run finds the same neighbours
            self.register_buffer("snapshot", self.queue.clone())
            self.register_buffer("age", torch.zeros((), dtype=torch.int64))
        self._near: Neighbours | None = None
        self.register_load_state_dict_post_hook(_forget_neighbours)

    def learn(self, z: Tensor, items: int) -> Quantised:
        """Perturbed tokens. Info: ``acceptance``, ``radius`` (mean of the balls), ``norm_mean``, ``norm_variance``."""
        loss, terms = self.norm(z, 1.0)
        move = self.perturbed(z.detach(), self._neighbours())
        self._take_in(z.detach())
        info = {"acceptance": move.accepted.float().mean(), "radius": move.radius.mean(), **terms}
        return Quantised(z + move.change, None, loss, info)

    def choose(self, z: Tensor) -> tuple[Tensor | None, Tensor]:
        """The nearest centroid, if the codebook is fitted."""
        return nearest(self.codebook, z) if self.fitted else None, z

    def perturbed(self, z: Tensor, near: Neighbours) -> Move:
        """`perturb` with the options of this one."""
        return perturb(z, near, k=self.density_neighbour, m=self.m, eta=self.eta, metropolis=self.metropolis)

    def codes(self, indices: Tensor) -> Tensor:
        """Int64 ``[n]`` -> ``[n d]``."""
        return self.codebook[indices]

    def fit(self, latents: Tensor, *, seed: int) -> None:
        """K-means, from ``latents`` float32 ``[m d]`` of the training set or from the queue; kept in ``codebook``.

        At least as many latents as codes; another call replaces them. Draws from no global generator.
        """
        points = latents if self.codebook_from == "train" else self.queue
        centroids, _ = _k_means(points, self.codebook_size, **self.k_means, seed=seed)
        self.codebook.copy_(centroids)
        self.fitted.fill_(True)

    def usage_of(self, latents: Tensor, *, seed: int) -> Tensor:
        """Indices int64 ``[m]`` of ``latents`` ``[m d]`` in a codebook of ten steps, from random ones of them.

        Changes nothing in the module and draws from no global generator.
        """
        quick = algorithm_for(self.codebook_size)
        return _k_means(latents, self.codebook_size, algorithm=quick, iterations=10, init="random", seed=seed)[1]

    def _neighbours(self) -> Neighbours:
        """What to find neighbours in, from saved state alone."""
        if self.tree_every == 1:
            return Neighbours(self.queue)
        if self.age % self.tree_every == 0:
            self.snapshot.copy_(self.queue)
            self._near = None
        self.age += 1
        if self._near is None or self._near.device != self.snapshot.device:
            self._near = Neighbours(self.snapshot)
        return self._near

    @torch.no_grad()
    def _take_in(self, z: Tensor) -> None:
        """Write the tokens that a coin chooses over the oldest of the queue."""
        chosen = torch.rand(len(z), device=z.device) < self.update_rate
        z, chosen = across.gathered(z), across.gathered(chosen.float()).bool()
        kept = z[chosen & z.isfinite().all(dim=1)][-len(self.queue) :]
        slots = (self.pointer + torch.arange(len(kept), device=z.device)) % len(self.queue)
        self.queue[slots] = kept
        self.pointer.copy_((self.pointer + len(kept)) % len(self.queue))


def _forget_neighbours(module: nn.Module, _keys: object) -> None:
    """Neighbours of a snapshot that was just replaced are found anew."""
    module._near = None  # type: ignore[assignment]


def neighbours_per_code(codebook_size: int, dim: int, rate: float | None, queue_length: int | None) -> int:
    """M: ``round(rate dim)``, or ``ceil(queue_length / codebook_size)``. Raises `UserError` unless one is given."""
    if (rate is None) == (queue_length is None):
        raise UserError(
            f"model.rate={rate}, model.queue_length={queue_length}: give one of them and set the other to null"
        )
    if rate is not None:
        return round(rate * dim)
    assert queue_length is not None
    require(whole("model.queue_length", queue_length, codebook_size, bound="a token per code"))
    return math.ceil(queue_length / codebook_size)


def _density_mistake(k: int, m: int) -> str | None:
    if k < m:
        return None
    return (
        f"model.density_neighbour={k}: expected 1 to {m - 1}, below the {m} neighbours per code; "
        "raise model.rate (or model.queue_length)"
    )


def algorithm_for(codes: int) -> Algorithm:
    """The k-means of this many codes where none is named."""
    return "lloyd" if codes <= _BATCHES_ABOVE else "minibatch"


def _k_means(
    points: Tensor, codes: int, *, algorithm: Algorithm, iterations: int, init: str, seed: int
) -> tuple[Tensor, Tensor]:
    """Centroids ``[codes d]`` of ``points`` ``[m d]`` and the index ``[m]`` of each; on one core, for the same bits."""
    if len(points) < codes:
        raise UserError(
            f"model.codebook_size={codes}: there are only {len(points)} latents to make codes of; "
            "choose a smaller size or more data"
        )
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    options: dict[str, Any] = {"init": init, "n_init": 1, "max_iter": iterations, "random_state": seed}
    method = (
        KMeans(codes, **options)
        if algorithm == "lloyd"
        else MiniBatchKMeans(codes, batch_size=2 * codes, init_size=3 * codes, **options)
    )
    with threadpool_limits(1), warnings.catch_warnings():
        # Fewer different latents than codes (a collapsed encoder): some codes coincide, which the usage shows.
        warnings.simplefilter("ignore", ConvergenceWarning)
        method.fit(points.detach().cpu().numpy())
    centroids = torch.from_numpy(method.cluster_centers_).to(points)
    return centroids, torch.from_numpy(method.labels_).long().to(points.device)


vp_vae = tokenizer_of(VectorPerturbation, "vp_vae")

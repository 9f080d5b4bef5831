"""Ways to pick one of k answers to each of q questions, what they score, and how sure that is.

A rule does not pick: it spreads a mass of 1 over a question's candidates (``[... q k]``), equally over those it cannot
tell apart. The mass on right candidates is the rule's expected accuracy, without the noise of a random tie-break.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from vaebench.errors import UserError

Rule = Callable[[np.ndarray], np.ndarray]
"""The offered candidates, their columns ``[q j]`` -> mass ``[s q j]`` (or ``[q j]`` where seeds make no difference)."""

UNPARSABLE = -1
_WEIGHTS = 1 << 21  # entries of the bootstrap's weight matrix at a time


def uniform(shape: tuple[int, ...]) -> np.ndarray:
    """Random pick: ``1/k`` on each candidate of ``shape`` ``[... k]``."""
    return np.full(shape, 1 / shape[-1])


def share(chosen: np.ndarray) -> np.ndarray:
    """Equal mass on the ``chosen`` (bool ``[... k]``) candidates; on all where none is."""
    chosen = chosen | ~chosen.any(-1, keepdims=True)
    return chosen / chosen.sum(-1, keepdims=True)


def lowest(score: np.ndarray, tie: float) -> np.ndarray:
    """Mass on the lowest score.

    Args:
        score: float ``[... k]``, finite.
        tie: candidates less than this above the lowest share the mass equally. 0: a plain argmin, which takes the first
            of exactly equal ones and so depends on the order of the candidates.

    Returns:
        ``[... k]``, sums of 1.

    Raises:
        UserError: a score is NaN, which is neither above nor below another.
    """
    bad = int(np.isnan(score).any(-1).sum())
    if bad:
        raise UserError(f"scores to pick by: those of {bad} of {score[..., 0].size} questions hold NaN")
    if tie == 0:
        picked = np.zeros(score.shape)
        np.put_along_axis(picked, score.argmin(-1)[..., None], 1.0, -1)
        return picked
    return share(score - score.min(-1, keepdims=True) < tie)


def highest(score: np.ndarray, tie: float) -> np.ndarray:
    """Mass on the highest score; see `lowest`."""
    return lowest(-score, tie)


def majority(final: np.ndarray) -> np.ndarray:
    """Mass on the most frequent final answer (self-consistency, Wang et al., arXiv 2203.11171).

    Args:
        final: int ``[q k]``, equal for equal final answers; `UNPARSABLE` has no vote.

    Returns:
        ``[q k]``: equal mass on all candidates with a most frequent answer, on all candidates where none has an answer.
    """
    known = final != UNPARSABLE
    votes = (final[:, :, None] == final[:, None, :]).sum(-1) * known
    return share((votes == votes.max(-1, keepdims=True)) & known)


def accuracy(mass: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Expected accuracy per question in [0, 1]: ``mass`` ``[... q k]``, ``right`` bool ``[q k]`` -> ``[... q]``."""
    found: np.ndarray = (mass * right).sum(-1)
    return found


def pass_at_k(right: np.ndarray, k: int) -> np.ndarray:
    """Chance that k of a question's n answers, drawn without replacement, hold a right one.

    ``1 - C(n - c, k) / C(n, k)`` with c right answers (Eq. 1, arXiv 2107.03374). ``right`` bool ``[q n]`` -> ``[q]``.
    """
    n = right.shape[1]
    chance = np.array([1 - math.comb(n - c, k) / math.comb(n, k) for c in range(n + 1)])
    return chance[right.sum(1)]


def against_k(
    right: np.ndarray, rules: Mapping[str, Rule], permutations: int, seed: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Accuracy of each rule when only some of the candidates are offered.

    Args:
        right: bool ``[q k]``.
        rules: by name; ``random`` and ``oracle`` are computed exactly.
        permutations: over how many random orders of the candidates to average. What is offered are the first 1, 2, 4,
            ... of an order, the same for all rules, in the candidates' own sequence.
        seed: of these orders.

    Returns:
        The numbers of candidates ``[m]``, the last of them k; by rule the accuracy per question in [0, 1], ``[m s q]``.
    """
    q, k = right.shape
    sizes = [2**n for n in range(k.bit_length()) if 2**n < k] + [k]
    random = np.random.default_rng(seed)
    orders = [random.random((q, k)).argsort(1) for _ in range(permutations)]
    found: dict[str, list[np.ndarray]] = {name: [] for name in rules}
    for size in sizes:
        draws = [np.sort(order[:, :size], 1) for order in (orders if size < k else orders[:1])]
        offers = [(offered, np.take_along_axis(right, offered, 1)) for offered in draws]
        for name, rule in rules.items():
            if name == "random" or size == 1:  # whatever the rule, one candidate leaves no choice
                value = right.mean(1)
            elif name == "oracle":
                value = pass_at_k(right, size)
            else:
                value = np.mean([accuracy(rule(offered), there) for offered, there in offers], 0)
            found[name].append(np.atleast_2d(value))
    seeds = {name: max(map(len, values)) for name, values in found.items()}
    return np.array(sizes), {
        name: np.stack([np.broadcast_to(value, (seeds[name], q)) for value in values]) for name, values in found.items()
    }


def paired_bootstrap(per_seed: np.ndarray, samples: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and 95 % percentile interval over questions and seeds.

    Questions and seeds are both drawn with replacement; a drawn question counts in all drawn seeds, so the differences
    of two rules stay paired. Whatever is passed together is resampled together. Resampling both slightly overstates the
    variance (the pigeonhole bootstrap, Owen 2007), so the interval errs on the wide side.

    Args:
        per_seed: ``[... s q]``, one value per seed and question.
        samples: how many resamplings.
        seed: of them.

    Returns:
        mean, low and high, each ``[...]``.
    """
    *_, s, q = per_seed.shape
    random = np.random.default_rng(seed)
    seeds = _counts(random.integers(s, size=(samples, s)), s)
    values = per_seed.reshape(-1, q).T
    parts, step = [], max(1, _WEIGHTS // q)
    for start in range(0, samples, step):
        of_seeds = seeds[start : start + step]
        questions = _counts(random.integers(q, size=(len(of_seeds), q)), q)
        parts.append(np.einsum("bms,bs->bm", (questions @ values).reshape(len(of_seeds), -1, s), of_seeds) / (s * q))
    shape = per_seed.shape[:-2]
    low, high = np.quantile(np.concatenate(parts), (0.025, 0.975), axis=0)
    return per_seed.mean((-2, -1)), low.reshape(shape), high.reshape(shape)


def _counts(drawn: np.ndarray, size: int) -> np.ndarray:
    """How often each of ``size`` items is in every row of draws ``[b n]``, as float64 ``[b size]``."""
    flat = (drawn + np.arange(len(drawn))[:, None] * size).ravel()
    return np.bincount(flat, minlength=len(drawn) * size).reshape(-1, size).astype(np.float64)

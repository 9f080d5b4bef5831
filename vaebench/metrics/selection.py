"""Ways to pick one of k answers to each of q questions, what they score and how sure that is; what a score goes with.

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
_PAIRS = 1 << 22  # comparisons of two candidates at a time


def uniform(shape: tuple[int, ...]) -> np.ndarray:
    """Random pick: ``1/k`` on each candidate of ``shape`` ``[... k]``."""
    return np.full(shape, 1 / shape[-1])


def share(chosen: np.ndarray) -> np.ndarray:
    """Equal mass on the ``chosen`` (bool ``[... k]``) candidates; on all where none is."""
    chosen = chosen | ~chosen.any(-1, keepdims=True)
    return chosen / chosen.sum(-1, keepdims=True)


def lowest(score: np.ndarray, tie: float) -> np.ndarray:
    """Mass on the lowest ``score``, float ``[... k]``, finite.

    Candidates less than ``tie`` above the lowest share the mass equally. 0: a plain argmin, which takes the first of
    exactly equal ones and so depends on the order of the candidates. Raises `UserError` for a score that is NaN, which
    is neither above nor below another.
    """
    bad = int(np.isnan(score).any(-1).sum())
    if bad:
        raise UserError(f"scores to pick by: those of {bad} of {score[..., 0].size} questions hold NaN")
    if tie == 0:
        picked = np.zeros(score.shape)
        np.put_along_axis(picked, score.argmin(-1)[..., None], 1.0, -1)
        return picked
    return share(score - score.min(-1, keepdims=True) < tie)


def majority(final: np.ndarray) -> np.ndarray:
    """Mass on the most frequent final answer (self-consistency, Wang et al., arXiv 2203.11171).

    ``final``: int ``[q k]``, equal for equal final answers; `UNPARSABLE` has no vote. The mass is equal on all
    candidates with a most frequent answer, on all candidates where none has an answer.
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
    """Accuracy of each rule when only some of the candidates are offered: the first 1, 2, 4, ... of a random order.

    ``right``: bool ``[q k]``. Averaged over ``permutations`` such orders, drawn by ``seed``, the same for all rules; a
    rule sees what is offered in the candidates' own sequence. ``random`` and ``oracle`` are computed exactly.

    Returns the numbers of candidates ``[m]``, the last of them k; by rule the accuracy per question in [0, 1],
    ``[m s q]``.
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
    return np.array(sizes), {name: np.stack(np.broadcast_arrays(*values)) for name, values in found.items()}


def paired_bootstrap(per_seed: np.ndarray, samples: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and 95 % percentile interval over questions and seeds, of ``samples`` resamplings drawn by ``seed``.

    Questions and seeds are both drawn with replacement; a drawn question counts in all drawn seeds, so the differences
    of two rules stay paired. Whatever is passed together is resampled together. Resampling both slightly overstates the
    variance (the pigeonhole bootstrap, Owen 2007), so the interval errs on the wide side.

    ``per_seed``: ``[... s q]``, one value per seed and question. Returns mean, low and high, each ``[...]``.
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


def somers_d(score: np.ndarray, right: np.ndarray, tie: float) -> np.ndarray:
    """Somers' D of the score given correctness, within each question that has right and wrong answers.

    The share of (right, wrong) pairs of candidates in which the right one scores higher, less the share in which it
    scores lower: twice the area under the ROC curve less 1. Below 0 the lower scores are the right ones. Pairs closer
    than ``tie`` count as neither; 0: equal ones only.

    ``score`` ``[s q k]``, ``right`` bool ``[q k]`` -> ``[s m]`` in [-1, 1] for the m questions that have both, in their
    order; m can be 0.
    """
    mixed = right.any(1) & ~right.all(1)
    score, right = score[:, mixed], right[mixed]
    found = np.empty(score.shape[:2])
    step = max(1, _PAIRS // score.shape[2] ** 2)
    for start in range(0, score.shape[1], step):
        rows = slice(start, start + step)
        pairs = right[rows, :, None] & ~right[rows, None, :]
        for of_seed, values in zip(found, score, strict=True):
            above = values[rows, :, None] - values[rows, None, :]
            signs = np.sign(above) * (np.abs(above) >= tie) * pairs
            of_seed[rows] = signs.sum((1, 2)) / pairs.sum((1, 2))
    return found


def within_question(score: np.ndarray, other: np.ndarray, tie: float) -> np.ndarray:
    """Spearman's rank correlation of the score with another number, such as the answers' lengths, within each question.

    ``score`` ``[s q k]``, ``other`` ``[q k]`` -> ``[s q]`` in [-1, 1]; 0 where either of the two does not vary, NaN
    where either holds NaN. Where a question's scores lie less than ``tie`` apart they are all the same; 0: equal ones
    only.
    """
    spread, found = np.ptp(score, -1), _spearman(score, other)
    constant = spread == 0 if tie == 0 else spread < tie
    return np.where(constant & ~np.isnan(found), 0.0, found)


def pooled(score: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation over all answers of all questions at once; 0 where either does not vary.

    ``score`` ``[s q k]``, ``other`` ``[q k]`` -> ``[s]`` in [-1, 1]. It mixes "this candidate is better than the
    others" with "this question is easier than the others".
    """
    return _spearman(score.reshape(len(score), -1), other.reshape(-1))


def _spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Correlation of ranks along the last axis, equal values sharing their mean rank; 0 where either does not vary."""
    from scipy.stats import rankdata

    ranks = (rankdata(values, axis=-1) for values in (x, y))
    a, b = (each - each.mean(-1, keepdims=True) for each in ranks)
    scale = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    found: np.ndarray = (a * b).sum(-1) / np.where(scale > 0, scale, 1.0)
    return found

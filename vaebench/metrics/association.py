"""What a score of k answers to each of q questions goes along with: being right, being long."""

from __future__ import annotations

import numpy as np

_PAIRS = 1 << 22  # comparisons of two candidates at a time


def somers_d(score: np.ndarray, right: np.ndarray, tie: float) -> np.ndarray:
    """Somers' D of the score given correctness, within each question that has right and wrong answers.

    The share of (right, wrong) pairs of candidates in which the right one scores higher, less the share in which it
    scores lower: twice the area under the ROC curve less 1. Below 0 the lower scores are the right ones.

    Args:
        score: float ``[s q k]``.
        right: bool ``[q k]``.
        tie: pairs closer than this count as neither; 0: equal ones only.

    Returns:
        ``[s m]`` in [-1, 1] for the m questions that have both, in their order; m can be 0.
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
    """Spearman's rank correlation of the score with another number, within each question.

    Args:
        score: float ``[s q k]``.
        other: ``[q k]``, such as the answers' lengths.
        tie: where a question's scores lie less than this apart they are all the same; 0: equal ones only.

    Returns:
        ``[s q]`` in [-1, 1]; 0 where either of the two does not vary, NaN where either holds NaN.
    """
    spread, found = np.ptp(score, -1), _pearson(_ranks(score), _ranks(other))
    constant = spread == 0 if tie == 0 else spread < tie
    return np.where(constant & ~np.isnan(found), 0.0, found)


def pooled(score: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation over all answers of all questions at once; 0 where either does not vary.

    ``score`` ``[s q k]``, ``other`` ``[q k]`` -> ``[s]`` in [-1, 1]. It mixes "this candidate is better than the
    others" with "this question is easier than the others".
    """
    return _pearson(_ranks(score.reshape(len(score), -1)), _ranks(other.reshape(-1)))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks along the last axis, from 1; equal values share their mean rank."""
    from scipy.stats import rankdata

    ranks: np.ndarray = rankdata(values, axis=-1)
    return ranks


def _pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Correlation along the last axis; 0 where either does not vary."""
    x, y = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
    scale = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    found: np.ndarray = (x * y).sum(-1) / np.where(scale > 0, scale, 1.0)
    return found

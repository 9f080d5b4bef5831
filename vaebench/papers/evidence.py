"""What seeds can tell of a mean: evidence that pays for every look, seeds that collapse, one more run.

A table is looked at after 3, 5, 8, 12 and 20 seeds, and whoever sees nothing decided adds seeds. So the 5 % of false
calls are shared out: six tenths to the first look, a tenth to each later one. By Bonferroni's inequality all looks
together stay below 5 %, whether or not one stops in between, and no record of them has to be kept. An anytime-valid
t-test (Wang and Ramdas 2023) would allow a look after every seed, but can hardly decide at three, where most tables
stop, and it is as wrong as Student's t where noise is skewed.

Student's t is right for skewed noise only where both sides of a comparison have it alike. Where one side has it alone
(a paper's number, a method without seeds), p-values count tenfold: that keeps the false calls below 5 % for
exponential and for lognormal noise (``benchmarks/verdicts.py``, docs/verdicts.md).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

LOOKS = (3, 5, 8, 12, 20)  # seeds
LEVEL = 0.05
STRICT = 10.0
_SHARES = (0.6, 0.1, 0.1, 0.1, 0.1)  # of LEVEL, by look
_NEW_RUN = 0.003  # how often one more run may lie outside the range it is said to fall in
_POWER = 0.8  # with which the seeds that are still needed would decide
_MOST = 1000  # seeds; whoever needs more has seen no difference


@dataclass(frozen=True)
class Look:
    """After so many ``seeds``: the p-values against the statement's opposite and against itself, paid for."""

    seeds: int
    holds: float
    reversed: float


@dataclass(frozen=True)
class Evidence:
    """For and against a statement about a mean, look by look."""

    looks: tuple[Look, ...]

    @property
    def p(self) -> float:
        """The smallest p-value of all looks, in either direction: that of the statement "it can be told"."""
        return min((min(look.holds, look.reversed) for look in self.looks), default=1.0)

    def decided(self, level: float = LEVEL) -> tuple[bool, int] | None:
        """Whether it holds or is reversed, and after how many seeds that was first seen; None: it cannot be told."""
        for look in self.looks:
            if min(look.holds, look.reversed) <= level:
                return look.holds <= look.reversed, look.seeds
        return None


def evidence(values: Sequence[float], low: float, high: float, *, strict: bool) -> Evidence:
    """For "the mean lies between ``low`` and ``high``", either of which may be infinite.

    ``values``: one per seed, in the order of the seeds; fewer than the first look takes are no evidence.
    ``strict``: where noise may be skewed on one side alone (see above).
    """
    found = []
    for share, seeds in zip(_SHARES, looks(len(values)), strict=False):
        price = (STRICT if strict else 1.0) / share
        holds, reversed_ = _tails(*moments(values[:seeds]), seeds - 1, low, high)
        found.append(Look(seeds, min(1.0, holds * price), min(1.0, reversed_ * price)))
    return Evidence(tuple(found))


def of_interval(mean: float, half: float, low: float, high: float) -> Evidence:
    """The same of a mean with half of its own 95 % interval, as if normal: one look, after no seeds of ours."""
    from scipy.special import ndtri

    error = half / float(ndtri(0.975))
    return Evidence((Look(0, *_tails(mean, error, math.inf, low, high)),))


def looks(count: int) -> list[int]:
    """At how many seeds ``count`` seeds were looked at; the last look is at all of them."""
    return [] if count < LOOKS[0] else [*(look for look in LOOKS[:-1] if look < count), count]


def one_of_ours(values: Sequence[float], number: float) -> bool:
    """Whether ``number`` could be one more run: it lies in the 99.7 % prediction interval for a single new one."""
    from scipy.special import stdtrit

    mean, error = moments(values)
    reach = float(stdtrit(len(values) - 1, 1 - _NEW_RUN / 2)) * error * math.sqrt(len(values) + 1)
    return number == mean or abs(number - mean) <= reach


def apart(values: Sequence[float]) -> list[float]:
    """The values of the seeds that collapsed, sorted: the smaller of two groups with a wide gap between them.

    Wide: ``max(2, 30 / count)`` times the range of the larger group, which has four seeds or more. Skewed and
    heavy-tailed noise shows such a gap in at most 5 % of tables.
    """
    ordered = sorted(values)
    count = len(ordered)
    for cut in range(1, count):
        below, above = ordered[:cut], ordered[cut:]
        few, many = sorted((below, above), key=len)
        if len(many) >= 4 and len(few) < len(many):
            width = many[-1] - many[0]
            if above[0] - below[-1] > max(2.0, 30 / count) * width > 0:
                return few
    return []


def unseen(count: int) -> float:
    """The largest share, in percent, of what no one of ``count`` draws shows: the exact binomial bound at 97.5 %.

    The upper end of the interval of Clopper and Pearson (1934) for 0 of ``count``: about 370 / ``count`` percent.
    """
    return 100 * (1 - math.pow(LEVEL / 2, 1 / count))


def moments(values: Sequence[float]) -> tuple[float, float]:
    """The mean of two values or more and its standard error: 0 for equal ones, infinite where some are infinite."""
    count = len(values)
    if min(values) == max(values):
        return values[0], 0.0
    if not all(map(math.isfinite, values)):
        return sum(values) / count, math.inf
    mean = math.fsum(values) / count
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    return mean, math.sqrt(variance / count)


def needed(values: Sequence[float], low: float, high: float, *, strict: bool) -> int | None:
    """How many seeds would probably decide, were their mean and spread as now; None: more than a thousand.

    Raises `ValueError` for fewer than two values.
    """
    from scipy.special import ndtri, stdtrit

    mean, error = moments(values)
    if math.isinf(error):
        return None
    spread = error * math.sqrt(len(values))
    distance = min(abs(mean - edge) for edge in (low, high))
    level = LEVEL * _SHARES[-1] / (STRICT if strict else 1.0)

    def enough(count: int) -> bool:
        bound = float(stdtrit(count - 1, 1 - level / 2)) + float(ndtri(_POWER))
        return distance > 0 and distance * math.sqrt(count) >= bound * spread

    counts = range(max(LOOKS[0], len(values) + 1), _MOST + 1)
    found = bisect_left(counts, True, key=enough)
    return counts[found] if found < len(counts) else None


def _tails(mean: float, error: float, freedom: float, low: float, high: float) -> tuple[float, float]:
    """Twice the tails against "inside" and against "outside": both edges have to be passed to be inside, one not to."""
    inside, outside = [0.0], [1.0]
    for edge, distance in ((low, mean - low), (high, high - mean)):
        if math.isfinite(edge):
            inside.append(_tail(distance, error, freedom))
            outside.append(_tail(-distance, error, freedom))
    return min(1.0, 2 * max(inside)), min(1.0, 2 * min(outside))


def _tail(distance: float, error: float, freedom: float) -> float:
    """The probability of a mean so far beyond an edge, were its true place the edge."""
    from scipy.special import ndtr, stdtr

    if math.isinf(error):
        return 1.0
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    z = -distance / error
    return float(ndtr(z) if math.isinf(freedom) else stdtr(freedom, z))

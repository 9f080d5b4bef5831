"""What our numbers say about a reported number or a claimed ordering.

Agreement is shown, never inferred from a test that failed to reject: *reproduced* needs the whole 95 % interval inside
the tolerance band, and one seed never earns more than "within tolerance (1 seed)".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vaebench.contracts.infinite import difference

WITHIN = "within"  # of a claim: the two sides differ by its margin at most
RELATIONS = {"lower": "below", "higher": "above", WITHIN: WITHIN}  # what may hold, and what a sentence calls it


@dataclass(frozen=True)
class Interval:
    """Mean over ``count`` seeds with its Student t interval; ``low`` and ``high`` are None for a single seed."""

    mean: float
    low: float | None
    high: float | None
    count: int

    @property
    def exact(self) -> bool:
        """Whether it is a count, on which no seed has any say."""
        return self.count == 0 and self.low == self.high

    @property
    def half(self) -> float | None:
        """Half the width."""
        return None if self.low is None or self.high is None else difference(self.high, self.low) / 2


@dataclass(frozen=True)
class Verdict:
    """``kind``: one word or two to count and colour by; ``text``: the kind with its reason."""

    kind: str
    text: str


def interval(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """The mean of independent repetitions and its two-sided t interval; None without values.

    Without any spread (a deterministic method) the interval has width 0; with infinite values among others it has no
    bounds.
    """
    count = len(values)
    if count == 0:
        return None
    if count > 1 and min(values) == max(values):
        return Interval(values[0], values[0], values[0], count)
    mean = sum(values) / count if math.inf in map(abs, values) else math.fsum(values) / count
    if count == 1:
        return Interval(mean, None, None, 1)
    if not math.isfinite(mean):
        return Interval(mean, -math.inf, math.inf, count)
    from scipy.special import stdtrit

    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    half = float(stdtrit(count - 1, (1 + level) / 2)) * math.sqrt(variance / count)
    return Interval(mean, mean - half, mean + half, count)


def judge_cell(
    reported: float, tolerance: float, better: str, found: Interval | None, differences: Sequence[str]
) -> Verdict:
    """The verdict on one reported number.

    ``found``: ours, with its interval. ``better``: ``lower`` or ``higher``; else a disjoint interval is just
    ``different``. ``differences``: in what our protocol is not the paper's (`protocol_differences`).
    """
    if found is None:
        return Verdict("not run", "not run")
    if differences:
        return Verdict("not comparable", f"not comparable ({'; '.join(differences)})")
    low, high = reported - tolerance, reported + tolerance
    if found.low is None or found.high is None or found.count == 1:
        kind = "within tolerance" if low <= found.mean <= high else "outside tolerance"
        return Verdict(kind, f"{kind} (1 seed)")
    if low <= found.low and found.high <= high:
        return Verdict("reproduced", "reproduced")
    if found.high < low or found.low > high:
        if better not in ("lower", "higher"):
            return Verdict("different", "different")
        kind = "better" if (found.low > high) == (better == "higher") else "worse"
        return Verdict(kind, kind)
    return Verdict("undecided", f"undecided (needs more than {found.count} seeds)")


def judge_claim(
    left: Mapping[int, float],
    right: Mapping[int, float],
    direction: str,
    *,
    factor: float = 1.0,
    margin: float = 0.0,
) -> tuple[Verdict, Interval | None]:
    """The verdict on "left is ``direction`` than factor * right + margin", and the interval of their difference.

    ``direction``: lower or higher; or ``within``: left and factor * right differ by ``margin`` at most.
    Paired: only seeds that both sides have count, and the interval is that of the differences.
    """
    # Paired, because rows of a table share what a seed decides: the order of the data, the judge, often a parent. Their
    # numbers rise and fall together, and two intervals that overlap may hide a difference that every seed shows. The
    # interval of the differences leaves out what both sides share. A seed that one side lacks tells nothing here.
    seeds = sorted(left.keys() & right.keys())
    offset = 0.0 if direction == WITHIN else margin
    found = interval([difference(left[seed], factor * right[seed]) - offset for seed in seeds])
    if found is None:
        return Verdict("not run", "not run"), None
    return judge_interval(found, direction, margin=margin)


def less(left: Interval, right: Interval) -> Interval:
    """The difference of two independent numbers: half widths add in quadrature; no interval if one has none."""
    mean, count = difference(left.mean, right.mean), left.count
    if left.low is None or left.high is None or right.low is None or right.high is None:
        return Interval(mean, None, None, count)
    below = math.hypot(difference(left.mean, left.low), difference(right.high, right.mean))
    above = math.hypot(difference(left.high, left.mean), difference(right.mean, right.low))
    return Interval(mean, mean - below, mean + above, count)


def judge_interval(
    found: Interval, direction: str, needs: str = "", *, margin: float = 0.0
) -> tuple[Verdict, Interval]:
    """The verdict on "the difference ``found`` is ``direction`` (lower or higher) than 0", shown by the whole interval.

    ``direction``: or ``within``: it is ``margin`` at most, either way. ``needs``: what it would take to decide which is
    lower, by default more seeds.
    """
    within = direction == WITHIN
    edge = margin if within else 0.0

    def fits(value: float) -> bool:
        return abs(value) <= margin if within else value > 0 if direction == "higher" else value < 0

    low, high = found.low, found.high
    if low is None or high is None:
        if found.mean == 0 and not within:
            return Verdict("undecided", "1 seed: no difference"), found
        return Verdict("1 seed", f"1 seed: points {'this' if fits(found.mean) else 'the other'} way"), found
    if fits(low) and fits(high):
        return Verdict("holds", "holds"), found
    if (high < -edge and direction != "lower") or (low > edge and direction != "higher"):
        return Verdict("reversed", "reversed"), found
    needs = "no difference" if low == high == 0 else "" if within else needs
    return Verdict("undecided", f"undecided ({needs or f'needs more than {found.count} seeds'})"), found


def protocol_differences(
    stated: Mapping[str, Any], reading: Mapping[str, Any], measured: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Where the protocol of our numbers (one mapping per seed) is not the paper's, one phrase per field.

    A field of ``reading`` is our reading of something the paper leaves open, and the phrase says so.
    """
    phrases = []
    for wanted, source in ((stated, ""), (reading, ", our reading")):
        for name, value in wanted.items():
            found = (m.get(name) for m in measured)
            odd = dict.fromkeys("unknown" if one is None else plain(one) for one in found if not _same(one, value))
            if odd:
                phrases.append(f"{name} {' / '.join(odd)} != {plain(value)}{source}")
    return phrases


def _same(ours: Any, wanted: Any) -> bool:
    """Plain equality; 50 and 50.0 are the same number, True and 1 are not."""
    return bool(ours == wanted) and isinstance(ours, bool) == isinstance(wanted, bool)


def plain(value: Any) -> str:
    """A field of a protocol in words."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)

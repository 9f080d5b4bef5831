"""What our numbers say about a reported number or a claimed ordering.

Agreement is shown, never inferred from a test that failed to reject: *reproduced* needs the whole interval of our mean
inside the tolerance band, *within our spread* seeds of ours on both sides of the paper's number, and one seed never
earns more than "within tolerance (1 seed)". A paper ran once: its number is one draw, so *better* and *worse* are said
only where it could not be one run of ours. How often each verdict is wrong: docs/verdicts.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vaebench.contracts.infinite import difference
from vaebench.papers.evidence import (
    LEVEL,
    LOOKS,
    Evidence,
    apart,
    evidence,
    moments,
    needed,
    of_interval,
    one_of_ours,
    unseen,
)

# One run in ten that collapses would look better or worse than ours in more than 5 % of tables with fewer seeds.
DIRECTED = 8
# Kinds of verdicts that say something of a number.
DECIDED = {"reproduced", "better", "worse", "different", "outside our spread", "within our spread"}
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
    """``kind``: one word or two to count and colour by; ``text``: the kind with its reason.

    ``needs``: of one that is undecided, with how many seeds it would probably be told; None: more than a thousand.
    """

    kind: str
    text: str
    needs: int | None = None


def interval(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """The mean of independent repetitions and its two-sided t interval; None without values.

    Without any spread (a deterministic method) the interval has width 0; with infinite values among others it has no
    bounds.
    """
    count = len(values)
    if count == 0:
        return None
    if count == 1:
        return Interval(values[0], None, None, 1)
    mean, error = moments(values)
    if error == 0:
        return Interval(mean, mean, mean, count)
    if math.isinf(error):
        return Interval(mean, -math.inf, math.inf, count)
    from scipy.special import stdtrit

    half = float(stdtrit(count - 1, (1 + level) / 2)) * error
    return Interval(mean, mean - half, mean + half, count)


def of_alike(found: Interval, questions: int, unit: str) -> Interval:
    """The interval of a share of so many questions, or of a difference of two, if all of them give the same.

    As where no answer is right: a bootstrap has no spread to draw from, so the interval reaches as far as the questions
    that were not drawn could move the number. One that is neither in percent nor in points is left as it is.
    """
    if unit not in ("%", "points"):
        return found
    reach = unseen(questions)
    return Interval(found.mean, found.mean - reach, found.mean + reach, found.count)


def judge_cell(
    reported: float, tolerance: float, better: str, values: Sequence[float], differences: Sequence[str]
) -> Verdict:
    """The verdict on one reported number.

    ``values``: ours, one per seed in the order of the seeds. ``better``: ``lower`` or ``higher``; else what lies
    elsewhere is just ``different``. ``differences``: in what our protocol is not the one that the paper states.
    """
    found = interval(values)
    if found is None or found.count == 1 or differences:
        return _without_seeds(reported, tolerance, found, differences)
    if line := collapse(values):
        return Verdict("seeds collapse", line)
    count, low, high = len(values), reported - tolerance, reported + tolerance
    decided = evidence(values, low, high, strict=True).decided()
    if decided and decided[0]:
        return Verdict("reproduced", f"reproduced{_since(decided[1], count)}")
    if min(values) < reported < max(values):
        return Verdict("within our spread", f"within our spread (seeds on both sides of it, {count} in all)")
    if decided and not one_of_ours(values, reported):
        if count < DIRECTED and min(values) < max(values):
            text = f"outside our spread ({count} seeds; better or worse takes {DIRECTED})"
            return Verdict("outside our spread", text)
        return _directed(max(values) - reported, better)  # all of them lie on that side
    return _undecided(values, low, high, strict=True)


def judge_pooled(
    reported: float, tolerance: float, better: str, found: Interval | None, differences: Sequence[str]
) -> Verdict:
    """The same of a number with a 95 % interval of its own, over questions and seeds: that against the band."""
    if found is None or found.low is None or found.high is None or found.count == 1 or differences:
        return _without_seeds(reported, tolerance, found, differences)
    low, high = reported - tolerance, reported + tolerance
    if low <= found.low and found.high <= high:
        return Verdict("reproduced", "reproduced")
    if found.high < low or found.low > high:
        return _directed(found.mean - reported, better)
    return Verdict("undecided", "undecided (its interval over questions and seeds crosses the band's edge)")


def _without_seeds(reported: float, tolerance: float, found: Interval | None, differences: Sequence[str]) -> Verdict:
    """What is said of a number that no seeds speak for: there is none, it is not comparable, or it has one seed."""
    if found is None:
        return Verdict("not run", "not run")
    if differences:
        return Verdict("not comparable", f"not comparable ({'; '.join(differences)})")
    kind = "within tolerance" if abs(found.mean - reported) <= tolerance else "outside tolerance"
    return Verdict(kind, f"{kind} (1 seed)")


def _directed(distance: float, better: str) -> Verdict:
    """For a number of ours that lies on one side of the paper's."""
    if better not in ("lower", "higher"):
        return Verdict("different", "different")
    kind = "better" if (distance > 0) == (better == "higher") else "worse"
    return Verdict(kind, kind)


def _since(look: int, count: int) -> str:
    """At which look it was decided, if that was not the last."""
    return f" (at {look} seeds)" if 0 < look < count else ""


def _undecided(values: Sequence[float], low: float, high: float, *, strict: bool) -> Verdict:
    """With how many seeds would probably decide."""
    if not any(values) and 0.0 in (low, high):
        return Verdict("undecided", "undecided (no difference)")
    more = needed(values, low, high, strict=strict)
    seeds = f"about {more} seeds would tell" if more else "over a thousand seeds would be needed"
    first = f"a first look takes {LOOKS[0]} seeds" if len(values) < LOOKS[0] else seeds
    return Verdict("undecided", f"undecided ({first})", more)


def collapse(values: Sequence[float]) -> str:
    """Which seeds collapsed, in words; empty if none did: then their mean can be told."""
    few = apart(values)
    if not few:
        return ""
    many = sorted(set(values) - set(few))
    one = f"{few[0]:.4g}" if len(few) == 1 else f"{few[0]:.4g} to {few[-1]:.4g}"
    verb = "collapses" if len(few) == 1 else "collapse"
    return f"{len(few)} of {len(values)} seeds {verb} ({one}; the others {many[0]:.4g} to {many[-1]:.4g})"


@dataclass(frozen=True)
class Judged:
    """A claim's ``verdict``, the interval of the ``difference`` of its sides (95 %), and what it rests on."""

    verdict: Verdict
    difference: Interval | None = None
    evidence: Evidence | None = None


def judge_claim(
    left: Mapping[int, float],
    right: Mapping[int, float],
    direction: str,
    *,
    factor: float = 1.0,
    margin: float = 0.0,
) -> Judged:
    """The verdict on "left is ``direction`` than factor * right + margin".

    ``left``, ``right``: by seed. ``direction``: lower or higher; or ``within``: left and factor * right differ by
    ``margin`` at most. Paired: only seeds that both sides have count.
    """
    # Paired, because rows of a table share what a seed decides: the order of the data, the judge, often a parent. Their
    # numbers rise and fall together, and two intervals that overlap may hide a difference that every seed shows. The
    # interval of the differences leaves out what both sides share. A seed that one side lacks tells nothing here.
    seeds = sorted(left.keys() & right.keys())
    offset = 0.0 if direction == WITHIN else margin
    values = [difference(left[seed], factor * right[seed]) - offset for seed in seeds]
    found = interval(values)
    if found is None:
        return Judged(Verdict("not run", "not run"))
    low, high = region(direction, margin)
    if found.count == 1:
        return Judged(_one_seed(found.mean, low, high, direction), found)
    if line := collapse(values):
        return Judged(Verdict("seeds collapse", f"cannot be told: {line}"), found)
    level = [len({side[seed] for seed in seeds}) == 1 for side in (left, right)]
    known = evidence(values, low, high, strict=any(level) and not all(level))
    if verdict := decided_claim(known, len(values)):
        return Judged(verdict, found, known)
    return Judged(_undecided(values, low, high, strict=any(level)), found, known)


def judge_interval(found: Interval, direction: str, needs: str = "", *, margin: float = 0.0) -> Judged:
    """The verdict on "the difference ``found`` is ``direction`` than 0", from its own 95 % interval.

    ``direction``: or ``within``: it is ``margin`` at most, either way. ``needs``: what is said if it is undecided.
    """
    low, high = region(direction, margin)
    if found.half is None:
        return Judged(_one_seed(found.mean, low, high, direction), found)
    known = of_interval(found.mean, found.half, low, high)
    text = "no difference" if found.low == found.high == 0 else needs or f"needs more than {found.count} seeds"
    return Judged(decided_claim(known, 0) or Verdict("undecided", f"undecided ({text})"), found, known)


def region(direction: str, margin: float) -> tuple[float, float]:
    """Between what a difference has to lie for a claim to hold."""
    return {"higher": (0.0, math.inf), "lower": (-math.inf, 0.0)}.get(direction, (-margin, margin))


def decided_claim(known: Evidence, count: int, level: float = LEVEL) -> Verdict | None:
    """``holds`` or ``reversed``, and at which look; None if it cannot be told at this level."""
    decided = known.decided(level)
    if decided is None:
        return None
    kind = "holds" if decided[0] else "reversed"
    return Verdict(kind, f"{kind}{_since(decided[1], count)}")


def _one_seed(mean: float, low: float, high: float, direction: str) -> Verdict:
    if mean == 0 and direction != WITHIN:
        return Verdict("undecided", "1 seed: no difference")
    inside = low <= mean <= high
    return Verdict("1 seed", f"1 seed: points {'this' if inside else 'the other'} way")


def holm(found: Sequence[Evidence], level: float = LEVEL) -> list[bool]:
    """Which of a table's claims can be told with at most ``level`` for one false call among all of them (Holm 1979)."""
    order = sorted(range(len(found)), key=lambda index: found[index].p)
    told = [False] * len(found)
    for rank, index in enumerate(order):
        if found[index].p > level / (len(found) - rank):
            break
        told[index] = True
    return told


def less(left: Interval, right: Interval) -> Interval:
    """The difference of two independent numbers: half widths add in quadrature; no interval if one has none."""
    mean, count = difference(left.mean, right.mean), left.count
    if left.low is None or left.high is None or right.low is None or right.high is None:
        return Interval(mean, None, None, count)
    below = math.hypot(difference(left.mean, left.low), difference(right.high, right.mean))
    above = math.hypot(difference(left.high, left.mean), difference(right.mean, right.low))
    return Interval(mean, mean - below, mean + above, count)


def protocol_differences(wanted: Mapping[str, Any], measured: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where the protocol of our numbers (one mapping per seed) is not the ``wanted`` one, one phrase per field."""
    phrases = []
    for name, value in wanted.items():
        found = (one.get(name) for one in measured)
        odd = dict.fromkeys("unknown" if one is None else plain(one) for one in found if not _same(one, value))
        if odd:
            phrases.append(f"{name} {' / '.join(odd)} != {plain(value)}")
    return phrases


def _same(ours: Any, wanted: Any) -> bool:
    """Plain equality; 50 and 50.0 are the same number, True and 1 are not."""
    return bool(ours == wanted) and isinstance(ours, bool) == isinstance(wanted, bool)


def plain(value: Any) -> str:
    """A field of a protocol in words."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)

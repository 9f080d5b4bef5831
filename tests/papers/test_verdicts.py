"""Verdicts against scipy and against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from vaebench.papers.evidence import Evidence, Look, evidence, of_interval
from vaebench.papers.verdicts import (
    Interval,
    collapse,
    holm,
    interval,
    judge_cell,
    judge_claim,
    judge_interval,
    judge_pooled,
    less,
    protocol_differences,
)

# Mean 10, sd 1, n = 3: half width 4.302652729749464 / sqrt(3) (t quantile of 2 degrees of freedom at 0.975).
THREE = [9.0, 10.0, 11.0]
HALF = 4.302652729749464 / 3**0.5


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("count", [2, 3, 5, 30])
def test_the_interval_is_scipys(count, level):
    values = np.random.default_rng(count).normal(20, 3, count)
    found = interval(list(values), level)
    low, high = stats.t.interval(level, count - 1, values.mean(), stats.sem(values))
    assert (found.mean, found.low, found.high) == pytest.approx((values.mean(), low, high), rel=1e-12)
    assert found.count == count
    assert found.half == pytest.approx((high - low) / 2, rel=1e-12)


def test_the_interval_in_closed_form():
    found = interval(THREE)
    assert (found.low, found.high) == pytest.approx((10 - HALF, 10 + HALF), rel=1e-12)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(0, 1, (4000, 4))
    inside = [found.low <= 0 <= found.high for found in map(interval, draws.tolist())]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)


def test_no_values_one_value_equal_values():
    assert interval([]) is None
    one = interval([3.0])
    assert (one.mean, one.low, one.high, one.half, one.count) == (3.0, None, None, None, 1)
    same = interval([0.1] * 7)  # their float mean is not 0.1
    assert (same.mean, same.low, same.high, same.half) == (0.1, 0.1, 0.1, 0.0)


def reach(values: list[float], level: float) -> float:
    """Half of the two-sided t interval of the mean, by scipy."""
    return stats.t.ppf(1 - level / 2, len(values) - 1) * stats.sem(values)


# Three seeds look once, for six tenths of 5 %, and a tenth of that where the paper's number has no seeds: 0.3 %.
REACH = reach(THREE, 0.003)
NEW = stats.t.ppf(1 - 0.003 / 2, 2) * (1 + 1 / 3) ** 0.5  # one more run than three: a prediction interval


@pytest.mark.parametrize(
    ("reported", "tolerance", "kind"),
    [
        (10.0, REACH + 1e-9, "reproduced"),
        (10.0, REACH - 1e-9, "within our spread"),
        (10.0, 0.0, "within our spread"),
        (11.5, 0.0, "undecided"),
        (10.0 - REACH - 1.1, 1.0, "undecided"),  # outside, but it could be one run of ours
        (10.0 - REACH - 20.1, 20.0, "outside our spread"),
        (10.0 + REACH + 20.1, 20.0, "outside our spread"),
        (10.0 + REACH + 19.9, 20.0, "undecided"),
    ],
)
def test_the_verdict_follows_the_interval_the_band_and_one_more_run(reported, tolerance, kind):
    assert REACH + 1.1 < NEW < REACH + 19.9
    verdict = judge_cell(reported, tolerance, "higher", THREE, [])
    assert verdict.kind == kind
    assert verdict.text.startswith(kind)


@pytest.mark.parametrize(
    ("better", "above", "below"),
    [("higher", "better", "worse"), ("lower", "worse", "better"), ("none", "different", "different")],
)
def test_better_and_worse_take_eight_seeds(better, above, below):
    eight = list(np.linspace(9.0, 11.0, 8))
    assert judge_cell(0.0, 0.5, better, eight, []).kind == above
    assert judge_cell(20.0, 0.5, better, eight, []).kind == below
    seven = judge_cell(0.0, 0.5, better, eight[:7], [])
    assert seven.text == "outside our spread (7 seeds; better or worse takes 8)"


def test_what_was_decided_at_an_earlier_look_stays_decided():
    first = [10.0, 10.01, 10.02]
    assert judge_cell(10.0, 1.0, "higher", first, []).text == "reproduced"
    assert judge_cell(10.0, 1.0, "higher", [*first, 10.9, 9.1], []).text == "reproduced (at 3 seeds)"


def test_agreement_is_never_inferred_from_spread():
    # Five seeds on one side of a reported 10: a t-test does not reject, and still nothing has been reproduced.
    values = [10.1, 11.0, 14.0, 10.2, 15.0]
    assert stats.ttest_1samp(values, 10.0).pvalue > 0.05
    assert judge_cell(10.0, 1.0, "higher", values, []).kind == "undecided"


def test_undecided_says_how_many_seeds_would_tell():
    values = [0.6, 0.7, 1.5, 1.4, 1.0, 0.9]
    text = judge_cell(0.4, 0.1, "higher", values, []).text
    found = int(text.removeprefix("undecided (about ").removesuffix(" seeds would tell)"))
    mean, spread = np.mean(values), np.std(values, ddof=1)
    distance = abs(mean - 0.5)
    for count, wanted in ((found, True), (found - 1, False)):
        bound = stats.t.ppf(1 - 0.0005 / 2, count - 1) + stats.norm.ppf(0.8)
        assert bool(distance * count**0.5 >= bound * spread) is wanted


def test_one_seed_never_reproduces():
    assert judge_cell(10.0, 1.0, "higher", [10.0], []).text == "within tolerance (1 seed)"
    assert judge_cell(10.0, 1.0, "higher", [12.0], []).text == "outside tolerance (1 seed)"
    assert judge_cell(10.0, 1.0, "higher", [11.0], []).text == "within tolerance (1 seed)"


def test_two_seeds_decide_nothing():
    assert judge_cell(10.0, 1.0, "higher", [10.0, 10.001], []).kind == "undecided"
    assert judge_cell(20.0, 1.0, "higher", [10.0, 10.001], []).kind == "undecided"
    assert judge_claim({0: 1.0, 1: 1.01}, {0: 0.0, 1: 0.0}, "higher").verdict.kind == "undecided"


def test_not_run_and_not_comparable_come_first():
    assert judge_cell(10.0, 1.0, "lower", [], ["dataset digits != mnist"]).kind == "not run"
    verdict = judge_cell(10.0, 100.0, "lower", THREE, ["features classifier != inception", "dataset digits != mnist"])
    assert verdict.kind == "not comparable"
    assert verdict.text == "not comparable (features classifier != inception; dataset digits != mnist)"


def test_a_deterministic_method_needs_no_eight_seeds():
    assert judge_cell(14.65, 0.01, "higher", [14.65] * 3, []).kind == "reproduced"
    assert judge_cell(14.65, 0.01, "higher", [14.0] * 3, []).kind == "worse"


def test_seeds_that_collapse_are_named_and_not_averaged():
    values = [20.0, 20.2, 14.1, 19.9, 20.1, 20.3, 13.8, 20.0]
    verdict = judge_cell(20.1, 0.5, "higher", values, [])
    assert verdict.kind == "seeds collapse"
    assert verdict.text == "2 of 8 seeds collapse (13.8 to 14.1; the others 19.9 to 20.3)"
    assert collapse(values[:3]) == collapse([20.0, 20.1, 20.2, 20.3, 20.4]) == ""
    claim = judge_claim(dict(enumerate(values)), dict.fromkeys(range(8), 10.0), "higher")
    assert claim.verdict.kind == "seeds collapse"
    both = judge_claim(dict(enumerate(values)), {seed: value - 1 for seed, value in enumerate(values)}, "higher")
    assert both.verdict.kind == "holds", "the pairs do not collapse"


def test_a_number_with_an_interval_of_its_own_is_judged_by_that():
    assert judge_pooled(10.0, 1.0, "higher", Interval(10.0, 9.1, 10.9, 3), []).kind == "reproduced"
    assert judge_pooled(10.0, 1.0, "higher", Interval(12.0, 11.1, 12.9, 3), []).kind == "better"
    assert judge_pooled(10.0, 1.0, "higher", Interval(11.0, 10.1, 11.9, 3), []).kind == "undecided"
    assert judge_pooled(10.0, 1.0, "higher", Interval(10.0, 10.0, 10.0, 0), []).kind == "reproduced", "a count"


def test_a_claim_is_judged_on_pairs():
    # The spread between seeds is far larger than the difference within each: only pairing shows it.
    left, right = {0: 10.0, 1: 20.0, 2: 30.0}, {0: 9.0, 1: 19.1, 2: 28.9}
    judged = judge_claim(left, right, "higher")
    verdict, found = judged.verdict, judged.difference
    differences = np.array([1.0, 0.9, 1.1])
    expected = stats.t.interval(0.95, 2, differences.mean(), stats.sem(differences))
    assert verdict.text == "holds"
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-9)
    assert found.mean == pytest.approx(1.0)
    assert judge_claim(left, right, "lower").verdict.text == "reversed"
    assert judge_claim(right, left, "lower").verdict.text == "holds"


def test_a_claim_agrees_with_paired_t_tests_that_share_five_per_cent():
    random = np.random.default_rng(3)
    kinds = set()
    for _ in range(50):
        left, right = random.normal(1.5, 1, 5), random.normal(0, 1, 5)
        judged = judge_claim(dict(enumerate(left)), dict(enumerate(right)), "higher")
        first, second = stats.ttest_rel(left[:3], right[:3]), stats.ttest_rel(left, right)
        tests = [test for test, share in ((first, 0.6), (second, 0.1)) if test.pvalue <= 0.05 * share]
        if judged.verdict.kind == "seeds collapse":
            continue
        assert judged.verdict.kind == ("undecided" if not tests else "holds" if tests[0].statistic > 0 else "reversed")
        assert judged.evidence.p == pytest.approx(min(first.pvalue / 0.6, second.pvalue / 0.1, 1), rel=1e-9)
        kinds.add(judged.verdict.text)
    assert kinds >= {"holds", "holds (at 3 seeds)"}


def test_only_common_seeds_count():
    judged = judge_claim({0: 1.0, 1: 2.0, 7: 9.0}, {0: 0.0, 1: 0.9, 2: 5.0}, "higher")
    assert judged.difference.count == 2
    assert judged.difference.mean == pytest.approx(1.05)
    assert judge_claim({0: 1.0}, {1: 0.0}, "higher") == judge_claim({}, {}, "lower")
    assert judge_claim({0: 1.0}, {1: 0.0}, "higher").verdict.kind == "not run"


@pytest.mark.parametrize("count", [3, 4, 5, 8, 10, 12, 20, 25])
def test_the_looks_at_some_seeds_share_the_price(count):
    values = np.random.default_rng(count).normal(1, 1, count)
    found = evidence(list(values), 0.0, math.inf, strict=True)
    seen = [seeds for seeds in (3, 5, 8, 12) if seeds < count] + [count]
    assert [look.seeds for look in found.looks] == seen
    for look, share in zip(found.looks, (0.6, 0.1, 0.1, 0.1, 0.1), strict=False):
        above = stats.ttest_1samp(values[: look.seeds], 0.0, alternative="greater").pvalue
        assert look.holds == pytest.approx(min(1.0, 20 * above / share), rel=1e-9)
        assert look.reversed == pytest.approx(min(1.0, 20 * (1 - above) / share), rel=1e-9)


def test_being_between_two_edges_is_two_tests():
    values = [0.1, 0.2, 0.15, 0.12, 0.18]
    look = evidence(values, -0.3, 0.3, strict=False).looks[-1]
    tests = [
        stats.ttest_1samp(values, edge, alternative=way).pvalue for edge, way in ((-0.3, "greater"), (0.3, "less"))
    ]
    assert look.holds == pytest.approx(2 * max(tests) / 0.1, rel=1e-9)


def test_holms_correction_is_statsmodels():
    # Adjusted p-values of 0.01, 0.04, 0.03, 0.005 by hand: 0.03, 0.06, 0.06, 0.02.
    found = [Evidence((Look(3, p, 1.0),)) for p in (0.01, 0.04, 0.03, 0.005)]
    assert holm(found) == [True, False, False, True]
    assert holm(found, 0.06) == [True, True, True, True]
    assert holm([]) == []


def test_an_own_interval_gives_its_normal_p_value():
    found = of_interval(1.0, 1.959964, 0.0, math.inf)
    assert found.looks[0].holds == pytest.approx(2 * stats.norm.sf(1.0), rel=1e-6)


@pytest.mark.parametrize("noise", ["normal", "skewed", "collapsing"])
def test_at_most_five_per_cent_of_true_nulls_are_called_at_all_looks_together(noise):
    random = np.random.default_rng(1)

    def draw() -> np.ndarray:
        if noise == "skewed":
            return random.exponential(1, (1000, 20))
        return random.normal(0, 1, (1000, 20)) - (noise == "collapsing") * 10 * (random.random((1000, 20)) < 0.1)

    sides = zip(draw().tolist(), draw().tolist(), strict=True)
    kinds = [judge_claim(dict(enumerate(a)), dict(enumerate(b)), "higher").verdict.kind for a, b in sides]
    called = sum(kind in ("holds", "reversed") for kind in kinds) / len(kinds)
    assert called < 0.05 + 2 * (0.05 * 0.95 / 1000) ** 0.5


def test_one_seed_only_points():
    assert judge_claim({0: 1.0}, {0: 2.0}, "lower").verdict.text == "1 seed: points this way"
    assert judge_claim({0: 1.0}, {0: 2.0}, "higher").verdict.text == "1 seed: points the other way"
    assert judge_claim({0: 1.0}, {0: 1.0}, "higher").verdict.text == "1 seed: no difference"


def test_claims_between_deterministic_sides():
    same = dict.fromkeys(range(3), 5.0)
    assert judge_claim(same, dict.fromkeys(range(3), 4.0), "higher").verdict.text == "holds"
    assert judge_claim(same, same, "higher").verdict.text == "undecided (no difference)"


def test_undecided_says_why():
    verdict = judge_claim({0: 1.0, 1: -1.0, 2: 0.01}, {0: 0.0, 1: 0.0, 2: 0.0}, "higher").verdict
    assert verdict.text == "undecided (over a thousand seeds would be needed)"


def test_protocols_are_compared_field_by_field():
    stated = {"dataset": "mnist", "features": "inception"}
    reading = {"epochs": 50, "clip": False}
    good = {"dataset": "mnist", "features": "inception", "epochs": 50.0, "clip": False, "noise_seed": 3}
    assert protocol_differences(stated | reading, [good, good]) == []
    bad = {**good, "features": "classifier", "epochs": 15.0}
    assert protocol_differences(stated, [good, bad]) == ["features classifier != inception"]
    assert protocol_differences(reading, [good, bad]) == ["epochs 15 != 50"]
    assert protocol_differences({"epochs": 50}, [{"epochs": 10}, {"epochs": 20}]) == ["epochs 10 / 20 != 50"]
    assert protocol_differences({"features": "inception"}, [{}]) == ["features unknown != inception"]
    assert protocol_differences({"clip": False}, [{"clip": True}]) == ["clip true != false"]
    assert protocol_differences({"clip": False}, [{"clip": 0}]) == ["clip 0 != false"]


def test_independent_intervals_add_in_quadrature():
    found = less(Interval(10.0, 7.0, 13.0, 3), Interval(4.0, 0.0, 8.0, 3))
    assert (found.mean, found.low, found.high) == (6.0, 1.0, 11.0)
    assert less(Interval(10.0, None, None, 1), Interval(4.0, 0.0, 8.0, 3)) == Interval(6.0, None, None, 1)


def test_an_interval_of_its_own_is_judged_against_zero():
    assert judge_interval(Interval(2.0, 0.5, 3.5, 3), "higher").verdict.kind == "holds"
    assert judge_interval(Interval(2.0, 0.5, 3.5, 3), "lower").verdict.kind == "reversed"
    found = judge_interval(Interval(2.0, -0.5, 4.5, 3), "higher", "the interval over questions and seeds includes 0")
    assert found.verdict.text == "undecided (the interval over questions and seeds includes 0)"


def test_one_seed_with_an_interval_of_its_own_earns_no_more():
    assert judge_pooled(10.0, 1.0, "higher", Interval(10.0, 9.9, 10.1, 1), []).text == "within tolerance (1 seed)"


def test_a_claim_may_have_a_factor_and_a_margin():
    left, right = {0: 2.2, 1: 2.3, 2: 2.4}, {0: 1.0, 1: 1.05, 2: 1.1}
    judged = judge_claim(left, right, "higher", factor=2)
    assert judged.verdict.kind == "holds"
    assert judged.difference.mean == pytest.approx(0.2)
    assert judge_claim(left, right, "higher", factor=3).verdict.kind == "reversed"
    assert judge_claim(left, right, "higher", factor=2, margin=0.3).verdict.kind == "reversed"
    assert judge_claim(left, right, "higher", factor=3, margin=-1.5).verdict.kind == "holds"


def test_sides_that_differ_by_a_margin_at_most_are_shown_to_by_the_whole_interval():
    close, wide, far = {0: 1.05, 1: 1.06, 2: 1.07}, {0: 0.2, 1: 1.1, 2: 2.0}, {0: 3.0, 1: 3.1, 2: 3.2}
    level = dict.fromkeys(range(3), 1.0)
    assert judge_claim(close, level, "within", margin=0.5).verdict.kind == "holds"
    assert judge_claim(level, close, "within", margin=0.5).verdict.kind == "holds"
    assert judge_claim(wide, level, "within", margin=0.5).verdict.kind == "undecided"
    assert judge_claim(far, level, "within", margin=0.5).verdict.kind == "reversed"
    assert judge_claim({0: 1.4}, {0: 1.0}, "within", margin=0.5).verdict.text == "1 seed: points this way"
    assert judge_claim({0: 1.6}, {0: 1.0}, "within", margin=0.5).verdict.text == "1 seed: points the other way"

"""Verdicts against scipy and against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from vaebench.papers.verdicts import (
    Interval,
    interval,
    judge_cell,
    judge_claim,
    judge_interval,
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


@pytest.mark.parametrize(
    ("reported", "tolerance", "better", "kind"),
    [
        (10.0, HALF + 1e-9, "higher", "reproduced"),
        (10.0, HALF - 1e-9, "higher", "undecided"),
        (10.0, 0.0, "higher", "undecided"),
        (10.0 - HALF - 1.1, 1.0, "higher", "better"),
        (10.0 - HALF - 1.1, 1.0, "lower", "worse"),
        (10.0 - HALF - 1.1, 1.0, "none", "different"),
        (10.0 + HALF + 1.1, 1.0, "higher", "worse"),
        (10.0 + HALF + 1.1, 1.0, "lower", "better"),
        (10.0 + HALF + 0.9, 1.0, "lower", "undecided"),
    ],
)
def test_the_verdict_follows_the_interval_and_the_band(reported, tolerance, better, kind):
    verdict = judge_cell(reported, tolerance, better, interval(THREE), [])
    assert verdict.kind == kind
    assert verdict.text.startswith(kind)


def test_agreement_is_never_inferred_from_spread():
    # Two seeds 9 and 15 against a reported 10: a t-test does not reject, and still nothing has been reproduced.
    assert stats.ttest_1samp([9.0, 15.0], 10.0).pvalue > 0.05
    assert judge_cell(10.0, 1.0, "higher", interval([9.0, 15.0]), []).kind == "undecided"


def test_one_seed_never_reproduces():
    assert judge_cell(10.0, 1.0, "higher", interval([10.0]), []).text == "within tolerance (1 seed)"
    assert judge_cell(10.0, 1.0, "higher", interval([12.0]), []).text == "outside tolerance (1 seed)"
    assert judge_cell(10.0, 1.0, "higher", interval([11.0]), []).text == "within tolerance (1 seed)"


def test_not_run_and_not_comparable_come_first():
    assert judge_cell(10.0, 1.0, "lower", interval([]), ["epochs 15 != 50"]).kind == "not run"
    verdict = judge_cell(
        10.0, 100.0, "lower", interval(THREE), ["features classifier != inception", "epochs 15 != 50, our reading"]
    )
    assert verdict.kind == "not comparable"
    assert verdict.text == "not comparable (features classifier != inception; epochs 15 != 50, our reading)"


def test_a_deterministic_method_has_an_interval_of_width_zero():
    assert judge_cell(14.65, 0.01, "higher", interval([14.65] * 3), []).kind == "reproduced"
    assert judge_cell(14.65, 0.01, "higher", interval([14.0] * 3), []).kind == "worse"


def test_a_claim_is_judged_on_pairs():
    # The spread between seeds is far larger than the difference within each: only pairing shows it.
    left, right = {0: 10.0, 1: 20.0, 2: 30.0}, {0: 9.0, 1: 19.1, 2: 28.9}
    verdict, found = judge_claim(left, right, "higher")
    differences = np.array([1.0, 0.9, 1.1])
    expected = stats.t.interval(0.95, 2, differences.mean(), stats.sem(differences))
    assert verdict.text == "holds"
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-9)
    assert found.mean == pytest.approx(1.0)
    assert judge_claim(left, right, "lower")[0].text == "reversed"
    assert judge_claim(right, left, "lower")[0].text == "holds"


def test_a_claim_agrees_with_the_paired_t_test():
    random = np.random.default_rng(3)
    for _ in range(50):
        left, right = random.normal(0.8, 1, 5), random.normal(0, 1, 5)
        verdict, _ = judge_claim(dict(enumerate(left)), dict(enumerate(right)), "higher")
        test = stats.ttest_rel(left, right)
        wanted = "undecided" if test.pvalue > 0.05 else "holds" if test.statistic > 0 else "reversed"
        assert verdict.kind == wanted


def test_only_common_seeds_count():
    verdict, found = judge_claim({0: 1.0, 1: 2.0, 7: 9.0}, {0: 0.0, 1: 0.9, 2: 5.0}, "higher")
    assert found.count == 2
    assert found.mean == pytest.approx(1.05)
    assert verdict.kind == "holds"
    assert judge_claim({0: 1.0}, {1: 0.0}, "higher") == (judge_claim({}, {}, "lower")[0], None)
    assert judge_claim({0: 1.0}, {1: 0.0}, "higher")[0].kind == "not run"


def test_one_seed_only_points():
    assert judge_claim({0: 1.0}, {0: 2.0}, "lower")[0].text == "1 seed: points this way"
    assert judge_claim({0: 1.0}, {0: 2.0}, "higher")[0].text == "1 seed: points the other way"
    assert judge_claim({0: 1.0}, {0: 1.0}, "higher")[0].text == "1 seed: no difference"


def test_claims_between_deterministic_sides():
    same = dict.fromkeys(range(3), 5.0)
    assert judge_claim(same, dict.fromkeys(range(3), 4.0), "higher")[0].text == "holds"
    assert judge_claim(same, same, "higher")[0].text == "undecided (no difference)"


def test_undecided_says_why():
    verdict, _ = judge_claim({0: 1.0, 1: -1.0, 2: 0.5}, {0: 0.0, 1: 0.0, 2: 0.0}, "higher")
    assert verdict.text == "undecided (needs more than 3 seeds)"


def test_protocols_are_compared_field_by_field():
    stated = {"dataset": "mnist", "features": "inception"}
    reading = {"epochs": 50, "clip": False}
    good = {"dataset": "mnist", "features": "inception", "epochs": 50.0, "clip": False, "noise_seed": 3}
    assert protocol_differences(stated, reading, [good, good]) == []
    bad = {**good, "features": "classifier", "epochs": 15.0}
    assert protocol_differences(stated, reading, [good, bad]) == [
        "features classifier != inception",
        "epochs 15 != 50, our reading",
    ]
    assert protocol_differences({}, {"epochs": 50}, [{"epochs": 10}, {"epochs": 20}]) == [
        "epochs 10 / 20 != 50, our reading"
    ]
    assert protocol_differences({"features": "inception"}, {}, [{}]) == ["features unknown != inception"]
    assert protocol_differences({}, {"clip": False}, [{"clip": True}]) == ["clip true != false, our reading"]
    assert protocol_differences({}, {"clip": False}, [{"clip": 0}]) == ["clip 0 != false, our reading"]


def test_independent_intervals_add_in_quadrature():
    found = less(Interval(10.0, 7.0, 13.0, 3), Interval(4.0, 0.0, 8.0, 3))
    assert (found.mean, found.low, found.high) == (6.0, 1.0, 11.0)
    assert less(Interval(10.0, None, None, 1), Interval(4.0, 0.0, 8.0, 3)) == Interval(6.0, None, None, 1)


def test_an_interval_of_its_own_is_judged_against_zero():
    assert judge_interval(Interval(2.0, 0.5, 3.5, 3), "higher")[0].kind == "holds"
    assert judge_interval(Interval(2.0, 0.5, 3.5, 3), "lower")[0].kind == "reversed"
    found = judge_interval(Interval(2.0, -0.5, 4.5, 3), "higher", "the interval over questions and seeds includes 0")[0]
    assert found.text == "undecided (the interval over questions and seeds includes 0)"


def test_one_seed_with_an_interval_of_its_own_earns_no_more():
    assert judge_cell(10.0, 1.0, "higher", Interval(10.0, 9.9, 10.1, 1), []).text == "within tolerance (1 seed)"


def test_a_claim_may_have_a_factor_and_a_margin():
    left, right = {0: 2.2, 1: 2.3, 2: 2.4}, {0: 1.0, 1: 1.05, 2: 1.1}
    verdict, found = judge_claim(left, right, "higher", factor=2)
    assert verdict.kind == "holds"
    assert found.mean == pytest.approx(0.2)
    assert judge_claim(left, right, "higher", factor=3)[0].kind == "reversed"
    assert judge_claim(left, right, "higher", factor=2, margin=0.3)[0].kind == "reversed"
    assert judge_claim(left, right, "higher", factor=3, margin=-1.5)[0].kind == "holds"


def test_sides_that_differ_by_a_margin_at_most_are_shown_to_by_the_whole_interval():
    close, wide, far = {0: 1.0, 1: 1.1, 2: 1.2}, {0: 0.2, 1: 1.1, 2: 2.0}, {0: 3.0, 1: 3.1, 2: 3.2}
    level = dict.fromkeys(range(3), 1.0)
    assert judge_claim(close, level, "within", margin=0.5)[0].kind == "holds"
    assert judge_claim(level, close, "within", margin=0.5)[0].kind == "holds"
    assert judge_claim(wide, level, "within", margin=0.5)[0].kind == "undecided"
    assert judge_claim(far, level, "within", margin=0.5)[0].kind == "reversed"
    assert judge_claim({0: 1.4}, {0: 1.0}, "within", margin=0.5)[0].text == "1 seed: points this way"
    assert judge_claim({0: 1.6}, {0: 1.0}, "within", margin=0.5)[0].text == "1 seed: points the other way"

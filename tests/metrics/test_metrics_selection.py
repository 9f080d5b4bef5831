"""Selectors, bootstrap and correlations against loops over questions and candidates, closed forms and enumeration."""

from __future__ import annotations

import itertools
import math
import random
import statistics

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from vaebench.metrics import selection
from vaebench.metrics.selection import UNPARSABLE, accuracy, against_k, lowest, majority, pass_at_k, uniform

Q, K = 40, 6


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def right(rng) -> np.ndarray:
    found = rng.random((Q, K)) < 0.4
    found[0], found[1] = True, False
    return found


def slow_lowest(scores: list[float], tie: float) -> list[float]:
    if tie == 0:
        return [float(n == scores.index(min(scores))) for n in range(len(scores))]
    chosen = [n for n, value in enumerate(scores) if value - min(scores) < tie]
    return [1 / len(chosen) if n in chosen else 0.0 for n in range(len(scores))]


def slow_majority(final: list[int]) -> list[float]:
    votes = {answer: final.count(answer) for answer in final if answer != UNPARSABLE}
    winners = [a for a in votes if votes[a] == max(votes.values())] or [UNPARSABLE]
    chosen = [n for n, answer in enumerate(final) if answer in winners]
    return [1 / len(chosen) if n in chosen else 0.0 for n in range(len(final))]


class TestRules:
    @pytest.mark.parametrize("tie", [0, 0.05, 0.5, 100])
    @pytest.mark.parametrize("sign", [1, -1])
    def test_extreme_is_the_loop(self, rng, tie, sign):
        score = rng.normal(size=(3, Q, K)).round(1)  # ties happen
        found = lowest(sign * score, tie)
        slow = [[slow_lowest([sign * v for v in row], tie) for row in of_seed] for of_seed in score.tolist()]
        np.testing.assert_allclose(found, slow)

    def test_majority_is_the_loop(self, rng):
        final = rng.integers(-1, 3, (200, K))
        final[0] = UNPARSABLE
        np.testing.assert_allclose(majority(final), [slow_majority(row) for row in final.tolist()])

    def test_majority_by_hand(self):
        none = UNPARSABLE
        finals = np.array([[5, 7, 5, none], [5, 7, none, none], [none] * 4, [none, none, none, 2], [1, 1, 2, 2]])
        expected = [[0.5, 0, 0.5, 0], [0.5, 0.5, 0, 0], [0.25] * 4, [0, 0, 0, 1], [0.25] * 4]
        np.testing.assert_array_equal(majority(finals), expected)

    @pytest.mark.parametrize("tie", [0, 1e-3])
    def test_masses_sum_to_one_and_ignore_the_order_of_candidates(self, rng, tie):
        score = rng.permuted(np.tile([0.0, 0.0002, 0.5, 0.9], (Q, 1)), axis=1)
        turned = lowest(score[:, ::-1], tie)[:, ::-1]
        for mass in (lowest(score, tie), uniform(score), majority(rng.integers(-1, 3, (Q, K)))):
            np.testing.assert_allclose(mass.sum(-1), 1)
        np.testing.assert_array_equal(lowest(score, tie), turned)

    def test_without_a_guard_equal_scores_give_the_first_candidate(self, right):
        constant = np.full((Q, K), 363.248)
        assert accuracy(lowest(constant, 0), right).mean() == right[:, 0].mean()
        assert accuracy(lowest(constant, 1e-3), right).mean() == accuracy(uniform(right), right).mean()

    def test_noise_below_the_guard_is_random_pick_exactly(self, rng, right):
        noise = 361.8 + rng.normal(size=(5, Q, K)) * 1e-5
        difference = accuracy(lowest(noise, 1e-3), right) - accuracy(uniform(right), right)
        assert not difference.any()

    def test_negative_scores_are_scores(self):
        """A differential entropy can be below 0."""
        assert lowest(np.array([[-52.7, 3.0, -60.0]]), 1e-3).tolist() == [[0, 0, 1]]

    def test_expected_accuracy_is_that_of_random_tie_breaks(self, rng):
        mass, right = lowest(np.array([[1.0, 1, 1, 2]]), 0.1), np.array([[True, False, False, True]])
        draws = rng.choice(4, size=20_000, p=mass[0])
        assert accuracy(mass, right)[0] == pytest.approx(1 / 3)
        assert right[0][draws].mean() == pytest.approx(1 / 3, abs=0.015)


class TestOffers:
    @pytest.mark.parametrize("k", [1, 2, 3, 6])
    def test_pass_at_k_is_the_enumeration(self, right, k):
        subsets = list(itertools.combinations(range(K), k))
        slow = [sum(any(row[n] for n in subset) for subset in subsets) / len(subsets) for row in right.tolist()]
        np.testing.assert_allclose(pass_at_k(right, k), slow)

    def test_pass_at_all_is_the_oracle(self, right):
        np.testing.assert_array_equal(pass_at_k(right, K), right.any(1))

    def rules(self, score, right, final):
        def by_score(those):
            return lowest(np.take_along_axis(score, those[None], -1), 1e-3)

        return {
            "random": uniform,
            "oracle": lambda those: lowest(1 - np.take_along_axis(right, those, 1), 0.5),
            "majority": lambda those: majority(np.take_along_axis(final, those, 1)),
            "score": by_score,
            "first": lambda those: np.eye(1, those.shape[1]).repeat(len(those), 0),
        }

    def test_sizes_double_up_to_all(self, right):
        for k, sizes in {1: [1], 2: [1, 2], 4: [1, 2, 4], 6: [1, 2, 4, 6]}.items():
            found, _ = against_k(right[:, :k], {"random": uniform}, 2, 0)
            assert found.tolist() == sizes

    def test_one_is_random_pick_and_all_is_the_rule(self, rng, right):
        score, final = rng.normal(size=(2, Q, K)), rng.integers(-1, 3, (Q, K))
        rules = self.rules(score, right, final)
        sizes, found = against_k(right, rules, 5, 0)
        everything = np.tile(np.arange(K), (Q, 1))
        for name, rule in rules.items():
            assert found[name].shape == (len(sizes), 2 if name == "score" else 1, Q)
            np.testing.assert_allclose(found[name][0], np.tile(right.mean(1), (len(found[name][0]), 1)))
            np.testing.assert_allclose(found[name][-1], np.atleast_2d(accuracy(rule(everything), right)), atol=1e-12)

    def test_random_and_oracle_are_exact(self, right):
        _, found = against_k(right, self.rules(np.zeros((1, Q, K)), right, np.zeros((Q, K), int)), 3, 0)
        for at, size in enumerate([1, 2, 4, 6]):
            np.testing.assert_allclose(found["random"][at, 0], right.mean(1))
            np.testing.assert_allclose(found["oracle"][at, 0], pass_at_k(right, size))

    def test_subsets_average_to_all_subsets(self, rng, right):
        """With many random orders, the mean over all subsets of two."""
        score, final = rng.normal(size=(1, Q, K)), rng.integers(-1, 3, (Q, K))
        _, found = against_k(right, self.rules(score, right, final), 3000, 0)
        exact = []
        for pair in itertools.combinations(range(K), 2):
            those = np.tile(pair, (Q, 1))
            offered = np.take_along_axis(right, those, 1)
            exact.append(accuracy(lowest(score[:, :, list(pair)], 1e-3), offered))
        np.testing.assert_allclose(found["score"][1], np.mean(exact, 0), atol=0.05)
        assert found["score"][1].mean() == pytest.approx(np.mean(exact), abs=0.003)

    def test_offers_keep_the_listed_order(self, right):
        """`first` of a subset is the candidate with the lowest column in it."""
        columns = np.tile(np.arange(K), (Q, 1))
        seen = []

        def watch(those):
            seen.append(those)
            return uniform(those)

        against_k(right, {"watch": watch}, 2, 0)
        assert all((np.diff(those, axis=1) > 0).all() for those in seen)
        assert {those.shape[1] for those in seen} == {2, 4, 6}
        np.testing.assert_array_equal(seen[-1], columns)


class TestBootstrap:
    def test_is_the_explicit_resampling(self, rng):
        values = rng.normal(size=(2, 3, 17))
        mean, low, high = selection.paired_bootstrap(values, 200, 7)
        draws = np.random.default_rng(7)
        seeds, questions = draws.integers(3, size=(200, 3)), draws.integers(17, size=(200, 17))
        for n in range(2):
            table = values[n].tolist()
            stats = [
                statistics.fmean(table[s][q] for s in seeds[b].tolist() for q in questions[b].tolist())
                for b in range(200)
            ]
            assert mean[n] == pytest.approx(values[n].mean())
            assert low[n] == pytest.approx(np.quantile(stats, 0.025))
            assert high[n] == pytest.approx(np.quantile(stats, 0.975))

    def test_parts_give_the_same_as_the_whole(self, rng, monkeypatch):
        values = rng.normal(size=(3, 50))
        whole = selection.paired_bootstrap(values, 300, 0)
        monkeypatch.setattr(selection, "_WEIGHTS", 50 * 7)
        np.testing.assert_allclose(selection.paired_bootstrap(values, 300, 0), whole)

    def test_width_is_the_standard_error(self, rng):
        """One seed: the interval of a mean of independent questions, 2 x 1.96 sd / sqrt(q)."""
        values = (rng.random((1, 1319)) < 0.41).astype(float)
        _, low, high = selection.paired_bootstrap(values, 4000, 0)
        assert float(high - low) == pytest.approx(2 * 1.96 * values.std() / math.sqrt(1319), rel=0.05)

    def test_equal_seeds_add_no_certainty(self, rng):
        """Five copies of one seed are as uncertain as one: the same question counts in all of them."""
        one = rng.normal(size=(1, 400))
        narrow, wide = (selection.paired_bootstrap(v, 4000, 0) for v in (one, one.repeat(5, 0)))
        assert float(wide[2] - wide[1]) == pytest.approx(float(narrow[2] - narrow[1]), rel=0.05)

    def test_seeds_that_disagree_widen_the_interval(self):
        values = np.repeat([[0.0], [1.0]], 100, 1)
        mean, low, high = selection.paired_bootstrap(values, 2000, 0)
        assert (float(mean), float(low), float(high)) == (0.5, 0.0, 1.0)

    def test_no_difference_is_no_difference(self):
        assert [float(v) for v in selection.paired_bootstrap(np.zeros((3, 20)), 100, 0)] == [0, 0, 0]

    def test_coverage_of_the_true_mean(self):
        """About 95 of 100 intervals hold the mean they were drawn around."""
        draws = np.random.default_rng(1)
        values = draws.normal(size=(200, 1, 150))
        held = [bool(low <= 0 <= high) for _, low, high in (selection.paired_bootstrap(v, 400, 3) for v in values)]
        assert 0.90 <= sum(held) / 200 <= 0.99


class TestAssociation:
    def slow_d(self, scores: list[float], right: list[bool], tie: float) -> float:
        total = pairs = 0
        for a, is_right in zip(scores, right, strict=True):
            for b, other in zip(scores, right, strict=True):
                if is_right and not other:
                    pairs += 1
                    near = abs(a - b) < tie or a == b
                    total += 0 if near else (1 if a > b else -1)
        return total / pairs

    @pytest.mark.parametrize("tie", [0, 0.3])
    def test_somers_d_is_the_loop(self, rng, right, tie, monkeypatch):
        monkeypatch.setattr(selection, "_PAIRS", K * K * 7)  # several parts
        score = rng.normal(size=(2, Q, K)).round(1)
        found = selection.somers_d(score, right, tie)
        mixed = [n for n in range(Q) if 0 < right[n].sum() < K]
        slow = [[self.slow_d(of_seed[n], right[n].tolist(), tie) for n in mixed] for of_seed in score.tolist()]
        assert len(mixed) < Q
        assert found.shape == (2, len(mixed))
        np.testing.assert_allclose(found, slow, atol=1e-12)

    def test_somers_d_is_the_area_under_the_curve(self, rng):
        right = rng.random((1, 50)) < 0.4
        score = rng.normal(size=(1, 1, 50)).round(1)
        peer = 2 * roc_auc_score(right[0], score[0, 0]) - 1
        assert selection.somers_d(score, right, 0)[0, 0] == pytest.approx(peer)

    def test_somers_d_of_a_perfect_score_and_of_none(self, right):
        lower_is_right = 1.0 - right[None]
        assert set(selection.somers_d(lower_is_right, right, 1e-3).ravel()) == {-1.0}
        assert set(selection.somers_d(-lower_is_right, right, 1e-3).ravel()) == {1.0}
        assert set(selection.somers_d(np.zeros((1, Q, K)), right, 1e-3).ravel()) == {0.0}
        assert selection.somers_d(np.zeros((3, 4, 2)), np.ones((4, 2), bool), 0).shape == (3, 0)

    def test_within_question_is_spearmans(self, rng):
        score, length = rng.normal(size=(2, Q, K)).round(1), rng.integers(1, 5, (Q, K))
        length[0] = 3
        score[1, 2] = 0.25
        found = selection.within_question(score, length, 0)
        for s, n in itertools.product(range(2), range(Q)):
            constant = len(set(length[n].tolist())) == 1 or len(set(score[s, n].tolist())) == 1
            expected = 0.0 if constant else spearmanr(score[s, n], length[n]).statistic
            assert found[s, n] == pytest.approx(expected)

    def test_within_question_ignores_differences_below_the_tie(self, rng):
        score, length = rng.random((1, Q, K)) * 1e-4, rng.integers(1, 500, (Q, K))
        assert not selection.within_question(score, length, 1e-3).any()
        assert selection.within_question(score, length, 0).any()

    def test_pooled_is_spearmans(self, rng, right):
        score = rng.normal(size=(3, Q, K))
        peer = [spearmanr(of_seed.ravel(), right.ravel()).statistic for of_seed in score]
        np.testing.assert_allclose(selection.pooled(score, right), peer)
        assert selection.pooled(np.zeros((1, Q, K)), right).tolist() == [0]
        assert selection.pooled(score, np.ones((Q, K), bool)).tolist() == [0, 0, 0]


def test_majority_of_a_simulated_model_beats_one_sample():
    """Right answers agree and wrong ones scatter: the vote of eight is right far more often than one of them."""
    draw = random.Random(0)
    finals = np.array([[0 if draw.random() < 0.4 else draw.randint(1, 30) for _ in range(8)] for _ in range(500)])
    right = finals == 0
    assert accuracy(majority(finals), right).mean() > accuracy(uniform(right), right).mean() + 0.3

"""Distances of two samples against slow loops, SciPy and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor

from vaebench.errors import UserError
from vaebench.metrics.two_samples import maximum_mean_discrepancy, median_distance, share_near, sliced_wasserstein


def points(count: int, width: int = 3, seed: int = 0, shift: float = 0.0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) + shift


def slow_mmd(x: Tensor, y: Tensor, bandwidth: float) -> float:
    def kernel(a: Tensor, b: Tensor) -> float:
        return math.exp(-float((a.double() - b.double()).square().sum()) / (2 * bandwidth**2))

    within = []
    for own in (x, y):
        pairs = [kernel(own[i], own[j]) for i in range(len(own)) for j in range(len(own)) if i != j]
        within.append(sum(pairs) / len(pairs))
    between = [kernel(a, b) for a in x for b in y]
    return sum(within) - 2 * sum(between) / len(between)


@pytest.mark.parametrize("bandwidth", [0.3, 2.0])
def test_mmd_is_a_mean_over_pairs(bandwidth):
    x, y = points(9), points(14, seed=1, shift=0.5)
    assert maximum_mean_discrepancy(x, y, bandwidth=bandwidth) == pytest.approx(slow_mmd(x, y, bandwidth), rel=1e-9)


def test_mmd_of_two_gaussians_is_the_closed_form():
    """E k(a, b) for a - b ~ N(m, 2 I) is (1 + 2 / h^2)^(-d/2) exp(-|m|^2 / (2 (h^2 + 2)))."""
    h, width, shift = 1.5, 4, 0.4
    alike = (1 + 2 / h**2) ** (-width / 2)
    wanted = 2 * alike - 2 * alike * math.exp(-width * shift**2 / (2 * (h**2 + 2)))
    found = maximum_mean_discrepancy(points(4000, width), points(4000, width, 1, shift), bandwidth=h)
    assert found == pytest.approx(wanted, abs=2e-3)
    assert wanted > 0.03
    same = [maximum_mean_discrepancy(points(40, 2, seed), points(40, 2, seed + 50), bandwidth=h) for seed in range(40)]
    assert abs(sum(same) / len(same)) < 0.005  # unbiased: of either sign
    assert min(same) < 0 < max(same)


def test_the_median_is_that_of_all_pairs():
    x = points(8)
    pairs = sorted(float((x[i] - x[j]).norm()) for i in range(8) for j in range(i))
    assert pairs[13] - 1e-6 <= median_distance(x) <= pairs[14] + 1e-6  # 28 of them


def test_on_a_line_it_is_scipys_distance():
    x, y = points(20, 1), points(31, 1, seed=1, shift=1.0)
    wanted = wasserstein_distance(x[:, 0].double(), y[:, 0].double())
    assert sliced_wasserstein(x, y, projections=5, seed=0) == pytest.approx(wanted, rel=1e-12)


def test_equal_counts_are_sorted_and_paired():
    x, y = points(12, 3).double(), points(12, 3, seed=1, shift=0.3).double()
    directions = torch.randn(7, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    total = 0.0
    for direction in directions:
        unit = direction / direction.norm()
        a, b = sorted(float(p @ unit) for p in x), sorted(float(p @ unit) for p in y)
        total += sum(abs(one - other) for one, other in zip(a, b, strict=True)) / 12
    assert sliced_wasserstein(x, y, projections=7, seed=4) == pytest.approx(total / 7, rel=1e-9)


def test_a_shift_costs_its_mean_projection():
    """E |u_1| of a uniform direction in d dimensions: Gamma(d/2) / (sqrt(pi) Gamma((d+1)/2))."""
    width, shift = 5, torch.tensor([3.0, 0, 4.0, 0, 0])
    x = points(30, width)
    mean = math.gamma(width / 2) / (math.sqrt(math.pi) * math.gamma((width + 1) / 2))
    found = sliced_wasserstein(x, x + shift, projections=4000, seed=0)
    assert found == pytest.approx(5 * mean, rel=0.03)
    assert sliced_wasserstein(x, x, projections=10, seed=0) == 0


def test_what_cannot_be_compared_is_named():
    x, bad = points(5), points(5)
    bad[2, 1] = math.nan
    with pytest.raises(UserError, match="1 of 5 rows hold NaN"):
        sliced_wasserstein(x, bad, projections=3, seed=0)
    with pytest.raises(UserError, match=r"one has 1 point\(s\); it needs at least 2"):
        maximum_mean_discrepancy(x, x[:1], bandwidth=1.0)
    with pytest.raises(UserError, match="most of 6 points are equal"):
        median_distance(torch.ones(6, 2))


def test_near_points_are_the_loops():
    random = torch.Generator().manual_seed(0)
    some, others = torch.rand(80, 2, generator=random), torch.rand(60, 2, generator=random)
    near = sum(any(math.dist(a, b) <= 0.1 for b in others.tolist()) for a in some.tolist())
    assert share_near(some, others, radius=0.1) == near / 80
    assert 0 < near < 80


@pytest.mark.parametrize(("radius", "expected"), [(0.5, 1 / 3), (1.0, 2 / 3), (2.0, 1.0)])
def test_the_border_belongs_to_it(radius, expected):
    some = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    assert share_near(some, torch.zeros(1, 2), radius=radius) == pytest.approx(expected)

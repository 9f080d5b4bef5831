"""The share of near points against a loop."""

from __future__ import annotations

import math

import pytest
import torch

from vaebench.metrics.points import share_near


def test_it_is_the_loops():
    random = torch.Generator().manual_seed(0)
    points, others = torch.rand(80, 2, generator=random), torch.rand(60, 2, generator=random)
    near = sum(any(math.dist(a, b) <= 0.1 for b in others.tolist()) for a in points.tolist())
    assert share_near(points, others, radius=0.1) == near / 80
    assert 0 < near < 80


@pytest.mark.parametrize(("radius", "expected"), [(0.5, 1 / 3), (1.0, 2 / 3), (2.0, 1.0)])
def test_the_border_belongs_to_it(radius, expected):
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    assert share_near(points, torch.zeros(1, 2), radius=radius) == pytest.approx(expected)

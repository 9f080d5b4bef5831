"""The S-shaped curve against its formula, point by point."""

from __future__ import annotations

import math

import pytest
import torch

from vaebench.data.points import draw, s_curve
from vaebench.errors import UserError


def slowly(count: int, seed: int) -> list[tuple[float, float]]:
    random = torch.Generator().manual_seed(seed)
    places = (torch.rand(count, generator=random, dtype=torch.float64) * 2 - 1).tolist()
    across, along = torch.randn(2, count, generator=random, dtype=torch.float64).tolist()
    found = []
    for u, a, b in zip(places, across, along, strict=True):
        dx, dy = 0.85 * math.pi * math.cos(math.pi * u), 0.85 - 0.3 * math.pi * math.cos(2 * math.pi * u)
        length = math.hypot(dx, dy)
        jitter = 0.03 * (0.4 + 0.6 * abs(u)) * b
        x = 0.85 * math.sin(math.pi * u) - 0.06 * a * dy / length + jitter
        y = 0.85 * u - 0.15 * math.sin(2 * math.pi * u) + 0.06 * a * dx / length + jitter
        found.append((min(1.0, max(-1.0, x)), min(1.0, max(-1.0, -y))))
    return found


def test_points_follow_the_formula():
    points = draw(500, torch.Generator().manual_seed(3))
    assert points.dtype == torch.float32
    torch.testing.assert_close(points, torch.tensor(slowly(500, 3)))


def test_the_curve_is_s_shaped_and_inside_the_square():
    points = draw(20_000, torch.Generator().manual_seed(0))
    assert float(points.abs().max()) <= 1
    # sin(pi u) has the mean square 1/2; y's follows from its two terms.
    assert float(points[:, 0].var()) == pytest.approx(0.85**2 / 2, abs=0.01)
    assert float(points[:, 1].std()) == pytest.approx(0.54, abs=0.01)
    assert float((points[:, 0] * points[:, 1]).mean()) < 0  # y is flipped


def test_a_data_set_is_its_seeds():
    data, again, other = (s_curve(name="s", count=100, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(data.train_x, again.train_x)
    assert data.digest == again.digest != other.digest
    assert data.digest == "41d8946e64f0b455"  # on every machine
    assert (len(data), data.source, data.note, data.stand_in) == (100, "embedded", "", False)
    assert data.to("cpu").device == torch.device("cpu")
    batch = data.batch(torch.tensor([3, 5]))
    assert torch.equal(batch.x, data.train_x[[3, 5]])
    assert batch.y.tolist() == [0, 0]


def test_the_law_gives_fresh_points():
    data = s_curve(name="s", count=100, seed=0)
    found = data.reference(50, torch.Generator().manual_seed(0))
    assert torch.equal(found, draw(50, torch.Generator().manual_seed(0)))
    assert not torch.equal(found, data.reference(50, torch.Generator().manual_seed(1)))


def test_no_points_are_refused():
    with pytest.raises(UserError, match=r"dataset\.count=0: expected a whole number, 1 to 100000000"):
        s_curve(name="s", count=0, seed=0)

"""Precision and recall against a slow loop and torch-fidelity."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vaebench.compat import ensure_torchvision
from vaebench.errors import UserError
from vaebench.metrics import two_samples
from vaebench.metrics.two_samples import precision_recall


def sets(n: int, m: int, d: int, shift: float = 0.5) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(n + m + d)
    return torch.randn(n, d, generator=random), shift + 0.8 * torch.randn(m, d, generator=random)


def covered(queries: Tensor, points: Tensor, k: int) -> float:
    """The share of queries within the balls of points, pair by pair."""
    inside = 0
    for query in queries.double():
        for index, centre in enumerate(points.double()):
            others = torch.cat([points[:index], points[index + 1 :]]).double()
            radius = sorted(float((centre - other).norm()) for other in others)[k - 1]
            if float((query - centre).norm()) <= radius:
                inside += 1
                break
    return inside / len(queries)


@pytest.mark.parametrize("k", [1, 3])
def test_a_slow_loop(k, monkeypatch):
    real, fake = sets(23, 31, 2, shift=1.0)
    expected = covered(fake, real, k), covered(real, fake, k)
    assert precision_recall(real, fake, neighbours=k) == pytest.approx(expected)
    assert 0.1 < min(expected) < max(expected) < 1
    monkeypatch.setattr(two_samples, "_IN_FLIGHT", 40)  # one or two rows at a time
    assert precision_recall(real, fake, neighbours=k) == pytest.approx(expected)


def test_torch_fidelity():
    ensure_torchvision()
    peer = pytest.importorskip("torch_fidelity.metric_prc")
    real, fake = sets(400, 300, 8, shift=0.3)
    theirs = peer.prc_features_to_metric(fake.double(), real.double(), prc_neighborhood=3, prc_batch_size=100)
    expected = theirs["precision"], theirs["recall"]
    assert precision_recall(real, fake, neighbours=3) == pytest.approx(expected, abs=1e-6)
    assert 0.2 < min(expected) < max(expected) < 1


def test_equal_sets_cover_each_other_and_distant_ones_do_not():
    real, fake = sets(50, 50, 8)
    assert precision_recall(real, real.clone(), neighbours=3) == (1.0, 1.0)
    assert precision_recall(real, fake + 100, neighbours=3) == (0.0, 0.0)
    assert precision_recall(real, real[:1].repeat(9, 1), neighbours=3) == (1.0, 1 / 50)  # one image again and again


@pytest.mark.parametrize(("n", "m", "which"), [(3, 9, "3 reference"), (9, 3, "3 generated")])
def test_too_few_images_are_named(n, m, which):
    with pytest.raises(UserError, match=f"{which} images have no 3 neighbours each"):
        precision_recall(*sets(n, m, 2), neighbours=3)

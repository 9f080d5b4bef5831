"""The Frechet distance against closed forms, torchmetrics and scipy's matrix square root."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vaebench.compat import ensure_torchvision
from vaebench.errors import UserError
from vaebench.metrics.frechet import Moments, Reference, frechet_distance, moments, reference


def features(count: int, width: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Correlated, non-negative, off-centre features of very different scales, as a network's are."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator, dtype=torch.float64)
    scales = torch.logspace(0, -3, width, dtype=torch.float64)
    noise = torch.randn(count, width, generator=generator, dtype=torch.float64)
    return ((noise * scales) @ mixing + 0.5).relu().to(dtype)


def by_sqrtm(x: Tensor, y: Tensor) -> float:
    """The formula as written, with a general matrix square root."""
    linalg = pytest.importorskip("scipy.linalg")
    a, b = np.cov(x.numpy(), rowvar=False), np.cov(y.numpy(), rowvar=False)
    root = linalg.sqrtm(a @ b)
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * np.trace(root).real)


def test_moments_are_those_of_numpy_across_blocks():
    x = features(700, 600, seed=0, dtype=torch.float32)
    result = moments(x)
    np.testing.assert_allclose(result.mean.numpy(), x.double().mean(0).numpy(), rtol=1e-12)
    covariance = np.cov(x.double().numpy(), rowvar=False)
    np.testing.assert_allclose(result.covariance.numpy(), covariance, rtol=1e-9, atol=1e-12)
    assert result.count == 700
    assert x.dtype == torch.float32  # and the caller's features are as they were
    torch.testing.assert_close(x, features(700, 600, seed=0, dtype=torch.float32))


@pytest.mark.parametrize(("count", "width"), [(300, 40), (30, 40), (40, 40)])
def test_root_is_a_root_of_the_covariance(count, width):
    x = features(count, width, seed=1)
    result = reference(x)
    torch.testing.assert_close(result.root @ result.root.T, moments(x).covariance, rtol=1e-9, atol=1e-12)


def test_distance_of_gaussians_with_commuting_covariances():
    """Diagonal covariances: the sum of (difference of means)^2 + (difference of standard deviations)^2."""
    m1, m2 = torch.tensor([0.0, 1.0, -2.0]).double(), torch.tensor([0.5, 1.0, 0.0]).double()
    s1, s2 = torch.tensor([1.0, 2.0, 0.0]).double(), torch.tensor([1.5, 0.5, 3.0]).double()
    distance = frechet_distance(reference(Moments(m1, s1.square().diag(), 10)), Moments(m2, s2.square().diag(), 10))
    assert distance == pytest.approx(((m1 - m2) ** 2 + (s1 - s2) ** 2).sum().item(), rel=1e-12)


def test_distance_of_two_by_two_covariances():
    """Tr M^(1/2) = sqrt(Tr M + 2 sqrt(det M)) for 2 x 2 matrices."""
    a = torch.tensor([[2.0, 0.3], [0.3, 1.0]]).double()
    b = torch.tensor([[1.0, -0.4], [-0.4, 3.0]]).double()
    zero = torch.zeros(2).double()
    cross = math.sqrt((a @ b).trace() + 2 * math.sqrt(torch.linalg.det(a @ b)))
    expected = (a.trace() + b.trace()).item() - 2 * cross
    distance = frechet_distance(reference(Moments(zero, a, 9)), Moments(zero, b, 9))
    assert distance == pytest.approx(expected, rel=1e-12)


def test_shift_and_scale_of_the_same_samples():
    for count in (200, 12):  # more and fewer samples than features
        x = features(count, 20, seed=2)
        assert frechet_distance(reference(x), x + 0.5) == pytest.approx(20 * 0.25, rel=1e-9)
        centred = x - x.mean(0)
        spread = centred.square().sum().item() / (count - 1)
        assert frechet_distance(reference(centred), 3 * centred) == pytest.approx(4 * spread, rel=1e-9)
        assert frechet_distance(reference(x), x) == pytest.approx(0, abs=1e-9)
        assert frechet_distance(reference(x), x) >= 0


def test_equals_torchmetrics_from_features_to_distance():
    ensure_torchvision()
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Flatten(nn.Module):
        num_features = 48

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)

    x, y = features(400, 48, seed=3), features(300, 48, seed=4)
    peer = FrechetInceptionDistance(feature=Flatten()).set_dtype(torch.float64)
    peer.update(x.view(-1, 3, 4, 4), real=True)
    peer.update(y.view(-1, 3, 4, 4), real=False)
    expected = peer.compute().item()
    assert frechet_distance(reference(x), y) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(reference(moments(x)), moments(y)) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(reference(y), x) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("left", "right"), [(150, 120), (150, 30), (30, 150), (30, 25), (61, 60)])
def test_equals_scipy_sqrtm_on_either_side_of_full_rank(left, right):
    x, y = features(left, 60, seed=5), features(right, 60, seed=6)
    singular = min(left, right) <= 60  # then it is sqrtm that is inexact
    assert frechet_distance(reference(x), y) == pytest.approx(by_sqrtm(x, y), rel=1e-4 if singular else 1e-8)


@pytest.mark.parametrize(("left", "right"), [(30, 150), (150, 30), (30, 25)])
def test_few_samples_are_exact_by_another_way(left, right):
    """The nuclear norm of X1 X2', both centred and scaled, needs no square root of a singular matrix."""
    x, y = features(left, 60, seed=7), features(right, 60, seed=8)
    a, b = ((t - t.mean(0)) / math.sqrt(len(t) - 1) for t in (x, y))
    cross = torch.linalg.matrix_norm(a @ b.T, "nuc")
    expected = (x.mean(0) - y.mean(0)).square().sum() + a.square().sum() + b.square().sum() - 2 * cross
    assert frechet_distance(reference(x), y) == pytest.approx(expected.item(), rel=1e-8)
    assert frechet_distance(reference(x), moments(y)) == pytest.approx(expected.item(), rel=1e-5)


def test_features_that_never_vary_do_no_harm():
    x, y = features(200, 30, seed=9), features(200, 30, seed=10)
    padded = [torch.cat((t, torch.zeros(len(t), 10).double()), 1) for t in (x, y)]
    expected = frechet_distance(reference(x), y)
    assert frechet_distance(reference(padded[0]), padded[1]) == pytest.approx(expected, rel=1e-7)
    constant = torch.ones(50, 8)
    assert frechet_distance(reference(constant), constant + 1) == pytest.approx(8)


@pytest.mark.parametrize("count", [100, 20])
def test_a_reference_survives_the_disk(tmp_path, count):
    x, y = features(count, 30, seed=11), features(90, 30, seed=12)
    path = tmp_path / "new" / "folder" / "reference.safetensors"
    original = reference(x)
    original.save(path)
    original.save(path)  # again, over itself
    loaded = Reference.load(path)
    assert loaded.count == count
    assert frechet_distance(loaded, y) == frechet_distance(original, y)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_files_that_are_no_reference_are_refused(tmp_path):
    path = tmp_path / "reference.safetensors"
    with pytest.raises(UserError, match="holds no Frechet reference"):
        Reference.load(path)
    reference(features(20, 5, seed=13)).save(path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match="delete it and evaluate again"):
        Reference.load(path)
    from safetensors.torch import save_file

    save_file({"mean": torch.zeros(3)}, path)
    with pytest.raises(UserError, match="root"):
        Reference.load(path)


@pytest.mark.parametrize("count", [50, 4])
def test_values_that_are_not_finite_are_named(count):
    good, bad = features(count, 10, seed=14), features(count, 10, seed=15)
    bad[2, 3], bad[3, 0], bad[3, 1] = math.nan, math.inf, -math.inf
    with pytest.raises(UserError, match=rf"^features: 2 of {count} rows hold NaN or infinity \(first: row 2\)"):
        frechet_distance(reference(good), bad)
    with pytest.raises(UserError, match=rf"^reference features: 2 of {count} rows"):
        reference(bad)
    with pytest.raises(UserError, match=r"^features: 2 of"):
        moments(bad)


def test_too_few_samples_and_other_widths_are_refused():
    good = reference(features(20, 5, seed=16))
    for count in (0, 1):
        with pytest.raises(UserError, match=rf"{count} sample\(s\); a covariance needs at least 2"):
            frechet_distance(good, torch.zeros(count, 5))
        with pytest.raises(UserError, match="at least 2"):
            reference(torch.zeros(count, 5))
    with pytest.raises(UserError, match="features are 6 wide, the reference's 5; both sides need the same extractor"):
        frechet_distance(good, features(20, 6, seed=17))
    with pytest.raises(ValueError, match=r"shape \[n d\]"):
        moments(torch.zeros(3, 4, 5))

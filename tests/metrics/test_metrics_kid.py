"""The kernel distance against a slow loop, torchmetrics and torch-fidelity."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vaebench.compat import ensure_torchvision
from vaebench.errors import UserError
from vaebench.metrics import two_samples
from vaebench.metrics.two_samples import kernel_distance


def sets(n: int, m: int, d: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(n + m)
    return torch.rand(n, d, generator=random), 0.1 + torch.rand(m, d, generator=random)


def kernel(x: Tensor, y: Tensor) -> float:
    return float((x.double() @ y.double() / len(x) + 1) ** 3)


def test_a_slow_loop_over_pairs(monkeypatch):
    real, fake = sets(6, 9, 4)
    within = [
        sum(kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j) / (len(x) * (len(x) - 1))
        for x in (real, fake)
    ]
    across = sum(kernel(a, b) for a in real for b in fake) / (len(real) * len(fake))
    expected = within[0] + within[1] - 2 * across
    assert kernel_distance(real, fake) == pytest.approx(expected, rel=1e-12)
    monkeypatch.setattr(two_samples, "_IN_FLIGHT", 10)
    assert kernel_distance(real, fake) == pytest.approx(expected, rel=1e-12)


def test_torchmetrics_and_torch_fidelity():
    ensure_torchvision()
    torchmetrics = pytest.importorskip("torchmetrics.image.kid")
    fidelity = pytest.importorskip("torch_fidelity.metric_kid")
    real, fake = (x.double() for x in sets(80, 80, 32))
    ours = kernel_distance(real, fake)
    assert ours == pytest.approx(float(torchmetrics.poly_mmd(real, fake)), rel=1e-9)
    assert ours == pytest.approx(float(fidelity.kernel_mmd(real.numpy(), fake.numpy())), rel=1e-9)


def test_it_is_unbiased_where_the_sets_are_alike():
    found = [kernel_distance(*torch.randn(2, 40, 8, generator=torch.Generator().manual_seed(i))) for i in range(200)]
    values = torch.tensor(found)
    assert values.min() < 0 < values.max()
    assert abs(float(values.mean())) < 3 * float(values.std()) / 200**0.5


@pytest.mark.parametrize(("n", "m", "which"), [(1, 5, "1 reference"), (5, 1, "1 generated")])
def test_too_few_images_are_named(n, m, which):
    with pytest.raises(UserError, match=rf"kernel distance: {which} image\(s\); it needs at least 2"):
        kernel_distance(*sets(n, m, 2))

import math

import pytest
import torch

from vaebench.nn.latents import importance, top_mask


def entry(kind: str, z: float, mu: float, logvar: float, center: float) -> float:
    kl = -0.5 * (1 + logvar - mu**2 - math.exp(logvar))
    return {"abs_z": abs(z), "abs_mu": abs(mu), "var_mu": (mu - center) ** 2, "kl": kl}[kind]


@pytest.mark.parametrize("kind", ["abs_z", "abs_mu", "var_mu", "kl"])
def test_importance_is_the_loop(kind):
    torch.manual_seed(0)
    z, mu, logvar = torch.randn(3, 6, 4).unbind()
    center = mu.mean(0)
    found = importance(kind, z=z, mu=mu, logvar=logvar, center=center)
    for i in range(6):
        for j in range(4):
            expected = entry(kind, float(z[i, j]), float(mu[i, j]), float(logvar[i, j]), float(center[j]))
            assert float(found[i, j]) == pytest.approx(expected, abs=1e-6)


def test_mean_of_var_mu_is_the_variance():
    mu = torch.randn(9, 4)
    found = importance("var_mu", z=mu, mu=mu, logvar=mu, center=mu.mean(0)).mean(0)
    torch.testing.assert_close(found, mu.var(0, correction=0))


@pytest.mark.parametrize("k", [1, 3, 7])
def test_top_mask_keeps_the_largest_of_each_row(k):
    scores = torch.rand(5, 7, generator=torch.Generator().manual_seed(0))
    mask = top_mask(scores, k)
    for row, kept in zip(scores.tolist(), mask.tolist(), strict=True):
        largest = sorted(range(7), key=lambda j: -row[j])[:k]
        assert {j for j in range(7) if kept[j]} == set(largest)


def test_exactly_k_even_among_ties():
    assert top_mask(torch.zeros(10), 4).sum() == 4
    assert top_mask(torch.ones(3, 10), 4).sum(1).tolist() == [4, 4, 4]


def test_no_gradient_flows():
    z = torch.randn(3, 4, requires_grad=True)
    found = importance("abs_z", z=z, mu=z, logvar=z, center=z[0])
    assert not found.requires_grad
    assert not top_mask(z.abs(), 2).requires_grad

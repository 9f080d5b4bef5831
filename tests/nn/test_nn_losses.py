import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from vaebench.nn.latents import gaussian_kl, posterior, prior_sample, reparameterise
from vaebench.nn.networks.flat import over_latents, reconstruction


def pixel_error(logit: float, x: float, recon_loss: str) -> float:
    if recon_loss == "linear":
        return (logit - x) ** 2
    p = 1 / (1 + math.exp(-logit))
    return (p - x) ** 2 if recon_loss == "mse" else -(x * math.log(p) + (1 - x) * math.log(1 - p))


@pytest.mark.parametrize("recon_loss", ["mse", "bce", "linear"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_reconstruction_is_the_loop(recon_loss, reduction):
    torch.manual_seed(0)
    logits, x = torch.randn(3, 2, 4, 5), torch.rand(3, 2, 4, 5)
    images = []
    for image, target in zip(logits, x, strict=True):
        errors = [
            pixel_error(float(a), float(b), recon_loss) for a, b in zip(image.flatten(), target.flatten(), strict=True)
        ]
        images.append(sum(errors) / (len(errors) if reduction == "mean" else 1))
    found = reconstruction(logits, x, recon_loss=recon_loss, reduction=reduction)
    assert float(found) == pytest.approx(sum(images) / len(images), rel=1e-5)


def test_bce_of_a_saturated_logit_is_finite():
    found = reconstruction(torch.full((1, 1, 2, 2), 200.0), torch.zeros(1, 1, 2, 2), recon_loss="bce", reduction="sum")
    assert float(found) == pytest.approx(800)


def test_reconstruction_is_computed_in_float32():
    logits, x = torch.randn(2, 1, 4, 4, dtype=torch.bfloat16), torch.rand(2, 1, 4, 4)
    assert reconstruction(logits, x, recon_loss="mse", reduction="sum").dtype == torch.float32


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_over_latents_is_the_loop(reduction):
    values = torch.rand(4, 3)
    rows = [sum(map(float, row)) / (3 if reduction == "mean" else 1) for row in values]
    assert float(over_latents(values, reduction=reduction)) == pytest.approx(sum(rows) / 4, rel=1e-6)


def test_kl_is_that_of_torch_distributions():
    torch.manual_seed(0)
    mu, logvar = torch.randn(5, 7), torch.randn(5, 7)
    expected = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(gaussian_kl(mu, logvar), expected)


def test_posterior_splits_one_head():
    head = torch.arange(8.0).view(2, 4).bfloat16()
    mu, logvar = posterior(head)
    assert mu.tolist() == [[0, 1], [4, 5]]
    assert logvar.tolist() == [[2, 3], [6, 7]]
    assert mu.dtype == logvar.dtype == torch.float32


def test_reparameterise_is_mu_plus_sigma_epsilon_and_differentiable():
    mu = torch.randn(4, 3, requires_grad=True)
    logvar = torch.randn(4, 3, requires_grad=True)
    torch.manual_seed(1)
    z = reparameterise(mu, logvar)
    torch.manual_seed(1)
    epsilon = torch.randn(4, 3)
    torch.testing.assert_close(z, mu + (logvar / 2).exp() * epsilon)
    z.sum().backward()
    torch.testing.assert_close(mu.grad, torch.ones(4, 3))
    torch.testing.assert_close(logvar.grad, (logvar / 2).exp() * epsilon / 2)


def test_prior_sample_uses_the_passed_generator_only():
    before = torch.get_rng_state()
    draws = [prior_sample(6, 4, torch.Generator().manual_seed(seed), torch.device("cpu")) for seed in (3, 3, 4)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])

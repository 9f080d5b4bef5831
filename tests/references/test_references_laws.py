"""Laws in closed form as references."""

from __future__ import annotations

import pytest
import torch

from vaebench.contracts import ReferenceInputs
from vaebench.errors import UserError
from vaebench.nn.flows import laws
from vaebench.references.laws import Gaussian, Mixture

GMM = {"components": 3, "spread": 2.0, "std": 0.1, "seed": 7, "per": "latent"}


def given(seed=0, shape=(2, 2, 2)):
    return ReferenceInputs(shape, 3.0, 9.0, "some", seed)


def test_gaussian_is_standard_whatever_the_tokenizers_units():
    found = Gaussian(samples=20_000).draw(given())
    assert found.z.shape == (20_000, 2, 2, 2)
    assert found.z.dtype == torch.float32
    assert found.labels is None
    torch.testing.assert_close(found.z.flatten(1).T.cov(), torch.eye(8), atol=0.04, rtol=0.0)
    torch.testing.assert_close(found.z.mean(0), torch.zeros(2, 2, 2), atol=0.03, rtol=0.0)


def test_mixture_lies_around_the_means_of_its_closed_form():
    found = Mixture(**GMM, samples=3000).draw(given())
    means = laws.build({"kind": "gmm", **GMM}, (2, 2, 2)).means
    distances = torch.cdist(found.z.flatten(1), means)
    nearest = distances.min(1)
    # A Gaussian of deviation 0.1 in 8 dimensions lies 0.28 from its mean.
    assert nearest.values.square().mean().sqrt() == pytest.approx(0.1 * 8**0.5, rel=0.03)
    torch.testing.assert_close(nearest.indices.bincount() / 3000, torch.full((3,), 1 / 3), atol=0.04, rtol=0.0)


def test_the_runs_seed_moves_the_items_and_not_the_means():
    one, other = (Mixture(**GMM, samples=2000).draw(given(seed)).z for seed in (1, 2))
    assert not torch.equal(one, other)
    assert torch.equal(one, Mixture(**GMM, samples=2000).draw(given(1)).z)
    torch.testing.assert_close(one.mean(0), other.mean(0), atol=0.25, rtol=0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"components": 0}, "reference.components=0: expected a whole number, at least 1"),
        ({"std": 0.0}, "reference.std=0.0: expected a finite number above 0"),
        ({"per": "place"}, "unknown reference.per 'place'. Valid: latent, position"),
    ],
)
def test_wrong_options_of_a_mixture(options, message):
    with pytest.raises(UserError) as caught:
        Mixture(**GMM | options, samples=10)
    assert str(caught.value) == message


def test_too_few_samples():
    for build in (lambda: Gaussian(samples=1), lambda: Mixture(**GMM, samples=1)):
        with pytest.raises(UserError, match=r"reference.samples=1: expected a whole number, at least 2"):
            build()

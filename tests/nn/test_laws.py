import math

import pytest
import torch
from scipy import stats
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from vaebench.errors import UserError
from vaebench.nn.flows import flow, laws

SHAPE = (3, 2, 2)
GMM = {"kind": "gmm", "components": 4, "spread": 1.5, "std": 0.4, "seed": 2, "per": "latent"}
LAWS = [{"kind": "gaussian"}, GMM, GMM | {"per": "position"}]
ids = ["gaussian", "gmm", "gmm by position"]


def states(count=6, shape=SHAPE, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *shape, generator=generator).double() * 2, torch.rand(count, generator=generator).double()


def tokens(law, x):
    """``[b d n]``, each column of which has a component of its own."""
    return x.flatten(2) if law.by_position else x.flatten(1)[..., None]


@pytest.mark.parametrize("t", [0.0, 0.25, 0.5, 0.8, 1.0])
def test_velocity_of_the_standard_gaussian(t):
    x, _ = states()
    found = laws.build({"kind": "gaussian"}, SHAPE).double().velocity(x, torch.full((6,), t).double())
    torch.testing.assert_close(found, (2 * t - 1) * x / (t**2 + (1 - t) ** 2))


@pytest.mark.parametrize("options", LAWS, ids=ids)
def test_velocity_and_score_are_the_loops(options):
    """Item by item, token by token: each component's share, and its own posterior means of data and noise."""
    law = laws.build(options, SHAPE).double()
    x, t = states()
    v, s = tokens(law, law.velocity(x, t)), tokens(law, law.score(x, t))
    for item in range(len(x)):
        time = float(t[item])
        variance = time**2 * law.std**2 + (1 - time) ** 2
        for place, token in enumerate(tokens(law, x)[item].T):
            density = [Normal(time * mean, math.sqrt(variance)).log_prob(token).sum().exp() for mean in law.means]
            velocity, score = torch.zeros_like(token), torch.zeros_like(token)
            for share, mean in zip(density, law.means, strict=True):
                share = share / sum(density)
                away = token - time * mean
                data = mean + time * law.std**2 / variance * away
                noise = (1 - time) / variance * away
                velocity += share * (data - noise)
                score -= share * away / variance
            torch.testing.assert_close(v[item, :, place], velocity)
            torch.testing.assert_close(s[item, :, place], score)


@pytest.mark.parametrize("per", ["latent", "position"])
def test_score_is_the_gradient_of_the_density(per):
    law = laws.build(GMM | {"per": per}, SHAPE).double()
    x, t = states(4)
    found = law.score(x, t)
    for item in range(4):
        place = x[item : item + 1].clone().requires_grad_()
        deviation = math.sqrt(float(t[item]) ** 2 * law.std**2 + (1 - float(t[item])) ** 2)
        parts = Independent(Normal(t[item] * law.means, deviation), 1)
        density = MixtureSameFamily(Categorical(torch.ones(4).double()), parts)
        density.log_prob(tokens(law, place).mT).sum().backward()
        torch.testing.assert_close(found[item], place.grad[0])


@pytest.mark.parametrize("options", LAWS, ids=ids)
def test_score_and_velocity_say_the_same(options):
    law = laws.build(options, SHAPE).double()
    x, _ = states()
    t = torch.full((6,), 0.3).double()
    torch.testing.assert_close(law.score(x, t), flow.score(law.velocity(x, t), x, 0.3))


@pytest.mark.parametrize("options", LAWS, ids=ids)
def test_both_ends_of_the_path(options):
    """At the noise nothing is known of the data, at the data nothing of the noise."""
    law = laws.build(options, SHAPE).double()
    x, t = states()
    mean = law.velocity(torch.zeros_like(x), 0 * t)
    torch.testing.assert_close(law.velocity(x, 0 * t), mean - x)
    torch.testing.assert_close(law.velocity(x, 0 * t + 1), x)


@pytest.mark.parametrize("options", LAWS, ids=ids)
@pytest.mark.parametrize("time", [0.2, 0.6])
def test_velocity_against_monte_carlo(options, time):
    """The mean of z - eps over the draws that came by x, for numbers of one channel on a single place."""
    law = laws.build(options, (1, 1, 1))
    generator = torch.Generator().manual_seed(5)
    z = law.sample(400_000, generator)
    noise = torch.randn(z.shape, generator=generator)
    state = time * z + (1 - time) * noise
    for x in (-1.0, -0.2, 0.5, 1.2):
        near = ((state - x).abs() < 0.02).flatten()
        drawn = (z - noise).flatten()[near]
        assert len(drawn) > 500
        found = law.velocity(torch.full((1, 1, 1, 1), x), torch.tensor([time])).item()
        assert abs(found - drawn.mean().item()) < 4 * drawn.std().item() / math.sqrt(len(drawn)) + 0.05


def test_gaussian_draws():
    z = laws.build({"kind": "gaussian"}, SHAPE).sample(2000, torch.Generator().manual_seed(0))
    assert z.shape == (2000, *SHAPE)
    assert z.dtype == torch.float32
    assert stats.kstest(z.flatten().numpy(), "norm").pvalue > 0.01
    assert float(torch.corrcoef(z.flatten(1).T).fill_diagonal_(0).abs().max()) < 0.1


@pytest.mark.parametrize("per", ["latent", "position"])
def test_mixture_draws_lie_around_their_means(per):
    law = laws.build(GMM | {"per": per, "std": 0.05}, SHAPE)
    z = tokens(law, law.sample(2000, torch.Generator().manual_seed(0))).mT  # [b n d]
    nearest = torch.cdist(z, law.means.expand(len(z), -1, -1)).argmin(-1)  # [b n]
    rest = z - law.means[nearest]
    assert float(rest.std()) == pytest.approx(0.05, rel=0.02)
    shares = nearest.flatten().bincount(minlength=4) / nearest.numel()
    torch.testing.assert_close(shares, torch.full((4,), 0.25), atol=0.04, rtol=0)
    if per == "position":  # places choose by themselves
        assert float((nearest[:, 0] == nearest[:, 1]).float().mean()) == pytest.approx(0.25, abs=0.04)


def test_the_numbers_have_the_variance_that_is_promised():
    law = laws.build(GMM | {"components": 4000, "spread": 0.8, "std": 0.6}, SHAPE)
    assert float(law.sample(4000, torch.Generator().manual_seed(0)).var()) == pytest.approx(1, rel=0.02)


def test_every_caller_gets_the_same_mixture():
    torch.manual_seed(1)
    before, one = torch.get_rng_state(), laws.build(GMM, SHAPE)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    other = laws.build(dict(GMM), list(SHAPE))
    assert torch.equal(one.means, other.means)
    assert torch.equal(*(law.sample(5, torch.Generator().manual_seed(0)) for law in (one, other)))
    assert not torch.equal(one.means, laws.build(GMM | {"seed": 3}, SHAPE).means)


def test_nothing_is_trained_or_stored():
    law = laws.build(GMM, SHAPE)
    assert not law.state_dict()
    assert not list(law.parameters())


def test_bf16_changes_nothing():
    law = laws.build(GMM, SHAPE)
    x, t = (value.float() for value in states())
    with torch.autocast("cpu", torch.bfloat16):
        found = law.velocity(x, t)
    assert torch.equal(found, law.velocity(x, t))


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({"kind": "gaus"}, ["unknown model.law.kind 'gaus'; did you mean 'gaussian'? Valid: gaussian, gmm"]),
        ({}, ["unknown model.law.kind 'None'. Valid: gaussian, gmm"]),
        ({"kind": "gaussian", "std": 2.0}, ["unknown option 'model.law.std'"]),
        ({"kind": "gmm", "components": 3}, [f"model.law.{name}: missing; gmm" for name in ("spread", "std", "seed")]),
        (
            GMM | {"components": 0, "spread": -1.0, "std": 0.0, "seed": -1, "per": "image"},
            [
                "model.law.components=0: expected a whole number, at least 1",
                "model.law.spread=-1.0: expected",
                "model.law.std=0.0: expected a finite number above 0",
                "model.law.seed=-1: expected",
                "unknown model.law.per 'image'",
            ],
        ),
    ],
)
def test_bad_options_are_named(options, lines):
    with pytest.raises(UserError) as caught:
        laws.build(options, SHAPE)
    assert all(found.startswith(line) for found, line in zip(caught.value.lines, lines, strict=False))


def test_errors_name_where_the_law_stands():
    with pytest.raises(UserError, match=r"unknown reference\.law\.kind"):
        laws.build({"kind": "point"}, SHAPE, where="reference.law")

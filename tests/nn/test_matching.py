import pytest
import torch
from scipy import stats
from torch import nn

from vaebench.nn.flows import flow, matching
from vaebench.nn.flows.laws import Mixture
from vaebench.nn.transformers import dit

SHAPE = (2, 2, 3)


def gaussian(mean, std, numbers=12, shape=SHAPE):
    return Mixture(torch.full((1, numbers), float(mean)), std=std, latent_shape=shape)


def net(seed=0):
    """A DiT with three classes and "any class" that has something to say."""
    torch.manual_seed(seed)
    built = dit.DiT(
        latent_shape=SHAPE,
        classes=3,
        null=True,
        width=16,
        depth=1,
        heads=2,
        mlp_ratio=2.0,
        qk_norm=True,
        positions=True,
        time_scale=1000.0,
    )
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return built


def draws(count=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z, noise = torch.randn(2, count, *SHAPE, generator=generator)
    return z, noise, torch.rand(count, generator=generator) * 0.98 + 0.01


class TestTwoGaussians:
    """N(2, 0.5^2) is to become N(-1, 1.5^2); both scores are known."""

    fake, real = gaussian(2, 0.5).double(), gaussian(-1, 1.5).double()

    def scores(self, x, t):
        """Of t z + (1 - t) eps under each law: -(x - t m) / (t^2 s^2 + (1 - t)^2)."""
        return [-(x - t * m) / (t**2 * s**2 + (1 - t) ** 2) for m, s in ((2, 0.5), (-1, 1.5))]

    def test_the_gradient_is_the_weighted_difference_of_the_scores(self):
        z, noise, t = (value.double() for value in draws())
        g = matching.gradient(z, noise, t, real=self.real.velocity, fake=self.fake.velocity, normalise=False)
        t = t[:, None, None, None]
        s_fake, s_real = self.scores(t * z + (1 - t) * noise, t)
        torch.testing.assert_close(g, (1 - t) ** 2 / t * (s_fake - s_real))

    def test_the_normaliser_is_the_distance_to_what_the_real_flow_predicts(self):
        z, noise, t = (value.double() for value in draws())
        g = matching.gradient(z, noise, t, real=self.real.velocity, fake=self.fake.velocity, normalise=True)
        for item in range(len(z)):
            time = float(t[item])
            x = time * z[item] + (1 - time) * noise[item]
            s_fake, s_real = self.scores(x, time)
            predicted = (x + (1 - time) ** 2 * s_real) / time  # Tweedie
            weight = (1 - time) ** 2 / time / (z[item] - predicted).abs().mean()
            torch.testing.assert_close(g[item], weight * (s_fake - s_real))

    @pytest.mark.parametrize("normalise", [False, True])
    def test_points_become_the_law(self, normalise):
        """Descent with the fake flow of the points as they are, a Gaussian throughout."""
        generator = torch.Generator().manual_seed(1)
        z = 2 + 0.5 * torch.randn(500, *SHAPE, generator=generator)
        real = gaussian(-1, 1.5)
        for _ in range(300):
            fake = gaussian(z.mean(), float(z.std()))
            noise, t = torch.randn(z.shape, generator=generator), torch.rand(500, generator=generator)
            g = matching.gradient(z, noise, t, real=real.velocity, fake=fake.velocity, normalise=normalise)
            z = z - 0.1 * g
        assert float(z.mean()) == pytest.approx(-1, abs=0.1)
        assert float(z.std()) == pytest.approx(1.5, rel=0.1)

    def test_equal_laws_are_left_alone(self):
        z, noise, t = draws()
        one = gaussian(0.3, 0.7).velocity
        assert not matching.gradient(z, noise, t, real=one, fake=one, normalise=True).any()


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_the_gradient_is_the_loop(weight, normalise):
    """Item by item with two networks and labels, both guided by the same weight."""
    real, fake = net(0), net(1)
    z, noise, t = draws()
    labels = torch.tensor([0, 2, 1, 0, 3])
    g = matching.gradient(
        z,
        noise,
        t,
        real=matching.guided(real, labels, null=3, weight=weight),
        fake=matching.guided(fake, labels, null=3, weight=weight),
        normalise=normalise,
    )
    for item in range(len(z)):
        time = t[item : item + 1]
        x = time * z[item : item + 1] + (1 - time) * noise[item : item + 1]
        predicted = []
        for network in (real, fake):
            with torch.no_grad():
                v = network(x, time, labels[item : item + 1])
                v = v + (weight - 1) * (v - network(x, time, torch.tensor([3])))
            predicted.append(x + (1 - time) * v)
        expected = predicted[1] - predicted[0]
        if normalise:
            expected = expected / (z[item] - predicted[0]).abs().mean()
        torch.testing.assert_close(g[item], expected[0], rtol=1e-3, atol=1e-5)


def test_guidance_of_one_asks_for_no_null_label():
    calls = []
    velocity = matching.guided(lambda x, t, y: calls.append(y) or x, torch.tensor([1, 2]), null=9, weight=1.0)
    velocity(torch.zeros(2, 1), torch.zeros(2))
    assert [y.tolist() for y in calls] == [[1, 2]]


def test_no_gradient_reaches_the_networks():
    real, fake = net(0), net(1)
    z, noise, t = draws()
    z.requires_grad_()
    labels = torch.tensor([0, 2, 1, 0, 3])
    sides = {
        "real": matching.guided(real, labels, null=3, weight=2.0),
        "fake": matching.guided(fake, labels, null=3, weight=2.0),
    }
    g = matching.gradient(z, noise, t, **sides, normalise=True)
    assert not g.requires_grad
    matching.loss(z, g).backward()
    assert all(parameter.grad is None for network in (real, fake) for parameter in network.parameters())
    torch.testing.assert_close(z.grad, g / z.numel(), rtol=1e-4, atol=1e-7)


def test_loss_is_half_the_mean_square():
    z, g = draws()[:2]
    torch.testing.assert_close(matching.loss(z, g), g.square().mean() / 2)


@pytest.mark.parametrize("normalise", [False, True])
def test_at_the_data_and_at_the_noise_the_gradient_is_finite(normalise):
    z, noise, _ = draws(2)
    t = torch.tensor([0.0, 1.0])
    one, other = gaussian(0, 1).velocity, gaussian(1, 2).velocity
    g = matching.gradient(z, noise, t, real=one, fake=other, normalise=normalise)
    assert g.isfinite().all()
    if not normalise:
        assert not g[1].any()


def test_a_real_flow_that_hits_the_data_gives_nothing():
    """The distance to its prediction is 0; the other items are as they would be alone."""
    z, noise, t = draws()

    def exact(x, time):
        v = torch.zeros_like(x)
        v[0], v[1] = flow.velocity(z, noise)[:2]
        return v

    g = matching.gradient(z, noise, t, real=exact, fake=lambda x, time: torch.ones_like(x), normalise=True)
    assert not g[:2].any()
    assert g[2:].all()
    both = matching.gradient(z, noise, t, real=exact, fake=exact, normalise=True)
    assert not both.any()


def test_bf16_gives_float32():
    real, fake = net(0), net(1)
    z, noise, t = draws()
    labels = torch.zeros(5, dtype=torch.int64)
    sides = {name: matching.guided(n, labels, null=3, weight=2.0) for name, n in (("real", real), ("fake", fake))}
    with torch.autocast("cpu", torch.bfloat16):
        g = matching.gradient(z, noise, t, **sides, normalise=True)
        assert matching.loss(z, g).dtype == torch.float32
    assert g.dtype == torch.float32


def test_networks_stay_as_they_are():
    network: nn.Module = net()
    z, noise, t = draws()
    velocity = matching.guided(network, torch.zeros(5, dtype=torch.int64), null=3, weight=1.0)
    matching.gradient(z, noise, t, real=velocity, fake=velocity, normalise=True)
    assert all(parameter.requires_grad for parameter in network.parameters())


class TestTimes:
    def draw(self, step, **options):
        torch.manual_seed(0)
        given = {"low": 0.1, "high": 0.9, "anneal_to": None, "anneal_steps": None} | options
        return matching.Times(**given).draw(5000, step, torch.device("cpu"))

    def test_are_uniform_between_their_ends(self):
        t = self.draw(7)
        assert stats.kstest(t.numpy(), stats.uniform(0.1, 0.8).cdf).pvalue > 0.01
        assert torch.equal(t, self.draw(0))

    @pytest.mark.parametrize(("step", "low"), [(0, 0.1), (25, 0.2), (100, 0.5), (1000, 0.5)])
    def test_the_lower_end_rises(self, step, low):
        t = self.draw(step, anneal_to=0.5, anneal_steps=100)
        assert stats.kstest(t.numpy(), stats.uniform(low, 0.9 - low).cdf).pvalue > 0.01

    @pytest.mark.parametrize("times", [[0.0], [0.2, 0.2], [-0.1, 1.0], [0.0, 1.1], [0.0, 0.5, 1.0]])
    def test_bad_ends_are_named(self, times):
        (line,) = matching.time_mistakes(times, None, None)
        assert line == f"model.times={times}: expected two rising times from 0 (noise) to 1 (data)"

    def test_good_options_have_no_mistakes(self):
        assert not any(matching.time_mistakes([0.0, 1.0], 0.5, 10))
        assert not any(matching.time_mistakes([0.0, 1.0], None, None))

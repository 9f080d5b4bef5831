import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from toys import draw
from vaebench.compat import ensure_torchvision
from vaebench.contracts import Sampling
from vaebench.nn.flows import samplers

PLAIN = Sampling(sampler="euler", steps=10, shift=1.0, guidance=1.0, guidance_from=0.0, guidance_channels=None)
MEAN, VARIANCE = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([0.04, 1.0, 2.25])


def gaussian(z, t):
    """The exact velocity of data N(MEAN, VARIANCE): the mean of z - eps given z_t."""
    variance = t**2 * VARIANCE + (1 - t) ** 2
    return MEAN + (t * VARIANCE - (1 - t)) / variance * (z - t * MEAN)


def sampled(noise, velocity=gaussian, seed=0, **options):
    return samplers.integrate(
        velocity, noise, replace(PLAIN, **options), torch.Generator(noise.device).manual_seed(seed)
    )


class TestGrid:
    def test_is_even_without_a_shift(self):
        assert samplers.times(replace(PLAIN, steps=4)) == [0, 0.25, 0.5, 0.75, 1]

    @pytest.mark.parametrize("shift", [0.3, 2.5])
    def test_shifts_as_the_formula(self, shift):
        found = samplers.times(replace(PLAIN, steps=7, shift=shift))
        assert found == pytest.approx([shift * t / (1 + (shift - 1) * t) for t in torch.linspace(0, 1, 8).tolist()])
        assert (found[3] < 3 / 7) == (shift < 1)
        assert found[0] == 0
        assert found[-1] == 1

    def test_of_the_stochastic_sampler_ends_before_its_last_step(self):
        found = samplers.times(replace(PLAIN, sampler="sde", steps=25))
        assert found == pytest.approx([*torch.linspace(0, 0.96, 25).tolist(), 1.0])
        assert samplers.times(replace(PLAIN, sampler="sde", steps=1)) == [0, 1]
        assert samplers.times(replace(PLAIN, sampler="sde", steps=2)) == [0, 0.96, 1]


class TestIntegrate:
    def exact(self, noise):
        return MEAN + VARIANCE.sqrt() * noise

    @pytest.mark.parametrize(("sampler", "order"), [("euler", 1), ("heun", 2)])
    def test_has_its_order(self, sampler, order):
        noise = draw(64, 3).double()
        errors = [
            float((sampled(noise, sampler=sampler, steps=steps) - self.exact(noise)).abs().mean())
            for steps in (64, 128, 256)
        ]
        for coarse, fine in pairwise(errors):
            assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15)
        assert errors[-1] < 0.02

    @pytest.mark.parametrize("shift", [0.3, 2.0])
    def test_a_shifted_grid_leads_to_the_same_data(self, shift):
        noise = draw(64, 3).double()
        found = sampled(noise, sampler="heun", steps=200, shift=shift)
        torch.testing.assert_close(found, self.exact(noise), rtol=0, atol=2e-3)

    def test_sde_has_the_marginals_of_the_data(self):
        found = sampled(draw(40_000, 3), sampler="sde", steps=250, seed=9)
        torch.testing.assert_close(found.mean(0), MEAN, rtol=0, atol=0.03)
        torch.testing.assert_close(found.var(0), VARIANCE, rtol=0.03, atol=0.006)
        flow = sampled(draw(40_000, 3), sampler="heun", steps=50)
        assert float((found - flow).abs().mean()) > 0.1  # other paths from the same noise

    def test_sde_comes_nearer_with_more_steps(self):
        """The variance of each step in closed form: the steps are linear in a Gaussian's state."""
        errors = []
        for steps in (50, 500, 5000):
            variance = torch.ones(3).double()
            for t, later in pairwise(samplers.times(replace(PLAIN, sampler="sde", steps=steps))):
                slope = (t * VARIANCE - (1 - t)) / (t**2 * VARIANCE + (1 - t) ** 2)
                noise = 2 * (1 - t) * (later - t) * (later < 1)
                variance = (1 + (later - t) * ((1 + t) * slope - 1)) ** 2 * variance + noise
            if steps == 50:
                drawn = sampled(draw(40_000, 3), sampler="sde", steps=steps, seed=9).var(0).double()
                torch.testing.assert_close(drawn, variance, rtol=0.03, atol=0)
            errors.append(float((variance - VARIANCE).abs().max()))
        assert errors[0] > 4 * errors[1] > 4 * errors[2]
        assert errors[2] < 0.01

    def test_sde_is_the_loop(self):
        """Euler-Maruyama with diffusion w = 1 - t: drift v + w score = (1 + t) v - z, noise sqrt(2 w dt)."""
        noise, steps = draw(5, 3), 6
        random, z = torch.Generator().manual_seed(3), noise.clone()
        grid = torch.linspace(0, 0.96, steps).tolist()
        for t, later in pairwise(grid):
            v, dt = gaussian(z, t), later - t
            z = (
                z
                + ((1 + t) * v - z) * dt
                + math.sqrt(2 * (1 - t)) * torch.randn(5, 3, generator=random) * math.sqrt(dt)
            )
        z = z + (1.96 * gaussian(z, 0.96) - z) * 0.04
        torch.testing.assert_close(sampled(noise, sampler="sde", steps=steps, seed=3), z, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("sampler", ["euler", "heun", "sde"])
    def test_depends_on_noise_and_generator_alone(self, sampler):
        noise = draw(4, 3)
        before = noise.clone()
        torch.manual_seed(1)
        first = sampled(noise, sampler=sampler)
        torch.manual_seed(2)
        assert torch.equal(sampled(noise, sampler=sampler), first)
        assert torch.equal(noise, before)
        assert torch.equal(sampled(noise, sampler=sampler, seed=1), first) == (sampler != "sde")

    @pytest.mark.parametrize(("sampler", "calls"), [("euler", 5), ("heun", 10), ("sde", 5)])
    def test_asks_for_so_many_velocities(self, sampler, calls):
        asked = []

        def counting(z, t):
            asked.append(t)
            return gaussian(z, t)

        sampled(draw(2, 3), counting, sampler=sampler, steps=5)
        assert len(asked) == calls
        assert asked[0] == 0
        assert max(asked) == {"euler": 0.8, "heun": 1.0, "sde": pytest.approx(0.96)}[sampler]


class TestPeers:
    @pytest.mark.parametrize(("sampler", "method"), [("euler", "euler"), ("heun", "heun2")])
    def test_torchdiffeq_takes_the_same_steps(self, sampler, method):
        torchdiffeq = pytest.importorskip("torchdiffeq")
        noise, options = draw(8, 3).double(), replace(PLAIN, sampler=sampler, steps=9, shift=0.5)
        grid = torch.tensor(samplers.times(options)).double()
        theirs = torchdiffeq.odeint(lambda t, z: gaussian(z, t), noise, grid, method=method)[-1]
        torch.testing.assert_close(sampled(noise, sampler=sampler, steps=9, shift=0.5), theirs, rtol=1e-6, atol=1e-6)

    def test_torchdiffeq_arrives_at_the_same_place(self):
        torchdiffeq = pytest.importorskip("torchdiffeq")
        noise = draw(8, 3).double()
        ends = torch.tensor([0.0, 1.0]).double()
        theirs = torchdiffeq.odeint(lambda t, z: gaussian(z, t), noise, ends, method="dopri5", rtol=1e-8, atol=1e-8)[-1]
        torch.testing.assert_close(sampled(noise, sampler="heun", steps=400), theirs, rtol=0, atol=1e-4)

    @pytest.mark.parametrize("shift", [1.0, 0.3, 3.0])
    def test_diffusers_takes_the_same_steps(self, shift):
        """Its time is sigma = 1 - t and its velocity eps - z, so its shift is the inverse of ours."""
        pytest.importorskip("diffusers")
        ensure_torchvision()
        from diffusers import FlowMatchEulerDiscreteScheduler

        steps, noise = 8, draw(4, 3)
        scheduler = FlowMatchEulerDiscreteScheduler(shift=1 / shift)
        scheduler.set_timesteps(sigmas=[1 - step / steps for step in range(steps)])
        z = noise
        for time, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
            z = scheduler.step(-gaussian(z, 1 - float(sigma)), time, z).prev_sample
        torch.testing.assert_close(sampled(noise, steps=steps, shift=shift), z, rtol=1e-5, atol=1e-5)


class TestGuidance:
    LABELS = torch.tensor([0, 2, 1])

    def network(self, z, t, labels):
        """A velocity that tells items, times and labels apart; remembers the sizes of its batches."""
        self.sizes.append(len(z))
        return torch.sin(z + t[:, None, None, None]) * (1 + labels[:, None, None, None])

    def guided(self, z, time, **options):
        self.sizes = []
        return samplers.field(self.network, self.LABELS, replace(PLAIN, **options), null=3)(z, time)

    def velocity(self, z, time, labels):
        self.sizes = []
        return self.network(z, torch.full((3,), time), labels)

    @pytest.mark.parametrize("weight", [0.0, 0.5, 2.0, 10.0])
    @pytest.mark.parametrize("channels", [None, 1, 4])
    def test_is_two_velocities_in_one_batch(self, weight, channels):
        z = draw(3, 4, 2, 2)
        found = self.guided(z, 0.4, guidance=weight, guidance_channels=channels)
        assert self.sizes == [6]
        given, free = self.velocity(z, 0.4, self.LABELS), self.velocity(z, 0.4, torch.full((3,), 3))
        expected = free + weight * (given - free)
        if channels:
            expected[:, channels:] = given[:, channels:]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)

    def test_without_weight_nothing_is_doubled(self):
        z = draw(3, 4, 2, 2)
        torch.testing.assert_close(self.guided(z, 0.4), self.velocity(z, 0.4, self.LABELS))
        self.guided(z, 0.4)
        assert self.sizes == [3]

    def test_is_off_before_its_time(self):
        z = draw(3, 4, 2, 2)
        found = self.guided(z, 0.09, guidance=5.0, guidance_from=0.1)
        assert self.sizes == [3]
        torch.testing.assert_close(found, self.velocity(z, 0.09, self.LABELS))
        self.guided(z, 0.1, guidance=5.0, guidance_from=0.1)
        assert self.sizes == [6]


@pytest.mark.parametrize(
    ("options", "model", "line"),
    [
        ({"guidance": 2.0}, {"classes": 0}, "suite.guidance=2.0: the model knows no classes to be guided to; use 1"),
        ({"guidance": 2.0}, {"null": False}, "suite.guidance=2.0: the model was trained with model.label_dropout=0"),
        (
            {"guidance_channels": 5},
            {},
            "suite.guidance_channels=5: expected a whole number, 1 to 4 (of the latents; null: all)",
        ),
        ({"guidance_channels": 0}, {}, "suite.guidance_channels=0: expected a whole number, 1 to 4"),
    ],
)
def test_what_a_model_cannot_do_is_named(options, model, line):
    known = {"classes": 10, "null": True, "channels": 4}
    (found,) = filter(None, samplers.unfit(replace(PLAIN, **options), **known | model))
    assert found.startswith(line)
    assert not any(samplers.unfit(PLAIN, classes=0, null=False, channels=4))

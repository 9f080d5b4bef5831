"""Latents of images as references: all of them, those of some classes, and their states along a flow."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vaebench.contracts import ReferenceInputs
from vaebench.data.latents import LatentData
from vaebench.errors import UserError
from vaebench.references.diffusion_state import DiffusionState
from vaebench.references.features import Features

SHAPE = (2, 2, 3)


def latents(labels, *, spread=None, views=1, shape=SHAPE, parts=1):
    """Means 5 + 2 N(0, 1); with ``spread`` the deviation of q(z|x)."""
    count = len(labels)
    random = torch.Generator().manual_seed(1)
    means = 5 + 2 * torch.randn(count, views, *shape, generator=random)
    logvars = None if spread is None else torch.full_like(means, spread).square().log()
    return LatentData(
        means=means.split(-(-count // parts)),
        logvars=() if logvars is None else logvars.split(-(-count // parts)),
        labels=torch.tensor(labels),
        name="some",
        source="embedded",
        digest="0",
        note="",
        stand_in=True,
        place=torch.device("cpu"),
    )


def given(features, *, seed=0, mean=5.0, std=2.0, flow=None, shape=SHAPE):
    return ReferenceInputs(shape, 0.0, 1.0, "some", seed, features, mean, std, flow)


class Flow(nn.Module):
    """What a latent diffusion model knows of its latents, channel by channel."""

    def __init__(self, mean=(5.0, 4.0), std=(2.0, 1.0)):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])


class TestFeatures:
    @pytest.mark.parametrize("parts", [1, 3])
    def test_are_the_latents_in_the_units_of_their_tokenizer(self, parts):
        data = latents([3, 1, 4, 1, 5], parts=parts)
        found = Features(classes=None).draw(given(data))
        expected = torch.stack([(z - 5.0) / 2.0 for part in data.means for z in part[:, 0]])
        torch.testing.assert_close(found.z, expected)
        assert found.z.dtype == torch.float32
        assert found.labels.tolist() == [3, 1, 4, 1, 5]

    def test_more_than_one_pass(self):
        data = latents([0, 1] * 5000)
        found = Features(classes=None).draw(given(data))
        torch.testing.assert_close(found.z, (data.means[0][:, 0] - 5) / 2)

    def test_draws_follow_from_the_seed_alone(self):
        data = latents([0] * 500, spread=0.7, views=2)
        state = torch.random.get_rng_state()
        first, again, other = (Features(classes=None).draw(given(data, seed=seed)).z for seed in (3, 3, 4))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert torch.equal(torch.random.get_rng_state(), state)
        apart = torch.minimum(*(((first * 2 + 5) - data.means[0][:, view]).square().mean((1, 2, 3)) for view in (0, 1)))
        assert apart.mean().sqrt() == pytest.approx(0.7, abs=0.03)

    def test_some_classes_have_no_labels(self):
        data = latents([3, 1, 4, 1, 5])
        found = Features(classes=[5, 1]).draw(given(data))
        torch.testing.assert_close(found.z, (data.means[0][[1, 3, 4], 0] - 5) / 2)
        assert found.labels is None

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ([0, 1, 2, 1], "reference.classes=[1, 7]: no image has the label 7; there are 0 to 2"),
            ([0, 1, 5, 1], "reference.classes=[1, 7]: no image has the label 7; there are [0, 1, 5]"),
        ],
    )
    def test_a_class_that_is_not_there(self, labels, message):
        with pytest.raises(UserError) as caught:
            Features(classes=[1, 7]).draw(given(latents(labels)))
        assert str(caught.value) == message

    @pytest.mark.parametrize(
        ("classes", "message"),
        [
            ([], "reference.classes=[]: expected a list of one or more whole numbers, each at least 0, or null"),
            ([1, 1], "reference.classes=[1, 1]: names a class twice"),
        ],
    )
    def test_classes_that_mean_nothing(self, classes, message):
        with pytest.raises(UserError) as caught:
            Features(classes=classes)
        assert str(caught.value) == message

    def test_latents_of_another_shape(self):
        with pytest.raises(UserError, match=r"its latents are \[2, 2, 3\] and those to be matched \[2, 4, 4\]; choose"):
            Features(classes=None).draw(given(latents([0, 1]), shape=(2, 4, 4)))

    def test_without_latents(self):
        with pytest.raises(UserError, match="is made of latents, and none were given"):
            Features(classes=None).draw(given(None))


class TestDiffusionState:
    def test_half_way_is_half_data_and_half_noise(self):
        data = latents([0, 1] * 4000)
        z = (data.means[0][:, 0] - Flow().mean) / Flow().std
        found = DiffusionState(time=0.5).draw(given(data, flow=Flow()))
        noise = (found.z - 0.5 * z) / 0.5
        # What is left is N(0, 1), and knows nothing of the data.
        assert noise.mean() == pytest.approx(0, abs=0.02)
        assert noise.std() == pytest.approx(1, abs=0.02)
        assert torch.corrcoef(torch.stack([noise.flatten(), z.flatten()]))[0, 1] == pytest.approx(0, abs=0.02)
        assert torch.equal(found.labels, data.labels)

    def test_ends_are_noise_and_data(self):
        data = latents([0, 1] * 2000)
        z = (data.means[0][:, 0] - Flow().mean) / Flow().std
        torch.testing.assert_close(DiffusionState(time=1.0).draw(given(data, flow=Flow())).z, z)
        noise = DiffusionState(time=0.0).draw(given(data, flow=Flow())).z
        assert noise.std() == pytest.approx(1, abs=0.02)

    def test_has_the_law_of_the_flows_own_path(self):
        """The exact flow of N(1, 0.5^2), followed from noise to t = 1/2, against the noised data."""
        count = 20_000
        data = latents([0] * count)
        clean = 1 + 0.5 * torch.randn(count, 1, *SHAPE, generator=torch.Generator().manual_seed(11))
        data.means[0].copy_(clean)
        found = DiffusionState(time=0.5).draw(given(data, flow=Flow((0.0, 0.0), (1.0, 1.0)))).z.flatten()
        x = torch.randn(count, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        steps = 400
        for t in torch.arange(steps, dtype=torch.float64) / (2 * steps):
            variance = (t * 0.5) ** 2 + (1 - t) ** 2
            x = x + (1 + (t * 0.25 - (1 - t)) / variance * (x - t)) / (2 * steps)
        places = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)
        torch.testing.assert_close(
            found.double()[: 12 * count].quantile(places), x.quantile(places), atol=0.03, rtol=0.0
        )

    def test_follows_from_the_seed_alone(self):
        data, state = latents([0] * 20, spread=1.0), torch.random.get_rng_state()
        first, again, other = (DiffusionState(time=0.5).draw(given(data, seed=s, flow=Flow())).z for s in (3, 3, 4))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert torch.equal(torch.random.get_rng_state(), state)

    def test_noise_is_not_that_of_the_latents(self):
        """q(z|x) = N(0, 1): were both drawn from one seed, z_t would have deviation 1 instead of 0.71."""
        data = latents([0] * 4000, spread=1.0)
        data.means[0].zero_()
        found = DiffusionState(time=0.5).draw(given(data, flow=Flow((0.0, 0.0), (1.0, 1.0))))
        assert found.z.std() == pytest.approx(0.5**0.5, abs=0.02)

    @pytest.mark.parametrize("time", [-0.1, 1.5])
    def test_a_time_that_is_none(self, time):
        with pytest.raises(UserError, match=f"reference.time={time}: expected a number, 0 to 1"):
            DiffusionState(time=time)

    def test_without_a_flow_or_of_another_shape(self):
        with pytest.raises(UserError, match="made of a diffusion model's states, and no such model was given"):
            DiffusionState(time=0.5).draw(given(latents([0, 1])))
        with pytest.raises(UserError, match=r"its latents are \[2, 2, 3\]"):
            DiffusionState(time=0.5).draw(given(latents([0, 1]), flow=Flow(), shape=(1, 2, 3)))

import inspect
import math
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from vaebench.contracts import Averages, Batch, Generates, LooksAtData, Sampling
from vaebench.errors import UserError
from vaebench.models.ldm import LDM

CONF = Path(__file__).resolve().parents[2] / "conf" / "model"
TINY = {
    "latent_shape": [2, 2, 3],
    "classes": 4,
    "width": 16,
    "depth": 1,
    "heads": 2,
    "mlp_ratio": 4.0,
    "qk_norm": True,
    "positions": True,
    "time_scale": 1000.0,
    "label_dropout": 0.1,
    "time_sampling": "logit_normal",
    "ema_decay": 0.99,
    "statistics": None,
}
PLAIN = Sampling(sampler="heun", steps=6, shift=1.0, guidance=1.0, guidance_from=0.0, guidance_channels=None)


class Latents:
    """Draws from a Gaussian per class, anew at each reading."""

    name = "draws"
    device = torch.device("cpu")

    def __init__(self, count=800, shape=(2, 2, 3), fixed=False):
        random = torch.Generator().manual_seed(3)
        self.y = torch.arange(count) % 4
        self.mean = torch.randn(4, *shape, generator=random)[self.y] * 2 + 5
        self.draws = 0.0 if fixed else 0.3

    def __len__(self):
        return len(self.y)

    def batch(self, rows):
        mean = self.mean[rows]
        return Batch(mean + self.draws * torch.randn_like(mean), self.y[rows])


class Double(nn.Module):
    """An autoencoder whose decoder doubles."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def decode(self, z):
        return self.weight * z


def build(seed=0, **options):
    torch.manual_seed(seed)
    return LDM(**TINY | options)


def train(model, data, steps=60, batch_size=64, first=0, lr=3e-3):
    (phase,) = model.phases
    optimizer = torch.optim.AdamW(phase.parameters, lr, betas=(0.9, 0.95), weight_decay=0.0)
    losses = []
    for step in range(first, first + steps):
        rows = torch.randint(len(data), (batch_size,), generator=torch.Generator().manual_seed(step))
        output = phase.loss(data.batch(rows), step)
        optimizer.zero_grad()
        output.total.backward()
        optimizer.step()
        model.average()
        losses.append(float(output.total.detach()))
    return losses


def sample(model, labels=(0, 1, 2, 3), seed=0, **options):
    return model.sample_latents(
        torch.tensor(labels), torch.Generator().manual_seed(seed), Sampling(**vars(PLAIN) | options)
    )


@pytest.fixture(scope="module")
def trained():
    model, data = build(), Latents()
    model.look(data)
    model.losses = train(model, data, 250)
    return model


def test_it_is_what_the_loop_and_the_suite_ask_for():
    assert isinstance(build(), Generates)
    assert isinstance(build(), Averages)
    assert isinstance(build(), LooksAtData)


@pytest.mark.parametrize("path", [*CONF.glob("*dit*.yaml"), CONF / "ldm.yaml"], ids=lambda path: path.stem)
def test_the_yaml_lists_the_options(path):
    leaf = OmegaConf.to_container(OmegaConf.load(path))
    assert leaf["latent_shape"] is None
    assert leaf["data"] == "latents"
    assert set(leaf) - {"_target_", "version", "data"} == set(inspect.signature(LDM).parameters)
    options = {name: leaf[name] for name in inspect.signature(LDM).parameters} | {"latent_shape": [16, 32, 32]}
    with torch.device("meta"):
        assert LDM(**options).phases[0].name == "diffusion"


class TestLook:
    def test_takes_the_moments_of_all_latents(self):
        data, model = Latents(1234, fixed=True), build()  # a count that no part divides
        model.look(data)
        torch.testing.assert_close(model.mean[:, 0, 0], data.mean.mean((0, 2, 3)))
        torch.testing.assert_close(model.std[:, 0, 0], data.mean.transpose(0, 1).flatten(1).std(1, correction=0))

    def test_spreads_over_the_data(self, monkeypatch):
        monkeypatch.setattr("vaebench.models.ldm._LOOKED_AT", 100)
        data, model, seen = Latents(1000), build(classes=0), []
        batch = data.batch
        data.batch = lambda rows: seen.append(rows) or batch(rows)
        model.look(data)
        assert torch.cat(seen).tolist() == list(range(0, 1000, 10))

    def test_draws_from_no_global_generator(self):
        torch.manual_seed(4)
        before, one, other = torch.get_rng_state(), build(), build()
        torch.manual_seed(4)
        one.look(Latents())
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(5)
        other.look(Latents())
        assert torch.equal(one.mean, other.mean)
        assert torch.equal(one.std, other.std)

    def test_a_constant_channel_keeps_its_size(self):
        data, model = Latents(fixed=True), build()
        data.mean[:, 1] = 0.1
        model.look(data)
        assert float(model.std[1]) == 1
        assert float(model.mean[1]) == pytest.approx(0.1)
        assert float(model.std[0]) != 1

    def test_latents_of_another_shape_or_too_many_labels_are_refused(self):
        with pytest.raises(UserError) as caught:
            build(latent_shape=[3, 2, 2], classes=3).look(Latents())
        assert caught.value.lines == (
            "model.latent_shape=[3, 2, 2]: the latents of draws are [2, 2, 3]; leave it null, it is filled in from the "
            "autoencoder",
            "model.classes=3: draws has labels up to 3; give their number, or 0",
        )
        build(classes=0).look(Latents())


class TestLoss:
    def test_is_the_loop(self):
        """The same draws, item by item: standardise, go along the path, compare with z - eps."""
        model, data = build(label_dropout=0.5), Latents()
        model.look(data)
        train(model, data, 3)
        batch = data.batch(torch.arange(16))
        torch.manual_seed(8)
        found = float(model.loss(batch, 0).total.detach())
        torch.manual_seed(8)
        dropped = torch.rand(16) < 0.5
        t = torch.randn(16).sigmoid()
        noise = torch.randn(16, 2, 2, 3)
        errors = []
        with torch.no_grad():
            for item in range(16):
                z = (batch.x[item] - model.mean) / model.std
                label = 4 if dropped[item] else int(batch.y[item])
                z_t = t[item] * z + (1 - t[item]) * noise[item]
                v = model.network(z_t[None], t[item : item + 1], torch.tensor([label]))[0]
                errors += (v - (z - noise[item])).square().flatten().tolist()
        assert found == pytest.approx(sum(errors) / len(errors), rel=1e-5)

    @pytest.mark.parametrize("options", [{"classes": 0}, {"label_dropout": 0.0}, {"time_sampling": "uniform"}])
    def test_falls_whatever_the_options(self, options):
        model, data = build(**options), Latents()
        model.look(data)
        losses = train(model, data)
        assert sum(losses[-10:]) < 0.9 * sum(losses[:10])

    def test_starts_at_the_variance_of_its_target(self):
        """A new network says 0; standardised data and noise have variance 2."""
        model, data = build(), Latents(4000)
        model.look(data)
        assert float(model.loss(data.batch(torch.arange(4000)), 0).total.detach()) == pytest.approx(2, rel=0.05)

    def test_updates_the_network_alone(self):
        model = build()
        (phase,) = model.phases
        assert {id(p) for p in phase.parameters} == {id(p) for p in model.parameters()}
        assert model.network.labels.weight.shape[0] == 5
        assert build(label_dropout=0.0).network.labels.weight.shape[0] == 4
        assert build(classes=0).network.labels is None

    def test_bf16(self):
        model = build()
        with torch.autocast("cpu", torch.bfloat16):
            output = model.loss(Latents().batch(torch.arange(8)), 0)
        output.total.backward()
        assert output.total.dtype == torch.float32
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


class TestSampling:
    def test_learns_each_class(self, trained):
        """Means and spread of draws, by class."""
        data = Latents()
        labels = torch.arange(4).repeat_interleave(100)
        z = trained.sample_latents(labels, torch.Generator().manual_seed(0), PLAIN)
        for label in range(4):
            drawn, wanted = z[labels == label], data.mean[label]
            assert float((drawn.mean(0) - wanted).abs().mean()) < 0.3
            assert 0.15 < float(drawn.std(0).mean()) < 0.6

    @pytest.mark.parametrize("sampler", ["euler", "heun", "sde"])
    def test_every_sampler_gives_latents(self, trained, sampler):
        z = sample(trained, sampler=sampler, steps=20, guidance=1.5, guidance_from=0.2, guidance_channels=1)
        assert z.shape == (4, 2, 2, 3)
        assert z.dtype == torch.float32
        assert z.isfinite().all()
        assert not z.requires_grad

    def test_depends_on_generator_and_labels_alone(self, trained):
        first = sample(trained, sampler="sde")
        torch.manual_seed(99)
        assert torch.equal(sample(trained, sampler="sde"), first)
        assert not torch.equal(sample(trained, sampler="sde", seed=1), first)
        assert not torch.equal(sample(trained, (1, 1, 2, 3)), sample(trained))

    def test_guidance_changes_what_is_drawn_in_its_channels(self, trained):
        plain, guided = (
            sample(trained, sampler="euler", steps=1),
            sample(trained, sampler="euler", steps=1, guidance=4.0, guidance_channels=1),
        )
        assert not torch.isclose(plain[:, 0], guided[:, 0]).all()
        torch.testing.assert_close(plain[:, 1], guided[:, 1])

    def test_follows_the_averaged_weights(self, trained):
        before = sample(trained)
        kept = {name: value.clone() for name, value in trained.state_dict().items()}
        with torch.no_grad():
            for parameter in trained.network.parameters():
                parameter.zero_()
        assert torch.equal(sample(trained), before)
        trained.load_state_dict(kept)

    def test_without_classes_labels_only_count(self):
        model = build(classes=0)
        model.look(Latents())
        train(model, Latents(), 5)
        assert torch.equal(sample(model, (0, 0)), sample(model, (7, -1)))

    def test_images_are_decoded_latents(self, trained):
        with pytest.raises(UserError, match="with the decoder of its autoencoder: none was given"):
            trained.generate(torch.tensor([0]), torch.Generator().manual_seed(0), PLAIN)
        names, decoder = trained.state_dict().keys(), Double()
        trained.adopt("autoencoder", decoder)
        labels = torch.tensor([3, 0])
        images = trained.generate(labels, torch.Generator().manual_seed(0), PLAIN)
        torch.testing.assert_close(images, 2 * sample(trained, (3, 0)))
        assert not images.requires_grad
        assert trained.state_dict().keys() == names
        assert decoder.weight not in set(trained.parameters())

    @pytest.mark.parametrize(
        ("model", "labels", "options", "lines"),
        [
            ({"classes": 0}, (0,), {"guidance": 2.0}, ["suite.guidance=2.0: the model knows no classes"]),
            ({"label_dropout": 0.0}, (0,), {"guidance": 2.0}, ["suite.guidance=2.0: the model was trained with"]),
            (
                {},
                (0,),
                {"guidance_channels": 3},
                ["suite.guidance_channels=3: expected a whole number"],
            ),
            ({}, (0, 4), {}, ["labels from 0 to 4: the model knows 0 to 3"]),
        ],
    )
    def test_what_cannot_be_sampled_is_named(self, model, labels, options, lines):
        with pytest.raises(UserError) as caught:
            sample(build(**model), labels, **options)
        assert len(caught.value.lines) == len(lines)
        assert all(found.startswith(line) for found, line in zip(caught.value.lines, lines, strict=True))


class TestState:
    def test_holds_everything(self, trained):
        other = build(seed=1)
        other.load_state_dict(trained.state_dict())
        assert torch.equal(sample(other), sample(trained))

    def test_goes_on_to_the_same_bits(self):
        """Beyond the state dict the average needs the step, which a loss is given."""
        data, whole, other = Latents(), build(), build(seed=2)
        whole.look(data)
        train(whole, data, 5)
        other.load_state_dict(whole.state_dict())
        for model in (whole, other):
            torch.manual_seed(1)
            train(model, data, 4, first=5)
        again = other.state_dict()
        assert all(torch.equal(value, again[name]) for name, value in whole.state_dict().items())

    def test_a_short_training_has_left_its_beginning(self, trained):
        assert float(trained.averaged.network.velocity.weight.abs().mean()) > 0.01
        assert math.isfinite(trained.losses[-1])


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"latent_shape": None}, "model.latent_shape=null: it is filled in from the autoencoder"),
        ({"classes": -1}, "model.classes=-1: expected a whole number, at least 0"),
        ({"width": 18}, "model.width=18: expected a multiple of four times the heads"),
        ({"depth": 0}, "model.depth=0: expected a whole number, at least 1"),
        ({"mlp_ratio": -1.0}, "model.mlp_ratio=-1.0: expected a finite number above 0"),
        ({"time_scale": 0.0}, "model.time_scale=0.0: expected a finite number above 0"),
        ({"label_dropout": 1.0}, "model.label_dropout=1.0: expected a number, at least 0 and below 1"),
        ({"time_sampling": "normal"}, "unknown model.time_sampling 'normal'; did you mean 'logit_normal'?"),
        ({"ema_decay": 1.0}, "model.ema_decay=1.0: expected a number, at least 0 and below 1"),
    ],
)
def test_bad_options_are_named(options, line):
    with pytest.raises(UserError) as caught:
        build(**options)
    assert len(caught.value.lines) == 1
    assert caught.value.lines[0].startswith(line)


def test_all_mistakes_are_shown_at_once():
    with pytest.raises(UserError) as caught:
        build(classes=-1, depth=0, ema_decay=2.0, time_sampling="cosine")
    assert len(caught.value.lines) == 4


def test_scalar_statistics_are_those_of_all_numbers_together():
    data = Latents(fixed=True)
    model = build(statistics="scalar")
    model.look(data)
    everything = data.mean.double()
    std, mean = torch.std_mean(everything, correction=0)
    torch.testing.assert_close(model.mean, mean.float().expand_as(model.mean))
    torch.testing.assert_close(model.std, std.float().expand_as(model.std))


def test_the_autoencoders_normalisation_is_taken_over_and_kept():
    autoencoder, model = Double(), build(statistics="autoencoder")
    with pytest.raises(UserError, match="Double has no normalisation of its own; choose scalar, or null"):
        model.adopt("autoencoder", autoencoder)
    autoencoder.latent_mean, autoencoder.latent_std = torch.tensor(3.0), torch.tensor(0.25)
    model.adopt("autoencoder", autoencoder)
    model.look(Latents())
    assert (model.mean.unique().tolist(), model.std.unique().tolist()) == ([3.0], [0.25])
    other = build()
    other.adopt("autoencoder", Double())  # not asked for
    assert other.std.unique().tolist() == [1.0]


def test_unknown_statistics_are_refused():
    with pytest.raises(UserError, match=r"unknown model\.statistics 'chanel'"):
        build(statistics="chanel")

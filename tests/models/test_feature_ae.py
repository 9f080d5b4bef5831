from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.distributions import Normal, kl_divergence

from vaebench.contracts import Batch
from vaebench.errors import UserError
from vaebench.models.classifier import Classifier
from vaebench.models.feature_ae import FeatureAutoencoder
from vaebench.nn.losses.adversary import diff_augment, hinge_loss
from vaebench.nn.losses.reconstruction import layer_distance

LEAF = Path(__file__).resolve().parents[2] / "conf" / "model" / "feature_ae.yaml"
NOT_OPTIONS = {"_target_", "version", "builds_on", "defaults", "input_shape"}
SHAPE = [3, 16, 16]
CONV = {"kind": "conv", "version": 1, "strides": [2, 4], "width": 8, "widest": 2, "blocks": 1, "groups": 2}
ADVERSARIAL = {"adversarial_weight": 0.5, "adversarial_start": 2, "discriminator_channels": 4}


def small(seed=0, **options):
    """The tokenizer of conf/model/feature_ae.yaml, with small networks."""
    leaf = OmegaConf.load(LEAF)
    given = {name: leaf[name] for name in leaf if name not in NOT_OPTIONS} | {"input_shape": SHAPE}
    given |= {"encoder": CONV, "decoder": CONV, "head_width": 8, "latent_channels": 3}
    torch.manual_seed(seed)
    return FeatureAutoencoder(**given | options)


@pytest.fixture
def learner(make):
    def build(**options):
        return make("ssl", **{"input_shape": SHAPE, "encoder": CONV, "seed": 5} | options)

    return build


def images(count=6, seed=0):
    x = torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))
    return Batch(x, torch.zeros(count, dtype=torch.int64))


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def moved(module, before):
    """The parts of the network whose weights are others than before."""
    return {name.split(".")[0] for name, value in module.state_dict().items() if not torch.equal(value, before[name])}


def step(model, batch, number, rate=1e-2):
    for phase in model.phases:
        output = phase.loss(batch, number)
        grads = torch.autograd.grad(output.total, phase.parameters, allow_unused=True)
        with torch.no_grad():
            for parameter, grad in zip(phase.parameters, grads, strict=True):
                if grad is not None:
                    parameter -= rate * grad


class Data:
    name, device = "toy", torch.device("cpu")

    def __init__(self, count):
        self.x = images(count, seed=9).x

    def __len__(self):
        return len(self.x)

    def batch(self, rows):
        return Batch(self.x[rows], torch.zeros(len(rows), dtype=torch.int64))


# The loss


def test_l1_and_l2_pixel_by_pixel():
    model, batch = small(l1_weight=0.7, l2_weight=0.3), images()
    output = model.loss(batch, 0)
    y = model.network.decode(model.encode(batch.x))
    errors = (y - (2 * batch.x - 1)).flatten().tolist()
    l1, l2 = sum(abs(e) for e in errors) / len(errors), sum(e * e for e in errors) / len(errors)
    assert float(output.terms["l1"]) == pytest.approx(l1, rel=1e-5)
    assert float(output.terms["l2"]) == pytest.approx(l2, rel=1e-5)
    assert float(output.total.detach()) == pytest.approx(0.7 * l1 + 0.3 * l2, rel=1e-5)
    assert set(small().loss(batch, 0).terms) == {"l1"}


def test_the_perceptual_term():
    torch.manual_seed(0)
    judge = Classifier(input_shape=SHAPE, classes=4, dropout=0.5)
    model, batch = small(perceptual="classifier", perceptual_weight=2.0), images()
    model.adopt("perceptual", judge)
    output = model.loss(batch, 0)
    y = model.network.decode(model.encode(batch.x))
    expected = layer_distance(judge.layers((y + 1) / 2), judge.layers(batch.x))
    torch.testing.assert_close(output.terms["perceptual"], expected.detach())
    torch.testing.assert_close(output.total.detach(), output.terms["l1"] + 2 * expected.detach())
    assert not any("perceptual" in name for name in model.state_dict())


def test_the_kl_position_by_position():
    model, batch = small(trained="all", stochastic=True, kl_weight=0.2), images()
    model.network.logvar.weight.data.normal_()
    torch.manual_seed(4)
    output = model.loss(batch, 0)
    torch.manual_seed(4)
    mean, logvar = model.latent_moments(batch.x)
    noise = torch.randn_like(mean)
    y = model.network.decode(mean + (logvar / 2).exp() * noise)
    l1 = (y - (2 * batch.x - 1)).abs().mean()
    kl = kl_divergence(Normal(mean, (logvar / 2).exp()), Normal(0.0, 1.0))
    kl = torch.stack([kl[b, :, i, j].sum() for b in range(6) for i in range(2) for j in range(2)]).mean()
    torch.testing.assert_close(output.terms["kl"], kl.detach(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(output.total, l1 + 0.2 * kl, rtol=1e-4, atol=1e-6)


def test_the_adversary_sees_augmented_images():
    model, batch = small(**ADVERSARIAL, augment=True, consistency_weight=0.5), images()
    autoencoder, discriminator = model.phases
    early = autoencoder.loss(batch, 1)
    assert set(early.terms) == {"l1"}
    assert float(discriminator.loss(batch, 1).total.detach()) == 0
    torch.manual_seed(4)
    output = autoencoder.loss(batch, 2)
    torch.manual_seed(4)
    y = model.network.decode(model.encode(batch.x))
    judge = model.reconstruction.discriminator
    fooled = -judge(diff_augment(y, cutout=0.2)).mean()
    l1 = (y - (2 * batch.x - 1)).abs().mean()
    norms = [torch.autograd.grad(v, model.network.last_weight, retain_graph=True)[0].norm() for v in (l1, fooled)]
    weight = norms[0] / (norms[1] + 1e-4)
    torch.testing.assert_close(output.terms["adaptive_weight"], weight, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(output.total, l1 + 0.5 * weight * fooled, rtol=1e-3, atol=1e-5)
    # The discriminator's turn: two draws of the augmentation for each image.
    torch.manual_seed(7)
    found = discriminator.loss(batch, 2)
    torch.manual_seed(7)
    x, y = 2 * batch.x - 1, y.detach()
    real, fake, real_again, fake_again = (judge(diff_augment(v, cutout=0.2)) for v in (x, y, x, y))
    gap = torch.cat([(real_again - real).flatten(), (fake_again - fake).flatten()]).square().mean()
    torch.testing.assert_close(found.total, hinge_loss(real, fake) + 0.5 * gap)
    assert set(found.terms) == {"real", "fake", "consistency"}


def test_the_judge_of_plain_images():
    model, batch = small(**ADVERSARIAL, augment=False, consistency_weight=0.0), images()
    made = []
    model.network.decoder.register_forward_hook(lambda module, given, y: made.append(y.detach()))
    autoencoder, discriminator = model.phases
    autoencoder.loss(batch, 2)
    found = discriminator.loss(batch, 2)
    assert len(made) == 1  # the autoencoder ran once
    judge = model.reconstruction.discriminator
    torch.testing.assert_close(found.total, hinge_loss(judge(2 * batch.x - 1), judge(made[0])))
    discriminator.loss(images(seed=1), 2)
    assert len(made) == 2  # images of another batch are made anew


# What is trained


@pytest.mark.parametrize(
    ("trained", "parts"),
    [
        ("head_and_decoder", {"hidden", "mean", "decoder"}),
        ("all", {"encoder", "hidden", "mean", "decoder"}),
        ("decoder", {"decoder"}),
    ],
)
def test_exactly_what_is_asked_for_moves(trained, parts):
    model = small(trained=trained, **ADVERSARIAL)
    network, judge = weights(model.network), weights(model.reconstruction.discriminator)
    step(model, images(), 5)
    assert moved(model.network, network) == parts
    assert moved(model.reconstruction.discriminator, judge)
    (autoencoder, discriminator) = model.phases
    assert not {id(p) for p in autoencoder.parameters} & {id(p) for p in discriminator.parameters}


@pytest.mark.parametrize(("trained", "with_graph"), [("head_and_decoder", False), ("all", True), ("decoder", False)])
def test_what_stays_has_no_graph(trained, with_graph):
    model = small(trained=trained)
    seen = []
    model.network.encoder.register_forward_hook(lambda module, given, features: seen.append(features.requires_grad))
    model.loss(images(), 0)
    assert seen == [with_graph]


def test_a_frozen_networks_statistics_stay():
    resnet = {"kind": "timm", "name": "resnet18", "pretrained": True, "img_size": 32, "patch_size": None}
    model = small(encoder=resnet | {"grid": [2, 2]}).train()
    before = weights(model.network)
    step(model, images(), 0)
    assert "encoder" not in moved(model.network, before)
    assert model.network.decoder.training


@pytest.mark.parametrize("trained", ["head_and_decoder", "all"])
def test_the_loss_falls(trained):
    model, batch = small(trained=trained, ema_decay=0.9), images(8)
    (phase,) = model.phases
    optimizer = torch.optim.AdamW(phase.parameters, 3e-3)
    losses = []
    for number in range(25):
        output = phase.loss(batch, number)
        optimizer.zero_grad()
        output.total.backward()
        optimizer.step()
        model.average()
        losses.append(float(output.total.detach()))
        assert not any(term.requires_grad for term in output.terms.values())
    assert losses[-1] < 0.95 * losses[0]


def test_the_averaged_decoder_decodes_after_the_training():
    model, z = small(ema_decay=0.5), torch.randn(2, 3, 2, 2)
    first = model.network.decoder.last_weight.detach().clone()
    model.loss(images(), 9)  # the tenth step: the decay is reached
    model.network.decoder.last_weight.data.add_(1.0)
    model.average()
    torch.testing.assert_close(model.averaged.network.get_buffer("body.7.weight"), first + 0.5)
    now = model.train().decode(z)
    torch.testing.assert_close(now, ((model.network.decode(z) + 1) / 2).clamp(0, 1))
    later = model.eval().decode(z)
    torch.testing.assert_close(later, ((model.averaged(z) + 1) / 2).clamp(0, 1))
    assert not torch.equal(now, later)
    plain = small()
    plain.average()
    assert plain.averaged is None


# Latents


def test_codes_and_images():
    model, x = small(stochastic=True, kl_weight=1.0).eval(), images().x
    mean, logvar = model.latent_moments(x)
    assert mean.shape == logvar.shape == (6, *model.latent_shape) == (6, 3, 2, 2)
    assert torch.equal(model.encode(x), mean)
    assert torch.equal(model.encoder_pass(x), mean)
    y = model.decode(5 * mean).detach()
    assert y.shape == x.shape
    assert 0 <= float(y.min()) <= float(y.max()) <= 1
    assert small().latent_moments(x)[1] is None


@pytest.mark.parametrize("stochastic", [False, True])
def test_the_normalisation_is_measured_at_the_end(stochastic):
    model, data = small(stochastic=stochastic), Data(700)
    assert (float(model.latent_mean), float(model.latent_std)) == (0, 1)
    state = torch.get_rng_state()
    model.finish(data)
    assert torch.equal(torch.get_rng_state(), state)
    z = model.encode(data.x).detach().double()
    assert model.latent_mean.shape == model.latent_std.shape == ()
    assert float(model.latent_mean) == pytest.approx(float(z.mean()), rel=1e-4)
    assert float(model.latent_std) == pytest.approx(float((z - z.mean()).square().mean().sqrt()), rel=1e-4)
    assert {"latent_mean", "latent_std"} <= set(model.state_dict())


# Other runs' models


def test_it_takes_the_encoder_of_a_learner(learner):
    model, given, x = small(), learner(), images().x
    model.adopt("encoder", given)
    assert torch.equal(model.network.features(x), given.encode(x))
    with pytest.raises(UserError) as caught:
        small(encoder=CONV | {"width": 4}).adopt("encoder", given)
    (line,) = caught.value.lines
    assert line.startswith("model.encoder={'kind': 'conv', 'strides': [2, 4], 'width': 4")
    assert "the encoder's run has {'kind': 'conv', 'strides': [2, 4], 'width': 8" in line


def test_it_starts_from_a_deterministic_model():
    start, x = small(seed=3), images().x
    start.finish(Data(50))
    model = small(trained="all", stochastic=True, kl_weight=0.1, **ADVERSARIAL)
    judge = weights(model.reconstruction.discriminator)
    model.adopt("start", start)
    torch.testing.assert_close(model.encode(x), start.encode(x))
    torch.testing.assert_close(model.decode(start.encode(x)), start.decode(start.encode(x)))
    torch.testing.assert_close((model.latent_moments(x)[1] / 2).exp(), torch.full((6, 3, 2, 2), 0.01))
    assert float(model.latent_mean) == float(start.latent_mean) != 0
    assert float(model.latent_std) == float(start.latent_std) != 1
    assert not moved(model.reconstruction.discriminator, judge)


def test_it_starts_with_the_decoder_that_decodes():
    start = small(seed=3, ema_decay=0.9)
    for buffer in start.averaged.buffers():
        buffer.normal_()
    z = torch.randn(2, 3, 2, 2)
    for options in ({}, {"ema_decay": 0.5}):
        model = small(trained="decoder", **options)
        model.adopt("start", start.eval())
        torch.testing.assert_close(model.eval().decode(z), start.decode(z))
        torch.testing.assert_close(model.train().decode(z), start.decode(z))


def test_it_starts_from_any_model_with_such_a_network():
    start = small(seed=3)
    other = nn.Module()
    other.network, other.latent_mean, other.latent_std = start.network, torch.tensor(2.0), torch.tensor(3.0)
    model, x = small(), images().x
    model.adopt("start", other)
    assert torch.equal(model.encode(x), start.encode(x))
    assert (float(model.latent_mean), float(model.latent_std)) == (2, 3)


def test_it_does_not_start_from_another_model(learner):
    with pytest.raises(UserError, match="starts with another one or a DMVAE, not FeatureLearner"):
        small().adopt("start", learner())
    with pytest.raises(UserError, match=r"model.latent_channels=3: the model to start with has 4; give the same"):
        small().adopt("start", small(latent_channels=4))


def test_pretrained_weights_are_asked_for_once():
    model, calls = small(), []
    model.network.encoder.load_pretrained = lambda: calls.append(1)
    model.load_pretrained()
    assert calls == [1]


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({"trained": "encoder"}, ["unknown model.trained 'encoder'"]),
        ({"kl_weight": 0.1}, ["model.kl_weight=0.1: model.stochastic=false has no KL"]),
        ({"kl_weight": -1.0, "ema_decay": 1.0}, ["model.kl_weight=-1.0: expected", "model.ema_decay=1.0: expected"]),
        ({"l1_weight": -1.0, "l2_weight": -1.0}, ["model.l1_weight=-1.0: expected", "model.l2_weight=-1.0: expected"]),
        ({"perceptual": "vgg"}, ["unknown model.perceptual 'vgg'"]),
        ({"adversarial_weight": -1.0}, ["model.adversarial_weight=-1.0: expected"]),
        (ADVERSARIAL | {"discriminator_layers": 3}, ["model.discriminator_layers=3: expected a whole number, 1 to 2"]),
        ({"consistency_weight": -1.0}, ["model.consistency_weight=-1.0: expected a finite number, at least 0"]),
        ({"encoder": None}, ["model.encoder=null: is filled in from the run the model begins with; name one"]),
        ({"decoder": CONV | {"strides": [4, 4]}}, ["model.decoder.strides=[4, 4]: these lead to a grid of 1 x 1"]),
        ({"head_width": 0}, ["model.head_width=0: expected a whole number, at least 1"]),
    ],
)
def test_bad_options_are_named(options, lines):
    with pytest.raises(UserError) as caught:
        small(**options)
    assert len(caught.value.lines) == len(lines), caught.value.lines
    for found, line in zip(caught.value.lines, lines, strict=True):
        assert found.startswith(line)

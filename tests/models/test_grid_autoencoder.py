import importlib.util

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from vaebench.contracts import Batch
from vaebench.errors import UserError
from vaebench.models.classifier import Classifier
from vaebench.nn.losses.adversary import hinge_loss
from vaebench.nn.losses.reconstruction import layer_distance

SHAPE = [3, 16, 16]
VIT = {"kind": "vit", "version": 1, "patch": 4, "width": 16, "depth": 1, "heads": 2, "decoder_width": 16}
VIT |= {"decoder_depth": 1, "decoder_heads": 2, "mlp_ratio": 2.0, "latent_channels": 3, "smooth": True}
KL = {"kind": "kl", "channels": 4, "multipliers": [1, 2, 2], "blocks": 1, "groups": 2, "latent_channels": 3}
NETWORKS = {"vit": VIT, "kl": KL}
needs_diffusers = pytest.mark.skipif(importlib.util.find_spec("diffusers") is None, reason="diffusers")
KINDS = ["vit", pytest.param("kl", marks=needs_diffusers)]
ADVERSARIAL = {"perceptual": "none", "adversarial_start": 3, "discriminator_channels": 4}


@pytest.fixture
def small(make):
    def build(name, kind="vit", **options):
        return make(name, **{"input_shape": SHAPE, "network": NETWORKS[kind]} | options)

    return build


def images(count=6, seed=0):
    x = torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))
    return Batch(x, torch.zeros(count, dtype=torch.int64))


@pytest.mark.parametrize("network", KINDS)
def test_ae_is_squared_error_alone(small, network):
    model, batch = small("grid_ae", network), images()
    output = model.loss(batch, 0)
    y = model.network.decode(model.encode(batch.x))
    torch.testing.assert_close(output.total, (y - (2 * batch.x - 1)).square().mean())
    assert torch.equal(output.terms["mse"], output.total.detach())
    assert set(output.terms) == {"mse"}
    assert model.latent_moments(batch.x)[1] is None
    assert [phase.name for phase in model.phases] == ["autoencoder"]


def test_dae_sees_noise_and_makes_clean_images(small):
    model, batch = small("dae", noise_std=0.3), images()
    torch.manual_seed(4)
    found = model.loss(batch, 0).total
    torch.manual_seed(4)
    x = 2 * batch.x - 1
    moments = model.network.encode(x + 0.3 * torch.randn(x.shape))
    torch.testing.assert_close(found, (model.network.decode(moments[:, :3]) - x).square().mean())
    assert torch.equal(model.encode(batch.x), model.network.encode(x)[:, :3])  # no noise at test time


@pytest.mark.parametrize("network", KINDS)
def test_vae_sample_by_sample(small, network):
    model, batch = small("vae", network, kl_weight=0.2), images()
    torch.manual_seed(4)
    output = model.loss(batch, 0)
    torch.manual_seed(4)
    mean, logvar = model.latent_moments(batch.x)
    noise = torch.randn_like(mean)
    errors, kls = [], []
    for index, image in enumerate(2 * batch.x - 1):
        sigma = (logvar[index] / 2).exp()
        y = model.network.decode((mean[index] + sigma * noise[index])[None])[0]
        errors.append((y - image).square().mean())
        kl = kl_divergence(Normal(mean[index], sigma), Normal(0.0, 1.0))  # [l h' w']
        kls += [kl[:, i, j].sum() for i in range(4) for j in range(4)]
    mse, kl = torch.stack(errors).mean(), torch.stack(kls).mean()
    torch.testing.assert_close(output.terms["mse"], mse.detach())
    torch.testing.assert_close(output.terms["kl"], kl.detach(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(output.total, mse + 0.2 * kl, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("network", KINDS)
@pytest.mark.parametrize("name", ["grid_ae", "dae", "vae"])
def test_the_loss_falls(small, name, network):
    model, batch = small(name, network), images(8)
    (phase,) = model.phases
    optimizer = torch.optim.AdamW(phase.parameters, 3e-3)
    losses = []
    for step in range(15):
        output = phase.loss(batch, step)
        optimizer.zero_grad()
        output.total.backward()
        optimizer.step()
        losses.append(float(output.total.detach()))
        assert not any(term.requires_grad for term in output.terms.values())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("network", KINDS)
def test_codes_and_images(small, network):
    model, x = small("vae", network).eval(), images().x
    with torch.no_grad():
        mean, logvar = model.latent_moments(x)
        assert mean.shape == logvar.shape == (6, *model.latent_shape) == (6, 3, 4, 4)
        assert torch.equal(model.encode(x), mean)
        y = model.decode(5 * mean)
        grey = x[:, :1]
    assert y.shape == x.shape
    assert 0 <= float(y.min()) <= float(y.max()) <= 1
    one = small("vae", network, input_shape=[1, 16, 16])
    assert one.decode(one.encode(grey)).shape == grey.shape


# Perceptual and adversarial terms


def test_sdvae_perceptual_term(small):
    torch.manual_seed(0)
    judge = Classifier(input_shape=SHAPE, classes=4, dropout=0.5)
    model, batch = small("sdvae", perceptual_weight=2.0, kl_weight=0.1), images()
    model.adopt("perceptual", judge)
    torch.manual_seed(4)
    output = model.loss(batch, 0)
    torch.manual_seed(4)
    mean, logvar = model.latent_moments(batch.x)
    y = model.network.decode(mean + (logvar / 2).exp() * torch.randn_like(mean))
    expected = layer_distance(judge.layers((y + 1) / 2), judge.layers(batch.x))
    torch.testing.assert_close(output.terms["perceptual"], expected.detach())
    torch.testing.assert_close(
        output.total.detach(), output.terms["mse"] + 2 * expected.detach() + 0.1 * output.terms["kl"]
    )
    assert not any(name.startswith("perceptual") for name in model.state_dict())


def test_the_adversary_begins_late(small):
    model, batch = small("sdvae", **ADVERSARIAL), images()
    autoencoder, discriminator = model.phases
    assert (autoencoder.name, discriminator.name) == ("autoencoder", "discriminator")
    assert "adversarial" not in autoencoder.loss(batch, 2).terms
    waiting = discriminator.loss(batch, 2)
    assert float(waiting.total.detach()) == 0
    waiting.total.backward(inputs=discriminator.parameters)
    assert all(float(p.grad.abs().sum()) == 0 for p in discriminator.parameters)
    assert {"adversarial", "adaptive_weight"} <= set(autoencoder.loss(batch, 3).terms)
    assert set(discriminator.loss(batch, 3).terms) == {"real", "fake"}


def test_the_adversarial_term_is_weighed_by_gradients(small):
    model, batch = small("sdvae", **ADVERSARIAL | {"adversarial_weight": 0.7}, kl_weight=0.1), images()
    torch.manual_seed(4)
    output = model.loss(batch, 3)
    torch.manual_seed(4)
    mean, logvar = model.latent_moments(batch.x)
    y = model.network.decode(mean + (logvar / 2).exp() * torch.randn_like(mean))
    mse, fooled = (y - (2 * batch.x - 1)).square().mean(), -model.discriminator(y).mean()
    last = model.network.decoder.smooth.weight
    norms = [torch.autograd.grad(value, last, retain_graph=True)[0].norm() for value in (mse, fooled)]
    weight = norms[0] / (norms[1] + 1e-4)
    torch.testing.assert_close(output.terms["adaptive_weight"], weight, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(output.terms["adversarial"], fooled.detach(), rtol=1e-4, atol=1e-6)
    expected = output.terms["mse"] + 0.1 * output.terms["kl"] + 0.7 * weight * fooled.detach()
    torch.testing.assert_close(output.total.detach(), expected, rtol=1e-3, atol=1e-5)


def test_the_discriminator_judges_what_was_just_made(small, monkeypatch):
    model, batch = small("sdvae", **ADVERSARIAL), images()
    made = []
    model.network.decoder.register_forward_hook(lambda module, given, y: made.append(y.detach()))
    autoencoder, discriminator = model.phases
    autoencoder.loss(batch, 3).total.backward(inputs=autoencoder.parameters)
    assert all(p.grad is None for p in discriminator.parameters)
    found = discriminator.loss(batch, 3)
    assert len(made) == 1  # the autoencoder ran once
    real, fake = model.discriminator(2 * batch.x - 1), model.discriminator(made[0])
    torch.testing.assert_close(found.total, hinge_loss(real, fake))
    before = {name: p.grad.clone() for name, p in model.network.named_parameters()}
    found.total.backward(inputs=discriminator.parameters)
    assert all(torch.equal(p.grad, before[name]) for name, p in model.network.named_parameters())
    # Images of another batch are made anew.
    discriminator.loss(images(seed=1), 3)
    assert len(made) == 2


def test_both_phases_learn(small):
    model, batch = small("sdvae", **ADVERSARIAL | {"adversarial_start": 0}), images(8)
    optimizers = [torch.optim.Adam(phase.parameters, 2e-3) for phase in model.phases]
    hinge, mse = [], []
    for step in range(15):
        for phase, optimizer in zip(model.phases, optimizers, strict=True):
            output = phase.loss(batch, step)
            optimizer.zero_grad()
            output.total.backward(inputs=phase.parameters)
            optimizer.step()
            assert not any(term.requires_grad for term in output.terms.values())
        hinge.append(float(output.total.detach()))
        mse.append(float(model.loss(batch, step).terms["mse"]))
    assert hinge[-1] < hinge[0]
    assert mse[-1] < mse[0]


@pytest.mark.parametrize(
    ("name", "options", "lines"),
    [
        ("dae", {"noise_std": -0.1}, ["model.noise_std=-0.1: expected a finite number, at least 0"]),
        ("vae", {"kl_weight": -1.0}, ["model.kl_weight=-1.0: expected"]),
        ("grid_ae", {"kl_weight": 0.5}, ["model.kl_weight=0.5: model.stochastic=false has no KL"]),
        ("vae", {"perceptual": "vgg"}, ["unknown model.perceptual 'vgg'"]),
        ("sdvae", {"adversarial_weight": -1.0}, ["model.adversarial_weight=-1.0: expected"]),
        ("sdvae", {"adversarial_start": -1}, ["model.adversarial_start=-1: expected a whole number, at least 0"]),
        ("sdvae", {"discriminator_layers": 3}, ["model.discriminator_layers=3: expected a whole number, 1 to 2"]),
        ("sdvae", {"discriminator_channels": 0}, ["model.discriminator_channels=0: expected a whole number"]),
        ("vae", {"network": {"kind": "conv"}}, ["unknown model.network.kind 'conv'"]),
        ("vae", {"network": VIT | {"patch": 3}}, ["model.network.patch=3: the sides of 16 x 16 images"]),
    ],
)
def test_bad_options_are_named(small, name, options, lines):
    with pytest.raises(UserError) as caught:
        small(name, **options)
    assert len(caught.value.lines) == len(lines)
    for found, line in zip(caught.value.lines, lines, strict=True):
        assert found.startswith(line)


def test_without_a_discriminator_its_options_do_not_matter(small):
    assert small("vae", discriminator_layers=9).discriminator is None

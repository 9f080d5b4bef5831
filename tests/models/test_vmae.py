import pytest
import torch
from torch.distributions import Normal, kl_divergence

from vaebench.contracts import Batch
from vaebench.errors import UserError
from vaebench.models.classifier import Classifier
from vaebench.models.vmae import VMAE
from vaebench.nn.losses.reconstruction import layer_distance

SHAPE = [3, 16, 16]
GRID = {"kind": "vit", "version": 1, "patch": 4, "width": 16, "depth": 1, "heads": 2, "decoder_width": 16}
GRID |= {"decoder_depth": 1, "decoder_heads": 2, "mlp_ratio": 2.0, "latent_channels": 3, "smooth": True}
TUNING = {"mask_ratio": 0.0, "visible_weight": 1.0, "kl_weight": 0.0, "sample": False, "freeze_encoder": True}


@pytest.fixture
def small(make):
    """A VMAE for 16 x 16 images with 16 patches, without a perceptual term unless a test asks for it."""

    def build(network=(), **options):
        return make("vmae", **{"input_shape": SHAPE, "network": GRID | dict(network), "perceptual": "none"} | options)

    return build


def images(count=6, shape=SHAPE):
    x = torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))
    return Batch(x, torch.zeros(count, dtype=torch.int64))


def by_hand(model, batch, seed):
    """L_M, L_R, KL and images, sample by sample and patch by patch, from the draws that the loss makes."""
    torch.manual_seed(seed)
    order = torch.rand(len(batch.x), 16).argsort(dim=1)
    noise = torch.randn(len(batch.x), model.seen, 3)
    hidden_errors, seen_errors, kls, made = [], [], [], []
    for index, image in enumerate(2 * batch.x - 1):
        kept = order[index, : model.seen]
        moments = model.network.encoder(image[None], kept[None])[0]
        mean, sigma = moments[:, :3], (moments[:, 3:] / 2).exp()
        y = model.network.decoder((mean + sigma * noise[index])[None], kept[None])[0]
        made.append(y)
        for patch in range(16):
            row, column = divmod(patch, 4)
            square = (slice(None), slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4))
            error = (y[square] - image[square]).square().mean()
            (seen_errors if patch in kept.tolist() else hidden_errors).append(error)
        for token in range(model.seen):
            own, prior = Normal(mean[token], sigma[token]), Normal(mean[token], model.prior_std)
            kls.append(kl_divergence(own, prior).sum())
    return [torch.stack(values).mean() for values in (hidden_errors, seen_errors, kls)] + [torch.stack(made)]


@pytest.mark.parametrize("mask_ratio", [0.25, 0.6])
@pytest.mark.parametrize("prior_std", [1.0, 1e-3])
def test_the_loss_sample_by_sample(small, mask_ratio, prior_std):
    model = small(mask_ratio=mask_ratio, prior_std=prior_std, visible_weight=0.3, kl_weight=0.01)
    batch = images()
    l_m, l_r, kl, _ = by_hand(model, batch, 5)
    torch.manual_seed(5)
    output = model.loss(batch, 0)
    torch.testing.assert_close(output.terms["l_m"], l_m.detach())
    torch.testing.assert_close(output.terms["l_r"], l_r.detach())
    torch.testing.assert_close(output.terms["kl"], kl.detach(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(output.total, 0.7 * l_m + 0.3 * l_r + 0.01 * kl, rtol=1e-4, atol=1e-6)


def test_perceptual_term_is_of_whole_images(small):
    torch.manual_seed(0)
    judge = Classifier(input_shape=SHAPE, classes=4, dropout=0.5)
    model = small(perceptual="classifier", perceptual_weight=2.0, mask_ratio=0.5, kl_weight=0.1)
    model.adopt("perceptual", judge)
    batch = images()
    l_m, l_r, kl, made = by_hand(model, batch, 5)
    expected = layer_distance(judge.layers((made + 1) / 2), judge.layers(batch.x))
    torch.manual_seed(5)
    output = model.loss(batch, 0)
    torch.testing.assert_close(output.terms["perceptual"], expected.detach())
    torch.testing.assert_close(output.total, 0.5 * l_m + 0.5 * l_r + 0.1 * kl + 2 * expected)
    assert not any(name.startswith("perceptual") for name in model.state_dict())
    assert not {id(p) for p in judge.parameters()} & {id(p) for p in model.parameters()}


def test_perceptual_term_without_a_classifier(small):
    with pytest.raises(UserError, match=r"model.perceptual=classifier: no trained classifier was given to the model"):
        small(perceptual="classifier").loss(images(), 0)
    assert "perceptual" not in small(perceptual="classifier", perceptual_weight=0.0).loss(images(), 0).terms


def test_the_mean_is_free(small):
    """Shifting all means leaves the KL where it was."""
    model = small()
    torch.manual_seed(1)
    before = model.loss(images(), 0).terms["kl"]
    with torch.no_grad():
        model.network.encoder.moments.bias[:3] += 5
    torch.manual_seed(1)
    assert torch.equal(model.loss(images(), 0).terms["kl"], before)


def test_sigma_ratio_is_noise_over_spread(small):
    model, batch = small(mask_ratio=0.0, visible_weight=1.0), images()
    found = model.loss(batch, 0).terms["sigma_ratio"]
    mean, logvar = model.latent_moments(batch.x)
    spread = torch.stack([mean[:, channel].flatten().std() for channel in range(3)]).mean()
    torch.testing.assert_close(found, ((logvar / 2).exp().mean() / spread).detach())


def test_without_masks_nothing_is_predicted(small):
    model, batch = small(mask_ratio=0.0, visible_weight=1.0, sample=False, kl_weight=0.0), images()
    output = model.loss(batch, 0)
    assert float(output.terms["l_m"]) == 0
    expected = (model.network.decode(model.encode(batch.x)) - (2 * batch.x - 1)).square().mean()
    torch.testing.assert_close(output.terms["l_r"], expected.detach())
    torch.testing.assert_close(output.total, expected)
    assert set(output.terms) == {"l_m", "l_r"}
    output.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p is not model.network.decoder.mask_token)
    assert small(mask_ratio=1e-12).loss(batch, 0).terms["l_m"] == 0


def test_a_deterministic_code_has_no_variance(small):
    x = images().x
    model = small(sample=False, kl_weight=0.0)
    assert model.latent_moments(x)[1] is None
    torch.manual_seed(1)
    first = model.loss(images(), 0).total
    torch.manual_seed(1)
    assert torch.equal(model.loss(images(), 0).total, first)
    for options in ({"kl_weight": 0.0}, {"sample": False}):
        assert small(**options).latent_moments(x)[1] is not None


def test_latents_are_the_means_of_all_patches(small):
    model, x = small().eval(), images().x
    with torch.no_grad():
        mean, logvar = model.latent_moments(x)
        assert mean.shape == logvar.shape == (6, *model.latent_shape) == (6, 3, 4, 4)
        assert torch.equal(model.encode(x), mean)
        assert torch.equal(model.encoder_pass(x)[:, :3], mean)
        model.network.encoder.moments.bias[3:] = torch.tensor([100.0, -100.0, 0.0])
        extreme = model.latent_moments(x)[1]
        y = model.decode(3 * mean)
    assert float(extreme.max()) == 20
    assert float(extreme.min()) == -30
    assert y.shape == x.shape
    assert 0 <= float(y.min()) <= float(y.max()) <= 1


@pytest.mark.parametrize("shape", [[1, 28, 28], [3, 32, 16]])
def test_other_images(small, shape):
    patch = 7 if shape[0] == 1 else 8
    model, batch = small({"patch": patch}, input_shape=shape, mask_ratio=0.6), images(shape=shape)
    model.loss(batch, 0).total.backward()
    assert model.encode(batch.x).shape == (6, 3, shape[1] // patch, shape[2] // patch)
    assert model.decode(model.encode(batch.x)).shape == batch.x.shape


def test_the_loss_falls(small):
    model, batch = small(kl_weight=1e-4), images(16)
    (phase,) = model.phases
    optimizer = torch.optim.AdamW(phase.parameters, 3e-3)
    losses = []
    for step in range(30):
        output = phase.loss(batch, step)
        optimizer.zero_grad()
        output.total.backward()
        optimizer.step()
        losses.append(float(output.total.detach()))
        assert not any(term.requires_grad for term in output.terms.values())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_a_frozen_encoder_is_neither_trained_nor_differentiated(small):
    model = small(**TUNING)
    (phase,) = model.phases
    assert {id(p) for p in phase.parameters} == {id(p) for p in model.network.decoder.parameters()}
    phase.loss(images(), 0).total.backward()
    assert all(p.grad is None for p in model.network.encoder.parameters())
    assert model.network.decoder.pixels.weight.grad.abs().sum() > 0


# A start with another model's weights


def test_tuning_at_another_resolution(small):
    trained, model = small(), small(input_shape=[3, 32, 32], seed=1, **TUNING)
    model.adopt("start", trained)
    assert model.latent_shape == (3, 8, 8)
    state, before = model.state_dict(), trained.state_dict()
    assert all(torch.equal(state[name], before[name]) for name in state if "positions" not in name)
    assert state["network.encoder.positions"].shape == (64, 16)
    batch = images(shape=[3, 32, 32])
    # The variance is the parent's, although this training draws nothing; and it survives being stored.
    assert model.latent_moments(batch.x)[1] is not None
    again = small(input_shape=[3, 32, 32], **TUNING)
    assert again.latent_moments(batch.x)[1] is None
    again.load_state_dict(state)
    assert torch.equal(again.latent_moments(batch.x)[1], model.latent_moments(batch.x)[1])
    model.loss(batch, 0).total.backward()


def test_starting_at_the_same_size_changes_nothing(small):
    trained, model = small(), small(seed=1)
    model.adopt("start", trained)
    assert torch.equal(model.encode(images().x), trained.encode(images().x))
    deterministic = small(sample=False, kl_weight=0.0)
    model.adopt("start", deterministic)
    assert model.latent_moments(images().x)[1] is not None


def test_a_start_that_does_not_fit_is_refused(small, make):
    with pytest.raises(UserError, match=r"VMAE starts with the weights of another VMAE, not of GridAutoencoder"):
        small().adopt("start", make("grid_ae"))
    with pytest.raises(UserError) as caught:
        small({"heads": 4, "width": 20}).adopt("start", small(input_shape=[1, 16, 16]))
    assert caught.value.lines == (
        "model.network.width=20: the model to start with has 16",
        "model.network.heads=4: the model to start with has 2",
        "model.input_shape=[3, 16, 16]: the model to start with is for images of 1 channels",
    )


# Pictures


def test_completed_images(small):
    model, x = small(mask_ratio=0.5).eval(), images().x
    with torch.no_grad():
        masked, completed = model.complete(x, torch.Generator().manual_seed(2))
        again = model.complete(x, torch.Generator().manual_seed(2))
    assert torch.equal(masked, again[0])
    assert torch.equal(completed, again[1])
    for index in range(len(x)):
        changed = 0
        for row in range(4):
            for column in range(4):
                square = (slice(None), slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4))
                if torch.equal(masked[index][square], x[index][square]):
                    continue
                assert torch.equal(masked[index][square], torch.full((3, 4, 4), 0.5))
                changed += 1
        assert changed == 8
    assert completed.shape == x.shape
    assert 0 <= float(completed.min()) <= float(completed.max()) <= 1
    # Hidden pixels do not matter.
    order = model.network.shuffled_patches(6, torch.Generator().manual_seed(2), x.device)
    hidden = torch.zeros(6, 16).scatter(1, order[:, 8:], 1.0).view(6, 1, 4, 4)
    other = x + hidden.repeat_interleave(4, 2).repeat_interleave(4, 3) * torch.rand_like(x)
    with torch.no_grad():
        assert torch.equal(model.complete(other, torch.Generator().manual_seed(2))[1], completed)


def test_nothing_hidden_nothing_masked(small):
    model, x = small(mask_ratio=0.0, visible_weight=1.0).eval(), images().x
    with torch.no_grad():
        masked, completed = model.complete(x, torch.Generator().manual_seed(2))
        torch.testing.assert_close(completed, model.decode(model.encode(x)), atol=1e-5, rtol=1e-4)
    assert torch.equal(masked, x)


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({"mask_ratio": 1.0}, ["model.mask_ratio=1.0: expected a number, at least 0 and below 1"]),
        ({"mask_ratio": 0.95}, ["model.mask_ratio=0.95: none of the 16 patches of an image would be seen"]),
        ({"mask_ratio": 0.0}, ["model.visible_weight=0.5: with model.mask_ratio=0 nothing is hidden; set it to 1"]),
        ({"visible_weight": 1.5, "prior_std": 0.0}, ["model.visible_weight=1.5: ", "model.prior_std=0.0: expected"]),
        ({"kl_weight": -1.0}, ["model.kl_weight=-1.0: expected a finite number, at least 0"]),
        ({"perceptual": "vgg"}, ["unknown model.perceptual 'vgg'"]),
        ({"perceptual_weight": -1.0}, ["model.perceptual_weight=-1.0: expected"]),
        ({"network": {"kind": "kl"}}, ["model.network.kind=kl: has no patches to hide"]),
        ({"network": {"patch": 5}}, ["model.network.patch=5: the sides of 16 x 16 images are no multiples of it"]),
    ],
)
def test_bad_options_are_named(small, options, lines):
    with pytest.raises(UserError) as caught:
        small(**options)
    assert len(caught.value.lines) == len(lines)
    for found, line in zip(caught.value.lines, lines, strict=True):
        assert found.startswith(line)


def test_the_command_line_can_build_the_papers_network():
    with torch.device("meta"):
        network = GRID | {"patch": 8, "width": 192, "depth": 12, "heads": 12, "mlp_ratio": 4.0, "latent_channels": 16}
        network |= {"decoder_width": 192, "decoder_depth": 12, "decoder_heads": 12}
        model = VMAE(
            input_shape=[3, 128, 128],
            network=network,
            mask_ratio=0.25,
            visible_weight=0.5,
            prior_std=1e-3,
            kl_weight=1e-6,
            perceptual="none",
            perceptual_weight=0.0,
            sample=True,
            freeze_encoder=False,
        )
        output = model.loss(Batch(torch.rand(2, 3, 128, 128), torch.zeros(2)), 0)
    assert model.seen == 192
    assert output.total.shape == ()

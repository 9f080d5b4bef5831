"""The models without a latent prior: PCA, the identity and the classifier."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from vaebench.config.spine import TrainSpec
from vaebench.contracts import Batch
from vaebench.data.images import ImageData
from vaebench.engine.checkpoint import load_weights, weights_bytes
from vaebench.engine.loop import fit
from vaebench.errors import UserError


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """The embedded digits, shuffled, uint8 ``[1797 1 8 8]`` up to 255, and their labels."""
    found = load_digits()
    images = np.round(found.images * (255 / 16)).astype(np.uint8)
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    return torch.from_numpy(images).unsqueeze(1)[order], torch.from_numpy(found.target).long()[order]


def test_pca_is_that_of_scikit_learn(make):
    images, _ = digits()
    model = make("pca", latent_dim=8)
    model.fit(images[:1437])
    flat = images.flatten(1).numpy() / 255
    peer = PCA(8, svd_solver="full").fit(flat[:1437])
    x = images[1437:].float() / 255
    code = model.encode(x)
    expected = peer.transform(flat[1437:])
    signs = np.sign((model.components.numpy() * peer.components_).sum(1))
    np.testing.assert_allclose(code.numpy() * signs, expected, atol=1e-5)
    rebuilt = peer.inverse_transform(expected).clip(0, 1).reshape(-1, 1, 8, 8)
    np.testing.assert_allclose(model.decode(code).numpy(), rebuilt, atol=1e-5)


def test_pca_adds_up_its_chunks(make, monkeypatch):
    images, _ = digits()
    whole, chunked = make("pca"), make("pca")
    whole.fit(images)
    monkeypatch.setattr("vaebench.models.pca._CHUNK", 100)
    chunked.fit(images)
    torch.testing.assert_close(whole.components, chunked.components)


def test_pca_with_all_components_is_lossless(make):
    images, _ = digits()
    model = make("pca", latent_dim=64)
    model.fit(images)
    x = images.float() / 255
    torch.testing.assert_close(model.decode(model.encode(x)), x, atol=1e-5, rtol=0)


def test_pca_needs_more_images_than_components(make):
    with pytest.raises(UserError, match="8 images have only 7 principal components"):
        make("pca", latent_dim=8).fit(digits()[0][:8])


def test_identity_keeps_what_lies_outside_the_range(make):
    model = make("identity", input_shape=[3, 4, 6])
    x = torch.randn(2, 3, 4, 6) * 3
    assert model.encode(x).shape == (2, 72)
    assert torch.equal(model.decode(model.encode(x)), x)


def test_classifier_learns_the_digits(make):
    images, y = digits()
    x = images.float() / 255
    model = make("classifier")
    (phase,) = model.phases
    optimizer = torch.optim.Adam(phase.parameters, lr=1e-3)
    for epoch in range(10):
        order = torch.randperm(1437, generator=torch.Generator().manual_seed(epoch))
        for rows in order.split(128)[:-1]:
            optimizer.zero_grad()
            output = phase.loss(Batch(x[rows], y[rows]), 0)
            output.total.backward()
            optimizer.step()
    model.eval()
    accuracy = (model.logits(x[1437:]).argmax(1) == y[1437:]).float().mean()
    assert float(accuracy) > 0.9
    assert float(output.terms["accuracy"]) > 0.9


def test_classifier_terms_are_the_loop(make, batch):
    model = make("classifier").eval()
    logits = model.logits(batch.x).detach().double()
    rows = [float(row.exp().sum().log() - row[label]) for row, label in zip(logits, batch.y, strict=True)]
    right = [int(row.argmax()) == int(label) for row, label in zip(logits, batch.y, strict=True)]
    terms = model.loss(batch, 0).terms
    assert float(terms["cross_entropy"]) == pytest.approx(sum(rows) / 32, rel=1e-5)
    assert float(terms["accuracy"]) == pytest.approx(sum(right) / 32)


def test_logits_are_linear_in_the_features(make, batch):
    model = make("classifier").eval()
    features = model.features(batch.x).detach()
    assert features.shape == (32, 128)
    assert float(features.min()) == 0
    linear = model.head[-1]
    torch.testing.assert_close(model.logits(batch.x), features @ linear.weight.T + linear.bias)


def test_a_classifier_is_trained_on_what_another_model_makes_of_the_images(make, batch):
    model, other = make("classifier").eval(), make("ae").eval()
    plain = model.loss(batch, 0).total
    model.adopt("seen_through", other)
    made = other.decode(other.encode(batch.x)).detach()
    assert float(model.loss(batch, 0).total.detach()) == float(
        torch.nn.functional.cross_entropy(model.logits(made), batch.y).detach()
    )
    assert float(model.loss(batch, 0).total.detach()) != float(plain.detach())
    model.loss(batch, 0).total.backward()
    assert all(parameter.grad is None for parameter in other.parameters())
    assert model.state_dict().keys() == make("classifier").state_dict().keys()
    with pytest.raises(UserError, match="seen_through: Classifier reconstructs nothing"):
        model.adopt("seen_through", make("classifier"))


def many(classes: int) -> ImageData:
    """One image of each class, thrice, over two splits; the last class is in the test split alone."""
    random = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (3 * classes, 1, 8, 8), generator=random, dtype=torch.uint8)
    y = torch.arange(3 * classes) % classes
    train = torch.arange(3 * classes)[y != classes - 1]
    return ImageData("many", x[train], y[train], x, y, source="", digest="", note="", stand_in=True)


def test_a_classifier_has_as_many_outputs_as_the_data_has_classes(make, tmp_path):
    data = many(13)
    torch.manual_seed(0)
    model, usual = make("classifier"), make("classifier")
    torch.manual_seed(0)
    usual = make("classifier")
    (phase,) = model.phases
    optimizer = torch.optim.Adam(phase.parameters, lr=1e-3)
    fit(model, data, optimizers={phase.name: optimizer}, seed=0, spec=TrainSpec(max_steps=3, batch_size=12))
    assert model.logits(data.test_x.float() / 255).shape == (39, 13)
    moved = model.head[-1].weight.detach()
    assert moved.shape == (13, 128)
    assert not torch.equal(moved[:10], usual.head[-1].weight)
    assert (moved[:10] - usual.head[-1].weight).abs().max() < 0.01  # the first ten began as they always do
    (tmp_path / "weights").write_bytes(weights_bytes(model.state_dict()))
    again = make("classifier")
    load_weights(tmp_path / "weights", again)
    x = data.test_x.float() / 255
    assert torch.equal(again.eval().logits(x), model.eval().logits(x))
    with pytest.raises(UserError, match="does not hold this model's weights"):
        load_weights(tmp_path / "weights", make("supervised"))


@pytest.mark.parametrize("classes", [2, 10])
def test_few_classes_change_nothing(make, classes):
    torch.manual_seed(0)
    model = make("classifier")
    weights, state = model.head[-1].weight.detach().clone(), torch.get_rng_state()
    model.look(many(classes))
    assert torch.equal(model.head[-1].weight, weights)
    assert torch.equal(torch.get_rng_state(), state)

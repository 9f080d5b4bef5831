import pytest
import torch

from vaebench.errors import UserError
from vaebench.models.classifier import Classifier
from vaebench.nn.losses.reconstruction import Perceptual, layer_distance
from vaebench.nn.pretrained import lpips


def classifier():
    torch.manual_seed(0)
    return Classifier(input_shape=(3, 16, 16), classes=4, dropout=0.5)


def images(count=3):
    random = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 16, 16, generator=random), torch.rand(count, 3, 16, 16, generator=random)


def test_the_classifiers_layers_end_in_its_features():
    model = classifier()
    x, _ = images()
    layers = model.layers(x)
    assert [tuple(layer.shape) for layer in layers] == [(3, 32, 8, 8), (3, 64, 4, 4), (3, 128)]
    assert torch.equal(layers[-1], model.features(x))
    assert torch.equal(layers[0], model.body[0](x).relu())
    assert all(float(layer.detach().min()) >= 0 for layer in layers)


def test_distance_position_by_position():
    random = torch.Generator().manual_seed(1)
    one, other = ((torch.rand(2, 5, 3, 4, generator=random), torch.rand(2, 7, generator=random)) for _ in range(2))
    means = []
    for a, b in zip(one, other, strict=True):
        a, b = (layer.reshape(*layer.shape[:2], -1) for layer in (a, b))
        found = []
        for image in range(len(a)):
            for position in range(a.shape[2]):
                u, v = a[image, :, position], b[image, :, position]
                found.append(float((u / u.norm() - v / v.norm()).square().sum()))
        means.append(sum(found) / len(found))
    assert float(layer_distance(one, other)) == pytest.approx(sum(means) / 2, rel=1e-5)
    assert float(layer_distance(one, one)) == 0
    opposite = [-layer for layer in one]
    assert float(layer_distance(one, opposite)) == pytest.approx(4, rel=1e-5)


def test_dead_layers_give_finite_gradients():
    dead = torch.zeros(2, 4, 3, 3, requires_grad=True)
    layer_distance([dead], [torch.rand(2, 4, 3, 3)]).backward()
    assert torch.isfinite(dead.grad).all()


def test_gradients_reach_the_image_alone():
    model = classifier()
    distance = Perceptual("classifier", (3, 16, 16))
    distance.perceive(model)
    x, y = images()
    x.requires_grad_()
    y.requires_grad_()
    found = distance(y, x)
    torch.testing.assert_close(found, layer_distance(model.eval().layers(y), model.layers(x)))
    found.backward()
    assert y.grad.abs().sum() > 0
    assert x.grad is None
    assert all(parameter.grad is None for parameter in model.parameters())
    assert float(distance(x, x).detach()) == 0


def test_no_classifier_yet():
    with pytest.raises(UserError, match=r"model.perceptual=classifier: no trained classifier was given to the model"):
        Perceptual("classifier", (3, 16, 16))(*images())


def test_lpips_is_the_mean_over_images(monkeypatch):
    torch.manual_seed(0)
    network = lpips.LPIPS().eval()
    monkeypatch.setattr(lpips, "load", lambda: network)
    distance = Perceptual("lpips", (3, 16, 16))
    distance.perceive(classifier())  # of no use to it
    with torch.no_grad():
        for head in network.heads:
            head.fill_(0.1)
    x, y = images()
    expected = torch.stack([network(a[None], b[None])[0] for a, b in zip(y, x, strict=True)]).mean()
    assert float(expected) > 0
    torch.testing.assert_close(distance(y, x), expected)


def test_lpips_without_weights_says_where_to_put_them(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(
        UserError,
        match=r"model.perceptual=lpips: LPIPS: no file vgg16-397923af.pth; download .*; or choose classifier or none",
    ):
        Perceptual("lpips", (3, 16, 16))


@pytest.mark.parametrize("shape", [(3, 8, 16), (2, 16, 16)])
def test_lpips_is_not_for_all_images(shape):
    line = r"model.perceptual=lpips: LPIPS is for grey or colour images of at least 16 x 16, not .*; choose"
    with pytest.raises(UserError, match=line):
        Perceptual("lpips", shape)

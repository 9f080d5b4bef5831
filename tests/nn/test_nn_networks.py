import pytest
import torch
from torch import nn

from vaebench.nn.networks import flat


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 8, 8), (3, 32, 32), (3, 12, 20)])
def test_shapes(network, shape):
    encoder = flat.encoder(network, shape=shape, outputs=6, hidden=None)
    decoder = flat.decoder(network, shape=shape, latent_dim=3, hidden=None)
    code = encoder(torch.rand(2, *shape))
    assert code.shape == (2, 6)
    assert decoder(code[:, :3]).shape == (2, *shape)


def widths(network: nn.Sequential) -> list[tuple[int, int]]:
    return [(layer.in_features, layer.out_features) for layer in network if isinstance(layer, nn.Linear)]


def test_mlp_is_mirrored():
    encoder = flat.encoder("mlp", shape=(1, 28, 28), outputs=128, hidden=None)
    decoder = flat.decoder("mlp", shape=(1, 28, 28), latent_dim=64, hidden=None)
    assert widths(encoder) == [(784, 512), (512, 256), (256, 128)]
    assert widths(decoder) == [(64, 256), (256, 512), (512, 784)]


def test_conv_is_mirrored():
    encoder = flat.encoder("conv", shape=(1, 28, 28), outputs=16, hidden=None)
    decoder = flat.decoder("conv", shape=(1, 28, 28), latent_dim=8, hidden=None)
    down = [(layer.in_channels, layer.out_channels) for layer in encoder if isinstance(layer, nn.Conv2d)]
    up = [(layer.in_channels, layer.out_channels) for layer in decoder if isinstance(layer, nn.ConvTranspose2d)]
    assert down == [(1, 32), (32, 64)]
    assert up == [(64, 32), (32, 1)]
    assert widths(encoder) == [(3136, 256), (256, 16)]
    assert widths(decoder) == [(8, 256), (256, 3136)]


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_every_weighted_layer_but_the_last_is_followed_by_a_relu(network):
    for net in (
        flat.encoder(network, shape=(1, 8, 8), outputs=4, hidden=(7, 5)),
        flat.decoder(network, shape=(1, 8, 8), latent_dim=2, hidden=(7, 5)),
    ):
        kinds = [type(layer).__name__ for layer in net if not isinstance(layer, nn.Flatten | nn.Unflatten)]
        assert kinds[1::2] == ["ReLU"] * (len(kinds) // 2)
        assert "ReLU" not in kinds[::2]


def test_hidden_widths_are_used():
    assert widths(flat.encoder("mlp", shape=(1, 4, 4), outputs=2, hidden=[9])) == [(16, 9), (9, 2)]
    assert widths(flat.decoder("conv", shape=(1, 8, 8), latent_dim=2, hidden=[9, 5])) == [(2, 5), (5, 9), (9, 256)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("cnn", (1, 28, 28), None), "unknown model.network 'cnn'"),
        (("mpl", (1, 28, 28), None), "did you mean 'mlp'? Valid: conv, mlp"),
        (
            ("conv", (1, 30, 28), None),
            "model.network=conv: the sides of 30 x 28 images are not multiples of 4; use mlp",
        ),
        (("mlp", (1, 28, 28), []), "model.hidden=[]"),
        (("mlp", (1, 28, 28), [64, 0]), "model.hidden=[64, 0]"),
    ],
)
def test_mistakes_are_named(arguments, expected):
    lines = [line for line in flat.mistakes(*arguments) if line]
    assert len(lines) == 1
    assert expected in lines[0]


def test_an_odd_image_is_no_mistake_for_the_mlp():
    assert not any(flat.mistakes("mlp", (1, 27, 5), [3]))

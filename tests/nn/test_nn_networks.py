import pytest
import torch
from torch import nn

from vaebench.errors import UserError
from vaebench.nn.networks import flat


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 8, 8), (3, 32, 32), (3, 12, 20)])
def test_shapes(network, shape):
    encoder, decoder = flat.pair(network, shape=shape, hidden=None, outputs=6, latent_dim=3)
    code = encoder(torch.rand(2, *shape))
    assert code.shape == (2, 6)
    assert decoder(code[:, :3]).shape == (2, *shape)


def widths(network: nn.Sequential) -> list[tuple[int, int]]:
    return [(layer.in_features, layer.out_features) for layer in network if isinstance(layer, nn.Linear)]


def test_mlp_is_mirrored():
    encoder, decoder = flat.pair("mlp", shape=(1, 28, 28), hidden=None, outputs=128, latent_dim=64)
    assert widths(encoder) == [(784, 512), (512, 256), (256, 128)]
    assert widths(decoder) == [(64, 256), (256, 512), (512, 784)]


def test_conv_is_mirrored():
    encoder, decoder = flat.pair("conv", shape=(1, 28, 28), hidden=None, outputs=16, latent_dim=8)
    down = [(layer.in_channels, layer.out_channels) for layer in encoder if isinstance(layer, nn.Conv2d)]
    up = [(layer.in_channels, layer.out_channels) for layer in decoder if isinstance(layer, nn.ConvTranspose2d)]
    assert down == [(1, 32), (32, 64)]
    assert up == [(64, 32), (32, 1)]
    assert widths(encoder) == [(3136, 256), (256, 16)]
    assert widths(decoder) == [(8, 256), (256, 3136)]


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_every_weighted_layer_but_the_last_is_followed_by_a_relu(network):
    for net in flat.pair(network, shape=(1, 8, 8), hidden=(7, 5), outputs=4, latent_dim=2):
        kinds = [type(layer).__name__ for layer in net if not isinstance(layer, nn.Flatten | nn.Unflatten)]
        assert kinds[1::2] == ["ReLU"] * (len(kinds) // 2)
        assert "ReLU" not in kinds[::2]


def test_hidden_widths_are_used():
    encoder, decoder = flat.pair("conv", shape=(1, 8, 8), hidden=[9, 5], outputs=2, latent_dim=2)
    assert widths(encoder) == [(256, 9), (9, 5), (5, 2)]
    assert widths(decoder) == [(2, 5), (5, 9), (9, 256)]


def test_convolutions_take_sides_that_they_divide():
    options = {"hidden": [3], "outputs": 2, "latent_dim": 2}
    with pytest.raises(UserError, match=r"model.network=conv: the sides of 30 x 28 images are not multiples of 4; use"):
        flat.pair("conv", shape=(1, 30, 28), **options)
    assert flat.pair("mlp", shape=(1, 27, 5), **options)

import hashlib
import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import nn

from vaebench.errors import UserError
from vaebench.nn.networks.feature_network import FeatureNetwork
from vaebench.nn.networks.features import decoder as build_decoder
from vaebench.nn.networks.features import encoder as build_encoder
from vaebench.nn.pretrained import cifar_resnet
from vaebench.nn.pretrained.cifar_resnet import CifarResNet

CONF = Path(__file__).resolve().parents[2] / "conf"
CONV = {"kind": "conv", "strides": [2, 2, 7], "width": 4, "widest": 2, "blocks": 1, "groups": 2}
KL = {"kind": "kl", "channels": 4, "multipliers": [1, 2], "blocks": 1, "groups": 2, "upsample_first": True}
VIT = {"kind": "timm", "name": "vit_tiny_patch16_224", "pretrained": False, "img_size": 32, "patch_size": 8}
VIT |= {"grid": None}
RESNET = VIT | {"name": "resnet18", "patch_size": None, "grid": [4, 4], "img_size": 64}
needs_diffusers = pytest.mark.skipif(importlib.util.find_spec("diffusers") is None, reason="diffusers")


def leaf(group, name):
    return OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"))


def encoder(options, shape=(1, 28, 28)):
    torch.manual_seed(0)
    return build_encoder(options, input_shape=shape)


def network(encoder=CONV, decoder=CONV, shape=(1, 28, 28), **options):
    torch.manual_seed(0)
    given = {"head_width": 6, "latent_channels": 3, "stochastic": False} | options
    return FeatureNetwork(input_shape=shape, encoder=encoder, decoder=decoder, **given)


# Encoders


@pytest.mark.parametrize(
    ("shape", "strides", "grid"),
    [
        ((1, 28, 28), [2, 2, 7], (1, 1)),
        ((1, 28, 28), [2, 7], (2, 2)),
        ((3, 32, 32), [2, 2, 2, 2], (2, 2)),
        ((3, 32, 32), [4, 2], (4, 4)),
        ((1, 8, 12), [2, 2], (2, 3)),
    ],
)
def test_strides_make_the_grid_and_the_decoder_undoes_them(shape, strides, grid):
    options = CONV | {"strides": strides}
    built, x = encoder(options, shape), torch.rand(2, *shape)
    features = built(x)
    assert built.grid == grid
    assert features.shape == (2, built.outputs, *grid)
    assert built.outputs == 4 * min(2 ** (len(strides) - 1), 2)
    decoder = build_decoder(options, latent_shape=(5, *grid), input_shape=shape)
    y = decoder(torch.randn(2, 5, *grid))
    assert y.shape == x.shape
    y.square().mean().backward()
    assert all(torch.isfinite(p.grad).all() and float(p.grad.abs().sum()) > 0 for p in decoder.parameters())
    assert decoder.last_weight is [p for p in decoder.parameters() if p.dim() == 4][-1]


@pytest.mark.parametrize("name", ["conv", "cifar10_resnet", "dinov2_l", "resnet34"])
def test_what_can_be_chosen_is_built(name):
    shape = {"conv": (1, 28, 28), "cifar10_resnet": (3, 32, 32)}.get(name, (3, 256, 256))
    options = leaf("encoder", name)
    with torch.device("meta"):
        built = build_encoder(options, input_shape=shape)
        features = built(torch.rand(1, *shape))
    assert features.shape == (1, built.outputs, *built.grid)
    assert built.pretrained == (name != "conv")
    wanted = {"conv": (64, 1), "cifar10_resnet": (64, 2), "dinov2_l": (1024, 16), "resnet34": (512, 16)}[name]
    assert (built.outputs, built.grid[0]) == wanted
    assert built.options == {key: value for key, value in options.items() if key != "version"}


def test_blocks_are_at_all_levels_but_the_first():
    def count(blocks):
        return sum(p.numel() for p in encoder(CONV | {"blocks": blocks}).parameters())

    assert count(1) - count(0) == count(2) - count(1) == 2 * (2 * (8 * 8 * 9 + 8) + 2 * 16)


def test_a_vision_transformers_tokens_lie_on_the_grid():
    built = encoder(VIT, (3, 32, 32))
    assert built.grid == (4, 4)
    x = torch.rand(2, 3, 32, 32)
    tokens = built.network.forward_features((x - 0.5) / 0.5)  # this one's statistics
    features = built(x)
    for row in range(4):
        for column in range(4):
            torch.testing.assert_close(features[:, :, row, column], tokens[:, 1 + 4 * row + column])


def test_grey_images_of_another_size_are_brought_to_the_networks():
    built = encoder(VIT, (1, 28, 28))
    assert built(torch.rand(2, 1, 28, 28)).shape == (2, 192, 4, 4)
    grey = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(built(grey), built(grey.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize("grid", [(1, 1), (2, 2), (4, 4)])
def test_a_convolutional_networks_map_is_pooled_or_interpolated(grid):
    built = encoder(RESNET | {"grid": list(grid)}, (3, 64, 64))
    x = torch.rand(1, 3, 64, 64)
    own = built.network.forward_features((x - built.mean) / built.std)
    assert own.shape == (1, 512, 2, 2)
    features = built(x)
    assert features.shape == (1, 512, *grid)
    torch.testing.assert_close(features.mean((2, 3)), own.mean((2, 3)))


def test_a_pretrained_encoder_stays_in_evaluation_mode():
    built = encoder(RESNET, (3, 64, 64))
    before = {name: value.clone() for name, value in built.state_dict().items()}
    built.train()
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(built(x), built(x))
    built(x).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in built.state_dict().items())
    assert all(p.grad is not None for p in built.network.layer4.parameters())


def test_timms_weights_are_read_from_a_file(tmp_path, monkeypatch):
    built = encoder(VIT | {"pretrained": True}, (3, 32, 32))
    from timm import create_model

    torch.manual_seed(7)
    published = create_model("vit_tiny_patch16_224", pretrained=False).state_dict()
    save_file(published, tmp_path / "vit_tiny_patch16_224.safetensors")
    monkeypatch.setenv("VAEBENCH_WEIGHTS", str(tmp_path))
    built.load_pretrained()
    found = built.network.state_dict()
    assert torch.equal(found["blocks.3.mlp.fc1.weight"], published["blocks.3.mlp.fc1.weight"])
    assert found["patch_embed.proj.weight"].shape[2:] == (8, 8)  # resampled from 16 x 16
    assert found["pos_embed"].shape[1] == 17


def test_timms_weights_that_cannot_be_had(tmp_path, monkeypatch):
    built = encoder(VIT | {"pretrained": True}, (3, 32, 32))
    (tmp_path / "vit_tiny_patch16_224.safetensors").write_bytes(b"no weights")
    monkeypatch.setenv("VAEBENCH_WEIGHTS", str(tmp_path))
    match = r"model.encoder.name=vit_tiny_patch16_224: its pretrained weights cannot be had .*; put vit_tiny"
    with pytest.raises(UserError, match=match):
        built.load_pretrained()
    encoder(VIT, (3, 32, 32)).load_pretrained()  # not asked for


def cifar_state():
    torch.manual_seed(1)
    body = encoder({"kind": "cifar10_resnet", "grid": [1, 1]}, (3, 32, 32)).body
    for part in body.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_var.uniform_(0.5, 2)
            part.running_mean.uniform_(-0.1, 0.1)
    state = {f"module.{name}": value for name, value in body.state_dict().items()}
    return state | {"module.linear.weight": torch.randn(10, 64), "module.linear.bias": torch.randn(10)}


def test_the_cifar10_network_is_the_judges(tmp_path, monkeypatch):
    built, state = encoder({"kind": "cifar10_resnet", "grid": [1, 1]}, (3, 32, 32)), cifar_state()
    path = tmp_path / "cifar10_resnet" / "resnet20-12fca82f.th"
    path.parent.mkdir()
    torch.save({"state_dict": state}, path)
    monkeypatch.setenv("VAEBENCH_DATA", str(tmp_path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    with pytest.raises(UserError, match=rf"expected SHA-256 12fca82f\.\.\., found {digest}\.\.\."):
        built.load_pretrained()
    monkeypatch.setattr(cifar_resnet, "WEIGHTS_SHA256", digest)
    built.load_pretrained()
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(built(x).flatten(1), CifarResNet(state)(x))
    path.unlink()
    with pytest.raises(UserError, match=r"model.encoder.kind=cifar10_resnet: no file .*resnet20-12fca82f\.th; down"):
        built.load_pretrained()


@pytest.mark.parametrize(
    ("options", "shape", "lines"),
    [
        ({"kind": "convv"}, (1, 28, 28), ["unknown model.encoder.kind 'convv'; did you mean 'conv'?"]),
        (CONV | {"strides": [2, 5]}, (1, 28, 28), ["model.encoder.strides=[2, 5]: the sides of 28 x 28 images"]),
        (CONV | {"strides": []}, (1, 28, 28), ["model.encoder.strides=[]: expected a list of one or more"]),
        (CONV | {"strides": [1, 2]}, (1, 28, 28), ["model.encoder.strides=[1, 2]: expected a list of"]),
        (CONV | {"groups": 3}, (1, 28, 28), ["model.encoder.width=4: expected a multiple of model.encoder.groups=3"]),
        (CONV | {"blocks": -1}, (1, 28, 28), ["model.encoder.blocks=-1: expected a whole number, at least 0"]),
        (CONV | {"widht": 4}, (1, 28, 28), ["unknown option 'model.encoder.widht'; did you mean"]),
        (CONV, (1, 480), ["model.input_shape=[1, 480]: this model is for images"]),
        (VIT | {"name": "vit_tinyy"}, (3, 32, 32), ["model.encoder.name=vit_tinyy: timm has no such network"]),
        (VIT | {"name": "swin_tiny_patch4_window7_224", "patch_size": None}, (3, 32, 32), ["model.encoder.name=swin"]),
        (RESNET | {"patch_size": 4}, (3, 32, 32), ["model.encoder.patch_size=4: model.encoder.name=resnet18 has no"]),
        (RESNET | {"grid": [2]}, (3, 32, 32), ["model.encoder.grid=[2]: expected a list of 2 whole numbers, each at"]),
        (VIT, (2, 32, 32), ["model.input_shape=[2, 32, 32]: networks of timm are for grey or colour images"]),
        ({"kind": "cifar10_resnet", "grid": [9, 1]}, (3, 32, 32), ["model.encoder.grid=[9, 1]: expected"]),
        ({"kind": "cifar10_resnet", "grid": [1, 1]}, (1, 28, 28), ["model.encoder.kind=cifar10_resnet: it is for"]),
    ],
)
def test_bad_encoders_are_named(options, shape, lines):
    with pytest.raises(UserError) as caught:
        encoder(options, shape)
    assert len(caught.value.lines) == len(lines)
    for found, line in zip(caught.value.lines, lines, strict=True):
        assert found.startswith(line)


# Decoders


@needs_diffusers
def test_the_decoder_of_diffusers_doubles_first():
    decoder = build_decoder(KL, latent_shape=(3, 2, 2), input_shape=(1, 8, 8))
    y = decoder(torch.randn(2, 3, 2, 2))
    assert y.shape == (2, 1, 8, 8)
    y.square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in decoder.parameters())
    assert decoder.last_weight is decoder.decoder.conv_out.weight
    plain = build_decoder(KL | {"upsample_first": False}, latent_shape=(3, 2, 2), input_shape=(1, 4, 4))
    z = torch.randn(2, 3, 2, 2)
    torch.testing.assert_close(plain(z), plain.decoder(z))


@needs_diffusers
def test_the_papers_decoder():
    with torch.device("meta"):
        decoder = build_decoder(leaf("decoder", "kl_dmvae"), latent_shape=(32, 16, 16), input_shape=(3, 256, 256))
        assert decoder(torch.rand(1, 32, 16, 16)).shape == (1, 3, 256, 256)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (CONV | {"strides": [2, 4]}, "model.decoder.strides=[2, 4]: these lead to a grid of 2 x 2, the encoder's is 1"),
        (CONV | {"kind": None}, "unknown model.decoder.kind 'None'"),
        (KL, "model.decoder.multipliers=[1, 2], model.decoder.upsample_first=true: 1 x 1 latents would become 4 x 4"),
        (
            KL | {"groups": 3, "multipliers": [1] * 5, "upsample_first": False, "kind": "kl"},
            "model.decoder.channels=4: expected a multiple of model.decoder.groups=3",
        ),
    ],
)
def test_bad_decoders_are_named(options, line):
    with pytest.raises(UserError) as caught:
        build_decoder(options, latent_shape=(3, 1, 1), input_shape=(1, 16, 16))
    assert len(caught.value.lines) == 1
    assert caught.value.lines[0].startswith(line)


def test_without_diffusers_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers.models.autoencoders.vae", None)
    with pytest.raises(UserError, match=r"model.decoder.kind=kl needs diffusers: pip install"):
        build_decoder(KL, latent_shape=(3, 2, 2), input_shape=(1, 8, 8))


# The network


def test_the_head_is_a_small_network_at_each_position():
    options = CONV | {"strides": [2, 7]}
    model, x = network(options, options), torch.rand(2, 1, 28, 28)
    features, z = model.features(x), model.encode(x)
    assert z.shape == (2, *model.latent_shape) == (2, 3, 2, 2)
    first, last = model.hidden[0], model.mean
    for b in range(2):
        for row in range(2):
            for column in range(2):
                hidden = first.weight[:, :, 0, 0] @ features[b, :, row, column] + first.bias
                hidden = hidden * hidden.sigmoid()
                expected = last.weight[:, :, 0, 0] @ hidden + last.bias
                torch.testing.assert_close(z[b, :, row, column], expected, rtol=1e-4, atol=1e-5)
    assert model.decode(z).shape == x.shape
    assert model.last_weight is model.decoder.last_weight


def test_the_variance_begins_small_and_constant():
    mean, logvar = network(stochastic=True).moments(torch.rand(4, 1, 28, 28))
    assert logvar.shape == mean.shape
    torch.testing.assert_close((logvar / 2).exp(), torch.full_like(logvar, 0.01))
    assert network().moments(torch.rand(1, 1, 28, 28))[1] is None


def test_it_starts_from_another_network():
    other = network()
    for parameter in other.parameters():
        parameter.data.normal_()
    model = network(stochastic=True)
    variance = model.logvar.weight.clone(), model.logvar.bias.clone()
    model.start_from(other)
    x = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(model.encode(x), other.encode(x))
    torch.testing.assert_close(model.decode(model.encode(x)), other.decode(other.encode(x)))
    assert torch.equal(model.logvar.weight, variance[0])
    assert torch.equal(model.logvar.bias, variance[1])
    assert model.decoder.last_weight is not other.decoder.last_weight


def test_another_networks_options_are_refused_by_name():
    with pytest.raises(UserError) as caught:
        network().start_from(network(CONV | {"width": 6}, head_width=7))
    lines = caught.value.lines
    assert len(lines) == 2
    assert lines[0].startswith("model.encoder={'kind': 'conv', 'strides': [2, 2, 7], 'width': 4")
    assert lines[1] == "model.head_width=6: the model to start with has 7; give the same"


def test_bad_networks_are_named():
    for options, names in [
        ({"encoder": None, "head_width": None}, ["model.encoder=null", "model.head_width=null"]),
        ({"head_width": 0, "latent_channels": 0}, ["model.head_width=0", "model.latent_channels=0"]),
    ]:
        with pytest.raises(UserError) as caught:
            network(**options)
        assert [line.split(":")[0] for line in caught.value.lines] == names

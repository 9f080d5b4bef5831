import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from vaebench.errors import UserError
from vaebench.nn.networks.grid import build

CONF = Path(__file__).resolve().parents[2] / "conf" / "network"
needs_diffusers = pytest.mark.skipif(importlib.util.find_spec("diffusers") is None, reason="diffusers")
KINDS = ["vit", pytest.param("kl", marks=needs_diffusers)]


def options(name, **changed):
    return OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml")) | changed


def small(name, shape=(3, 16, 16), **changed):
    torch.manual_seed(0)
    return build(options(name, **changed), input_shape=shape)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 28, 28)])
def test_small_networks(name, shape):
    model = small(name, shape)
    x = torch.rand(2, *shape)
    moments = model.encode(x)
    latents, *grid = model.latent_shape
    assert moments.shape == (2, 2 * latents, *grid)
    y = model.decode(moments[:, :latents])
    assert y.shape == x.shape
    y.square().mean().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    inside = {id(parameter) for half in (model.encoder, model.decoder) for parameter in half.parameters()}
    assert inside == {id(parameter) for parameter in model.parameters()}
    last = [parameter for parameter in model.decoder.parameters() if parameter.dim() == 4][-1]
    assert model.last_weight is last


@needs_diffusers
def test_small_networks_are_of_one_size():
    sizes = [sum(parameter.numel() for parameter in small(name).parameters()) for name in ("vit", "kl")]
    assert 0.75 < sizes[1] / sizes[0] < 1.33


@needs_diffusers
def test_the_papers_convolutional_network():
    """83.82 million weights, 319.7 MiB: the autoencoder of Stable Diffusion 3 (arXiv 2507.09984's baselines)."""
    with torch.device("meta"):
        model = build(options("kl_paper"), input_shape=(3, 256, 256))
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == 83_819_683
    assert round(count * 4 / 2**20, 1) == 319.7
    assert model.latent_shape == (16, 32, 32)


@needs_diffusers
def test_kl_is_diffusers_autoencoder():
    model = small("kl").eval()
    from diffusers import AutoencoderKL

    peer = AutoencoderKL(
        block_out_channels=(8, 16, 32),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).eval()
    peer.load_state_dict(model.state_dict())
    x = 2 * torch.rand(2, 3, 16, 16) - 1
    with torch.no_grad():
        posterior = peer.encode(x).latent_dist
        torch.testing.assert_close(model.encode(x), posterior.parameters)
        torch.testing.assert_close(model.decode(posterior.mean), peer.decode(posterior.mean).sample)


def test_masks_need_patches():
    model = build(options("vit"), input_shape=(3, 16, 16), masked=True)
    assert model.decoder.mask_token is not None
    with pytest.raises(UserError, match=r"model.network.kind=kl: has no patches to hide; choose network@model.network"):
        build(options("kl"), input_shape=(3, 16, 16), masked=True)
    with pytest.raises(UserError, match=r"unknown model.network.kind 'vti'; did you mean 'vit'"):
        build(options("vit", kind="vti"), input_shape=(3, 16, 16), masked=True)


@pytest.mark.parametrize(
    ("name", "changed", "lines"),
    [
        ("vit", {"kind": "vitt"}, ["unknown model.network.kind 'vitt'; did you mean 'vit'? Valid: kl, vit"]),
        ("vit", {"kind": None}, ["unknown model.network.kind 'None'"]),
        ("vit", {"pacth": 4}, ["unknown option 'model.network.pacth'; did you mean 'model.network.patch'?"]),
        ("vit", {"masked": True}, ["unknown option 'model.network.masked'"]),
        ("vit", {"patch": 4.5}, ["model.network.patch=4.5: expected a whole number"]),
        ("vit", {"smooth": 1}, ["model.network.smooth=1: expected true or false"]),
        (
            "kl",
            {"channels": 0, "blocks": 0},
            ["model.network.channels=0: expected", "model.network.blocks=0: expected"],
        ),
        ("kl", {"groups": 3}, ["model.network.channels=8: expected a multiple of model.network.groups=3"]),
        ("kl", {"multipliers": []}, ["model.network.multipliers=[]: expected a list of one or more whole numbers"]),
        (
            "kl",
            {"multipliers": [1] * 6},
            ["model.network.multipliers: the sides of 16 x 16 images are no multiples of"],
        ),
        ("kl", {"latent_channels": 0}, ["model.network.latent_channels=0: expected a whole number, at least 1"]),
    ],
)
def test_bad_options_are_named(name, changed, lines):
    with pytest.raises(UserError) as caught:
        small(name, **changed)
    assert len(caught.value.lines) == len(lines)
    for found, line in zip(caught.value.lines, lines, strict=True):
        assert found.startswith(line)


def test_audio_is_refused():
    with pytest.raises(UserError, match=r"model.input_shape=\[1, 480\]: this model is for images"):
        build(options("vit"), input_shape=[1, 480])


def test_missing_options_are_named():
    given = options("kl")
    del given["groups"]
    with pytest.raises(UserError, match=r"model.network.groups: missing; kl needs it"):
        build(given, input_shape=(3, 16, 16))


def test_kl_without_diffusers_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers.models.autoencoders.vae", None)
    with pytest.raises(UserError, match=r"model.network.kind=kl needs diffusers: pip install 'vaebench\[diffusers\]'"):
        small("kl")

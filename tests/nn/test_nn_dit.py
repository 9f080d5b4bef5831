import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vaebench.compat import ensure_torchvision
from vaebench.errors import UserError
from vaebench.nn.transformers import dit

SMALL = {
    **{"latent_shape": (3, 2, 4), "classes": 5, "null": True, "width": 16, "depth": 2, "heads": 2, "mlp_ratio": 4.0},
    **{"qk_norm": True, "positions": True, "time_scale": 10.0},
}
PAPER = {"latent_shape": (16, 32, 32), "classes": 1000, "time_scale": 1.0}


def build(seed=0, **options):
    """A small network whose zeros are no zeros, so that every weight counts."""
    torch.manual_seed(seed)
    network = dit.DiT(**SMALL | options)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network


def inputs(count=3, shape=SMALL["latent_shape"]):
    random = torch.Generator().manual_seed(1)
    return torch.randn(count, *shape, generator=random), torch.rand(count, generator=random), torch.arange(count)


@pytest.mark.parametrize(
    ("size", "millions"),
    [({"width": 768, "depth": 12, "heads": 12}, 130), ({"width": 1152, "depth": 28, "heads": 16}, 675)],
)
def test_has_the_papers_parameters(size, millions):
    with torch.device("meta"):
        network = dit.DiT(**SMALL | PAPER | size)
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6) == millions


def test_is_zero_when_it_is_new():
    assert torch.equal(dit.DiT(**SMALL)(*inputs()), torch.zeros(3, 3, 2, 4))


def rms(v, weight):
    return v / math.sqrt(float(v.square().mean()) + 1e-6) * weight


def turned(v, row, column):
    """A head's queries or keys at a place: pairs turned by angles of the row, then of the column."""
    v, pairs = v.clone(), len(v) // 2
    for pair in range(pairs):
        half = pairs // 2
        angle = (row if pair < half else column) * 10000 ** (-(pair % half) / half)
        a, b = v[2 * pair].clone(), v[2 * pair + 1].clone()
        v[2 * pair] = a * math.cos(angle) - b * math.sin(angle)
        v[2 * pair + 1] = a * math.sin(angle) + b * math.cos(angle)
    return v


def slow_attention(x, layer, heads, places):
    d = x.shape[1] // heads
    qkv = x @ layer.qkv.weight.T + layer.qkv.bias
    found = torch.zeros_like(x)
    for head in range(heads):
        q, k, v = (qkv[:, i * x.shape[1] + head * d : i * x.shape[1] + (head + 1) * d] for i in range(3))
        if layer.norm is not None:
            q = torch.stack([rms(row, layer.norm[0, 0]) for row in q])
            k = torch.stack([rms(row, layer.norm[1, 0]) for row in k])
        q = torch.stack([turned(row, *place) for row, place in zip(q, places, strict=True)])
        k = torch.stack([turned(row, *place) for row, place in zip(k, places, strict=True)])
        found[:, head * d : (head + 1) * d] = torch.softmax(q @ k.T / math.sqrt(d), dim=1) @ v
    return found @ layer.out.weight.T + layer.out.bias


def slow(network, z, t, label, heads=2):
    """One item, written as the papers do."""
    places = [(row, column) for row in range(z.shape[1]) for column in range(z.shape[2])]
    angles = [network.time_scale * float(t) * 10000 ** (-i / 128) for i in range(128)]
    features = torch.tensor([*map(math.cos, angles), *map(math.sin, angles)])
    first, second = network.time[0], network.time[2]
    condition = second.weight @ F.silu(first.weight @ features + first.bias) + second.bias
    if network.labels is not None:
        condition = condition + network.labels.weight[label]
    condition = F.silu(condition)
    x = torch.stack([network.tokens.weight @ z[:, row, column] + network.tokens.bias for row, column in places])
    x = x + network.places
    for block in network.blocks:
        shift1, scale1, gate1, shift2, scale2, gate2 = (
            block.modulation.weight @ condition + block.modulation.bias
        ).chunk(6)
        h = torch.stack([rms(row, block.norm1) * (1 + scale1) + shift1 for row in x])
        x = x + gate1 * slow_attention(h, block.attention, heads, places)
        h = torch.stack([rms(row, block.norm2) * (1 + scale2) + shift2 for row in x])
        x = x + gate2 * block.mlp.fc2(F.silu(block.mlp.fc1_g(h)) * block.mlp.fc1_x(h))
    shift, scale = (network.modulation.weight @ condition + network.modulation.bias).chunk(2)
    x = torch.stack([rms(row, network.norm) * (1 + scale) + shift for row in x])
    return (x @ network.velocity.weight.T + network.velocity.bias).T.reshape(z.shape)


@pytest.mark.parametrize(
    "options",
    [{}, {"qk_norm": False}, {"positions": False}, {"classes": 0, "null": False}, {"time_scale": 1.0, "null": False}],
    ids=lambda options: "-".join(options) or "all",
)
@torch.no_grad()
def test_is_the_loop(options):
    network = build(**options)
    z, t, labels = inputs()
    found = network(z, t, labels)
    for item in range(3):
        torch.testing.assert_close(found[item], slow(network, z[item], t[item], labels[item]), rtol=1e-4, atol=1e-5)


def test_the_swiglu_has_two_thirds_of_the_width():
    block = dit.DiT(**SMALL | {"width": 96, "heads": 4}).blocks[0]
    assert block.mlp.fc1_g.weight.shape == block.mlp.fc1_x.weight.shape == (256, 96)


@pytest.mark.parametrize("qk_norm", [True, False])
def test_attention_is_timms(qk_norm):
    ensure_torchvision()
    from timm.layers import AttentionRope, RotaryEmbeddingCat

    ours = build(qk_norm=qk_norm, width=32, heads=2).blocks[0].attention
    theirs = AttentionRope(32, 2, num_prefix_tokens=0, qk_norm=qk_norm, norm_layer=partial(nn.RMSNorm, eps=1e-6))
    with torch.no_grad():
        theirs.qkv.load_state_dict(ours.qkv.state_dict())
        theirs.proj.load_state_dict(ours.out.state_dict())
        if qk_norm:
            theirs.q_norm.weight.copy_(ours.norm[0, 0])
            theirs.k_norm.weight.copy_(ours.norm[1, 0])
    x = torch.randn(3, 8, 32)
    rope = RotaryEmbeddingCat(16, in_pixels=False, feat_shape=[2, 4]).get_embed()
    rotation = torch.view_as_complex(dit.rotations((2, 4), 16))
    torch.testing.assert_close(ours(x, rotation), theirs(x, rope), rtol=1e-5, atol=1e-5)


def test_rotated_products_depend_on_the_difference_of_places_alone():
    rotation = torch.view_as_complex(dit.rotations((5, 6), 8)).view(5, 6, 4)
    q, k = (torch.view_as_complex(torch.randn(4, 2)) for _ in range(2))

    def product(a, b):
        return torch.view_as_real((q * rotation[a]) * (k * rotation[b]).conj())[..., 0].sum()

    torch.testing.assert_close(product((0, 1), (2, 3)), product((2, 3), (4, 5)))
    assert not torch.isclose(product((0, 1), (2, 3)), product((0, 1), (3, 3)))


def test_time_features_are_diffusers():
    pytest.importorskip("diffusers")
    ensure_torchvision()
    from diffusers.models.embeddings import get_timestep_embedding

    t = 1000 * torch.rand(7)
    theirs = get_timestep_embedding(t, 256, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(dit.time_features(t, 256), theirs, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_labels_and_times_matter():
    network = build()
    z, t, labels = inputs()
    found = network(z, t, labels)
    assert not torch.isclose(network(z, t, labels + 1), found).all()
    assert not torch.isclose(network(z, t, torch.full_like(labels, 5)), found).all()  # any class
    assert not torch.isclose(network(z, 1 - t, labels), found).all()
    unconditional = build(classes=0, null=False)
    assert torch.equal(unconditional(z, t, labels), unconditional(z, t, labels + 7))


def test_every_weight_learns():
    network = build()
    network(*inputs(5)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@torch.no_grad()
def test_bf16_is_near_and_float32_at_the_boundary():
    network = build()
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(*inputs())
    exact = network(*inputs())
    assert rough.dtype == torch.float32
    assert float((rough - exact).norm() / exact.norm()) < 0.03


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"depth": 0}, "model.depth=0: expected a whole number, at least 1"),
        ({"mlp_ratio": 0.0}, "model.mlp_ratio=0.0: expected a finite number above 0"),
        ({"time_scale": 0.0}, "model.time_scale=0.0: expected a finite number above 0"),
        ({"width": 18, "heads": 2}, "model.width=18: expected a multiple of four times the heads (model.heads=2)"),
        ({"width": 16, "heads": 3}, "model.width=16: expected a multiple of four times the heads (model.heads=3)"),
    ],
)
def test_mistakes_are_named(options, line):
    with pytest.raises(UserError) as caught:
        build(**options)
    (found,) = caught.value.lines
    assert found.startswith(line)

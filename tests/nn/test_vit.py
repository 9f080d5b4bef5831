import math
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from vaebench.errors import UserError
from vaebench.nn.networks import grid
from vaebench.nn.transformers.vit import ViTAutoencoder, kept_patches

CONF = Path(__file__).resolve().parents[2] / "conf" / "network"
SMALL = {"width": 16, "heads": 2, "decoder_width": 24, "decoder_heads": 3, "latent_channels": 3}


def options(name="vit"):
    leaf = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    return {key: value for key, value in leaf.items() if key not in ("kind", "version")}


def small(shape=(3, 8, 12), *, masked=True, seed=0, **changed):
    torch.manual_seed(seed)
    model = ViTAutoencoder(input_shape=shape, masked=masked, **options() | SMALL | changed)
    for parameter in model.parameters():  # biases that matter
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model.eval()


def images(shape=(3, 8, 12), count=4):
    return 2 * torch.rand(count, *shape, generator=torch.Generator().manual_seed(1)) - 1


def test_the_papers_network_has_the_papers_weights():
    """11,191,412 counts the tables of positions at 256 x 256 pixels, and no mask token (arXiv 2507.09984)."""
    with torch.device("meta"):
        model = ViTAutoencoder(input_shape=(3, 256, 256), masked=False, **options("vit_paper"))
        masked = ViTAutoencoder(input_shape=(3, 128, 128), masked=True, **options("vit_paper"))
    assert model.latent_shape == (16, 32, 32)
    assert sum(value.numel() for value in model.state_dict().values()) == 11_191_412
    learnt = sum(parameter.numel() for parameter in model.parameters())
    assert learnt == 11_191_412 - 2 * 1024 * 192
    assert sum(parameter.numel() for parameter in masked.parameters()) == learnt + 192


@pytest.mark.parametrize(
    ("shape", "patch", "grid"), [((1, 28, 28), 7, (4, 4)), ((1, 28, 28), 4, (7, 7)), ((3, 32, 16), 8, (4, 2))]
)
def test_shapes(shape, patch, grid):
    model = small(shape, patch=patch)
    x = images(shape, 2)
    moments = model.encode(x)
    assert moments.shape == (2, 6, *grid)
    assert model.latent_shape == (3, *grid)
    assert model.decode(moments[:, :3]).shape == x.shape


def test_each_image_by_itself_through_its_own_patches():
    model, x = small(), images()
    order = model.shuffled_patches(len(x), None, x.device)
    kept = order[:, :4]
    with torch.no_grad():
        found, decoded = model.encoder(x, kept), model.decoder(z := torch.randn(4, 4, 3), kept)
        for index, image in enumerate(x):
            tokens = []
            for patch in kept[index].tolist():
                row, column = divmod(patch, 3)
                pixels = image[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
                projection = model.encoder.patches.proj
                embedded = projection.weight.flatten(1) @ pixels.flatten() + projection.bias
                tokens.append(embedded + model.encoder.positions[patch])
            seen = model.encoder.blocks(torch.stack(tokens)[None])
            torch.testing.assert_close(found[index], model.encoder.moments(model.encoder.norm(seen))[0])

            sequence = [model.decoder.mask_token.clone() for _ in range(6)]
            for place, patch in enumerate(kept[index].tolist()):
                sequence[patch] = model.decoder.latent(z[index, place])
            hidden = model.decoder.blocks((torch.stack(sequence) + model.decoder.positions)[None])
            pixels = model.decoder.pixels(model.decoder.norm(hidden))[0]
            image = torch.zeros(3, 8, 12)
            for patch in range(6):
                row, column = divmod(patch, 3)
                square = pixels[patch].view(4, 4, 3)
                for i in range(4):
                    for j in range(4):
                        image[:, 4 * row + i, 4 * column + j] = square[i, j]
            torch.testing.assert_close(decoded[index], model.decoder.smooth(image[None])[0], atol=1e-5, rtol=1e-4)


def test_all_patches_in_any_order_are_the_whole_image():
    model, x = small(), images()
    order = model.shuffled_patches(len(x), None, x.device)
    with torch.no_grad():
        whole = model.encode(x)
        shuffled = model.encoder(x, order)
        placed = torch.zeros_like(shuffled).scatter(1, order[..., None].expand_as(shuffled), shuffled)
        torch.testing.assert_close(placed.mT.unflatten(2, model.grid), whole, atol=1e-5, rtol=1e-4)
        z = shuffled[..., :3]
        torch.testing.assert_close(model.decoder(z, order), model.decode(whole[:, :3]), atol=1e-5, rtol=1e-4)


def test_hidden_patches_are_neither_seen_nor_computed():
    model, x = small(), images().requires_grad_()
    kept = model.shuffled_patches(len(x), None, x.device)[:, :2]
    lengths = []
    model.encoder.blocks[0].register_forward_hook(lambda module, given, made: lengths.append(made.shape[1]))
    model.encoder(x, kept).sum().backward()
    assert lengths == [2]
    touched = x.grad.abs().sum(1).unfold(1, 4, 4).unfold(2, 4, 4).sum((3, 4)).flatten(1) > 0
    assert torch.equal(touched, torch.zeros(4, 6, dtype=torch.bool).scatter(1, kept, True))


def test_orders_are_uniform_and_the_generators_own():
    model = small((1, 8, 8))  # four patches: 24 orders
    torch.manual_seed(0)
    state = torch.get_rng_state()
    orders = model.shuffled_patches(24_000, torch.Generator().manual_seed(3), torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(orders.sort(dim=1).values, torch.arange(4).expand(24_000, 4))
    numbers = (orders * torch.tensor([64, 16, 4, 1])).sum(1)
    counts = numbers.unique(return_counts=True)[1]
    assert len(counts) == 24
    assert float(((counts - 1000.0) ** 2 / 1000).sum()) < 49.7  # chi-square with 23 degrees of freedom, 0.1 %
    again = model.shuffled_patches(24_000, torch.Generator().manual_seed(3), torch.device("cpu"))
    assert torch.equal(orders, again)


@pytest.mark.parametrize(
    ("patches", "ratio", "kept"),
    [(256, 0.25, 192), (256, 0.6, 102), (64, 0.6, 25), (16, 0.75, 4), (10, 0.9, 1), (4, 0.9, 0), (9, 0.0, 9)],
)
def test_how_many_patches_are_kept(patches, ratio, kept):
    assert kept_patches(patches, ratio) == kept


def test_positions_are_sines_and_cosines_of_row_and_column():
    table = small((3, 8, 12)).encoder.positions
    assert table.shape == (6, 16)
    for row in range(2):
        for column in range(3):
            expected = [
                wave(place * 10_000 ** (-k / 4))
                for wave in (math.sin, math.cos)
                for place in (row, column)
                for k in range(4)
            ]
            torch.testing.assert_close(table[3 * row + column], torch.tensor(expected))


def test_weights_of_another_size_with_resized_positions():
    trained, model = small((3, 8, 8), seed=1), small((3, 16, 12), seed=2)
    model.start_from(trained)
    for name, value in model.state_dict().items():
        if "positions" not in name:
            assert torch.equal(value, trained.state_dict()[name])
    for table, original in (
        (model.encoder.positions, trained.encoder.positions),
        (model.decoder.positions, trained.decoder.positions),
    ):
        for row in range(4):
            for column in range(3):
                # A new position's centre in units of the old grid, held inside it.
                y = min(max((row + 0.5) * 2 / 4 - 0.5, 0), 1)
                x = min(max((column + 0.5) * 2 / 3 - 0.5, 0), 1)
                expected = (1 - y) * ((1 - x) * original[0] + x * original[1])
                expected = expected + y * ((1 - x) * original[2] + x * original[3])
                torch.testing.assert_close(table[3 * row + column], expected)
    same = small((3, 8, 8), seed=3)
    same.start_from(trained)
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in same.state_dict().items())


@pytest.mark.parametrize("smooth", [True, False])
def test_every_weight_gets_a_gradient_and_the_last_one_is_last(smooth):
    model, x = small(smooth=smooth), images()
    kept = model.shuffled_patches(len(x), None, x.device)[:, :4]
    y = model.decoder(model.encoder(x, kept)[..., :3], kept)
    y.square().mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    assert model.last_weight is (model.decoder.smooth or model.decoder.pixels).weight
    assert small(masked=False).decoder.mask_token is None


@pytest.mark.parametrize(
    ("changed", "lines"),
    [
        ({"patch": 0}, ["model.network.patch=0: expected a whole number, at least 1"]),
        ({"patch": 5}, ["model.network.patch=5: the sides of 8 x 12 images are no multiples of it; choose another"]),
        ({"depth": 0, "decoder_depth": 0}, ["model.network.depth=0: expected", "model.network.decoder_depth=0:"]),
        ({"width": 18}, ["model.network.width=18: expected a multiple of 4 and of model.network.heads=2"]),
        ({"heads": 0}, ["model.network.heads=0: expected a whole number, at least 1"]),
        ({"decoder_heads": 5}, ["model.network.decoder_width=24: expected a multiple of 4 and of model.network.deco"]),
        ({"mlp_ratio": 0.0}, ["model.network.mlp_ratio=0.0: expected a finite number above 0"]),
        ({"latent_channels": 0}, ["model.network.latent_channels=0: expected a whole number, at least 1"]),
    ],
)
def test_bad_options_are_named(changed, lines):
    with pytest.raises(UserError) as caught:
        grid.build({"kind": "vit"} | options() | SMALL | changed, input_shape=(3, 8, 12))
    assert len(caught.value.lines) == len(lines)
    for found, line in zip(caught.value.lines, lines, strict=True):
        assert found.startswith(line)

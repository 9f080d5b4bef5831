import pytest
import torch

from vaebench.nn.losses.adversary import coloured, cut_out, diff_augment, shifted


def images(count=64, shape=(3, 16, 24), seed=0):
    return 2 * torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed)) - 1


def test_colours_image_by_image():
    x = images(8)
    torch.manual_seed(3)
    found = coloured(x)
    torch.manual_seed(3)
    draws = torch.rand(3, 8, 1, 1, 1).flatten(1)
    for index, image in enumerate(x):
        brightness, saturation, contrast = draws[:, index].tolist()
        y = image + brightness - 0.5
        grey = (y[0] + y[1] + y[2]) / 3
        y = torch.stack([grey + 2 * saturation * (channel - grey) for channel in y])
        y = y.mean() + (contrast + 0.5) * (y - y.mean())
        torch.testing.assert_close(found[index], y)


def test_shifts_are_whole_pixels_and_all_are_drawn():
    x = images(400)
    torch.manual_seed(0)
    found = shifted(x)
    seen = set()
    for before, after in zip(x, found, strict=True):
        fits = []
        for down in range(-2, 3):
            for right in range(-3, 4):
                expected = torch.zeros_like(before)
                rows, columns = slice(max(0, down), 16 + min(0, down)), slice(max(0, right), 24 + min(0, right))
                moved = torch.roll(before, (down, right), (1, 2))
                expected[:, rows, columns] = moved[:, rows, columns]
                if torch.equal(after, expected):
                    fits.append((down, right))
        assert len(fits) == 1
        seen.add(fits[0])
    assert len(seen) == 5 * 7  # an eighth of 16 and of 24 in each direction


def test_holes_are_rectangles_of_zeros():
    x = images(300) + 5
    torch.manual_seed(0)
    found = cut_out(x, 0.25)  # 4 x 6
    sizes = set()
    for before, after in zip(x, found, strict=True):
        hole = (after == 0).all(0)
        assert torch.equal(after[:, ~hole], before[:, ~hole])
        places = hole.nonzero()
        height, width = (places.amax(0) - places.amin(0) + 1).tolist()
        assert len(places) == height * width
        sizes.add((height, width))
    assert max(sizes) == (4, 6)  # whole ones
    assert min(sizes) == (2, 3)  # half of it reaches over the edge


def test_gradients_reach_the_image():
    x = images(4).requires_grad_()
    y = diff_augment(x, cutout=0.2)
    assert y.shape == x.shape
    y.square().sum().backward()
    assert bool((x.grad.abs().sum((1, 2, 3)) > 0).all())


def test_each_image_has_draws_of_its_own_and_grey_ones_pass():
    x = images(1, (1, 28, 28)).expand(6, -1, -1, -1)
    torch.manual_seed(1)
    y = diff_augment(x, cutout=0.2)
    assert y.shape == (6, 1, 28, 28)
    assert len({tuple(image.flatten().tolist()) for image in y}) == 6


@pytest.mark.parametrize("share", [0.0, 0.01])
def test_no_hole(share):
    x = images(4)
    assert torch.equal(cut_out(x, share), x)

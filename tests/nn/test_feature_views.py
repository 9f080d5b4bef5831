import math

import pytest
import torch

from vaebench.models.feature_learner import nt_xent, random_view

STILL = {"crop": 1.0, "rotation": 0.0, "contrast": 0.0, "noise": 0.0, "flip": False}


def images(count=5, shape=(3, 12, 12), seed=0):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def test_nt_xent_pair_by_pair():
    random = torch.Generator().manual_seed(0)
    one, other = torch.randn(4, 6, generator=random), torch.randn(4, 6, generator=random)
    rows = [*one, *other]
    losses = []
    for i in range(8):
        partner = (i + 4) % 8
        similar = [math.exp(float(torch.cosine_similarity(rows[i], row, dim=0)) / 0.3) for row in rows]
        losses.append(-math.log(similar[partner] / sum(value for j, value in enumerate(similar) if j != i)))
    assert float(nt_xent(one, other, 0.3)) == pytest.approx(sum(losses) / 8, rel=1e-5)


def test_nt_xent_is_lowest_for_equal_views():
    random = torch.Generator().manual_seed(0)
    one, other = torch.randn(8, 16, generator=random), torch.randn(8, 16, generator=random)
    assert float(nt_xent(one, one, 0.2)) < float(nt_xent(one, other, 0.2))
    torch.testing.assert_close(nt_xent(one, other, 0.2), nt_xent(3 * one, 0.1 * other, 0.2))


def bilinear(image, x, y):
    """The value at pixel coordinates; 0 outside."""
    height, width = image.shape
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                total += (1 - abs(y - row)) * (1 - abs(x - column)) * float(image[row, column])
    return total


def test_views_point_by_point():
    """The same draws, each pixel looked up by itself."""
    x = images(3, (1, 10, 10))
    torch.manual_seed(5)
    found = random_view(x, **STILL | {"crop": 0.3, "rotation": 40.0, "contrast": 0.5, "flip": True})
    torch.manual_seed(5)
    area = 0.3 + 0.7 * torch.rand(3)
    stretch = torch.exp(math.log(4 / 3) / 2 * (2 * torch.rand(3) - 1))
    width, height = (area.sqrt() * stretch).clamp(max=1), (area.sqrt() / stretch).clamp(max=1)
    right, down = (1 - width) * (2 * torch.rand(3) - 1), (1 - height) * (2 * torch.rand(3) - 1)
    angle = math.radians(40) * (2 * torch.rand(3) - 1)
    mirrored = torch.where(torch.rand(3) < 0.5, -1.0, 1.0)
    light = 1 + 0.5 * (2 * torch.rand(3) - 1)
    for n in range(3):
        for row in range(10):
            for column in range(10):
                u, v = (2 * column + 1) / 10 - 1, (2 * row + 1) / 10 - 1
                u, v = float(mirrored[n] * width[n]) * u, float(height[n]) * v  # within the rectangle
                cos, sin = math.cos(float(angle[n])), math.sin(float(angle[n]))
                a, b = cos * u - sin * v + float(right[n]), sin * u + cos * v + float(down[n])
                value = bilinear(x[n, 0], ((a + 1) * 10 - 1) / 2, ((b + 1) * 10 - 1) / 2)
                expected = min(max(value * float(light[n]), 0.0), 1.0)
                assert float(found[n, 0, row, column]) == pytest.approx(expected, abs=1e-4)


def test_nothing_comes_in_from_outside_an_image_that_is_not_turned():
    torch.manual_seed(0)
    y = random_view(torch.ones(200, 1, 8, 8), **STILL | {"crop": 0.3})[..., 1:-1, 1:-1]
    torch.testing.assert_close(y, torch.ones_like(y))


def test_views_stay_images_and_differ():
    x = images(1, (1, 28, 28)).expand(6, -1, -1, -1)
    torch.manual_seed(1)
    y = random_view(x, crop=0.4, rotation=20.0, contrast=0.3, noise=0.2, flip=False)
    assert y.shape == x.shape
    assert 0 <= float(y.min()) <= float(y.max()) <= 1
    assert len({tuple(image.flatten().tolist()) for image in y}) == 6


def test_half_of_the_views_are_mirrored():
    x = torch.zeros(400, 1, 8, 8)
    x[..., :4] = 1
    torch.manual_seed(0)
    left = random_view(x, **STILL | {"flip": True})[..., 0].mean((1, 2)) > 0.5
    assert 160 < int(left.sum()) < 240
    assert bool((random_view(x, **STILL)[..., 0].mean((1, 2)) > 0.5).all())

"""The suite on the scatter of latents, against slow loops and scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_score
from torch import Tensor, nn

from toys import counts, dataset, inputs, values
from vaebench.contracts import GivesLatents, SuiteResult
from vaebench.data.images import ImageData
from vaebench.suites.compression import Compression, Scatter


def toy_data(classes: int = 3, side: int = 8) -> ImageData:
    """Class k has its own brightness; a patch of 4x4 pixels is plain or striped."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % classes
    images = torch.randint(0, 30, (40, 1, side, side), generator=random)
    images += 20 * labels.view(-1, 1, 1, 1)
    striped = torch.rand(40, 1, side // 4, side // 4, generator=random) < 0.5
    stripes = 120 * (torch.arange(side) % 2)
    images += striped.repeat_interleave(4, 2).repeat_interleave(4, 3) * stripes
    x = images.byte()
    return dataset(x, labels)


class Moments(nn.Module):
    """Mean and spread of each 4x4 patch, two channels; a third never varies."""

    latent_shape = (3, 2, 2)

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def latent_moments(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        pixels = nn.functional.pixel_unshuffle(x, 4)
        z = torch.stack([pixels.mean(1), 5 * pixels.std(1) - 1, 0.3 * torch.ones_like(pixels[:, 0])], 1)
        return self.scale * z, None

    def decode(self, z: Tensor) -> Tensor:
        raise NotImplementedError


def run(cache: Path, model: nn.Module | None = None, data: ImageData | None = None, **changes: Any) -> SuiteResult:
    model = model or Moments()
    assert isinstance(model, GivesLatents)
    options = {"patterns": 2, "seed": 0, "compared": 20, "batch_size": 7, **changes}
    return Compression(**options).run(inputs(model, data or toy_data(), cache))


def scatter(members: Tensor, groups: Tensor) -> tuple[float, float]:
    """Within, and between over within: member by member."""
    members = members.double()
    mean, within, between = members.mean(0), 0.0, 0.0
    for member, group in zip(members, groups, strict=True):
        own = members[groups == group].mean(0)
        within += float((member - own).square().sum())
        between += float((own - mean).square().sum())
    return within / members.numel(), between / within


def standardised() -> Tensor:
    z = Moments().latent_moments(toy_data().test_x.double() / 255)[0]
    out = torch.zeros_like(z)
    for channel in (0, 1):
        each = z[:, channel]
        out[:, channel] = (each - each.mean()) / each.std(correction=0)
    return out


def test_every_number_is_that_of_a_slow_loop(tmp_path):
    result = run(tmp_path)
    z, labels = standardised(), toy_data().test_y
    within, separability = scatter(z.flatten(1), labels)
    tokens = z.movedim(1, -1).reshape(-1, 3)
    striped = tokens[:, 1] > 0  # the second channel is the spread of the patch: what k-means finds in the pixels
    patterns = scatter(tokens, striped.long())
    silhouette = silhouette_score(z[::2].flatten(1).numpy(), labels[::2].numpy())
    assert values(result) == pytest.approx(
        {
            "within@class": within,
            "separability@class": separability,
            "silhouette@class": silhouette,
            "within@pattern": patterns[0],
            "separability@pattern": patterns[1],
        },
        rel=1e-4,
    )
    assert counts(result) == {
        "within@class": 40,
        "separability@class": 40,
        "silhouette@class": 20,
        "within@pattern": 160,
        "separability@pattern": 160,
    }
    assert values(run(tmp_path, Moments(1000.0))) == pytest.approx(values(result), rel=1e-3)  # scale gains nothing


def test_arrays(tmp_path):
    arrays = run(tmp_path).arrays
    assert arrays["points"].shape == (20, 2)
    np.testing.assert_array_equal(arrays["labels"], toy_data().test_y[::2])
    z = standardised()[::2].flatten(1)
    distances = torch.linalg.svdvals(z - z.mean(0))
    np.testing.assert_allclose(np.linalg.norm(arrays["points"], axis=0), distances[:2], rtol=1e-4)
    assert arrays["patterns"].shape == (2, 4, 4, 1)
    contrast = np.abs(np.diff(arrays["patterns"][..., 0].astype(float), axis=2)).mean((1, 2))
    assert contrast.min() < 20 < 100 < contrast.max()


def test_one_class_leaves_the_patterns_and_few_different_patches_make_few_patterns(tmp_path):
    assert set(values(run(tmp_path, data=toy_data(classes=1)))) == {"within@pattern", "separability@pattern"}
    data = toy_data()
    data.test_x[:] = 0
    data.test_x[::2, :, :4] = 255
    result = run(tmp_path, data=data, patterns=9)
    assert result.arrays["patterns"].shape[0] == 2
    assert values(result)["within@pattern"] == pytest.approx(0, abs=1e-9)


def test_images_that_the_grid_does_not_divide_are_enlarged(tmp_path):
    class Pooled(Moments):
        def latent_moments(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
            return nn.functional.adaptive_avg_pool2d(x, 3).expand(-1, 2, -1, -1), None

    assert run(tmp_path, Pooled()).arrays["patterns"].shape == (2, 3, 3, 1)


def test_groups_without_members_and_groups_of_one_value(tmp_path):
    found = Scatter(5, 2)
    found.add(torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([1, 3]))
    assert [(one.name, one.value) for one in found.measurements("x", {})] == [("within@x", 0.0)]
    found.add(torch.tensor([[0.0, 4.0]]), torch.tensor([1]))
    within, separability = (one.value for one in found.measurements("x", {}))
    assert within == pytest.approx(8 / 6)
    assert separability == pytest.approx((2 * (4 / 9 + 4 / 9) + (16 / 9 + 16 / 9)) / 8)

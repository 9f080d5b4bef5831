"""The suite on noise in the latents, with an autoencoder that loses nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from toys import bytes_of, dataset, inputs, values
from vaebench.contracts import Completes, GivesLatents, SuiteResult
from vaebench.data.images import ImageData
from vaebench.errors import UserError
from vaebench.metrics.frechet import frechet_distance, reference
from vaebench.suites.reconstruction import Reconstruction
from vaebench.suites.smoothness import Smoothness


def toy_data(count: int = 24) -> ImageData:
    images = bytes_of(count, 1, 12, 12)
    images[:, :, ::2, ::2] //= 8  # so that the channels of the latents spread differently
    return dataset(images)


class Unshuffled(nn.Module):
    """Every 2x2 pixels are the four channels of a position, ``scale`` times; ``decode`` undoes it exactly."""

    latent_shape = (4, 6, 6)

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def latent_moments(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.scale * nn.functional.pixel_unshuffle(x, 2), None

    def encode(self, x: Tensor) -> Tensor:
        return self.latent_moments(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(z / self.scale, 2)


class Completing(Unshuffled):
    def complete(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        hidden = torch.rand(x.shape, generator=generator) < 0.5
        return x.masked_fill(hidden, 0.5), x


class Rows(nn.Module):
    def features(self, x: Tensor) -> Tensor:
        return x.mean((1, 3))[:, :5]

    def logits(self, x: Tensor) -> Tensor:
        return self.features(x)


def run(model: nn.Module, cache: Path, data: ImageData | None = None, **changes: Any) -> SuiteResult:
    assert isinstance(model, GivesLatents)
    options = {
        "features": "classifier",
        "epsilons": [0, 0.1, 0.5],
        "noise_seed": 3,
        "batch_size": 7,
        "eight_bits": None,
    }
    options |= {"resize": None, **changes}
    given = inputs(model, data or toy_data(), cache, classifier=Rows(), classifier_key="rows")
    return Smoothness(**options).run(given)


def noisy(eps: float) -> Tensor:
    """Decoded by a slow loop over channels."""
    x = toy_data().test_x.double() / 255
    z = nn.functional.pixel_unshuffle(x, 2)
    random = torch.Generator().manual_seed(3)
    noise = torch.cat([torch.randn(part.shape, generator=random) for part in z.split(7)])
    for channel in range(4):
        z[:, channel] += eps * float(z[:, channel].std(correction=0)) * noise[:, channel]
    return nn.functional.pixel_shuffle(z, 2)


def test_every_number_is_that_of_a_slow_loop(tmp_path):
    found = values(run(Unshuffled(), tmp_path))
    assert found["rfid@0"] == pytest.approx(0, abs=1e-9)
    x = toy_data().test_x.double() / 255
    target = reference(Rows().features(x))
    for eps in (0.1, 0.5):
        errors = (noisy(eps) - x).square().mean((1, 2, 3))
        psnr = sum(-10 * math.log10(float(error)) for error in errors) / len(errors)
        assert found[f"psnr@{eps:g}"] == pytest.approx(psnr, rel=1e-5)
        assert found[f"rfid@{eps:g}"] == pytest.approx(frechet_distance(target, Rows().features(noisy(eps))), rel=1e-4)
        assert found[f"rfid_rise@{eps:g}"] == found[f"rfid@{eps:g}"] - found["rfid@0"]
        assert found[f"psnr_drop@{eps:g}"] == found["psnr@0"] - found[f"psnr@{eps:g}"]
    assert found["psnr@0"] > found["psnr@0.1"] > found["psnr@0.5"]
    assert len(found) == 3 * 2 + 2 * 2


def test_larger_latents_gain_nothing_and_zero_is_the_reconstruction(tmp_path):
    small, large = (values(run(Unshuffled(scale), tmp_path)) for scale in (1.0, 1000.0))
    for name in ("psnr@0.1", "psnr@0.5", "rfid@0.5"):
        assert large[name] == pytest.approx(small[name], rel=1e-3)

    class Lossy(Unshuffled):
        def decode(self, z: Tensor) -> Tensor:
            return 0.9 * super().decode(z)

    given = inputs(Lossy(), toy_data(), tmp_path)
    expected = values(Reconstruction(batch_size=5, eight_bits=None, code=None).run(given))["psnr"]
    assert values(run(Lossy(), tmp_path))["psnr@0"] == pytest.approx(expected, rel=1e-6)


def test_a_channel_that_says_nothing_gets_no_noise(tmp_path):
    class Dead(Unshuffled):
        def latent_moments(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
            return super().latent_moments(x)[0] * 0 + 0.1, None

    found = run(Dead(), tmp_path)
    assert values(found)["psnr_drop@0.5"] == 0
    assert (found.arrays["latents"] == 128).all()


def test_pictures(tmp_path):
    plain, completing = run(Unshuffled(), tmp_path), run(Completing(), tmp_path)
    assert not isinstance(Unshuffled(), Completes)
    shown = {"inputs", "at_0", "at_0.1", "at_0.5", "latents"}
    assert set(plain.arrays) == {"epsilons", *shown}
    assert set(completing.arrays) == {"epsilons", *shown, "masked", "completed"}
    rows = [0, 1, 2, *range(3, 10)]
    images = toy_data().test_x[rows].permute(0, 2, 3, 1).numpy()
    for name in ("inputs", "at_0"):
        np.testing.assert_array_equal(plain.arrays[name], images)
    np.testing.assert_array_equal(completing.arrays["completed"], images)
    assert plain.arrays["latents"].shape == (10, 6, 6, 4)
    expected = (noisy(0.5)[rows].clamp(0, 1) * 255).round().permute(0, 2, 3, 1).numpy()
    assert np.abs(plain.arrays["at_0.5"].astype(float) - expected).max() <= 1
    assert plain.arrays["epsilons"].tolist() == [0, 0.1, 0.5]
    again = run(Completing(), tmp_path)
    np.testing.assert_array_equal(again.arrays["masked"], completing.arrays["masked"])


def test_too_few_images_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"FID: 5 reference images cannot tell the covariance of 5 features"):
        run(Unshuffled(), tmp_path, data=toy_data(5))


@pytest.mark.parametrize("epsilons", [[], [0.1], [0, 0.1, 0.1]])
def test_bad_epsilons_are_refused(epsilons):
    with pytest.raises(UserError, match=r"suite.epsilons=\[.*\]: expected 0, which the others are compared with"):
        Smoothness(features="classifier", epsilons=epsilons, noise_seed=0, batch_size=5, eight_bits=None, resize=None)

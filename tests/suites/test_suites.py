"""Each suite on models whose right answer is known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn

import toys
from toys import Quarters, dataset, values
from vaebench.contracts import SuiteInputs
from vaebench.data.images import ImageData
from vaebench.errors import UserError
from vaebench.nn.pretrained import lpips
from vaebench.runs import build
from vaebench.suites.common import eight_bits
from vaebench.suites.generation import Generation
from vaebench.suites.judges import judge
from vaebench.suites.masks import Masks
from vaebench.suites.noise import Noise
from vaebench.suites.reconstruction import Reconstruction


def toy_data() -> ImageData:
    """Class k is a bright square in corner k of a 16x16 image."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 4
    images = torch.randint(0, 40, (60, 1, 16, 16), generator=random, dtype=torch.uint8)
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = divmod(label, 2)
        image[:, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] += 200
    return dataset(images, labels, train=40)


class Identity(nn.Module):
    def encode(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def decode(self, z: Tensor) -> Tensor:
        return z.view(-1, 1, 16, 16)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.rand(count, 1, 16, 16, generator=generator)


class Dimming(Identity):
    def decode(self, z: Tensor) -> Tensor:
        return super().decode(z) * 0.9


def inputs(model: nn.Module, tmp_path: Path) -> SuiteInputs:
    return toys.inputs(model, toy_data(), tmp_path, classifier=Quarters(), classifier_key="corners")


def generation(**options: Any) -> Generation:
    usual = {"features": "classifier", "latent": "prior", "reference": "test", "samples": 30, "sample_seed": 0}
    return Generation(**{**usual, "batch_size": 50, "eight_bits": None, "resize": None, **options})


def test_reconstruction_against_skimage(tmp_path):
    found = values(Reconstruction(batch_size=7, eight_bits=None, code=None).run(inputs(Dimming(), tmp_path)))
    images = toy_data().test_x[:, 0].double().numpy() / 255
    pairs = [(image, image * 0.9) for image in images]
    psnr = [peak_signal_noise_ratio(a, b, data_range=1) for a, b in pairs]
    ssim = [
        structural_similarity(a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        for a, b in pairs
    ]
    mse = np.mean([(a - b) ** 2 for a, b in pairs])
    assert found["psnr"] == pytest.approx(np.mean(psnr), rel=1e-6)
    assert found["psnr_set"] == pytest.approx(10 * np.log10(1 / mse), rel=1e-6)
    assert found["l1"] == pytest.approx(np.mean([np.abs(a - b).mean() for a, b in pairs]), rel=1e-6)
    assert found["ssim_valid"] == pytest.approx(np.mean(ssim), rel=1e-5)
    assert found["ssim_reflect"] != pytest.approx(found["ssim_valid"], abs=1e-4)


def test_exact_images_are_counted_and_infinite_as_the_peers_have_them(tmp_path):
    class SomeExact(Identity):
        def decode(self, z: Tensor) -> Tensor:
            x = super().decode(z).clone()
            x[::2] *= 0.9
            return x

    for model, exact, of_set in ((Identity(), 20, math.inf), (SomeExact(), 10, None)):
        result = Reconstruction(batch_size=20, eight_bits=None, code=None).run(inputs(model, tmp_path))
        found = {one.name: one for one in result.measurements}
        images = toy_data().test_x[:, 0].float().numpy() / 255
        decoded = model.decode(model.encode(toy_data().test_x.float() / 255))[:, 0].numpy()
        with np.errstate(divide="ignore"):
            peer = [peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(images, decoded, strict=True)]
        assert found["psnr"].value == np.mean(peer) == math.inf
        assert found["psnr"].protocol["infinite"] == exact == np.isinf(peer).sum()
        assert ("infinite" in found["psnr_set"].protocol) == (of_set is not None)
        assert math.isinf(found["psnr_set"].value) == (of_set is not None)
        assert 0.9 < found["ssim_valid"].value <= 1
        assert not result.left_out
    assert found["l1"].value == pytest.approx(0.1 * images[::2].sum() / images.size, rel=1e-5)


def test_reconstructions_in_eight_bits_are_those_of_a_file(tmp_path):
    class Between(Identity):
        """No level times this is a level, or half way between two."""

        def decode(self, z: Tensor) -> Tensor:
            return super().decode(z) * 0.9031

    found, others = {}, {}
    for how in (None, "cut", "round"):
        result = Reconstruction(batch_size=7, eight_bits=how, code=None).run(inputs(Between(), tmp_path))
        found[how] = values(result)["mse"]
        stored = {one.name for one in result.measurements if one.protocol.get("eight_bits") == how}
        assert stored == ({"mse", "psnr", "psnr_set"} if how else set(values(result)))
        others[how] = values(result)["l1"], values(result)["ssim_valid"]
    assert len(set(others.values())) == 1
    images = toy_data().test_x.numpy().astype(np.float64)
    for how, levels in (("cut", np.floor(images * 0.9031)), ("round", np.rint(images * 0.9031))):
        assert found[how] == pytest.approx(((images - levels) ** 2).mean() / 255**2, rel=1e-5)
    assert found["cut"] > found["round"]  # half a level darker


def test_eight_bits_keep_what_is_one_and_nan():
    levels = torch.arange(256) / 255
    for how in ("cut", "round"):
        assert torch.equal(eight_bits(levels, how), levels)
        assert eight_bits(torch.tensor([math.nan]), how).isnan()
        assert eight_bits(torch.tensor([math.inf]), how).isinf()
        assert eight_bits(torch.tensor([-1.0, 2.0]), how).tolist() == [0, 1]
    x = torch.tensor([0.6 / 255, 1.4 / 255])
    assert (eight_bits(x, "cut") * 255).round().tolist() == [0, 1]
    assert (eight_bits(x, "round") * 255).round().tolist() == [1, 1]
    assert eight_bits(x, None) is x


def test_a_diverged_reconstruction_names_itself_and_is_no_number(tmp_path):
    class Diverged(Identity):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def decode(self, z: Tensor) -> Tensor:
            x = super().decode(z).clone()
            x[3, 0, 0, 0] = self.value
            return x

    for value in (math.nan, math.inf, -math.inf):
        result = Reconstruction(batch_size=10, eight_bits=None, code=None).run(inputs(Diverged(value), tmp_path))
        assert result.measurements == ()
        assert set(result.left_out.values()) == {"2 of 20 reconstructions hold NaN or infinity; the model has diverged"}
        assert {"psnr", "ssim_valid", "l1"} <= set(result.left_out)
        accuracies = Noise(sigmas=[0.5], clip=False, noise_seed=0, batch_size=10, code=None, classifier=None).run(
            inputs(Diverged(value), tmp_path)
        )
        if not math.isinf(value):  # the toy classifier's mean of infinity is a number to compare
            assert math.isnan(values(accuracies)["accuracy@clean"])
            assert values(accuracies)["accuracy@classifier"] == 1


def test_ssim_of_small_images_is_named_and_the_rest_is_measured(tmp_path):
    data = toy_data()
    small = replace(data, train_x=data.train_x[..., ::2, ::2], test_x=data.test_x[..., ::2, ::2])

    class Small(Dimming):
        def decode(self, z: Tensor) -> Tensor:
            return z.view(-1, 1, 8, 8) * 0.9

    result = Reconstruction(batch_size=7, eight_bits=None, code=None).run(
        replace(inputs(Small(), tmp_path), data=small)
    )
    assert set(values(result)) == {"mse", "psnr", "psnr_set", "l1"}
    why = "its window needs 11x11 pixels, the images have 8x8"
    assert result.left_out == {"ssim_valid": why, "ssim_reflect": why}


def test_without_classes_there_is_no_accuracy(tmp_path):
    data = toy_data()
    one = replace(data, train_y=torch.zeros_like(data.train_y), test_y=torch.zeros_like(data.test_y))
    given = replace(inputs(Identity(), tmp_path), data=one)
    with pytest.raises(UserError, match="suite noise measures accuracies: toy has no classes"):
        Noise(sigmas=[0.5], clip=False, noise_seed=0, batch_size=10, code=None, classifier=None).run(given)
    with pytest.raises(UserError, match=r"suite\.features=classifier: toy has no classes that one could be trained on"):
        judge("classifier", given)


def test_reconstruction_has_lpips_where_its_weights_are(tmp_path, monkeypatch):
    class Brightness(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            assert b.max() <= 1
            return (a - b).mean((1, 2, 3))

    class Glaring(Identity):
        def decode(self, z: Tensor) -> Tensor:
            return super().decode(z) * 1.5

    suite = Reconstruction(batch_size=7, eight_bits=None, code=None)
    monkeypatch.setattr(lpips, "available", lambda: False)
    without = values(suite.run(inputs(Glaring(), tmp_path)))
    monkeypatch.setattr(lpips, "available", lambda: True)
    monkeypatch.setattr(lpips, "load", Brightness)
    found = values(suite.run(inputs(Glaring(), tmp_path)))
    x = toy_data().test_x.float() / 255
    assert found.pop("lpips") == pytest.approx(float((x - (1.5 * x).clamp(max=1)).mean()), rel=1e-5)
    assert found == without


def test_noise_of_an_identity_is_the_classifier_on_noisy_images(tmp_path):
    result = Noise(sigmas=[0.0, 8.0], clip=False, noise_seed=3, batch_size=6, code=None, classifier=None).run(
        inputs(Identity(), tmp_path)
    )
    found = values(result)
    assert found["accuracy@classifier"] == found["accuracy@clean"] == found["accuracy@0"] == 1.0
    data = toy_data()
    random = torch.Generator().manual_seed(3)
    right = 0
    for start in range(0, 20, 6):
        x = data.test_x[start : start + 6].float() / 255
        noisy = x + 8.0 * torch.randn(x.shape, generator=random)
        right += int((Quarters().logits(noisy).argmax(1) == data.test_y[start : start + 6]).sum())
    assert found["accuracy@8"] == pytest.approx(right / 20)
    assert 0.25 < found["accuracy@8"] < 1.0


def test_a_classifier_of_its_own_is_named_in_the_protocol(tmp_path):
    found = [
        Noise(sigmas=[0.5], clip=False, noise_seed=0, batch_size=10, code=None, classifier=which).run(
            inputs(Identity(), tmp_path)
        )
        for which in (None, "reconstructions")
    ]
    said = [{one.protocol["classifier"] for one in each.measurements} for each in found]
    assert said == [{"corners"}, {"its own, of reconstructions"}]


def test_noise_is_the_same_for_every_model_and_clipping_changes_it(tmp_path):
    suite = Noise(sigmas=[0.5], clip=False, noise_seed=0, batch_size=10, code=None, classifier=None)
    one = suite.run(inputs(Identity(), tmp_path)).arrays["noisy@0.5"]
    other = suite.run(inputs(Dimming(), tmp_path)).arrays["noisy@0.5"]
    np.testing.assert_array_equal(one, other)
    seen: list[Tensor] = []

    class Watching(Identity):
        def encode(self, x: Tensor) -> Tensor:
            seen.append(x)
            return super().encode(x)

    Noise(sigmas=[0.5], clip=True, noise_seed=0, batch_size=20, code=None, classifier=None).run(
        inputs(Watching(), tmp_path)
    )
    assert float(seen[-1].min()) >= 0
    assert float(seen[-1].max()) <= 1


def test_generation_is_the_frechet_distance_of_features(tmp_path):
    from scipy.linalg import sqrtm

    suite = generation(sample_seed=1, batch_size=8)
    result = suite.run(inputs(Identity(), tmp_path))
    random = torch.Generator().manual_seed(1)
    drawn = torch.cat([torch.rand(n, 1, 16, 16, generator=random) for n in (8, 8, 8, 6)])
    a = Quarters().features(toy_data().test_x.float() / 255).double().numpy()
    b = Quarters().features(drawn).double().numpy()
    s, t = np.cov(a.T), np.cov(b.T)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s + t - 2 * np.real(sqrtm(s @ t)))
    assert values(result)["fid"] == pytest.approx(expected, rel=1e-5)
    assert result.arrays["samples"].shape == (30, 16, 16, 1)
    assert result.measurements[0].protocol["features"] == "classifier"


def test_reference_statistics_are_cached_under_all_that_changes_them(tmp_path):
    def files(reference: str, key: str) -> int:
        suite = generation(reference=reference)
        given = inputs(Identity(), tmp_path)
        suite.run(replace(given, classifier_key=key))
        return len(list(tmp_path.glob("reference-*")))

    assert [files("test", "a"), files("test", "a"), files("train", "a"), files("test", "b")] == [1, 1, 2, 3]


def test_fitted_gaussian_has_the_moments_of_the_codes(tmp_path):
    drawn: list[Tensor] = []

    class Watching(Identity):
        def encode(self, x: Tensor) -> Tensor:
            return torch.stack([x.mean((1, 2, 3)), x[:, 0, 0, 0], torch.zeros(len(x))], 1)

        def decode(self, z: Tensor) -> Tensor:
            drawn.append(z)
            return torch.rand(len(z), 1, 16, 16)

    suite = generation(latent="fitted_gaussian", samples=20_000, batch_size=20_000)
    suite.run(inputs(Watching(), tmp_path))
    codes = Watching().encode(toy_data().train_x.float() / 255)
    torch.testing.assert_close(drawn[0].mean(0), codes.mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close(drawn[0].T.cov(), codes.T.cov(), atol=0.005, rtol=0.05)


class TwoMasks(Identity):
    """Keeps the first half of the pixels by the average, a shifted half by a batch."""

    def ema_mask(self) -> Tensor:
        return torch.arange(256) < 128

    def batch_mask(self, x: Tensor) -> Tensor:
        return (torch.arange(256) >= 64) & (torch.arange(256) < 192)

    def importance_ema(self) -> Tensor:
        return torch.arange(256).float()

    def encode_masked(self, x: Tensor, mask: Tensor) -> Tensor:
        return x.flatten(1) * mask


def test_jaccard_by_hand(tmp_path):
    result = Masks(batch_sizes=[1, 8], psnr_batch=8, max_batches=500).run(inputs(TwoMasks(), tmp_path))
    found = values(result)
    assert found["jaccard@1"] == found["jaccard@8"] == pytest.approx(64 / 192)
    images = toy_data().test_x.double().flatten(1) / 255
    errors = (images[:, 128:] ** 2).sum(1) / 256
    assert found["psnr@ema_mask"] == pytest.approx(float((-10 * errors.log10()).mean()), rel=1e-5)
    assert [m.count for m in result.measurements if m.name == "jaccard@8"] == [20]


class Shaky(Identity):
    def encode_drawn(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return self.encode(x + 0.3 * torch.randn(x.shape, generator=generator))


def test_codes_may_be_drawn_with_noise_of_their_own(tmp_path):
    data, right, squares = toy_data(), 0, []
    noise, codes = torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)
    drawn = torch.Generator().manual_seed(1)
    for start in range(0, 20, 7):
        x = data.test_x[start : start + 7].float() / 255
        squares += [float(each.square().mean()) for each in 0.3 * torch.randn(x.shape, generator=drawn)]
        torch.randn(x.shape, generator=codes)  # of the clean images
        noisy = x + 0.5 * torch.randn(x.shape, generator=noise)
        y = noisy + 0.3 * torch.randn(x.shape, generator=codes)
        right += int((Quarters().logits(y).argmax(1) == data.test_y[start : start + 7]).sum())
    suite = Noise(sigmas=[0.5], clip=False, noise_seed=0, batch_size=7, code="draw", classifier=None)
    found = suite.run(inputs(Shaky(), tmp_path))
    assert values(found)["accuracy@0.5"] == pytest.approx(right / 20)
    assert {one.protocol["code"] for one in found.measurements} == {"draw"}
    rebuilt = Reconstruction(batch_size=7, eight_bits=None, code="draw").run(inputs(Shaky(), tmp_path))
    assert values(rebuilt)["mse"] == pytest.approx(sum(squares) / 20, rel=1e-5)
    assert {one.protocol["code_seed"] for one in rebuilt.measurements} == {1}
    plain = Reconstruction(batch_size=7, eight_bits=None, code=None).run(inputs(Shaky(), tmp_path))
    assert (rebuilt.arrays["reconstructions"] != plain.arrays["reconstructions"]).any()  # pictures of such codes, too
    plain = Reconstruction(batch_size=7, eight_bits=None, code=None).run(inputs(Shaky(), tmp_path))
    assert not any("code" in one.protocol for one in plain.measurements)


def test_what_has_no_posterior_draws_no_codes():
    suite = Reconstruction(batch_size=7, eight_bits=None, code="draw")
    with pytest.raises(UserError, match="cannot run on Identity: it needs a model that DrawsCodes"):
        build.check_capabilities("reconstruction", suite, Identity())
    build.check_capabilities("reconstruction", suite, Shaky())

"""What codes cost, on models whose cost is known."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import toys
from toys import bytes_of, dataset, values
from vaebench.contracts import SuiteInputs
from vaebench.data import images, synthetic_audio
from vaebench.data.audio import AudioData
from vaebench.errors import UserError
from vaebench.metrics.speech import log_spectral_distance
from vaebench.nn.audio.mel import LogMel
from vaebench.suites.quantisation import Quantisation, Spread


class Rounds(nn.Module):
    """Images as they are; codes are their pixels rounded to 0 or 1, moved by ``shift``."""

    codebook_size = nominal_size = 2

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.shift = shift

    def encode(self, x: Tensor) -> Tensor:
        return x.round() + self.shift

    def encode_both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.encode(x), x * 0.5

    def decode(self, z: Tensor) -> Tensor:
        return z

    def decode_log_mel(self, z: Tensor) -> None:
        return None

    def tokenize(self, x: Tensor) -> Tensor:
        return x.round().long()

    def detokenize(self, indices: Tensor) -> Tensor:
        return indices.float()


def suite(**options) -> Quantisation:
    return Quantisation(**{"window": None, "hop": None, "bands": None, "floor": None} | options)


def inputs(model: nn.Module, tmp_path: Path) -> SuiteInputs:
    return toys.inputs(model, dataset(bytes_of(50, 1, 6, 6), 5), tmp_path)


def test_both_ways_of_decoding_and_the_error_are_a_slow_loops(tmp_path):
    given = inputs(Rounds(0.1), tmp_path)
    found = {one.name: one for one in suite(batch_size=7).run(given).measurements}
    x = given.data.test_x.double() / 255
    coded = [-10 * math.log10(float((image.round() + 0.1 - image).square().mean())) for image in x]
    continuous = [-10 * math.log10(float((image * 0.5 - image).square().mean())) for image in x]
    assert found["psnr"].value == pytest.approx(sum(coded) / 50, rel=1e-5)
    assert found["psnr_continuous"].value == pytest.approx(sum(continuous) / 50, rel=1e-5)
    lost = found["psnr_continuous"].value - found["psnr"].value
    assert found["psnr_lost"].value == pytest.approx(lost)
    latents = (x * 0.5).flatten()
    errors = ((x.round() + 0.1).flatten() - latents).square().sum()
    assert found["error"].value == pytest.approx(float((errors / (latents - latents.mean()).square().sum()).sqrt()))
    assert found["error"].count == 50 * 36


def test_the_error_is_none_without_codes_and_one_for_a_code_at_the_mean():
    z = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    same, mean = Spread(), Spread()
    for part in z.split(2):
        same.add(part, part)
        mean.add(z.mean((0, 2, 3), keepdim=True).expand_as(part), part)
    assert same.error() == 0.0
    assert mean.error() == pytest.approx(1.0)
    still = Spread()
    still.add(torch.zeros(2, 3, 4), torch.ones(2, 3, 4))
    assert still.error() == 0.0


class Halves(Rounds):
    """Waveforms at half their height where they are not made codes, at a tenth where they are."""

    def encode_both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x * 0.1, x * 0.5


def tones() -> AudioData:
    counts = {"train": 1, "test": 1, "seconds": [0.3, 0.4], "test_seconds": [0.3, 0.4], "seed": 0}
    return synthetic_audio.tones(name="tones", shape=[1, 2400], sample_rate=8000, **counts)


def test_waveforms_are_compared_by_the_spectra_that_are_asked_for(tmp_path):
    data = tones()
    found = values(
        suite(batch_size=8, window=0.032, hop=0.006, bands=40, floor=1e-4).run(toys.inputs(Halves(), data, tmp_path))
    )
    front = LogMel(sample_rate=8000, n_fft=256, hop=48, bands=40, floor=1e-4)
    x = data.test.item(0)[None]
    coded, continuous = (float(log_spectral_distance(front(x), front(share * x))) for share in (0.1, 0.5))
    assert found["lsd"] == pytest.approx(coded)
    assert found["lsd_continuous"] == pytest.approx(continuous)
    assert coded > continuous > 0
    assert found["lsd_gained"] == pytest.approx(found["lsd"] - found["lsd_continuous"])


def test_audio_without_spectra_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"or take a decoder of spectra, autoencoder@model\.autoencoder=mel"):
        suite(batch_size=8).run(toys.inputs(Rounds(), tones(), tmp_path))
    with pytest.raises(UserError, match=r"suite\.bands=null: goes with suite\.window"):
        suite(batch_size=8, window=0.032)


def test_the_embedded_digits_can_be_measured(tmp_path):
    data = images.digits(name="digits", shape=[1, 28, 28])
    given = toys.inputs(Rounds(), data, tmp_path)
    assert set(values(suite(batch_size=100).run(given))) == {"psnr", "psnr_continuous", "psnr_lost", "error"}

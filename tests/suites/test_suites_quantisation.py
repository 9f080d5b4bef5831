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
from vaebench.errors import UserError
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


def inputs(model: nn.Module, tmp_path: Path) -> SuiteInputs:
    return toys.inputs(model, dataset(bytes_of(50, 1, 6, 6), 5), tmp_path)


def test_both_ways_of_decoding_and_the_error_are_a_slow_loops(tmp_path):
    given = inputs(Rounds(0.1), tmp_path)
    found = {one.name: one for one in Quantisation(batch_size=7).run(given).measurements}
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


def test_audio_without_spectra_is_refused(tmp_path):
    counts = {"train": 1, "test": 1, "seconds": [0.3, 0.4], "test_seconds": [0.3, 0.4], "seed": 0}
    data = synthetic_audio.tones(name="tones", shape=[1, 2400], sample_rate=8000, **counts)
    with pytest.raises(UserError, match=r"needs a decoder of spectra, autoencoder@model\.autoencoder=mel"):
        Quantisation(batch_size=8).run(toys.inputs(Rounds(), data, tmp_path))


def test_the_embedded_digits_can_be_measured(tmp_path):
    data = images.digits(name="digits", shape=[1, 28, 28])
    given = toys.inputs(Rounds(), data, tmp_path)
    assert set(values(Quantisation(batch_size=100).run(given))) == {"psnr", "psnr_continuous", "psnr_lost", "error"}

"""A model with NaN in one image, clip or sample: no suite may measure it as if it were only a bad model."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from toys import Quarters, bytes_of, dataset, inputs, options, values
from vaebench.config.choices import choices, leaf
from vaebench.config.request import Request
from vaebench.data.audio import AudioData, clips
from vaebench.data.images import ImageData
from vaebench.errors import UserError
from vaebench.nn.tokenizers import autoencoders
from vaebench.nn.tokenizers.quantise import Quantised
from vaebench.nn.tokenizers.tokenizer import Tokenizer
from vaebench.runs import build
from vaebench.suites.tokens import Tokens

SIDE, IMAGES = 16, 60


class Model(nn.Module):
    """Images made small and large again; ``broken``: where a NaN stands in the third of a batch."""

    latent_shape = (1, 8, 8)
    codebook_size = nominal_size = 4

    def __init__(self, broken: str) -> None:
        super().__init__()
        self.broken = broken

    def encode(self, x: Tensor) -> Tensor:
        return self._spoilt("code", F.avg_pool2d(x, 2).flatten(1))

    def decode(self, z: Tensor) -> Tensor:
        return self._spoilt("image", F.interpolate(z.view(-1, 1, 8, 8), scale_factor=2))

    def encode_both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.encode(x), F.avg_pool2d(x, 2).flatten(1)

    def latent_moments(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.encode(x).view(-1, *self.latent_shape), None

    def encode_masked(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.encode(x) * mask

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        return self.decode(torch.rand(count, 1, 8, 8, generator=generator))

    def ema_mask(self) -> Tensor:
        return torch.arange(64) < 40

    def batch_mask(self, x: Tensor) -> Tensor:
        return torch.arange(64) < 30

    def importance_ema(self) -> Tensor:
        return torch.arange(64).float()

    def _spoilt(self, place: str, values: Tensor) -> Tensor:
        if place == self.broken:
            values = values.clone()
            values[min(2, len(values) - 1)].view(-1)[5] = math.nan
        return values


class Nearest(nn.Module):
    """Three codes, the nearest of which an argmin finds for NaN, too."""

    inputs = dim = 1
    codebook_size = nominal_size = 3
    register = torch.tensor([-1.0, 0.0, 1.0])

    def forward(self, z: Tensor) -> Quantised:
        indices = (z - self.register).abs().nan_to_num(0).argmin(1)
        return Quantised(self.codes(indices), indices, z.new_zeros(()), continuous=self.codes(indices))

    def codes(self, indices: Tensor) -> Tensor:
        return self.register[indices, None]


def images() -> ImageData:
    return dataset(bytes_of(IMAGES, 1, SIDE, SIDE), 4)


def measured(suite: Any, model: nn.Module, data: Any, cache: Path) -> dict[str, float]:
    result = suite.run(inputs(model.eval(), data, cache, classifier=Quarters()))
    return values(result) | dict.fromkeys(result.left_out, math.nan)


# What makes a suite small, or fit for these images.
CHANGES: dict[str, dict[str, Any]] = {
    "masks": {"batch_sizes": [10], "psnr_batch": 10},
    "noise": {"sigmas": [0.1]},
    "generation": {"features": "classifier", "samples": 40, "reference": "test"},
    "generation, fitted": {"features": "classifier", "samples": 40, "latent": "fitted_gaussian"},
    "smoothness": {"features": "classifier", "epsilons": [0, 0.1]},
    "compression": {"patterns": 2, "compared": 20},
    **{"reconstruction": {}, "quantisation": {}},
    "latent_structure": {"embedding": "none", "fitted": 40, "compared": 20},
}
# What they do not look at: the one encodes nothing, the others only encode.
UNSEEN = {("generation", "code"), ("compression", "image"), ("latent_structure", "image")}


def built(name: str) -> Any:
    """A suite, with its YAML's options but for `CHANGES`; what stands behind a comma tells two of one suite apart."""
    suite = name.partition(",")[0]
    small = {"batch_size": 20} if "batch_size" in leaf("suite", suite) else {}
    return build.suite(Request({"suite": {**leaf("suite", suite), **small, **CHANGES.get(name, {})}}))


def suites() -> list[str]:
    """Those that can look at `Model`: a new one is tested as soon as its YAML is there."""
    others = [(name, built(name)) for name in sorted({*choices("suite")} - {*CHANGES})]
    model = Model("")
    fit = [name for name, suite in others if all(isinstance(model, need) for need in suite.requires)]
    return [*CHANGES, *fit]


@pytest.mark.parametrize("broken", ["code", "image"])
@pytest.mark.parametrize("name", suites())
def test_images(name, broken, tmp_path):
    suite, data = built(name), images()
    whole = measured(suite, Model("nowhere"), data, tmp_path)
    assert all(map(math.isfinite, whole.values()))
    try:
        found = measured(suite, Model(broken), data, tmp_path)
    except UserError as error:
        found = {str(error): math.nan}
    if (name, broken) in UNSEEN or (name not in CHANGES and found == whole):
        assert found == whole
        return
    assert not all(map(math.isfinite, found.values())), found
    assert "NaN" in "".join(found) or any(map(math.isnan, found.values()))


def tokenizer(kind: dict[str, Any], shape: tuple[int, ...], rate: int | None) -> Tokenizer:
    torch.manual_seed(0)
    return Tokenizer(autoencoders.build(kind, input_shape=shape, sample_rate=rate), Nearest()).eval()  # type: ignore[arg-type]


def test_codes_of_images(tmp_path):
    model = tokenizer({"kind": "conv", "width": 8, "groups": 2, "perceptual": 0.0}, (1, SIDE, SIDE), None)
    suite = Tokens(**options("tokens", batch_size=20))
    assert all(map(math.isfinite, measured(suite, model, images(), tmp_path).values()))
    model.down.bias.data.fill_(math.nan)
    with pytest.raises(UserError, match="tokens hold NaN or infinity"):
        measured(suite, model, images(), tmp_path)


def test_audio(tmp_path, monkeypatch):
    class Silence(Model):
        """One code; a decoder that gives NaN for the second clip."""

        def tokenize(self, x: Tensor) -> Tensor:
            return torch.zeros(1, 4, dtype=torch.int64)

        def encode(self, x: Tensor) -> Tensor:
            return 0.9 * x

        def decode(self, z: Tensor) -> Tensor:
            return z * (math.nan if self.broken and z.shape[-1] == 5000 else 1.0)

    random = torch.Generator().manual_seed(0)
    waves = [(torch.randn(length, generator=random) * 3000).short().numpy() for length in (6000, 5000, 7000)]
    part = clips(waves, [0, 1, 2])
    data = AudioData(name="toy", shape=(1, 1000), sample_rate=8000, train=part, test=part, source="")
    monkeypatch.setitem(sys.modules, "pesq", None)
    suite = Tokens(**options("tokens"))
    whole = measured(suite, Silence(""), data, tmp_path)
    assert all(map(math.isfinite, whole.values()))
    found = measured(suite, Silence("image"), data, tmp_path)
    for name in ("lsd", "stft", "si_sdr", "stoi"):
        assert math.isnan(found[name]), name

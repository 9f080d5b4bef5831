"""The suite on discrete codes, on models whose right answer is known."""

from __future__ import annotations

import math
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor, nn

import toys
from toys import bytes_of, counts, dataset, values
from vaebench.contracts import Reconstructs, SuiteInputs, SuiteResult, Tokenizes
from vaebench.data.audio import AudioData, clips
from vaebench.data.images import ImageData
from vaebench.errors import UserError
from vaebench.metrics import speech
from vaebench.nn.audio.mel import LogMel
from vaebench.nn.pretrained import lpips
from vaebench.suites.common import some_of_each
from vaebench.suites.reconstruction import Reconstruction
from vaebench.suites.tokens import Tokens

CPU = torch.device("cpu")


def suite(**options) -> Tokens:
    """The suite with the options of its YAML."""
    return Tokens(**toys.options("tokens", **options))


def protocols(result: SuiteResult) -> dict[str, dict]:
    return {found.name: dict(found.protocol) for found in result.measurements}


def images(side: int = 16, count: int = 20) -> ImageData:
    data = dataset(bytes_of(count, 3, side, side))
    return replace(data, train_x=data.train_x[:4], train_y=data.train_y[:4])


class Levels(nn.Module):
    """One token per 2x2 block: its mean over all channels, in five levels of which the table says eight."""

    codebook_size, nominal_size = 5, 8

    def tokenize(self, x: Tensor) -> Tensor:
        return (nn.functional.avg_pool2d(x.mean(1), 2) * 5).long().clamp(0, 4)

    def detokenize(self, indices: Tensor) -> Tensor:
        return ((indices + 0.5) / 5)[:, None].repeat_interleave(2, 2).repeat_interleave(2, 3).expand(-1, 3, -1, -1)

    def encode(self, x: Tensor) -> Tensor:
        return self.tokenize(x)[:, None].float()

    def decode(self, z: Tensor) -> Tensor:
        return self.detokenize(z[:, 0])


def on_images(model: nn.Module, data: ImageData, tmp_path: Path, **options) -> SuiteResult:
    return suite(batch_size=7, **options).run(toys.inputs(model, data, tmp_path))


def test_codes_and_quality_of_images_are_those_of_a_loop(tmp_path):
    data, model = images(), Levels()
    assert isinstance(model, Tokenizes)
    assert isinstance(model, Reconstructs)
    result = on_images(model, data, tmp_path)
    found, seen, psnr = values(result), Counter[int](), []
    for image in data.test_x:
        x = image[None].float() / 255
        seen.update(model.tokenize(x).flatten().tolist())
        psnr.append(peak_signal_noise_ratio(x.numpy(), model.detokenize(model.tokenize(x)).numpy(), data_range=1))
    total = seen.total()
    assert total == 20 * 64
    perplexity = math.exp(-sum(n / total * math.log(n / total) for n in seen.values()))
    assert found["perplexity"] == pytest.approx(perplexity)
    assert found["cvu"] == pytest.approx(perplexity / 5)
    assert found["cvu_nominal"] == pytest.approx(perplexity / 8)
    assert found["usage"] == len(seen) / 5
    assert found["psnr"] == pytest.approx(np.mean(psnr), rel=1e-5)
    assert result.arrays["code_counts"].tolist() == [seen[code] for code in range(5)]
    assert result.arrays["code_counts"].dtype == np.int64
    common = {"split": "test", "tokens": 1280, "codebook_size": 5}
    assert protocols(result)["cvu"] == {**common, "denominator": "real"}
    assert protocols(result)["cvu_nominal"] == {**common, "denominator": "nominal", "nominal_size": 8}
    assert (counts(result)["cvu"], counts(result)["psnr"]) == (1280, 20)


def test_images_are_judged_as_by_the_suite_on_reconstruction(tmp_path):
    data = images()
    inputs = toys.inputs(Levels(), data, tmp_path)
    theirs = {m.name: m for m in Reconstruction(batch_size=7, eight_bits=None, code=None).run(inputs).measurements}
    ours = {m.name: m for m in on_images(Levels(), data, tmp_path).measurements}
    assert set(theirs) == {"mse", "psnr", "psnr_set", "l1", "ssim_valid", "ssim_reflect"}
    assert {name: ours[name] for name in theirs} == theirs
    assert set(ours) - set(theirs) == {"cvu", "cvu_nominal", "usage", "perplexity"}


def test_small_images_have_no_ssim(tmp_path):
    found = values(on_images(Levels(), images(side=10), tmp_path))
    assert "psnr" in found
    assert not {name for name in found if name.startswith("ssim")}


def test_lpips_is_there_where_its_weights_are(tmp_path, monkeypatch):
    class Distance(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return (a - b).abs().mean((1, 2, 3))

    monkeypatch.setattr(lpips, "available", lambda: True)
    monkeypatch.setattr(lpips, "load", Distance)
    data = images()
    result = on_images(Levels(), data, tmp_path)
    x = data.test_x.float() / 255
    expected = float((x - Levels().decode(Levels().encode(x))).abs().mean())
    assert values(result)["lpips"] == pytest.approx(expected, rel=1e-5)
    assert protocols(result)["lpips"] == {"split": "test", "network": "vgg"}
    assert "lpips" not in values(on_images(Levels(), images(side=14), tmp_path))
    monkeypatch.setattr(lpips, "available", lambda: False)
    assert "lpips" not in values(on_images(Levels(), data, tmp_path))


def test_a_readable_number_of_images_is_kept_for_pictures(tmp_path):
    arrays = on_images(Levels(), images(), tmp_path).arrays
    assert arrays["inputs"].shape == arrays["reconstructions"].shape == (8, 16, 16, 3)
    assert arrays["inputs"].dtype == np.uint8
    assert some_of_each(torch.tensor([5, 5, 5, 2, 5, 9]), 3).tolist() == [0, 3, 5]
    assert some_of_each(torch.tensor([5, 5, 5, 2, 5]), 3).tolist() == [0, 1, 3]
    assert some_of_each(torch.arange(1000) // 10, 4).tolist() == [0, 10, 20, 30]
    assert some_of_each(torch.zeros(2, dtype=torch.int64), 4).tolist() == [0, 1]


def spoken(seconds: float, pitch: float = 200.0) -> np.ndarray:
    time = np.arange(int(seconds * 8000)) / 8000
    voice = np.sin(2 * np.pi * pitch * time) + 0.5 * np.sin(2 * np.pi * 3.7 * pitch * time)
    return np.int16(9000 * (np.sin(2 * np.pi * 3 * time) > -0.3) * voice)


def audio(waves: list[np.ndarray], labels: list[int] | None = None, rate: int = 8000) -> AudioData:
    test = clips(waves, labels or [0] * len(waves))
    facts = {"name": "toy", "shape": [1, 480], "sample_rate": rate, "source": "", "digest": "toy"}
    return AudioData(train=clips([spoken(0.5)], [0]), test=test, **facts)


class Steps(nn.Module):
    """One token per sample, in 64 steps from -1 to 1; what it decodes is a multiple of 100 samples long."""

    codebook_size = nominal_size = 64

    def tokenize(self, x: Tensor) -> Tensor:
        return ((x[:, 0] + 1) * 32).floor().long().clamp(0, 63)

    def detokenize(self, indices: Tensor) -> Tensor:
        values = (indices[:, None].float() + 0.5) / 32 - 1
        return nn.functional.pad(values, (0, -values.shape[-1] % 100), value=0.9)

    def encode(self, x: Tensor) -> Tensor:
        return self.tokenize(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.detokenize(z)


class MelSteps(Steps):
    """Says of every log-mel power that it is 0.25 higher; its waveforms are another matter."""

    def __init__(self) -> None:
        super().__init__()
        self.front = LogMel(sample_rate=8000, n_fft=128, hop=64, bands=13, floor=1e-3)

    def encode(self, x: Tensor) -> Tensor:
        self.seen = x
        return super().encode(x)

    def decode_log_mel(self, z: Tensor) -> Tensor:
        return self.front(self.seen) + 0.25


def on_audio(model: nn.Module, data: AudioData, tmp_path: Path, **options) -> SuiteResult:
    return suite(**options).run(toys.inputs(model, data, tmp_path))


def test_speech_is_measured_clip_by_clip(tmp_path):
    pytest.importorskip("pystoi")
    pytest.importorskip("pesq")
    data, model = audio([spoken(0.9), spoken(1.11, 150.0), spoken(0.7)], [4, 4, 1]), Steps()
    result = on_audio(model, data, tmp_path)
    found, expected = values(result), dict.fromkeys(("lsd", "stft", "si_sdr", "stoi", "pesq"), 0.0)
    front = LogMel(sample_rate=8000, n_fft=256, hop=48, bands=40, floor=1e-4)
    counts = torch.zeros(64, dtype=torch.int64)
    for row in range(3):
        x = data.test.item(row)
        index = model.tokenize(x[None])
        counts += torch.bincount(index[0], minlength=64)
        y = (index.float() + 0.5) / 32 - 1
        expected["lsd"] += float(speech.log_spectral_distance(front(x[None]), front(y[None]))) / 3
        expected["stft"] += speech.stft_distance(x[0], y[0], [[512, 240, 50], [1024, 600, 120], [2048, 1200, 240]]) / 3
        expected["si_sdr"] += speech.si_sdr(x[0], y[0]) / 3
        expected["stoi"] += speech.stoi(x[0], y[0], 8000) / 3
        expected["pesq"] += speech.pesq(x[0], y[0], 8000) / 3
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert set(found) == {*expected, "cvu", "cvu_nominal", "usage", "perplexity"}
    np.testing.assert_array_equal(result.arrays["code_counts"], counts)
    common = {"split": "test", "sample_rate": 8000, "vocoder": "none", "left_out": 0}
    mel = {"spectra": "waveform", "n_fft": 256, "hop": 48, "bands": 40, "floor": 1e-4}
    resolutions = "512/240/50 1024/600/120 2048/1200/240"
    assert {name: protocols(result)[name] for name in expected} == {
        "lsd": {**common, **mel},
        "stft": {**common, "resolutions": resolutions},
        "si_sdr": {**common, "limit": 60.0},
        "stoi": common,
        "pesq": {**common, "band": "narrow"},
    }
    assert {m.name: m.unit for m in result.measurements if m.unit} == {"lsd": "dB", "si_sdr": "dB"}
    assert {m.count for m in result.measurements if m.name in expected} == {3}


def test_a_decoder_of_spectra_is_compared_in_its_own(tmp_path):
    result = on_audio(MelSteps(), audio([spoken(0.9), spoken(0.8)]), tmp_path)
    assert values(result)["lsd"] == pytest.approx(2.5, rel=1e-5)
    facts = {"spectra": "decoder", "vocoder": "none", "n_fft": 128, "hop": 64, "bands": 13, "floor": 1e-3}
    assert facts.items() <= protocols(result)["lsd"].items()
    assert protocols(result)["stoi"]["vocoder"] == "griffin-lim"


def test_clips_that_have_no_value_are_left_out_and_counted(tmp_path):
    pytest.importorskip("pystoi")
    pytest.importorskip("pesq")
    silent, short = np.zeros(8000, np.int16), spoken(0.2)
    result = on_audio(Steps(), audio([spoken(0.9), silent, short, spoken(0.7)]), tmp_path)
    counted = [found for found in result.measurements if "left_out" in found.protocol]
    left_out = {found.name: (found.protocol["left_out"], found.count) for found in counted}
    assert left_out == {"stft": (1, 3), "si_sdr": (1, 3), "stoi": (2, 2), "pesq": (2, 2), "lsd": (0, 4)}
    alone = values(on_audio(Steps(), audio([spoken(0.9), spoken(0.7)]), tmp_path))
    assert values(result)["stoi"] == pytest.approx(alone["stoi"])
    only_silence = on_audio(Steps(), audio([silent, silent]), tmp_path)
    assert set(values(only_silence)) == {"cvu", "cvu_nominal", "usage", "perplexity", "lsd"}
    assert values(only_silence)["usage"] == 1 / 64
    assert all(math.isfinite(value) for value in values(only_silence).values())


def test_a_model_gains_nothing_by_silence(tmp_path):
    pytest.importorskip("pystoi")
    pytest.importorskip("pesq")

    class Silent(Steps):
        def decode(self, z: Tensor) -> Tensor:
            return torch.zeros(1, 1, z.shape[-1])

    result = on_audio(Silent(), audio([spoken(0.9), spoken(0.8)]), tmp_path)
    found = values(result)
    assert (found["si_sdr"], found["stoi"]) == (-60, pytest.approx(0, abs=1e-9))
    assert found["pesq"] == pytest.approx(1.017, abs=1e-3)
    assert {p["left_out"] for p in protocols(result).values() if "left_out" in p} == {0}


def test_without_the_packages_or_at_another_rate_a_measure_is_absent(tmp_path, monkeypatch):
    found = values(on_audio(Steps(), audio([spoken(0.9)], rate=11025), tmp_path))
    assert "pesq" not in found
    for package in ("pystoi", "pesq"):
        monkeypatch.setitem(sys.modules, package, None)
    found = values(on_audio(Steps(), audio([spoken(0.9)]), tmp_path))
    assert {"lsd", "stft", "si_sdr"} <= set(found)
    assert not {"stoi", "pesq"} & set(found)


def test_two_clips_are_kept_to_listen_to(tmp_path):
    data = audio([spoken(0.5), spoken(3.0), spoken(3.1), spoken(0.3)], [7, 7, 3, 1])
    result = on_audio(Steps(), data, tmp_path)
    given, decoded = result.arrays["audio_inputs"], result.arrays["audio_reconstructions"]
    assert int(result.arrays["sample_rate"]) == 8000
    assert given.shape == decoded.shape == (2, 20_000)  # labels 1 and 3: rows 2 and 3
    assert given.dtype == decoded.dtype == np.int16
    np.testing.assert_allclose(given[0], spoken(3.1)[:20_000], atol=1)
    np.testing.assert_allclose(given[1, :2400], spoken(0.3), atol=1)
    assert not given[1, 2400:].any()
    assert not decoded[1, 2400:].any()
    assert np.abs(decoded[0].astype(int) - given[0]).max() <= 32768 / 64 + 1


def test_spectra_scale_with_the_sample_rate():
    for rate, n_fft, hop in ((8000, 256, 48), (16000, 512, 96), (44100, 1412, 265)):
        front = suite()._spectra(rate)
        assert (front.n_fft, front.hop) == (n_fft, hop)


def test_spectra_that_are_none_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"suite\.stft=\[\[512, 600, 50\]\]: needs .*no longer than the FFT"):
        suite(stft=[[512, 600, 50], [512, 240, 50]])
    with pytest.raises(UserError, match=r"suite.stft=\[\]: needs"):
        suite(stft=[])
    with pytest.raises(UserError, match=r"suite\.bands=200: too many for windows of 256 samples at 8000 Hz"):
        on_audio(Steps(), audio([spoken(0.5)]), tmp_path, bands=200)


def test_a_suite_on_images_refuses_audio(tmp_path):
    inputs = SuiteInputs(model=Steps(), data=audio([spoken(0.5)]), device=CPU, cache=tmp_path)
    with pytest.raises(UserError, match="suite reconstruction needs images, toy holds audio; use suite=tokens"):
        Reconstruction(batch_size=4, eight_bits=None, code=None).run(inputs)

"""Distances of waveforms: slow loops, closed forms, torchmetrics, and the optional packages themselves."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from vaebench.compat import ensure_torchvision
from vaebench.errors import UserError
from vaebench.metrics import speech

RESOLUTIONS = [[512, 240, 50], [256, 256, 64]]


def spoken(seconds: float = 1.2, rate: int = 8000) -> Tensor:
    """Something with syllables and pauses."""
    time = torch.arange(int(seconds * rate)) / rate
    voice = torch.sin(2 * math.pi * 200 * time) + 0.5 * torch.sin(2 * math.pi * 730 * time)
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(1))
    return 0.3 * (torch.sin(2 * math.pi * 3 * time) > -0.3) * (voice + 0.1 * noise)


def noisy(x: Tensor, amount: float = 0.05) -> Tensor:
    return x + amount * torch.randn(len(x), generator=torch.Generator().manual_seed(2))


def test_lsd_is_that_of_a_loop_and_a_gain_is_its_decibels():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 3, 6, 11, generator=generator)
    found = speech.log_spectral_distance(x, y)
    for item in range(3):
        frames = [
            math.sqrt(sum((10 * float(x[item, b, t]) - 10 * float(y[item, b, t])) ** 2 for b in range(6)) / 6)
            for t in range(11)
        ]
        assert float(found[item]) == pytest.approx(sum(frames) / 11, rel=1e-6)
    torch.testing.assert_close(speech.log_spectral_distance(x, x + 0.35), torch.full((3,), 3.5, dtype=torch.float64))
    with pytest.raises(ValueError, match="log spectra of one shape"):
        speech.log_spectral_distance(x, y[..., :-1])


def slow_stft_distance(x: Tensor, y: Tensor) -> float:
    values = []
    for size, window, hop in RESOLUTIONS:
        shape = np.zeros(size)
        start = (size - window) // 2
        shape[start : start + window] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
        spectra = []
        for signal in (x, y):
            padded = np.concatenate([np.zeros(size // 2), signal.double().numpy(), np.zeros(size // 2)])
            frames = [padded[n : n + size] * shape for n in range(0, len(padded) - size + 1, hop)]
            waves = [np.exp(-2j * np.pi * k * np.arange(size) / size) for k in range(size // 2 + 1)]
            power = np.array([[abs(np.sum(frame * wave)) ** 2 for wave in waves] for frame in frames])
            spectra.append(np.sqrt(np.maximum(power, 1e-7)))
        a, b = spectra
        values.append(np.sqrt(((a - b) ** 2).sum() / (a**2).sum()) + np.abs(np.log(a) - np.log(b)).mean())
    return float(np.mean(values))


def test_stft_distance_is_that_of_a_loop():
    x = spoken(0.06)
    y = noisy(x)
    assert speech.stft_distance(x, y, RESOLUTIONS) == pytest.approx(slow_stft_distance(x, y), rel=1e-9)
    assert speech.stft_distance(x, x, RESOLUTIONS) == 0


def test_stft_distance_of_silence_and_of_a_gain():
    """Without leakage to the floor a gain g is |1 - g| + |ln g|."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4000, generator=generator, dtype=torch.float64)
    assert speech.stft_distance(x, 0.5 * x, [[64, 64, 16]]) == pytest.approx(0.5 + math.log(2), rel=1e-6)
    silent = torch.zeros(700)
    assert speech.stft_distance(silent, silent, RESOLUTIONS) == 0
    assert math.isfinite(speech.stft_distance(silent, noisy(silent), RESOLUTIONS))
    assert math.isfinite(speech.stft_distance(spoken(0.005), torch.zeros(40), RESOLUTIONS))


def test_si_sdr_is_that_of_torchmetrics():
    ensure_torchvision()
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    x = spoken()
    for y in (noisy(x, 0.01), noisy(x, 1.0), -0.3 * noisy(x)):
        theirs = float(scale_invariant_signal_distortion_ratio(y.double(), x.double()))
        assert speech.si_sdr(x, y) == pytest.approx(theirs, abs=1e-6)


def test_si_sdr_in_closed_form_and_at_its_limits():
    time = torch.arange(800) / 800
    x, other = torch.sin(2 * math.pi * 5 * time), torch.sin(2 * math.pi * 9 * time)  # orthogonal, of equal power
    assert speech.si_sdr(x, x + 0.1 * other) == pytest.approx(20, abs=1e-3)
    assert speech.si_sdr(x, 7 * (x + 0.1 * other)) == pytest.approx(20, abs=1e-3)
    assert speech.si_sdr(x, 0.25 * x) == 60
    assert speech.si_sdr(x, torch.zeros(800)) == speech.si_sdr(x, other) == -60
    assert speech.si_sdr(torch.zeros(800), x) is None
    assert speech.si_sdr(torch.full((800,), 3e-5), x) is None


def test_stoi_is_pystois_and_needs_speech():
    pystoi = pytest.importorskip("pystoi")
    x = spoken()
    y = noisy(x)
    assert speech.stoi(x, y, 8000) == pytest.approx(pystoi.stoi(x.double().numpy(), y.double().numpy(), 8000))
    assert speech.stoi(x, x, 8000) == pytest.approx(1.0, abs=1e-6)
    assert speech.stoi(x, noisy(x, 0.5), 8000) < speech.stoi(x, y, 8000) < 1
    assert speech.stoi(x, torch.zeros_like(x), 8000) == pytest.approx(0.0, abs=1e-9)
    assert speech.stoi(torch.zeros(8000), noisy(torch.zeros(8000)), 8000) is None
    for short in (1, 100, 3100):
        assert speech.stoi(x[:short] + 0.1, y[:short], 8000) is None
    mostly_silent = torch.cat([x[:2400], torch.zeros(8000)])
    assert speech.stoi(mostly_silent, noisy(mostly_silent), 8000) is None


@pytest.mark.parametrize(("rate", "mode", "lowest"), [(8000, "nb", 1.017), (16000, "wb", 1.043)])
def test_pesq_is_the_packages_and_needs_an_utterance(rate, mode, lowest):
    package = pytest.importorskip("pesq")
    x = spoken(1.2, rate)
    y = noisy(x)
    theirs = package.pesq(rate, x.numpy(), y.numpy(), mode)
    assert speech.pesq(x, y, rate) == pytest.approx(theirs)
    assert speech.pesq(x, torch.zeros_like(x), rate) == pytest.approx(lowest, abs=1e-3)
    assert speech.pesq(x, torch.zeros_like(x), rate) < theirs < speech.pesq(x, x, rate) < 4.7
    assert speech.pesq(torch.zeros_like(x), x, rate) is None
    assert speech.pesq(x[: rate // 5], y[: rate // 5], rate) is None
    burst = x * (torch.arange(len(x)) < rate // 30)
    assert speech.pesq(burst, y, rate) is None
    assert speech.pesq(burst, torch.zeros_like(x), rate) is None


def test_other_rates_missing_packages_and_shapes_are_named(monkeypatch):
    x = spoken()
    pytest.importorskip("pesq")
    with pytest.raises(UserError, match="8000 or 16000 Hz, this is at 22050; leave PESQ out"):
        speech.pesq(x, x, 22050)
    for package in ("pystoi", "pesq"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"STOI: needs pystoi; pip install 'vaebench\[speech\]'"):
        speech.stoi(x, x, 8000)
    with pytest.raises(UserError, match="PESQ: needs pesq"):
        speech.pesq(x, x, 8000)
    for measure in (speech.si_sdr, lambda a, b: speech.stft_distance(a, b, RESOLUTIONS)):
        with pytest.raises(ValueError, match=r"one shape \[t\]"):
            measure(x, x[:-1])
        with pytest.raises(ValueError, match=r"one shape \[t\]"):
            measure(x[None], x[None])

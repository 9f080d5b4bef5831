"""Generated audio without a file: harmonic tones as a stand-in for speech, sweeps and noise to be out of its domain.

Like speech, the tones are harmonic sounds of several timbres and pitches with onsets, decays, vibrato and silence
between them. Everything follows from the seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

import numpy as np
from annotated_types import Interval, Len

from vaebench.config.signatures import Seed, checked, require
from vaebench.data.audio import AudioData, Clips, clips
from vaebench.data.waves import HIGHEST_RATE, to_int16

_HARMONICS = 12
_PARTIAL = np.arange(1, _HARMONICS + 1)
# The magnitudes of the partials of five timbres: bright, odd ones only, dark, and two with a formant.
_TIMBRES = (
    1 / _PARTIAL,
    (_PARTIAL % 2) / _PARTIAL,
    1 / _PARTIAL**2,
    np.exp(-(((_PARTIAL - 3) / 1.5) ** 2)) + 0.1,
    np.exp(-(((_PARTIAL - 6) / 2) ** 2)) + 0.2 / _PARTIAL,
)
_REGISTERS = ((90.0, 180.0), (220.0, 440.0))  # Hz of a fundamental
_Count = Annotated[int, Interval(ge=1, le=1_000_000)]
_Rate = Annotated[int, Interval(ge=1000, le=HIGHEST_RATE)]
_Seconds = Annotated[Sequence[Annotated[float, Interval(ge=0.02, le=60)]], Len(2, 2)]
_RAMP = 0.005  # seconds in which a sound begins and ends, without a click
# Their streams are promised to stay as they are (NEP 19), unlike those of numpy's newer generators.
_Random = np.random.RandomState
_Draw = Callable[[_Random, int, int, int], np.ndarray]  # generator, class, samples, samples a second -> [t] in [-1, 1]


@checked("dataset")
def tones(
    *,
    name: str,
    shape: Sequence[int],
    sample_rate: _Rate,
    train: _Count,
    test: _Count,
    seconds: _Seconds,
    test_seconds: _Seconds,
    seed: Seed,
) -> AudioData:
    """Harmonic tones with vibrato and decay, one to five to a clip with silence between: ten classes.

    The classes are five timbres, each low (0 to 4) and high (5 to 9), in turn. ``shape``: (1, samples) of a training
    crop. ``train``, ``test``: how many clips. ``seconds``: the shortest and the longest training clip;
    ``test_seconds``: the same of the test. ``seed``: of everything that is drawn.
    """
    _check_order(seconds=seconds, test_seconds=test_seconds)
    clips_of = partial(_split, _tones, 10, sample_rate)
    splits = clips_of(seconds, train, [seed, 0]), clips_of(test_seconds, test, [seed, 1])
    note = f"generated harmonic tones, seed {seed}"
    return AudioData(name, shape, sample_rate, *splits, source="embedded", note=note, stand_in=True)


@checked("dataset")
def chirps(
    *,
    name: str,
    shape: Sequence[int],
    sample_rate: _Rate,
    train: _Count,
    test: _Count,
    seconds: _Seconds,
    test_seconds: _Seconds,
    seed: Seed,
) -> AudioData:
    """Sweeps and bursts of noise, with the arguments of `tones`: what a model of tones or of speech has not heard.

    Four classes in turn: sweeps upwards, sweeps downwards, bursts of white noise, bursts of noise of a narrow band.
    """
    _check_order(seconds=seconds, test_seconds=test_seconds)
    clips_of = partial(_split, _chirp, 4, sample_rate)
    splits = clips_of(seconds, train, [seed, 2]), clips_of(test_seconds, test, [seed, 3])
    note = f"generated sweeps and bursts of noise, seed {seed}"
    return AudioData(name, shape, sample_rate, *splits, source="embedded", note=note, stand_in=True)


def _check_order(**limits: Sequence[float]) -> None:
    wrong = {name: list(found) for name, found in limits.items() if found[0] > found[1]}
    require(*(f"dataset.{name}={found}: expected the shortest before the longest" for name, found in wrong.items()))


def _split(draw: _Draw, classes: int, rate: int, seconds: Sequence[float], count: int, seed: list[int]) -> Clips:
    """Clips of all classes in turn, the first ones the same however many there are."""
    random = _Random(seed)
    labels = [number % classes for number in range(count)]
    waves = [
        to_int16(draw(random, label, round(random.uniform(seconds[0], seconds[1]) * rate), rate)) for label in labels
    ]
    return clips(waves, labels)


def _tones(random: _Random, label: int, size: int, rate: int) -> np.ndarray:
    """Tones of 0.12 to 0.4 s, each followed by 0.02 to 0.12 s of silence, until the clip is full."""
    wave, at = np.zeros(size), round(random.uniform(0, 0.05) * rate)
    while at < size:
        length = round(random.uniform(0.12, 0.4) * rate)
        tone = _tone(random, label, length, rate)[: size - at]
        wave[at : at + len(tone)] = tone
        at += length + round(random.uniform(0.02, 0.12) * rate)
    return wave


def _tone(random: _Random, label: int, size: int, rate: int) -> np.ndarray:
    """One tone: a fundamental that glides and trembles, its partials below half the rate, an onset and a decay."""
    time = np.arange(size) / rate
    low, high = _REGISTERS[label // len(_TIMBRES)]
    start = math.exp(random.uniform(math.log(low), math.log(high)))
    glide = random.uniform(-0.6, 0.6) * time  # in octaves
    vibrato = random.uniform(0.005, 0.03) * np.sin(2 * math.pi * random.uniform(4, 7) * time)
    pitch = start * 2.0**glide * (1 + vibrato)
    phase = 2 * math.pi * np.cumsum(pitch) / rate
    strengths = _TIMBRES[label % len(_TIMBRES)] * random.uniform(0.7, 1.3, _HARMONICS)
    audible = np.outer(_PARTIAL, pitch) < 0.45 * rate
    wave = (strengths[:, None] * audible * np.sin(np.outer(_PARTIAL, phase))).sum(0)
    wave *= _envelope(size, rate) * np.exp(-random.uniform(0, 6) * time)
    return wave * (random.uniform(0.3, 0.9) / max(np.abs(wave).max(), 1e-9))


def _envelope(size: int, rate: int) -> np.ndarray:
    """Rises and falls along half a cosine at the ends."""
    ends = np.minimum(np.arange(size), np.arange(size)[::-1]) / (_RAMP * rate)
    return 0.5 - 0.5 * np.cos(math.pi * np.minimum(ends, 1))


def _chirp(random: _Random, label: int, size: int, rate: int) -> np.ndarray:
    """One sweep through the whole clip, or bursts of noise of 0.03 to 0.15 s with silence between."""
    loudness = random.uniform(0.3, 0.9)
    if label < 2:
        low, high = random.uniform(0.01, 0.05) * rate, random.uniform(0.3, 0.45) * rate
        pitch = low * (high / low) ** np.linspace(0, 1, size)
        wave = np.sin(2 * math.pi * np.cumsum(pitch if label == 0 else pitch[::-1]) / rate)
        return loudness * wave * _envelope(size, rate)
    wave, at = np.zeros(size), round(random.uniform(0, 0.05) * rate)
    while at < size:
        length = round(random.uniform(0.03, 0.15) * rate)
        burst = _noise(random, length, rate, narrow=label == 3)[: size - at]
        wave[at : at + len(burst)] = loudness * burst
        at += length + round(random.uniform(0.05, 0.15) * rate)
    return wave


def _noise(random: _Random, size: int, rate: int, *, narrow: bool) -> np.ndarray:
    """White noise, or a tone around which noise of 30 to 150 Hz moves; 1 at most."""
    wave = random.standard_normal(size)
    if narrow:
        width = random.uniform(30, 150) / rate
        smooth = np.convolve(wave, np.hanning(max(3, round(1 / width)) + 2), mode="same")
        wave = smooth * np.sin(2 * math.pi * random.uniform(0.05, 0.4) * np.arange(size))
    wave *= _envelope(size, rate)
    return wave / max(np.abs(wave).max(), 1e-9)

"""Generated audio without a file: harmonic tones as a stand-in for speech, sweeps and noise to be out of its domain.

Like speech, the tones are harmonic sounds of several timbres and pitches with onsets, decays, vibrato and silence
between them. Everything follows from the seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from vaebench.data.audio import AudioData, Clips, assemble, clips
from vaebench.data.waves import HIGHEST_RATE, to_int16
from vaebench.errors import UserError

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
_MOST_CLIPS = 1_000_000
_LONGEST = 60  # seconds of a clip
_RAMP = 0.005  # seconds in which a sound begins and ends, without a click
# Their streams are promised to stay as they are (NEP 19), unlike those of numpy's newer generators.
_Random = np.random.RandomState
_Draw = Callable[[_Random, int, int, int], np.ndarray]  # generator, class, samples, samples a second -> [t] in [-1, 1]


def tones(
    *,
    name: str,
    shape: Sequence[int],
    sample_rate: int,
    train: int,
    test: int,
    seconds: Sequence[float],
    test_seconds: Sequence[float],
    seed: int,
) -> AudioData:
    """Harmonic tones with vibrato and decay, one to five to a clip with silence between: ten classes.

    The classes are five timbres, each low (0 to 4) and high (5 to 9), in turn.

    Args:
        name: what the set is called.
        shape: (1, samples) of a training crop.
        sample_rate: in Hz, 1000 to 1,000,000.
        train: how many training clips, 1 or more.
        test: how many test items, 1 or more.
        seconds: the shortest and the longest training clip, above 0.
        test_seconds: the same of the test items.
        seed: of everything that is drawn, 0 or more, below 2^32.

    Raises:
        UserError: an option is out of range.
    """
    _check(sample_rate, train, test, seed, seconds, test_seconds)
    return assemble(
        name=name,
        shape=shape,
        sample_rate=sample_rate,
        train=_split(_tones, 10, train, seconds, sample_rate, [seed, 0]),
        test=_split(_tones, 10, test, test_seconds, sample_rate, [seed, 1]),
        source="embedded",
        note=f"generated harmonic tones, seed {seed}",
        stand_in=True,
    )


def chirps(
    *,
    name: str,
    shape: Sequence[int],
    sample_rate: int,
    train: int,
    test: int,
    seconds: Sequence[float],
    test_seconds: Sequence[float],
    seed: int,
) -> AudioData:
    """Sweeps and bursts of noise, with the arguments of `tones`: what a model of tones or of speech has not heard.

    Four classes in turn: sweeps upwards, sweeps downwards, bursts of white noise, bursts of noise of a narrow band.

    Raises:
        UserError: an option is out of range.
    """
    _check(sample_rate, train, test, seed, seconds, test_seconds)
    return assemble(
        name=name,
        shape=shape,
        sample_rate=sample_rate,
        train=_split(_chirp, 4, train, seconds, sample_rate, [seed, 2]),
        test=_split(_chirp, 4, test, test_seconds, sample_rate, [seed, 3]),
        source="embedded",
        note=f"generated sweeps and bursts of noise, seed {seed}",
        stand_in=True,
    )


def _check(sample_rate: int, train: int, test: int, seed: int, *lengths: Sequence[float]) -> None:
    bounds = (
        ("sample_rate", sample_rate, 1000, HIGHEST_RATE),
        ("train", train, 1, _MOST_CLIPS),
        ("test", test, 1, _MOST_CLIPS),
        ("seed", seed, 0, 2**32 - 1),
    )
    mistakes = [
        f"dataset.{name}={value}: expected a whole number, {low} or more, up to {high}"
        for name, value, low, high in bounds
        if not low <= value <= high
    ]
    for name, limits in zip(("seconds", "test_seconds"), lengths, strict=True):
        if len(limits) != 2 or not 0.02 <= limits[0] <= limits[1] <= _LONGEST:
            mistakes.append(
                f"dataset.{name}={list(limits)}: expected the shortest and the longest, from 0.02 to {_LONGEST}, "
                "[0.3, 1.0] for one"
            )
    if mistakes:
        raise UserError(*mistakes)


def _split(draw: _Draw, classes: int, count: int, seconds: Sequence[float], rate: int, seed: list[int]) -> Clips:
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

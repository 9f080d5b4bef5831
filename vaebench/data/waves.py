"""Audio files into samples: WAV by a reader of our own, other formats by soundfile; resampled, mixed, in 16 bits."""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vaebench.data.places import BadFile, opened, shown_path
from vaebench.errors import UserError

FULL_SCALE = 32768  # what 1.0 is in 16 bits
HIGHEST_RATE = 1_000_000  # Hz
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_NOT_YET_KNOWN = 0xFFFFFFFF  # the length that a program writes which cannot seek back in its output
_MOST_SAMPLES = 1 << 29  # of all channels, 2 GB in memory: nine hours at 16 kHz
_LOWEST_RATE = 100  # Hz, of what is resampled; a damaged header may say anything
_24_BITS = np.dtype("V3")
_INTEGERS: dict[int, np.dtype] = {8: np.dtype("u1"), 16: np.dtype("<i2"), 24: _24_BITS, 32: np.dtype("<i4")}
_FLOATS: dict[int, np.dtype] = {32: np.dtype("<f4"), 64: np.dtype("<f8")}


def read(path: Path) -> tuple[np.ndarray, int]:
    """The samples of an audio file, float32 ``[t channels]`` in [-1, 1], and its samples a second.

    WAV is read here, everything else by soundfile. Raises `BadFile` if it cannot be read, is no audio file, or holds
    values that are not finite, and `UserError` if soundfile is needed and not installed.
    """
    try:
        with opened(path) as stream:
            if path.suffix.lower() == ".wav":
                _check_size(os.fstat(stream.fileno()).st_size // 2)
                values, rate = read_wav(stream.read())
            else:
                values, rate = _read_other(path, stream)
    except OSError as error:
        raise BadFile(error.strerror or str(error)) from error
    if not np.isfinite(values).all():
        raise BadFile("it holds values that are not finite")
    return values, rate


def _check_size(samples: int) -> None:
    if samples > _MOST_SAMPLES:
        raise BadFile(f"it has {samples:,} samples, more than the {_MOST_SAMPLES:,} that are read; cut it into parts")


def _read_other(path: Path, stream: BinaryIO) -> tuple[np.ndarray, int]:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: without the library it wraps
        raise UserError(
            f"{shown_path(path)}: {path.suffix} files are read by soundfile, which is not installed ({error}): "
            "pip install 'vaebench[audio]', or turn them into WAV"
        ) from error
    try:
        with soundfile.SoundFile(stream) as file:
            _check_size(file.frames * file.channels)
            return file.read(dtype="float32", always_2d=True), file.samplerate
    except (soundfile.SoundFileError, ValueError, TypeError) as error:
        raise BadFile(str(error)) from error


def read_wav(content: bytes) -> tuple[np.ndarray, int]:
    """The samples in the bytes of a WAV file, float32 ``[t channels]`` in [-1, 1], and its samples a second.

    Whole numbers of 8 (unsigned), 16, 24 or 32 bits, or floating point of 32 or 64; plain or with the extensible header
    (Microsoft, "Multiple channel audio data and WAVE files", 2007). Raises `BadFile` for another file, or if cut off.
    """
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise BadFile("it is not a WAV file")
    form = None
    at = 12
    while at + 8 <= len(content):  # a chunk: its name, the length it announces, its content
        name, size = struct.unpack_from("<4sI", content, at)
        start, available = at + 8, len(content) - at - 8
        at = start + size + size % 2
        if name == b"fmt ":
            form = _form(content[start : start + size])
        elif name == b"data":
            if form is None:
                raise BadFile("its samples come before their format")
            if size > available and size != _NOT_YET_KNOWN:
                raise BadFile(f"it is cut off: {available} of {size} bytes of samples are there")
            return _values(content[start : start + min(size, available)], *form)
    raise BadFile("it is cut off before its samples")


def _form(chunk: bytes) -> tuple[np.dtype, int, int]:
    """The type of a sample, the number of channels, and the samples a second."""
    if len(chunk) < 16:
        raise BadFile("its format is cut off")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and len(chunk) >= 26:
        (tag,) = struct.unpack_from("<H", chunk, 24)
    types = {_PCM: _INTEGERS, _FLOAT: _FLOATS}.get(tag, {})
    if bits not in types:
        raise BadFile(f"its samples are of a kind that is not read (format {tag} of {bits} bits)")
    if not channels or not rate:
        raise BadFile(f"it has {channels} channels and {rate} samples a second")
    return types[bits], channels, rate


def _values(data: bytes, kind: np.dtype, channels: int, rate: int) -> tuple[np.ndarray, int]:
    width = kind.itemsize * channels
    data = data[: len(data) // width * width]
    if kind == _24_BITS:  # they are the upper three bytes of 32
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        kind, data = _INTEGERS[32], wide.tobytes()
    found = np.frombuffer(data, kind).reshape(-1, channels)
    if kind.kind == "f":
        return found.astype(np.float32), rate
    middle, scale = (128, 128) if kind.kind == "u" else (0, 2 ** (8 * kind.itemsize - 1))
    return ((found.astype(np.float64) - middle) / scale).astype(np.float32), rate


def to_mono(values: np.ndarray) -> np.ndarray:
    """Samples ``[t channels]`` as the mean of the channels, ``[t]``."""
    return values[:, 0] if values.shape[1] == 1 else values.mean(1)


def resampled(wave: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """A wave ``[t]`` at ``rate`` Hz as one at ``wanted`` Hz, ``[ceil(t wanted / rate)]``, by a polyphase filter.

    Raises `BadFile` for a rate that no recording has.
    """
    if rate == wanted:
        return wave
    if not _LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise BadFile(f"it has {rate:,} samples a second; {_LOWEST_RATE} to {HIGHEST_RATE:,} can be resampled")
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    return resample_poly(wave, wanted // common, rate // common)


def normalised(wave: np.ndarray, peak: float) -> np.ndarray:
    """A wave scaled to this largest magnitude; silence as it is."""
    largest = np.abs(wave).max(initial=0.0)
    return wave * (peak / largest) if largest > 0 else wave


def to_int16(wave: np.ndarray) -> np.ndarray:
    """A wave in [-1, 1] in 16 bits, 32768 for 1.0; what is beyond is cut."""
    return np.clip(np.rint(np.float64(wave) * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)

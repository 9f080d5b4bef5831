"""Audio files that are damaged, odd or hostile: each is named and counted, the others are read, memory is bounded."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from vaebench.data import waves
from vaebench.data.folders import audio
from vaebench.data.places import BadFile
from vaebench.errors import UserError

RATE = 8000
OPTIONS = {
    "name": "toy",
    "shape": [1, 100],
    "sample_rate": RATE,
    "shortest": 0,
    "splits": {"train": ["train"], "test": ["test"]},
}


def wav(*, rate: int = RATE, channels: int = 1, size: int | None = None, samples: bytes = bytes(2000)) -> bytes:
    form = struct.pack("<HHIIHH", 1, channels, rate, 0, 0, 16)
    content = (
        b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(samples) if size is None else size)
    )
    return b"RIFF" + struct.pack("<I", len(content) + len(samples)) + content + samples


def flac(samples: int) -> bytes:
    """The header of a FLAC file that announces so many samples, and none behind it."""
    packed = (RATE << 44) | (0 << 41) | (15 << 36) | samples
    return b"fLaC\x80\0\0\x22" + struct.pack(">HH", 4096, 4096) + bytes(6) + packed.to_bytes(8, "big") + bytes(16)


def text(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty.wav": (text(b""), "it is not a WAV file"),
    "text.wav": (text(b"not a sound"), "it is not a WAV file"),
    "header.wav": (text(wav()[:30]), "its format is cut off"),
    "cut.wav": (text(wav()[:-500]), "it is cut off: 1500 of 2000 bytes"),
    "beyond.wav": (text(wav(size=2**31)), "it is cut off"),
    "no-channels.wav": (text(wav(channels=0)), "it has 0 channels"),
    "no-rate.wav": (text(wav(rate=0)), "0 samples a second"),
    "slow.wav": (text(wav(rate=1)), "it has 1 samples a second; 100 to 1,000,000 can be resampled"),
    "fast.wav": (text(wav(rate=2**32 - 5)), "it has 4,294,967,291 samples a second"),
    "flac.wav": (text(flac(100)), "it is not a WAV file"),
    "pipe.wav": (os.mkfifo, "it is no ordinary file"),
    "pipe.flac": (os.mkfifo, "it is no ordinary file"),
    "nowhere.mp3": (lambda path: path.symlink_to("none"), "it is a link that leads nowhere"),
    "loop.wav": (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
    "text.flac": (text(b"not a sound"), ""),
    "empty.ogg": (text(b""), ""),
    "garbage.mp3": (text(bytes(range(256)) * 8), ""),
    "bomb.flac": (text(flac(2**36 - 1)), "it has 68,719,476,735 samples, more than the 536,870,912 that are read"),
}


def clip(path: Path) -> np.ndarray:
    values, rate = waves.read(path)
    return waves.resampled(waves.to_mono(values), rate, RATE)


@pytest.fixture
def folder(places) -> Path:
    pytest.importorskip("soundfile")
    (places.given / "toy" / "train" / "ada").mkdir(parents=True)
    (places.given / "toy" / "test" / "ada").mkdir(parents=True)
    wavfile.write(places.given / "toy" / "test" / "ada" / "a.wav", RATE, np.full(500, 9000, np.int16))
    return places.given / "toy"


def test_a_folder_of_bad_files_gives_the_good_ones(folder, recwarn):
    for name, (make, _) in BAD.items():
        make(folder / "train" / "ada" / name)
    good = Path(os.fsdecode(os.fsencode(folder / "train" / "ada") + b"/\xff\x1b.wav"))
    wavfile.write(good, RATE, np.full(300, 9000, np.int16))
    total = len(BAD) + 2
    with pytest.raises(UserError, match=f"toy: {len(BAD)} of {total} files cannot be read") as error:
        audio(**OPTIONS, bad_files=len(BAD) - 1)
    assert len(error.value.lines) == 1
    found = audio(**OPTIONS, bad_files=len(BAD))
    assert found.note == f"{len(BAD)} of {total} files unreadable and left out"
    assert (found.train.lengths.tolist(), found.test.lengths.tolist()) == ([300], [500])
    assert found.class_names == ("ada",)
    assert not recwarn.list


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_with_a_file_is_said(folder, name):
    make, message = BAD[name]
    make(folder / name)
    with pytest.raises(BadFile) as error:
        clip(folder / name)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_flac_file_with_a_name_that_is_no_text(folder):
    soundfile = pytest.importorskip("soundfile")
    samples = np.arange(0, 3000, 10, dtype=np.int16)
    soundfile.write(folder / "train" / "ada" / "a.flac", samples, RATE)
    (folder / "train" / "ada" / "a.flac").rename(os.fsdecode(os.fsencode(folder / "train" / "ada") + b"/\xff.flac"))
    assert audio(**OPTIONS, bad_files=0).train.samples.tolist() == samples.tolist()


def test_channels_of_opposite_phase_are_silent(folder):
    tone = np.int16(9000 * np.sin(np.arange(500)))
    wavfile.write(folder / "train" / "ada" / "a.wav", RATE, np.stack([tone, -tone], 1))
    found = audio(**OPTIONS, bad_files=0)
    assert found.note == "1 of 2 files silent once the channels are mixed"
    assert not found.train.samples.any()


@pytest.mark.parametrize("rate", [0, 1_000_001])
def test_rates_that_no_recording_has(folder, rate):
    with pytest.raises(UserError, match=f"dataset.sample_rate={rate}: expected a whole number, 1 to 1000000"):
        audio(**{**OPTIONS, "sample_rate": rate}, bad_files=0)

from __future__ import annotations

import io
import os
import struct
import tarfile
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy.io import wavfile

from vaebench.config.origins import conf_dir
from vaebench.config.request import Request
from vaebench.contracts import TrainingData
from vaebench.data import waves
from vaebench.data.audio import AudioData, Clips, clips, fsdd
from vaebench.data.synthetic_audio import chirps, tones
from vaebench.errors import UserError

REAL = Path(os.environ.get("VAEBENCH_DATA", "-")).absolute()  # before the tests' own folder takes its place
needs_fsdd = pytest.mark.skipif(not (REAL / "fsdd").is_dir(), reason="FSDD is not in VAEBENCH_DATA")


def leaf(name: str) -> dict:
    return yaml.safe_load((conf_dir() / "dataset" / f"{name}.yaml").read_text())


def build(name: str) -> AudioData:
    from vaebench.runs import build as module

    return module.dataset(Request({"dataset": leaf(name)}))


def data(lengths: list[int], crop: int = 16, test: list[int] | None = None) -> AudioData:
    """Clips that count: sample j of clip i is 1000 i + j + 1."""
    counted = [np.arange(1, length + 1, dtype=np.int16) + 1000 * row for row, length in enumerate(lengths)]
    held_out = [np.ones(length, np.int16) for length in test or [5]]
    return AudioData(
        name="toy",
        shape=[1, crop],
        sample_rate=100,
        train=clips(counted, [row % 2 for row in range(len(lengths))]),
        test=clips(held_out, [0] * len(held_out)),
        source="embedded",
    )


# Clips and crops


def test_a_batch_is_float_crops_and_labels():
    found = data([40, 16, 3, 30])
    batch = found.batch(torch.tensor([3, 0, 2, 0]))
    assert batch.x.shape == (4, 1, 16)
    assert batch.x.dtype == torch.float32
    assert batch.y.tolist() == [1, 0, 0, 0]
    assert batch.y.dtype == torch.int64
    assert found.shape == (1, 16)
    assert (len(found), found.classes, found.device) == (4, 2, torch.device("cpu"))


def test_crops_are_what_a_loop_cuts():
    found = data([40, 16, 3, 17]).train
    rows = torch.tensor([0, 1, 2, 3, 0, 2, 3, 2])
    draws = torch.tensor([5, 99, 4, 1, 2**31 - 1, 13, 2, 14])
    crops = found.crops(rows, 16, draws)
    for crop, row, draw in zip(crops, rows.tolist(), draws.tolist(), strict=True):
        length = int(found.lengths[row])
        expected = torch.zeros(16)
        for place in range(16):
            if length >= 16:
                expected[place] = 1000 * row + draw % (length - 16 + 1) + place + 1
            else:
                inner = place - draw % (16 - length + 1)
                expected[place] = 1000 * row + inner + 1 if 0 <= inner < length else 0
        assert torch.equal(crop[0] * 32768, expected)


def test_every_place_is_drawn_and_no_other():
    found = data([18, 14])
    torch.manual_seed(0)
    crops = found.batch(torch.tensor([0] * 300 + [1] * 300)).x[:, 0] * 32768
    assert sorted(set(crops[:300, 0].tolist())) == [1, 2, 3]
    assert (crops[:300].diff() == 1).all()
    silence = (crops[300:] == 0).int()
    assert (silence.sum(1) == 2).all()
    assert sorted(set((crops[300:] != 0).int().argmax(1).tolist())) == [0, 1, 2]


def test_crops_follow_the_global_generator_by_the_same_number_of_draws():
    short, long = data([30, 3]), data([3, 3000])
    rows = torch.tensor([0, 1, 1])
    torch.manual_seed(7)
    first = short.batch(rows).x
    after = torch.get_rng_state()
    torch.manual_seed(7)
    assert torch.equal(short.batch(rows).x, first)
    assert not torch.equal(short.batch(rows).x, first)
    torch.manual_seed(7)
    long.batch(rows)
    assert torch.equal(torch.get_rng_state(), after)


def test_an_item_is_a_whole_clip():
    found = data([40, 3])
    assert torch.equal(found.train.item(1) * 32768, torch.tensor([[1001.0, 1002.0, 1003.0]]))
    assert found.test.item(0).shape == (1, 5)
    full = clips([np.array([-32768, 0, 32767], np.int16)], [0]).item(0)
    assert full.tolist() == [[-1.0, 0.0, 32767 / 32768]]


def test_moving_takes_the_clips_along_unless_they_are_mapped():
    found = data([40, 16])
    moved = found.to("meta")
    assert moved.device == torch.device("meta")
    assert moved.train.samples.device.type == "meta"
    mapped = replace(found, place=torch.device("cpu")).to("meta")
    assert mapped.device == torch.device("meta")
    assert mapped.train.samples.device.type == "cpu"
    batch = mapped.batch(torch.tensor([1, 0]))
    assert (batch.x.device.type, batch.y.device.type) == ("meta", "meta")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_crops_are_the_same_on_a_gpu():
    found, rows = data([40, 16, 3]), torch.tensor([0, 1, 2, 0])
    batches = []
    for device in ("cpu", "cuda"):
        for place in (None, torch.device("cpu")):
            torch.manual_seed(1)
            batch = replace(found, place=place).to(device).batch(rows.to(device))
            assert batch.x.device.type == batch.y.device.type == device
            batches.append(batch.x.cpu())
    assert all(torch.equal(batch, batches[0]) for batch in batches)


def test_without_training_clips_there_is_nothing_to_train_on():
    found = AudioData(
        name="toy",
        shape=[1, 99],
        sample_rate=100,
        train=clips([], []),
        test=clips([np.ones(5, np.int16)], [0]),
        source="embedded",
    )
    assert len(found) == 0
    with pytest.raises(UserError, match="toy has no training clips here, only a test split"):
        found.batch(torch.arange(0))


@pytest.mark.parametrize(
    ("lengths", "crop", "test", "message"),
    [
        ([40, 3], 41, None, r"shape=\[1, 41\]: a crop of 41 samples is longer than .* the longest has 40 \(0.40 s\)"),
        ([40, 0], 16, None, "toy: a clip has no samples"),
        ([40], 0, None, r"shape=\[1, 0\]: audio has one channel"),
    ],
)
def test_what_cannot_be_cropped(lengths, crop, test, message):
    with pytest.raises(UserError, match=message):
        data(lengths, crop, test)


def test_shape_and_test_clips_are_checked():
    one, none = clips([np.ones(5, np.int16)], [0]), clips([], [])
    for shape, test, message in (([2, 5], one, "one channel"), ([5], one, "one channel"), ([1, 5], none, "no test")):
        with pytest.raises(UserError, match=message):
            AudioData(name="toy", shape=shape, sample_rate=100, train=one, test=test, source="embedded")


def test_the_digest_is_of_the_clips():
    digests = {data(lengths).digest for lengths in ([40, 16], [16, 40], [40, 17])}
    digests |= {data([40, 16], test=[6]).digest}
    assert len(digests) == 4
    assert data([40, 16]).digest == data([40, 16], crop=8).digest
    assert all(len(digest) == 16 for digest in digests)


def test_it_is_what_the_loop_trains_on():
    found: TrainingData = data([40])  # for the type checker too
    assert {"name", "source", "digest", "note", "stand_in", "device", "batch", "to"} <= set(dir(found))


# WAV


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2) for name, content in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def form(tag: int = 1, channels: int = 1, rate: int = 8000, bits: int = 16) -> bytes:
    width = channels * bits // 8
    return struct.pack("<HHIIHH", tag, channels, rate, rate * width, width, bits)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("kind", ["uint8", "int16", "int32", "float32", "float64"])
def test_wav_agrees_with_scipy(kind, channels):
    random = np.random.default_rng(0)
    values = random.uniform(-1, 1, (101, channels))
    if kind == "uint8":
        stored = np.uint8(values * 127 + 128)
        expected = (stored.astype(float) - 128) / 128
    elif kind.startswith("int"):
        largest = np.iinfo(kind).max
        stored = (values * largest).astype(kind)
        expected = stored.astype(float) / (largest + 1)
    else:
        stored = values.astype(kind)
        expected = stored.astype(float)
    stream = io.BytesIO()
    wavfile.write(stream, 11025, stored[:, 0] if channels == 1 else stored)
    found, rate = waves.read_wav(stream.getvalue())
    assert rate == 11025
    assert found.dtype == np.float32
    assert found.shape == (101, channels)
    assert np.allclose(found, expected, atol=1e-7)


def test_24_bits_agree_with_the_standard_library():
    values = np.array([0, 1, -1, 2**23 - 1, -(2**23), 123456, -654321, 7])
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(3)
        file.setframerate(48000)
        file.writeframes(b"".join(int(value).to_bytes(3, "little", signed=True) for value in values))
    found, rate = waves.read_wav(stream.getvalue())
    assert rate == 48000
    assert np.allclose(found.reshape(-1) * 2**23, values, atol=0.6)  # float32 has 24 bits
    with wave.open(io.BytesIO(stream.getvalue())) as file:
        assert file.getnframes() == len(found)


def test_other_chunks_and_the_extensible_header():
    samples = np.array([0, 16384, -32768], "<i2").tobytes()
    extensible = form(0xFFFE) + struct.pack("<HHIH", 22, 16, 4, 1) + b"\0" * 14
    for content in (
        riff((b"LIST", b"odd"), (b"fmt ", extensible), (b"junk", b"1"), (b"data", samples), (b"id3 ", b"x")),
        riff((b"fmt ", form()), (b"data", samples + b"\1")),  # half a sample at the end
        riff((b"fmt ", form()), (b"data", samples)).replace(b"data\6\0\0\0", b"data\xff\xff\xff\xff"),
    ):
        found, _ = waves.read_wav(content)
        assert found[:, 0].tolist() == [0, 0.5, -1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a WAV file"),
        (b"ID3" * 30, "not a WAV file"),
        (riff((b"fmt ", form())), "cut off before its samples"),
        (riff((b"data", b"\0\0"), (b"fmt ", form())), "samples come before their format"),
        (riff((b"fmt ", form()), (b"data", b"\0" * 100))[:-10], "cut off: 90 of 100 bytes"),
        (riff((b"fmt ", form()[:10]), (b"data", b"\0\0")), "format is cut off"),
        (riff((b"fmt ", form(tag=6, bits=8)), (b"data", b"\0\0")), r"not read \(format 6 of 8 bits\)"),
        (riff((b"fmt ", form(bits=12)), (b"data", b"\0\0")), "format 1 of 12 bits"),
        (riff((b"fmt ", form(channels=0)), (b"data", b"\0\0")), "0 channels and 8000 samples a second"),
        (riff((b"fmt ", form(rate=0)), (b"data", b"\0\0")), "1 channels and 0 samples a second"),
    ],
)
def test_what_is_no_wav(content, message):
    with pytest.raises(waves.BadFile, match=message):
        waves.read_wav(content)


def test_values_that_are_not_finite(tmp_path):
    for value in (np.nan, np.inf):
        wavfile.write(tmp_path / "a.wav", 8000, np.array([0, value], np.float32))
        with pytest.raises(waves.BadFile, match="not finite"):
            waves.read(tmp_path / "a.wav")
    with pytest.raises(waves.BadFile, match="No such file"):
        waves.read(tmp_path / "none.wav")


@pytest.mark.parametrize(("rate", "wanted"), [(16000, 8000), (8000, 16000), (44100, 8000), (22050, 16000)])
def test_a_tone_stays_where_it_is(rate, wanted):
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
    found = waves.resampled(tone, rate, wanted)
    assert len(found) == wanted
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(wanted) / wanted)
    inner = slice(wanted // 10, -wanted // 10)
    assert np.abs(found - expected)[inner].max() < 2e-3


def test_what_the_lower_rate_cannot_hold_is_gone():
    tone = np.sin(2 * np.pi * 6000 * np.arange(16000) / 16000)
    assert np.abs(waves.resampled(tone, 16000, 8000)[800:-800]).max() < 2e-3


def test_small_parts():
    assert waves.to_mono(np.array([[0.5, -0.5], [1.0, 0.5]])).tolist() == [0, 0.75]
    assert waves.normalised(np.array([0.1, -0.3]), 0.9) == pytest.approx([0.3, -0.9])
    assert waves.normalised(np.zeros(3), 0.9).tolist() == [0, 0, 0]
    assert len(waves.normalised(np.zeros(0), 0.9)) == 0
    assert waves.to_int16(np.array([1.5, 1, 0.5, 0, -1, -2])).tolist() == [32767, 32767, 16384, 0, -32768, -32768]


# The Free Spoken Digit Dataset


def wav(samples: np.ndarray, rate: int = 8000) -> bytes:
    stream = io.BytesIO()
    wavfile.write(stream, rate, samples.astype(np.int16))
    return stream.getvalue()


def recording(digit: int, speaker: str, index: int) -> np.ndarray:
    """A clip of its own length, its largest magnitude 1000; the last one of ada's zeros is silent."""
    samples = np.linspace(-1000, 500, 10 + 20 * digit + (speaker == "ada") * 5 + index)
    return samples * 0 if (digit, speaker, index) == (0, "ada", 6) else samples


def archive(other: dict[str, bytes] | None = None) -> bytes:
    names = [
        (digit, speaker, index) for index in (6, 0, 3, 1, 4, 2, 5) for speaker in ("bob", "ada") for digit in (1, 0)
    ]
    contents = {f"recordings/{d}_{s}_{i}.wav": wav(recording(d, s, i)) for d, s, i in names}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        folder = tarfile.TarInfo("recordings")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in ({"README.md": b"x"} | contents | (other or {})).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def read_fsdd(files, *, shape=(1, 20), sample_rate=8000, peak=0.9) -> AudioData:
    return fsdd(name="toy", shape=shape, sample_rate=sample_rate, peak=peak, files=files)


def test_fsdd_is_read_in_place(places, put, tmp_path):
    files = put(places.given / "toy", {"archive": archive()})
    before = sorted(tmp_path.rglob("*"))
    found = read_fsdd(files)
    assert sorted(tmp_path.rglob("*")) == before
    assert (found.source, found.note, found.stand_in, found.sample_rate) == ("VAEBENCH_DATA", "", False, 8000)
    assert found.train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert found.train.lengths.tolist() == [20, 21, 15, 16, 40, 41, 35, 36]  # by digit, speaker, index
    assert found.test.labels.tolist() == [0, 0, 1, 1]
    assert found.test.lengths.tolist() == [5 * length + 10 for length in (15, 10, 35, 30)]


def test_fsdd_recordings_are_normalised_and_joined_in_order(places, put):
    found = read_fsdd(put(places.given / "toy", {"archive": archive()}))
    peaks = [int(found.train.item(row).abs().max() * 32768) for row in range(len(found))]
    assert peaks == [29491, 0, *[29491] * 6]
    item, at = found.test.item(1)[0].numpy() * 32768, 0
    for index in range(5):
        clip = np.int16(recording(0, "bob", index)) / 1000 * 0.9 * 32768
        assert np.allclose(item[at : at + len(clip)], np.rint(clip), atol=1)
        at += len(clip)
    assert at == len(item)


BAD_ARCHIVES = {
    "not a tar": (b"x" * 100, "cannot be read to its end"),
    "cut": (archive()[:-200], "cannot be read to its end"),
    "a strange name": (
        archive({"recordings/seven_ada_0.wav": b""}),
        r"'recordings/seven_ada_0.wav' is not named digit_",
    ),
    "a way out": (archive({"../../x.wav": b""}), "'../../x.wav' is not named digit_speaker_index.wav"),
    "no wav": (archive({"recordings/1_ada_9.wav": b"x"}), "recordings/1_ada_9.wav: it is not a WAV file"),
    "another rate": (archive({"recordings/1_ada_9.wav": wav(np.ones(9), 16000)}), "1_ada_9.wav has 16000 samples"),
}


@pytest.mark.parametrize(("content", "message"), BAD_ARCHIVES.values(), ids=BAD_ARCHIVES)
def test_a_bad_archive_is_refused(places, put, content, message):
    files = put(places.given / "toy", {"archive": content})
    with pytest.raises(UserError, match=message):
        read_fsdd(files)


def test_fsdd_options(places, put):
    files = put(places.given / "toy", {"archive": archive()})
    for options, message in (
        ({"peak": 0}, r"dataset\.peak=0: expected a number above 0 and at most 1"),
        ({"peak": 1.5}, r"dataset\.peak=1\.5"),
        ({"sample_rate": 16000}, r"dataset\.sample_rate=16000: .* has 8000 samples a second"),
        ({"shape": [1, 42]}, r"longer than every training clip of toy; the longest has 41"),
    ):
        with pytest.raises(UserError, match=message):
            read_fsdd(files, **options)
    with pytest.raises(UserError, match="files must be archive, not x"):
        read_fsdd({"x": {"file": "x", "sha256": "0"}})
    (places.given / "toy" / "archive").write_bytes(archive()[:-1])
    with pytest.raises(UserError, match="its sha256 is"):
        read_fsdd(files)


def test_without_fsdd_the_embedded_audio_is_offered():
    with pytest.raises(UserError, match=r"fsdd_recordings\.tar\.gz is not here .* or choose dataset=chirps or .*tones"):
        build("fsdd")


@needs_fsdd
def test_the_real_fsdd(monkeypatch):
    monkeypatch.setenv("VAEBENCH_DATA", str(REAL))
    found = build("fsdd")
    assert (len(found.train), len(found.test), found.classes) == (2700, 60, 10)
    assert torch.bincount(found.train.labels).tolist() == [270] * 10
    assert torch.bincount(found.test.labels).tolist() == [6] * 10
    assert found.digest == "e21807f93775c9c2"
    assert found.train.samples.abs().max() == 29491
    minutes = (len(found.train.samples) + len(found.test.samples)) / found.sample_rate / 60
    assert minutes == pytest.approx(21.87, abs=0.01)
    lengths = found.test.lengths / found.sample_rate
    assert (float(lengths.min()), float(lengths.max())) == pytest.approx((1.04, 3.68), abs=0.01)


# Generated audio


@pytest.mark.parametrize(("name", "classes"), [("tones", 10), ("chirps", 4)])
def test_generated_audio(name, classes):
    found = build(name)
    assert (len(found.train), len(found.test), found.classes, found.sample_rate) == (300, 24, classes, 8000)
    assert (found.source, found.stand_in) == ("embedded", True)
    assert found.note.endswith("seed 0")
    assert found.shape == (1, 4608)
    for part, low, high in ((found.train, 0.3, 1.0), (found.test, 1.3, 1.7)):
        assert low * 8000 - 1 <= part.lengths.min() <= part.lengths.max() <= high * 8000 + 1
        peaks = torch.stack([part.item(row).abs().max() for row in range(len(part))])
        assert 0.02 < peaks.min() < peaks.max() <= 0.91
    again = build(name)
    assert again.digest == found.digest
    assert torch.equal(again.train.samples, found.train.samples)


OPTIONS = {"shape": [1, 800], "sample_rate": 8000, "test": 2, "seconds": [0.3, 0.5], "test_seconds": [0.3, 0.4]}


@pytest.mark.parametrize("make", [tones, chirps])
def test_more_clips_begin_with_the_same_and_another_seed_is_another_set(make):
    few = make(name="toy", train=10, seed=0, **OPTIONS)
    many = make(name="toy", train=12, seed=0, **OPTIONS)
    other = make(name="toy", train=10, seed=1, **OPTIONS)
    assert torch.equal(many.train.samples[: len(few.train.samples)], few.train.samples)
    assert torch.equal(many.test.samples, few.test.samples)
    assert len({few.digest, many.digest, other.digest}) == 3


def test_the_classes_of_tones_differ_in_pitch_and_have_silence():
    found = tones(name="toy", train=40, seed=0, **(OPTIONS | {"seconds": [1.0, 1.0]}))
    pitches: dict[bool, list[float]] = {True: [], False: []}
    for row in range(0, 40, 5):  # the bright timbre, whose strongest partial is the fundamental
        spectrum = np.abs(np.fft.rfft(found.train.item(row)[0].numpy()))
        pitches[int(found.train.labels[row]) < 5].append(float(np.argmax(spectrum)))
    assert max(pitches[True]) < min(pitches[False])
    assert 0.05 < float((found.train.samples == 0).double().mean()) < 0.6


@pytest.mark.parametrize("make", [tones, chirps])
def test_options_of_generated_audio(make):
    for wrong in (
        {"train": 0, "test": 1_000_001, "sample_rate": 10, "seconds": [0.01, 0.3], "test_seconds": [1.0]},
        {"seconds": [0.5, 0.3], "test_seconds": [1, 0.99]},
    ):
        with pytest.raises(UserError) as error:
            make(name="toy", seed=0, **(OPTIONS | {"train": 2, "test": 2} | wrong))
        assert {line.partition("=")[0] for line in error.value.lines} == {f"dataset.{name}" for name in wrong}


def test_clips_are_frozen():
    with pytest.raises(AttributeError):
        Clips(*(torch.zeros(1) for _ in range(4))).samples = torch.ones(1)  # type: ignore[misc]

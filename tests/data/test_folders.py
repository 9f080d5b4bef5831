from __future__ import annotations

import builtins
import json
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

from commands import python
from vaebench.data import decoded as decoding
from vaebench.data.audio import AudioData
from vaebench.data.folders import audio, images
from vaebench.data.images import ImageData
from vaebench.data.places import walk
from vaebench.errors import UserError

SPLITS = {"train": ["train"], "test": ["val|test"]}
RATE = 8000


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def save(path: Path, pixels: np.ndarray, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)


def tone(hertz: float, seconds: float = 0.5, rate: int = RATE, peak: float = 0.5) -> np.ndarray:
    return np.int16(peak * 32767 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate))


def put_wav(path: Path, samples: np.ndarray, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, rate, samples)


def read_images(*, shape=(3, 8, 8), splits=SPLITS, bad_files=0) -> ImageData:
    return images(name="toy", shape=shape, splits=splits, bad_files=bad_files)


def read_audio(*, shape=(1, 1000), sample_rate=RATE, splits=SPLITS, shortest=0.1, bad_files=0) -> AudioData:
    return audio(
        name="toy", shape=shape, sample_rate=sample_rate, splits=splits, shortest=shortest, bad_files=bad_files
    )


@pytest.fixture
def pictures(places) -> Path:
    """Three training pictures and two test ones, in sub-folders, some of them not of RGB."""
    folder = places.given / "toy"
    save(folder / "train" / "cat" / "b.png", noise(16, 12, 1))
    save(folder / "train" / "cat" / "a.PNG", noise(9, 30, 2), "L")
    save(folder / "train" / "dog" / "c.png", noise(8, 8, 3), "RGBA")
    save(folder / "val" / "dog" / "d.png", noise(5, 6, 4), "P")
    save(folder / "val" / "emu" / "e.jpg", noise(20, 20, 5))
    (folder / "train" / "cat" / "notes.txt").write_text("not a picture")
    save(folder / "train" / ".hidden" / "f.png", noise(8, 8))
    return folder


@pytest.fixture
def sounds(places) -> Path:
    folder = places.given / "toy"
    put_wav(folder / "train" / "ada" / "a.wav", tone(500))
    put_wav(folder / "train" / "bob" / "b.wav", tone(700, 0.3))
    put_wav(folder / "test" / "c.wav", tone(900, 0.2))
    return folder


# Pictures


def test_pictures_are_those_of_torchvision(pictures):
    from vaebench.compat import ensure_torchvision

    ensure_torchvision()
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, PILToTensor, Resize

    theirs = Compose([Resize(8, InterpolationMode.BICUBIC, antialias=True), CenterCrop(8), PILToTensor()])
    found = read_images()
    for part, names in (
        (found.train_x, ("train/cat/a.PNG", "train/cat/b.png", "train/dog/c.png")),
        (found.test_x, ("val/dog/d.png", "val/emu/e.jpg")),
    ):
        assert part.dtype == torch.uint8
        assert part.shape == (len(names), 3, 8, 8)
        for image, name in zip(part, names, strict=True):
            assert torch.equal(image, theirs(Image.open(pictures / name).convert("RGB")))


def test_pictures_of_the_right_size_are_left_alone_and_labels_are_sub_folders(pictures):
    found = read_images()
    assert np.array_equal(found.train_x[2].permute(1, 2, 0).numpy(), noise(8, 8, 3))
    assert found.train_y.tolist() == [0, 0, 1]
    assert found.test_y.tolist() == [1, 2]
    assert (found.name, found.source, found.note, found.stand_in) == ("toy", "VAEBENCH_DATA", "", False)
    assert (found.shape, found.classes, len(found)) == ((3, 8, 8), 3, 3)
    assert read_images(shape=(1, 8, 8)).train_x.shape == (3, 1, 8, 8)


def test_without_sub_folders_every_label_is_0(places):
    for split in ("train", "test"):
        save(places.given / "toy" / split / "a.png", noise(8, 8))
    found = read_images()
    assert (found.train_y.tolist(), found.test_y.tolist()) == ([0], [0])


def test_batches_go_where_the_training_is_and_pixels_stay(pictures):
    found = read_images()
    batch = found.batch(torch.tensor([2, 0]))
    assert torch.equal(batch.x, found.train_x[[2, 0]].float() / 255)
    assert batch.y.tolist() == [1, 0]
    moved = found.to("meta")
    assert (moved.device.type, moved.train_x.device.type, moved.test_x.device.type) == ("meta", "cpu", "cpu")
    assert moved.batch(torch.tensor([1])).x.device.type == "meta"


def test_a_set_without_training_split_can_be_evaluated_on(pictures):
    shutil.rmtree(pictures / "train")
    found = read_images()
    assert (len(found), found.note, found.shape) == (0, "no training split", (3, 8, 8))
    assert found.test_y.tolist() == [0, 1]
    with pytest.raises(UserError, match="toy has no training images here, only a test split"):
        found.batch(torch.arange(0))


def test_the_folders_of_a_split(pictures):
    save(pictures / "more" / "dog" / "f.png", noise(8, 8, 6))
    found = read_images(splits={"train": ["train", "more"], "test": ["val"]})
    assert found.train_y.tolist() == [0, 0, 1, 1]
    assert np.array_equal(found.train_x[3].permute(1, 2, 0).numpy(), noise(8, 8, 6))
    with pytest.raises(UserError, match=r"toy: has no none or nil; put it there, or name .* dataset\.splits\.train"):
        read_images(splits={"train": ["train", "none|nil"], "test": ["val"]})
    with pytest.raises(UserError, match=r"has no none; .* dataset\.splits\.test"):
        read_images(splits={"train": ["train"], "test": ["none"]})


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": ["a"]}, "splits must be train and test"),
        ({"train": ["a"], "test": []}, r"splits\.test=\[\]: must be a list of sub-folders"),
        ({"train": ["a"], "test": "test"}, r"splits\.test='test': must be a list"),
        ({"train": ["../a"], "test": ["b"]}, r"splits\.train: '\.\./a' must be"),
        ({"train": ["a|/b"], "test": ["b"]}, r"splits\.train: 'a\|/b' must be"),
        ({"train": [5], "test": ["b"]}, r"splits\.train: 5 must be"),
    ],
)
def test_splits_are_described_and_stay_in_their_folder(pictures, splits, message):
    with pytest.raises(UserError, match=message):
        read_images(splits=splits)


@pytest.mark.parametrize("shape", [(3, 8), (2, 8, 8), (3, 8, 9), (3, 0, 0)])
def test_pictures_are_square(pictures, shape):
    with pytest.raises(UserError, match=r"pictures from folders are \(3, side, side\) or \(1, side, side\)"):
        read_images(shape=shape)


def test_a_missing_folder_says_where_it_was_looked_for(places):
    with pytest.raises(UserError) as error:
        read_images()
    message = str(error.value)
    for part in ("train, val or test", str(places.given / "toy"), str(places.cache / "toy"), "dataset=digits"):
        assert part in message


def test_a_test_folder_without_pictures(pictures):
    shutil.rmtree(pictures / "val")
    (pictures / "val").mkdir()
    (pictures / "val" / "a.txt").write_text("")
    with pytest.raises(UserError, match=r"val: has no file that ends in \.jpg, .* toy needs a test split"):
        read_images()


def test_the_cache_is_a_place_too(pictures, places):
    shutil.move(pictures, places.cache / "toy")
    assert read_images().source == "download"


def test_bad_pictures_are_named_and_left_out_if_that_is_allowed(pictures):
    whole = (pictures / "train" / "cat" / "b.png").read_bytes()
    (pictures / "train" / "cat" / "b.png").write_bytes(whole[: len(whole) // 2])
    (pictures / "train" / "dog" / "z.jpg").write_bytes(b"")
    with pytest.raises(UserError) as error:
        read_images()
    message = str(error.value)
    for part in ("2 of 6 files cannot be read", str(pictures / "train" / "cat" / "b.png"), "dataset.bad_files=2"):
        assert part in message
    with pytest.raises(UserError, match="2 of 6 files"):
        read_images(bad_files=1)
    found = read_images(bad_files=2)
    assert found.note == "2 of 6 files unreadable and left out"
    assert found.train_y.tolist() == [0, 1]


def test_nothing_but_bad_test_pictures(pictures):
    for path in walk(pictures / "val"):
        path.write_bytes(b"x")
    with pytest.raises(UserError, match="nothing of the test split can be used"):
        read_images(bad_files=2)


# The cache of decoded files


def folders(places) -> list[str]:
    return sorted(path.name for path in (places.cache / "decoded").glob("[!.]*"))


def test_files_are_decoded_once(pictures, places, monkeypatch):
    first = read_images()
    (folder,) = folders(places)
    assert folder.startswith("toy-")
    assert sorted(path.name for path in (places.cache / "decoded" / folder).iterdir()) == [
        *("index.json", "test.npy", "test_items.npy", "train.npy", "train_items.npy")
    ]
    monkeypatch.setattr(decoding, "_make", lambda *arguments: pytest.fail("decoded again"))
    second = read_images()
    assert second.digest == first.digest
    assert torch.equal(second.train_x, first.train_x)


def test_the_arrays_are_ordinary_ones_and_mapped(pictures, places):
    found = read_images()
    stored = np.load(places.cache / "decoded" / folders(places)[0] / "train.npy")
    assert np.array_equal(stored, found.train_x.numpy())
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert str(places.cache / "decoded") in maps.read_text()


def test_another_file_or_option_is_decoded_anew(pictures, places):
    digests = {read_images().digest}
    save(pictures / "train" / "cat" / "b.png", noise(16, 12, 9))
    digests.add(read_images().digest)
    digests.add(read_images(shape=(3, 4, 4)).digest)
    (pictures / "val" / "emu" / "e.jpg").rename(pictures / "val" / "dog" / "e.jpg")  # another label
    digests.add(read_images().digest)
    assert len(digests) == 4
    assert len(folders(places)) == 4


def test_a_touched_file_has_the_same_digest(pictures, places):
    first = read_images()
    os.utime(pictures / "train" / "cat" / "b.png", ns=(1, 1))
    assert read_images().digest == first.digest
    assert len(folders(places)) == 1


def unfinished(places) -> Path:
    """Where arrays grow."""
    (found,) = (places.cache / "decoded").glob(".*.part")
    return found


def seen(monkeypatch, stops: str = "") -> list[str]:
    """The names of the files that are decoded from now on; at the one called ``stops`` the process is killed."""
    names, real = [], decoding.Form

    def watched(path, *, decode):
        if path.name == stops:
            raise KeyboardInterrupt
        names.append(path.name)
        return decode(path)

    def form(options, row, dtype, decode):
        return real(options, row, dtype, partial(watched, decode=decode))

    monkeypatch.setattr("vaebench.data.folders.Form", form)
    return names


@pytest.fixture
def many(pictures, monkeypatch) -> Path:
    """Nine training pictures, of which one cannot be read, in blocks of two."""
    for number in range(6):
        save(pictures / "train" / "dog" / f"f{number}.png", noise(9, 8, number))
    (pictures / "train" / "dog" / "f0.png").write_bytes(b"none")
    monkeypatch.setattr(decoding, "_BLOCK", 2)
    return pictures


def whole(places) -> dict[str, bytes]:
    """What is decoded without a break; it is not there afterwards."""
    read_images(bad_files=1)
    (folder,) = folders(places)
    found = {path.name: path.read_bytes() for path in (places.cache / "decoded" / folder).iterdir()}
    shutil.rmtree(places.cache / "decoded")
    return found


@pytest.mark.parametrize("stops", ["c.png", "f2.png", "f5.png", "d.png", "e.jpg"])
def test_a_killed_decoding_goes_on_to_the_same_arrays(many, places, monkeypatch, stops):
    wanted = whole(places)
    with monkeypatch.context() as patch:
        first = seen(patch, stops)
        with pytest.raises(KeyboardInterrupt):
            read_images(bad_files=1)
    assert folders(places) == []
    with (unfinished(places) / "blocks.jsonl").open("a") as stream:
        stream.write('{"split": "tra')
    second = seen(monkeypatch)
    read_images(bad_files=1)
    (folder,) = folders(places)
    assert {path.name: path.read_bytes() for path in (places.cache / "decoded" / folder).iterdir()} == wanted
    assert stops in second
    assert len(second) < 11 or stops == "c.png"
    assert {*first, *second} >= {path.name for path in walk(many, (".png", ".jpg"))}


def test_blocks_that_are_not_as_they_were_written_are_decoded_again(many, places, monkeypatch):
    wanted = whole(places)
    with monkeypatch.context() as patch:
        seen(patch, "d.png")
        with pytest.raises(KeyboardInterrupt):
            read_images(bad_files=1)
    with (unfinished(places) / "train.npy").open("rb+") as stream:
        stream.seek(128 + 2 * 192)  # of the second block
        stream.write(b"lost")
    names = seen(monkeypatch)
    read_images(bad_files=1)
    assert sorted(names) == ["c.png", "d.png", "e.jpg", *(f"f{number}.png" for number in range(6))]
    (folder,) = folders(places)
    assert {path.name: path.read_bytes() for path in (places.cache / "decoded" / folder).iterdir()} == wanted


def test_a_process_that_is_killed_is_followed_up(many, places, monkeypatch):
    """SIGKILL, when two blocks are written down."""
    wanted = whole(places)
    code = f"""
import os, signal
from pathlib import Path
from vaebench.data import decoded, folders
decoded._BLOCK = 2
real = decoded._line
written = []
def line(block):
    written.append(block)
    if len(written) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(block)
decoded._line = line
folders.images(name="toy", shape=(3, 8, 8), splits={SPLITS}, bad_files=1)
"""
    assert python("-c", code).returncode == -signal.SIGKILL
    names = seen(monkeypatch)
    read_images(bad_files=1)
    assert sorted(names) == ["d.png", "e.jpg", *(f"f{number}.png" for number in range(1, 6))]
    (folder,) = folders(places)
    assert {path.name: path.read_bytes() for path in (places.cache / "decoded" / folder).iterdir()} == wanted


def test_a_disk_that_is_too_small_is_named_before_anything_is_decoded(many, places, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2111))
    names = seen(monkeypatch)
    with pytest.raises(
        UserError, match=r"11 files take 0\.0 GB more, decoded, .* set VAEBENCH_CACHE to a folder with"
    ) as error:
        read_images()
    assert len(error.value.lines) == 1
    assert names == []


def test_who_does_not_see_the_lock_takes_over_and_the_other_stops(many, places, monkeypatch):
    wanted, real = whole(places), decoding._journal

    @contextmanager
    def twice(path):
        with real(path) as (before, note):
            first = iter([True])

            def noted(block):
                if next(first, False):
                    with real(path):  # another process
                        pass
                note(block)

            yield before, noted

    with monkeypatch.context() as patch:
        patch.setattr(decoding, "_journal", twice)
        with pytest.raises(UserError, match="another process decodes into it now"):
            read_images(bad_files=1)
    read_images(bad_files=1)
    (folder,) = folders(places)
    assert {path.name: path.read_bytes() for path in (places.cache / "decoded" / folder).iterdir()} == wanted


def test_one_that_has_its_name_and_no_index_yet_is_finished(many, places, monkeypatch):
    wanted = whole(places)

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(decoding, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            read_images(bad_files=1)
    names = seen(monkeypatch)
    read_images(bad_files=1)
    assert names == []
    (folder,) = folders(places)
    assert {path.name: path.read_bytes() for path in (places.cache / "decoded" / folder).iterdir()} == wanted


def test_a_broken_index_is_named(pictures, places):
    read_images()
    folder = places.cache / "decoded" / folders(places)[0]
    (folder / "train.npy").write_bytes((folder / "train.npy").read_bytes()[:-5])
    with pytest.raises(UserError, match="delete it, and it is made again"):
        read_images()
    (folder / "index.json").write_text(json.dumps({}))
    with pytest.raises(UserError, match=f"{folder}: cannot be read"):
        read_images()


def test_a_cache_that_cannot_be_made(pictures, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VAEBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot be written .*set VAEBENCH_CACHE to a folder with room for toy"):
        read_images()


def test_several_threads_give_the_same(pictures, places, monkeypatch):
    for number in range(40):
        save(pictures / "train" / "cat" / f"{number:02}.png", noise(9, 8, number))
    first = read_images()
    shutil.rmtree(places.cache / "decoded")
    monkeypatch.setattr("vaebench.data.ahead.cores", lambda: 3)
    second = read_images()
    assert second.digest == first.digest
    assert torch.equal(second.train_x, first.train_x)


def test_two_at_a_time_decode_once(pictures, monkeypatch):
    made, real = [], decoding._make
    monkeypatch.setattr(decoding, "_make", lambda folder, *rest: (made.append(folder), real(folder, *rest)))
    with ThreadPoolExecutor(3) as pool:
        digests = {found.digest for found in pool.map(lambda _: read_images(), range(3))}
    assert (len(made), len(digests)) == (1, 1)


def test_many_files_are_announced(pictures, monkeypatch, capsys):
    monkeypatch.setattr(decoding, "_WORTH_A_LINE", 5)
    read_images()
    assert "note: decoding 5 files into" in capsys.readouterr().err


def test_links_are_followed_once(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.wav").write_text("")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "y.wav").write_text("")
    (tmp_path / "a" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "c").symlink_to(tmp_path / "elsewhere")
    found = [str(path.relative_to(tmp_path)) for path in walk(tmp_path / "a", (".wav",))]
    assert found == ["a/b/x.wav", "a/c/y.wav"]


# Sounds


def test_clips_of_ordinary_files(sounds):
    found = read_audio()
    assert (len(found.train), len(found.test), found.source, found.note) == (2, 1, "VAEBENCH_DATA", "")
    assert found.train.lengths.tolist() == [4000, 2400]
    assert found.train.labels.tolist() == [0, 1]
    assert torch.equal(found.train.samples[:4000], torch.from_numpy(tone(500)))
    assert torch.equal(found.test.item(0)[0] * 32768, torch.from_numpy(tone(900, 0.2)).float())
    assert found.batch(torch.tensor([1, 0])).x.shape == (2, 1, 1000)
    moved = found.to("meta")
    assert (moved.device.type, moved.train.samples.device.type) == ("meta", "cpu")
    assert moved.batch(torch.tensor([1])).x.device.type == "meta"


def strongest(wave: torch.Tensor, rate: int) -> float:
    spectrum = torch.fft.rfft(wave * torch.hann_window(len(wave))).abs()
    return float(spectrum.argmax()) * rate / len(wave)


@pytest.mark.parametrize("rate", [16000, 22050, 44100])
def test_a_tone_at_another_rate_stays_the_same_tone(sounds, rate):
    put_wav(sounds / "test" / "c.wav", tone(1000, 0.5, rate), rate)
    found = read_audio()
    item = found.test.item(0)[0]
    assert len(item) == 4000
    assert strongest(item, RATE) == pytest.approx(1000, abs=2)
    assert float(item[400:-400].abs().max()) == pytest.approx(0.5, abs=0.01)


def test_stereo_is_averaged(sounds):
    left, right = tone(500, 0.2), tone(800, 0.2)
    put_wav(sounds / "test" / "c.wav", np.stack([left, right], 1))
    expected = (left.astype(float) + right) / 2
    assert np.abs(read_audio().test.item(0)[0].numpy() * 32768 - expected).max() <= 0.51


def test_what_looks_wrong_is_counted(sounds):
    train = sounds / "train"
    put_wav(train / "silent.wav", np.zeros(4000, np.int16))
    put_wav(train / "hiss.wav", np.full(4000, 20, np.int16))
    clipped = tone(500)
    clipped[:40] = 32767
    put_wav(train / "clipped.wav", clipped)
    touching = tone(500)
    touching[:4] = -32768  # one in a thousand is not yet clipped
    put_wav(train / "touching.wav", touching)
    put_wav(train / "empty.wav", np.zeros(0, np.int16))
    put_wav(train / "short.wav", tone(500, 0.09))
    left = tone(500)
    put_wav(train / "opposite.wav", np.stack([left, -left], 1))
    found = read_audio()
    assert found.note == (
        "1 of 10 files clipped, 1 of 10 files empty and left out, 1 of 10 files shorter than 0.1 s and left out, "
        "2 of 10 files silent, 1 of 10 files silent once the channels are mixed"
    )
    assert len(found.train) == 7
    assert len(read_audio(shortest=0).train) == 8


def test_bad_sounds_are_named_and_left_out_if_that_is_allowed(sounds):
    (sounds / "train" / "ada" / "a.wav").write_bytes(b"RIFF")
    wavfile.write(sounds / "train" / "z.wav", RATE, np.full(4000, np.nan, np.float32))
    with pytest.raises(UserError) as error:
        read_audio()
    message = str(error.value)
    first = f"{sounds / 'train' / 'z.wav'}: it holds values that are not finite"
    for part in ("2 of 4 files cannot be read", first, "dataset.bad_files=2"):
        assert part in message
    found = read_audio(bad_files=2)
    assert (len(found), found.note) == (1, "2 of 4 files unreadable and left out")


def test_a_crop_longer_than_everything(sounds):
    with pytest.raises(UserError, match=r"a crop of 4001 samples is longer than every training clip of toy"):
        read_audio(shape=(1, 4001))
    shutil.rmtree(sounds / "train")
    found = read_audio(shape=(1, 4001))
    assert (len(found), found.note) == (0, "no training split")


@pytest.mark.parametrize("options", [{"sample_rate": 0}, {"shortest": -1}, {"shortest": float("nan")}])
def test_options_of_sounds(sounds, options):
    with pytest.raises(UserError, match=rf"dataset\.{next(iter(options))}=.*: expected a (whole )?number"):
        read_audio(**options)


@pytest.mark.parametrize(("suffix", "exact"), [("flac", True), ("ogg", False), ("mp3", False)])
def test_other_formats(sounds, suffix, exact):
    soundfile = pytest.importorskip("soundfile")
    samples = tone(1000, 0.5)
    soundfile.write(sounds / "test" / f"c.{suffix}", samples, RATE)
    (sounds / "test" / "c.wav").unlink()
    item = read_audio().test.item(0)[0]
    assert strongest(item, RATE) == pytest.approx(1000, abs=RATE / len(item))
    if exact:
        assert torch.equal(item * 32768, torch.from_numpy(samples).float())
    (sounds / "test" / f"c.{suffix}").write_bytes(b"none of these")
    with pytest.raises(UserError, match=f"1 of 3 files cannot be read, the first is .*c.{suffix}: "):
        read_audio()


def test_other_formats_without_soundfile(sounds, places, monkeypatch):
    (sounds / "test" / "d.FLAC").write_bytes(b"fLaC")
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name == "soundfile":
            raise ImportError("No module named 'soundfile'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"d\.FLAC: .*not installed .*pip install 'vaebench\[audio\]'"):
        read_audio(bad_files=9)
    assert folders(places) == []


@pytest.mark.parametrize("name", ["coco", "imagenet", "librispeech", "common_voice"])
def test_the_sets_of_ours(places, name):
    from vaebench.config.choices import leaf
    from vaebench.config.request import Request
    from vaebench.runs import build

    for split in ("train", "test"):
        if name in ("coco", "imagenet"):
            save(places.given / name / split / "a.jpg", noise(30, 40))
        else:
            put_wav(places.given / name / split / "a.wav", tone(500, 8, 16000), 16000)
    found = build.dataset(Request({"dataset": leaf("dataset", name)}))
    shape = leaf("dataset", name)["shape"]
    assert (list(found.shape), found.source, len(found)) == (shape, "VAEBENCH_DATA", 1)

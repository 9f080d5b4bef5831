"""Sets of folders are known by what their files hold."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaebench.cli.listing import data as command
from vaebench.config.choices import leaf
from vaebench.config.request import Request
from vaebench.data import contents as module
from vaebench.data import fetch
from vaebench.data.contents import contents, one_look
from vaebench.data.folders import images
from vaebench.data.leaves import dataset_leaf
from vaebench.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SPLITS = {"train": ["train"], "test": ["val|test"]}


def picture(path: Path, seed: int) -> None:
    """Pictures of the same size whatever they show."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(path.with_suffix(".bmp"))
    path.with_suffix(".bmp").rename(path)


@pytest.fixture
def folder(places) -> Path:
    for number, name in enumerate(("train/cat/a.png", "train/dog/b.png", "val/cat/c.png")):
        picture(places.given / "coco" / name, number)
    return places.given / "coco"


def key() -> str | None:
    return contents("coco", SPLITS, "images")


def frozen_leaf(**fields: object) -> dict[str, object]:
    return dataset_leaf(fields)


def read(expected: str | None = None):
    return images(name="coco", shape=[3, 8, 8], splits=SPLITS, bad_files=0, contents=expected)


def rewritten(path: Path, *, keep_times: bool) -> None:
    """Other content of the same size under the same name, written in place."""
    state = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 255
    path.write_bytes(content)
    if keep_times:
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.parametrize("settled", [0, module._SETTLED])
@pytest.mark.parametrize("keep_times", [False, True])
def test_files_that_are_rewritten_with_the_same_names_and_sizes_are_another_set(
    folder, monkeypatch, settled, keep_times
):
    monkeypatch.setattr(module, "_SETTLED", settled)
    before, data = key(), read()
    rewritten(folder / "train" / "cat" / "a.png", keep_times=keep_times)
    assert key() != before
    assert read().digest != data.digest
    rewritten(folder / "train" / "cat" / "a.png", keep_times=keep_times)
    assert key() == before
    assert read().digest == data.digest


def test_a_copy_is_the_same_set_wherever_it_lies(folder, places, monkeypatch):
    before, data = key(), read()
    shutil.copytree(folder, places.cache / "coco")  # other times, other inodes
    shutil.rmtree(folder)
    assert key() == before
    assert (read().digest, read().source) == (data.digest, "download")
    assert len(list((places.cache / "decoded").glob("coco-*"))) == 1  # decoded once


def test_what_is_no_picture_is_no_part_of_the_set(folder):
    before = key()
    (folder / "train" / "notes.txt").write_text("x")
    (folder / "train" / "cat" / "a.json").write_text("{}")
    (folder / "val" / ".thumb.png").write_text("")
    assert key() == before
    assert read().note == ""
    picture(folder / "train" / "cat" / "new.png", 9)
    with_new = key()
    (folder / "train" / "cat" / "new.png").rename(folder / "train" / "dog" / "new.png")
    assert len({before, with_new, key()}) == 3


def test_a_request_keeps_the_contents_it_was_made_for(folder):
    request = frozen_leaf(**leaf("dataset", "coco"))
    assert request["contents"] == key()
    assert read(request["contents"]).digest
    rewritten(folder / "val" / "cat" / "c.png", keep_times=False)
    with pytest.raises(UserError, match="its files are not those of this request any more") as error:
        read(request["contents"])
    assert len(error.value.lines) == 1


def test_files_are_read_once(folder, places, monkeypatch):
    monkeypatch.setattr(module, "_SETTLED", 0)
    before = key()
    monkeypatch.setattr(module, "digest_of", lambda path: pytest.fail(f"{path} read again"))
    assert key() == before
    assert contents("coco", {"train": ["train"], "test": ["val"]}, "images") == before


def test_the_record_keeps_the_files_of_other_splits(folder, monkeypatch):
    monkeypatch.setattr(module, "_SETTLED", 0)
    key()
    contents("coco", {"train": ["val"], "test": ["val"]}, "images")
    monkeypatch.setattr(module, "digest_of", lambda path: pytest.fail(f"{path} read again"))
    key()


def test_a_kill_costs_the_checksums_of_a_few_files(folder, monkeypatch):
    """Those that were taken are kept, and none stays with a file that has changed since."""
    monkeypatch.setattr(module, "_SETTLED", 0)
    monkeypatch.setattr(module, "_KEPT_EVERY", 1)
    before, real, names = key(), module.digest_of, []

    def killed(path: Path) -> str:
        names.append(path.name)
        if path.name == "b.png":
            raise KeyboardInterrupt
        return real(path)

    for path in ("cat/a.png", "dog/b.png"):
        rewritten(folder / "train" / path, keep_times=True)
    monkeypatch.setattr(module, "digest_of", killed)
    with pytest.raises(KeyboardInterrupt):
        key()
    assert "a.png" in names
    names.clear()
    monkeypatch.setattr(module, "digest_of", lambda path: names.append(path.name) or real(path))
    assert key() != before
    assert names == ["b.png"]
    rewritten(folder / "train" / "cat" / "a.png", keep_times=True)
    rewritten(folder / "train" / "dog" / "b.png", keep_times=True)
    assert key() == before


def test_a_file_that_has_just_changed_is_read_again(folder, places):
    key()
    (record,) = (places.cache / "checksums").iterdir()
    assert json.loads(record.read_text()) == {}  # its next change may have the same time


@pytest.mark.parametrize(
    "garbage", ["", "[]", "null", "5", "{", '{"a": 5}', '{"a": []}', '{"a": [1, 2]}', '{"a": null}', "[" * 99999]
)
def test_a_damaged_record_is_no_harm(folder, places, monkeypatch, garbage):
    monkeypatch.setattr(module, "_SETTLED", 0)
    before = key()
    (record,) = (places.cache / "checksums").iterdir()
    record.write_text(garbage)
    assert key() == before
    record.unlink()
    record.mkdir()
    assert key() == before


def test_without_a_cache_files_are_read_each_time(folder, tmp_path, monkeypatch):
    before = key()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VAEBENCH_CACHE", str(tmp_path / "file"))
    assert key() == before


def test_many_files_are_announced(folder, monkeypatch, capsys):
    monkeypatch.setattr(module, "_WORTH_A_LINE", (3, 1 << 30))
    key()
    assert f"note: taking the checksums of 3 files in {folder}, once" in capsys.readouterr().err


def test_a_plan_looks_once(folder, monkeypatch):
    looks = []
    monkeypatch.setattr(module, "checksums", lambda root, paths: looks.append(root) or dict.fromkeys(paths, "0"))
    with one_look():
        assert key() == key()
        assert len(looks) == 1
    key()
    assert len(looks) == 2


def test_arrays_that_were_changed_in_the_cache_are_refused(folder, places):
    read()
    (array,) = (places.cache / "decoded").glob("coco-*/train.npy")
    content = bytearray(array.read_bytes())
    content[-1] ^= 255
    array.write_bytes(content)
    with pytest.raises(UserError, match=r"not those that were stored.*delete it, and it is made again"):
        read()


def test_stored_numbers_are_not_those_of_other_files(folder, places, tmp_path):
    """The same command in another process, after the files have changed, makes another run."""
    first = frozen(tmp_path)
    assert frozen(tmp_path) == first
    rewritten(folder / "train" / "cat" / "a.png", keep_times=True)
    assert frozen(tmp_path) != first


def frozen(tmp_path: Path) -> str:
    """The key of a training on the set, in a process of its own."""
    code = (
        "from vaebench.config.compose import compose, session\nfrom vaebench.runs.kinds import train\n"
        "words = ['dataset=coco', 'dataset.shape=[3,8,8]', 'scale=smoke']\n"
        "with session(): print(train.request(compose('train', words), {}).key)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=True,
        timeout=120,
    )
    return done.stdout.strip()


# What is said of a folder


def test_pictures_of_other_formats_are_named(folder):
    for name in ("a.tif", "b.TIF", "c.gif"):
        (folder / "train" / "cat" / name).write_bytes(b"x")
    assert read().note == "3 more files not read (1 .gif, 2 .tif)"
    (entry,) = fetch.status("coco").files
    assert (entry.file, entry.state) == ("coco/ (not read: 1 .gif, 2 .tif)", "present")


def test_a_folder_of_nothing_that_is_read_is_not_present(places, capsys):
    for name in ("train/a.tif", "val/b.tif", "val/notes", "val/c.gif"):
        (places.given / "coco" / name).parent.mkdir(parents=True, exist_ok=True)
        (places.given / "coco" / name).write_bytes(b"x")
    found = fetch.status("coco")
    assert (found.origin, found.files[0].state) == ("unavailable", "not read")
    assert found.files[0].file == "coco/ (1 without an ending, 1 .gif, 2 .tif)"
    with pytest.raises(
        UserError, match=r"no file that ends in \.jpg.*, only 1 without an ending, 1 \.gif, 2 \.tif\. Looked"
    ):
        fetch.fetch("coco")
    assert key() is None
    assert command(["verify", "coco"]) == 1
    assert "not read" in capsys.readouterr().out


def test_verify_tries_every_picture(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    assert command(["verify", "coco"]) == 0
    (folder / "train" / "cat" / "[b]x.png").write_bytes(b"")
    os.mkfifo(folder / "val" / "pipe\n.png")
    assert command(["status", "coco"]) == 0
    assert command(["verify", "coco"]) == 1
    out = "".join(capsys.readouterr().out.split())
    assert "[b]x.png:itisempty" in out
    assert r"pipe\n.png:itisnoordinaryfile" in out


def test_of_many_bad_files_the_first_are_named(folder):
    for number in range(30):
        (folder / "train" / "cat" / f"x{number:02}.png").write_bytes(b"")
    files = fetch.verify("coco").files
    assert len(files) == 1 + 20 + 1
    assert files[-1].file == "and 10 more"


def test_a_folder_that_cannot_be_listed_is_named(folder, monkeypatch):
    real = os.scandir

    def refused(path):
        if str(path).endswith("cat"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(UserError, match=r"train.cat: cannot be listed \(Permission denied\)"):
        key()


# Classes


def test_classes_are_those_of_the_folders(places):
    for number in range(13):
        picture(places.given / "coco" / "train" / f"c{number:02}" / "a.png", number)
    picture(places.given / "coco" / "val" / "c05" / "a.png", 99)
    found = read()
    assert (found.classes, found.test_y.tolist(), found.class_names[12]) == (13, [5], "c12")


def test_a_set_without_class_folders_has_no_classes(places):
    for split in ("train", "val"):
        picture(places.given / "coco" / split / "a.png", 1)
    found = read()
    assert (found.classes, found.class_names, found.train_y.tolist(), found.note) == (0, (), [0], "")


def test_a_set_of_which_some_files_lie_in_no_class_folder_has_no_classes(folder):
    picture(folder / "val" / "loose.png", 7)
    found = read()
    assert (found.classes, found.train_y.tolist()) == (0, [0, 1])
    assert found.note == "1 of 4 files in no class folder, so there are no classes"


def test_one_class_is_a_class(places):
    for split in ("train", "val"):
        picture(places.given / "coco" / split / "cat" / "a.png", 1)
    assert read().classes == 1


# Fields


@pytest.mark.parametrize("name", ["../../x", "a/b", "", "..", "a\nb", "\x1b[31m", "x" * 101, 5, None, ["a"]])
def test_a_set_has_a_plain_name(name):
    with pytest.raises(UserError, match=r"dataset\.name=.*: must be a plain name") as error:
        frozen_leaf(name=name, shape=[1, 8, 8])
    assert len(str(error.value).splitlines()) == 1


def test_an_item_fits_into_memory():
    with pytest.raises(
        UserError, match=r"dataset\.shape=\[1, 1000000, 1000000\]: 1,000,000,000,000 numbers in one item"
    ):
        frozen_leaf(name="a", shape=[1, 10**6, 10**6])
    assert frozen_leaf(name="a", shape=[3, 4096, 4096])["name"] == "a"


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("tones", {"seed": -1}),
        ("tones", {"seed": 2**32}),
        ("tones", {"train": 10**12}),
        ("chirps", {"sample_rate": 10**9}),
        ("chirps", {"seconds": [0.3, 1e9]}),
        ("chirps", {"seconds": [0.3, float("nan")]}),
        ("s_curve", {"seed": -1}),
        ("s_curve", {"seed": 2**63}),
        ("s_curve", {"count": 10**12}),
        ("digits", {"shape": [1, 10**5, 10**5]}),
        ("photos", {"train": 10**12}),
        ("arithmetic", {"most": 10**12}),
        ("arithmetic", {"train": 10**12}),
        ("arithmetic", {"steps": [1, 10**12]}),
    ],
)
def test_a_field_out_of_bounds_is_one_line(name, changed):
    from vaebench.runs import build

    with pytest.raises(UserError, match=next(iter(changed))) as error:
        build.dataset(Request({"dataset": leaf("dataset", name) | changed}))
    assert len(error.value.lines) == 1

"""Folders of one's own: which split is made of them, what names a run, and what is said of those that do not fit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

import vaebench
from vaebench.config.compose import compose, session
from vaebench.config.request import Request
from vaebench.data.leaves import dataset_leaf
from vaebench.errors import UserError
from vaebench.runs import build

FAST = ("dataset.size=8", "train.max_steps=1", "train.batch_size=4")


def save(path: Path, seed: int, size: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)).save(path)


def put_wav(path: Path, hertz: float, rate: int = 8000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, rate, np.int16(9000 * np.sin(2 * np.pi * hertz * np.arange(rate // 2) / rate)))


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """30 cats and 10 dogs."""
    for number in range(40):
        save(tmp_path / "pets" / ("dog" if number < 10 else "cat") / f"{number}.png", number)
    return tmp_path / "pets"


def leaf(path: Path | str | None, *words: str, dataset: str = "folder") -> dict:
    size = [] if dataset == "audio_folder" else ["dataset.size=8"]
    given = [] if path is None else [f"dataset.path={path}"]
    model = ["model=vp_vae"] if dataset == "audio_folder" else []
    with session():
        return dataset_leaf(compose("train", [f"dataset={dataset}", *model, *size, *given, *words]).dataset)


def read(path: Path, *words: str, dataset: str = "folder"):
    return build.dataset(Request({"dataset": leaf(path, *words, dataset=dataset)}))


def key(path: Path, *words: str) -> str:
    return Request({"dataset": leaf(path, *words)}).key


def held(found) -> set[bytes]:
    return {image.numpy().tobytes() for image in found.test_x}


def test_a_share_of_every_class_is_held_out_whatever_the_place_and_the_times(pets, tmp_path):
    found = read(pets)
    assert (found.shape, found.class_names, len(found)) == ((3, 8, 8), ("cat", "dog"), 36)
    assert found.test_y.tolist() == [0, 0, 0, 1]
    assert found.note == "4 of 40 files held out to test on (test_share=0.1, seed 0)"
    assert found.source == "dataset.path"
    images = held(found) | {image.numpy().tobytes() for image in found.train_x}
    assert images == {np.asarray(Image.open(path)).transpose(2, 0, 1).tobytes() for path in pets.rglob("*.png")}
    shutil.copytree(pets, tmp_path / "elsewhere" / "animals", copy_function=shutil.copyfile)
    assert held(read(tmp_path / "elsewhere" / "animals")) == held(found)
    assert held(read(pets, "dataset.split_seed=1")) != held(found)
    assert len(read(pets, "dataset.test_share=0.5").test_x) == 20


def test_a_new_picture_moves_few_others(pets):
    before = held(read(pets, "dataset.test_share=0.25"))
    save(pets / "cat" / "new.png", 99)
    assert len(before & held(read(pets, "dataset.test_share=0.25"))) >= len(before) - 2


def test_nothing_is_tested_on_that_was_trained_on(pets):
    for path in list(pets.rglob("*.png")):
        shutil.copy(path, path.with_name(f"copy of {path.name}"))
    shutil.copy(pets / "dog" / "1.png", pets / "cat" / "a dog.png")
    found = read(pets, "dataset.test_share=0.3")
    assert len(found.test_x) >= 24
    assert not held(found) & {image.numpy().tobytes() for image in found.train_x}


def test_the_key_has_the_contents_and_not_the_path(pets, tmp_path):
    before = key(pets)
    shutil.copytree(pets, tmp_path / "copy")
    assert key(tmp_path / "copy") == before
    save(tmp_path / "copy" / "cat" / "39.png", 1000)
    assert key(tmp_path / "copy") != before
    (pets / "cat" / "39.png").rename(pets / "dog" / "39.png")
    assert key(pets) != before
    (pets / "dog" / "39.png").rename(pets / "cat" / "39.png")
    assert key(pets) == before
    assert key(pets, "dataset.test_share=0.2") != before


@pytest.mark.parametrize("test", ["test", "val", "validation"])
def test_splits_that_are_there_are_taken(pets, tmp_path, test):
    shutil.copytree(pets, tmp_path / "set" / "train")
    save(tmp_path / "set" / test / "dog" / "t.png", 77)
    found = read(tmp_path / "set")
    assert (len(found), found.test_y.tolist(), found.note) == (40, [1], "")
    described = leaf(tmp_path / "set")
    assert (described["test_share"], described["split_seed"]) == (None, None)  # they would do nothing
    save(tmp_path / "set" / "more" / "x.png", 78)
    assert read(tmp_path / "set").note == "more/ not used"
    shutil.rmtree(tmp_path / "set" / test)
    assert len(read(tmp_path / "set")) == 37  # train is a class beside more
    shutil.rmtree(tmp_path / "set" / "more")
    found = read(tmp_path / "set")
    assert (len(found), len(found.test_x), found.class_names) == (36, 4, ("cat", "dog"))


def test_a_test_split_alone_can_be_evaluated_on(pets, tmp_path):
    shutil.copytree(pets, tmp_path / "set" / "test")
    found = read(tmp_path / "set")
    assert (len(found), len(found.test_x), found.note) == (0, 40, "no training split")


def test_pictures_without_sub_folders_have_no_classes(pets):
    found = read(pets / "cat", "dataset.channels=1")
    assert (found.classes, found.shape, len(found), len(found.test_x)) == (0, (1, 8, 8), 27, 3)


def test_what_looks_wrong_is_noted(pets):
    save(pets / "emu" / "e.png", 50, size=5)
    save(pets / "emu" / "yak" / "y.png", 51)  # deeper folders are no classes
    save(pets / "gnu" / "g.png", 52)
    put_wav(pets / "cat" / "meow.wav", 700)
    (pets / "cat" / "moving.gif").write_bytes(b"GIF89a")
    (pets / "notes.txt").write_text("of no kind")
    assert read(pets).note == (
        "4 of 43 files held out to test on (test_share=0.1, seed 0), 1 of 4 classes with one file each (gnu), "
        "1 files of another kind not used (1 .wav), 1 more files not read (1 .gif)"
    ).replace("4 of 43 files held out", "1 of 43 files smaller than 8 x 8 and enlarged, 4 of 43 files held out")
    save(pets / "loose.png", 53)
    found = read(pets)
    assert found.classes == 0
    assert "1 of 44 files in no class folder, so there are no classes" in found.note


def test_a_broken_picture_is_named(pets):
    whole = (pets / "cat" / "20.png").read_bytes()
    (pets / "cat" / "20.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError) as error:
        read(pets)
    assert str(error.value).startswith(
        f"folder: 1 of 40 files cannot be read, the first is {pets / 'cat' / '20.png'}: "
    )
    assert "dataset.bad_files=1" in str(error.value)
    assert "1 of 40 files unreadable and left out" in read(pets, "dataset.bad_files=1").note


@contextmanager
def unprivileged() -> Iterator[None]:
    """Without the rights of root, who may read everything."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs the rights of POSIX")
def test_a_folder_that_may_not_be_read(pets):
    pets.chmod(0)
    try:
        with unprivileged(), pytest.raises(UserError, match=r"pets: cannot be .*Permission denied.*; make it readable"):
            leaf(pets)
    finally:
        pets.chmod(0o755)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, ": there is no such folder"),
        (lambda path: path.write_text(""), ": is a file; name the folder that holds your pictures"),
        (lambda path: path.mkdir(), r": is empty: no file that ends in \.jpg, "),
        (lambda path: save(path / "a.png", 0), "a.png: there is one file only, and two are needed"),
        (lambda path: [save(path / f"{n}.png", 0) for n in "abc"], "a.png: there are 3 files of the same content, and"),
        (
            lambda path: put_wav(path / "a.wav", 500),
            r": has only 1 \.wav, and none .*; sounds are read by dataset=audio_",
        ),
    ],
)
def test_folders_that_are_no_set_are_refused(tmp_path, make, message):
    make(tmp_path / "set")
    with pytest.raises(UserError, match=message) as error:
        leaf(tmp_path / "set")
    assert len(error.value.lines) == 1
    assert str(tmp_path / "set") in str(error.value)


def test_options_that_do_not_fit(pets):
    with pytest.raises(UserError, match=r"dataset=folder: which folder\? .*dataset\.path=DIR"):
        leaf(None)
    with pytest.raises(UserError, match=r"dataset\.test_share=None, dataset\.split_seed=0: there is no test split"):
        leaf(pets, "dataset.test_share=null")
    with pytest.raises(
        UserError, match=r"dataset\.shape=\[3, 9, 9\]: follows from dataset\.channels and dataset\.size"
    ):
        read(pets, "dataset.shape=[3,9,9]")
    with pytest.raises(UserError, match=r"dataset\.test_share='abc': expected a number above 0 and below 1 or null"):
        leaf(pets, "dataset.test_share=abc")
    with pytest.raises(UserError, match=r"dataset\.path=\['a'\]: expected a text or null"):
        leaf("[a]")
    with pytest.raises(UserError, match=r"dataset\.test_share=1.*above 0 and below 1"):
        read(pets, "dataset.test_share=1.0")


def test_sounds_of_ones_own(tmp_path):
    for number in range(10):
        put_wav(tmp_path / "songs" / ("low" if number < 5 else "high") / f"{number}.wav", 300 + 40 * number)
    words = ("dataset.sample_rate=4000", "dataset.length=1500")
    found = read(tmp_path / "songs", *words, dataset="audio_folder")
    assert (found.shape, found.sample_rate, found.class_names) == ((1, 1500), 4000, ("high", "low"))
    assert (len(found.train), len(found.test), found.test.lengths.tolist()) == (9, 1, [2000])
    assert found.note == "1 of 10 files held out to test on (test_share=0.1, seed 0)"
    with pytest.raises(UserError, match=r"has only 10 \.wav, and none .*; sounds are read by dataset=audio_folder"):
        leaf(tmp_path / "songs")
    with pytest.raises(UserError, match=r"dataset\.shape=\[1, 7\]: follows from dataset\.length, here \[1, 1500\]"):
        read(tmp_path / "songs", *words, "dataset.shape=[1,7]", dataset="audio_folder")


# Commands


@pytest.mark.parametrize("model", ["batchtopk", "vp_vae model.codebook_size=64", "vmae model.perceptual=none"])
def test_models_are_trained_on_it(pets, run, model):
    said = run.done(
        "train", f"model={model.split()[0]}", *model.split()[1:], "dataset=folder", f"dataset.path={pets}", *FAST
    )
    assert "on folder pets seed=0" in said
    assert "4 of 40 files held out" in said


def test_a_finished_run_outlives_the_place_of_its_data(pets, tmp_path, run):
    trained = vaebench.train("model=ae", "dataset=folder", f"dataset.path={pets}", *FAST)
    same = vaebench.train("model=ae", "dataset=folder", f"dataset.path={shutil.copytree(pets, tmp_path / 'b')}", *FAST)
    assert same.key == trained.key
    shutil.rmtree(tmp_path / "b")
    moved = pets.rename(tmp_path / "moved")
    words = ("eval", f"run={trained.key}", "suite=reconstruction")
    gone = run.refused(*words, "quiet=true")
    assert (
        f"dataset.path={pets}: there is no such folder; put that back, or give the command the folder that has" in gone
    )
    save(tmp_path / "other" / "a.png", 1)
    save(tmp_path / "other" / "b.png", 2)
    refused = run.refused(*words, f"dataset.path={tmp_path / 'other'}")
    assert f"does not hold what the run was trained on, {pets}" in refused
    assert "psnr" in run.done(*words, f"dataset.path={moved}")
    assert "psnr" in run.done(*words, "suite.batch_size=7")  # it knows by now
    assert len(vaebench.load(trained.key).dataset) == 36
    (moved / "cat" / "39.png").unlink()
    assert "put that back" in run.refused(*words, "suite.batch_size=8", "quiet=true")


def test_a_suite_that_needs_classes(pets, run):
    words = ("eval", "suite=noise", "model=ae", "dataset=folder", f"dataset.path={pets / 'cat'}", *FAST)
    assert "dataset=folder: there are no sub-folders, so there are no classes, and a classifier is" in run.refused(
        *words
    )
    words = ("train", "model=vmae", "dataset=folder", f"dataset.path={pets / 'cat'}", *FAST)
    assert "or model.perceptual=none" in run.refused(*words)


def test_another_set_is_tested_on(pets, tmp_path, run):
    save(tmp_path / "scans" / "test" / "a.png", 5)
    trained = ("model=ae", "dataset=folder", f"dataset.path={pets}", *FAST)
    words = ("eval", "suite=reconstruction", *trained, "dataset@test_on=folder", f"test_on.path={tmp_path / 'scans'}")
    assert "on folder scans of" in run.done(*words, "test_on.size=8")
    assert "its shape is [3, 64, 64], and folder's is [3, 8, 8]" in run.refused(*words)


def test_lists_say_that_it_is_named_by_a_path(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    said = run.done("list", "datasets")
    assert [line.split() for line in said.splitlines() if "│ folder " in line] == [
        ["│", "folder", "│", "3x64x64", "│", "dataset.path", "│"]
    ]
    assert "what dataset.path=... names" in run.done("data", "status", "folder")
    assert "it is your own, where dataset.path says; nothing is fetched" in run.refused("data", "fetch", "hf")


def test_a_folder_can_have_a_name_of_its_own(pets, tmp_path, run, monkeypatch):
    (tmp_path / "mine" / "dataset").mkdir(parents=True)
    text = f"defaults: [folder, _self_]\nname: pets\npath: {pets}\nsize: 16\n"
    (tmp_path / "mine" / "dataset" / "pets.yaml").write_text(text)
    monkeypatch.setenv("VAEBENCH_CONF", str(tmp_path / "mine"))
    assert "ae latent_dim=64 on pets seed=0" in run.done("train", "model=ae", "dataset=pets", *FAST[1:])
    assert "3x16x16" in run.done("list", "datasets")

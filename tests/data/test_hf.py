"""Sets for the library `datasets`, written by it: folders of Parquet files and of pictures, and what it saves."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaebench.config.compose import compose, session
from vaebench.config.request import Request
from vaebench.data import hub
from vaebench.data.leaves import dataset_leaf
from vaebench.errors import UserError
from vaebench.runs import build

datasets = pytest.importorskip("datasets")
PIXELS = np.random.default_rng(0).integers(0, 256, (14, 8, 8, 3), np.uint8)


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written outside, nobody is asked."""
    hub.commit.cache_clear()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def pets(**more: list) -> datasets.DatasetDict:
    """Ten training and four test pictures of cats and dogs, by turns."""
    names = datasets.ClassLabel(names=["dog", "cat"])
    columns = {"image": list(map(Image.fromarray, PIXELS)), "label": [0, 1] * 7, "text": ["a pet"] * 14}
    kinds = {"image": datasets.Image(), "label": names, "text": datasets.Value("string")}
    found = datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))
    for name, values in more.items():
        found = found.add_column(name, values)
    return datasets.DatasetDict({"train": found.select(range(10)), "test": found.select(range(10, 14))})


def parquet(folder: Path, **more: list) -> Path:
    folder.mkdir()
    for split, rows in pets(**more).items():
        rows.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


def saved(folder: Path) -> Path:
    pets().save_to_disk(folder)
    return folder


def pictures(folder: Path) -> Path:
    for split, rows in pets().items():
        for number, row in enumerate(rows):
            path = folder / split / ("dog", "cat")[row["label"]] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            row["image"].save(path)
    return folder


def leaf(path: Path | str | None, *words: str) -> dict:
    given = [] if path is None else [f"dataset.path={path}"]
    with session():
        return dataset_leaf(compose("train", ["dataset=hf", "dataset.size=8", *given, *words]).dataset)


def read(path: Path | str, *words: str):
    return build.dataset(Request({"dataset": leaf(path, *words)}))


def key(path: Path, *words: str) -> str:
    return Request({"dataset": leaf(path, *words)}).key


@pytest.mark.parametrize("write", [parquet, saved, pictures])
def test_what_the_library_writes_is_read(tmp_path, write):
    found = read(write(tmp_path / "pets"), "dataset.label=label")
    assert (found.name, found.class_names, found.note, found.source) == ("hf", ("cat", "dog"), "", "dataset.path")
    wanted = {pixels.transpose(2, 0, 1).tobytes(): 1 - number % 2 for number, pixels in enumerate(PIXELS)}
    for rows, images, labels in (
        (PIXELS[:10], found.train_x, found.train_y),
        (PIXELS[10:], found.test_x, found.test_y),
    ):
        there = [image.numpy().tobytes() for image in images]
        assert sorted(there) == sorted(pixels.transpose(2, 0, 1).tobytes() for pixels in rows)
        assert labels.tolist() == [wanted[image] for image in there]


def test_rows_keep_their_order_and_a_part_can_be_held_out(tmp_path):
    folder = parquet(tmp_path / "pets")
    found = read(folder)
    assert np.array_equal(found.train_x.permute(0, 2, 3, 1).numpy(), PIXELS[:10])
    assert found.classes == 0
    held = read(folder, "dataset.test_split=null", "dataset.label=label", "dataset.test_share=0.2")
    assert (len(held), sorted(held.test_y.tolist())) == (8, [0, 1])
    assert held.note == "2 of 10 files held out to test on (test_share=0.2, seed 0)"
    alone = read(folder, "dataset.train_split=null", "dataset.channels=1")
    assert (len(alone), alone.shape, alone.note) == (0, (1, 8, 8), "no training split")


def test_the_key_has_the_contents(tmp_path):
    folder = parquet(tmp_path / "pets")
    before = key(folder)
    assert key(shutil.copytree(folder, tmp_path / "copy")) == before
    assert key(folder, "dataset.label=label") != before
    assert key(parquet(tmp_path / "other", extra=[1] * 14)) != before
    assert leaf(folder)["test_share"] is None  # it would do nothing


def test_classes_of_numbers_and_texts(tmp_path):
    folder = parquet(tmp_path / "pets", number=[*range(2, 16)], word=["a/b", None] * 7)
    found = read(folder, "dataset.label=number", "dataset.test_split=null")
    assert found.class_names == tuple(f"{number:02}" for number in range(2, 12))  # 10 comes after 9
    assert read(folder, "dataset.label=word").classes == 0  # some have none


def test_pictures_that_are_missing_or_broken_are_named(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(PIXELS[0]).save(buffer, "PNG")
    raw = [buffer.getvalue()] * 12 + [None, buffer.getvalue()[:40]]
    folder = parquet(tmp_path / "pets", raw=raw)
    assert len(read(folder, "dataset.column=raw", "dataset.test_split=null")) == 9  # bytes are pictures too
    with pytest.raises(
        UserError, match="hf: 2 of 14 files cannot be read, the first is test, row 2: it holds no picture"
    ):
        read(folder, "dataset.column=raw")
    assert read(folder, "dataset.column=raw", "dataset.bad_files=2").note == "2 of 14 files unreadable and left out"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("dataset.column=img", "unknown dataset.column 'img'; did you mean 'image'? Valid: image, label, text"),
        ("dataset.column=text", "dataset.column=text: holds string, no pictures; pictures are in image"),
        ("dataset.label=lable", "unknown dataset.label 'lable'; did you mean 'label'?"),
        ("dataset.label=image", "dataset.label=image: holds Image, no classes; null: without classes"),
        ("dataset.test_split=val", "dataset.test_split=val: {} has the splits train, test (null: some of the training"),
        ("dataset.train_split=null dataset.test_split=null", "dataset.train_split=null, dataset.test_split=null: name"),
        ("dataset.config=x", "dataset.path={}, dataset.config=x: cannot be loaded (BuilderConfig 'x' not found."),
        ("dataset.revision=x", "dataset.revision=x: {} is a folder, which has none; leave it out"),
        ("dataset.shape=[3,9,9]", "dataset.shape=[3, 9, 9]: follows from dataset.channels and dataset.size"),
    ],
)
def test_what_a_set_does_not_have_is_one_line(tmp_path, words, message):
    folder = parquet(tmp_path / "pets")
    with pytest.raises(UserError) as error:
        read(folder, *words.split())
    assert len(error.value.lines) == 1
    assert message.format(folder) in str(error.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (None, "dataset=hf: which set?"),
        ("./nowhere", "there is no such folder, and it is no name on the hub"),
        ("no/such/name", "there is no such folder, and it is no name on the hub"),
        (
            "some/pets",
            "there is no such folder, and the Hugging Face hub cannot be asked for a set of this name (Cannot",
        ),
    ],
)
def test_a_set_that_is_nowhere(tmp_path, monkeypatch, path, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        leaf(path)
    assert len(error.value.lines) == 1
    assert message in str(error.value)


def test_an_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        UserError, match=r"empty: cannot be loaded \(The directory at .* doesn't contain any data files"
    ):
        read(tmp_path / "empty")


def test_a_name_on_the_hub_is_known_by_its_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refs = tmp_path / "hub" / "datasets--some--pets" / "refs"  # as huggingface_hub keeps them
    refs.mkdir(parents=True)
    commits = ["0123456789abcdef0123456789abcdef01234567", "f" * 40]
    for name, commit in zip(("main", "v2"), commits, strict=True):
        (refs / name).write_text(commit)
    found = leaf("some/pets")
    assert (found["revision"], found["contents"]) == (commits[0], f"some/pets@{commits[0]}")
    assert leaf("some/pets", f"dataset.revision={commits[0]}") == found
    assert leaf("some/pets", "dataset.revision=v2")["contents"] == f"some/pets@{commits[1]}"
    (refs / "main").write_text("no commit")
    hub.commit.cache_clear()
    with pytest.raises(UserError, match="cannot be asked"):
        hub.commit("some/pets", None)


def test_commands_train_and_find_a_folder_again(tmp_path, run):
    folder = parquet(tmp_path / "pets")
    fast = ("model=ae", "dataset=hf", "dataset.size=8", "train.max_steps=1", "train.batch_size=4")
    said = run.done("train", *fast, f"dataset.path={folder}")
    assert "on hf pets seed=0" in said
    key = said.split()[1].rstrip(":")
    moved = folder.rename(tmp_path / "moved")
    words = ("eval", f"run={key}", "suite=reconstruction")
    assert "there is no such folder" in run.refused(*words, "quiet=true")
    assert "psnr" in run.done(*words, f"dataset.path={moved}")
    assert "dataset.label=null, so there are no classes" in run.refused(
        "eval", "suite=noise", *fast, f"dataset.path={moved}"
    )

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from omegaconf import OmegaConf

from vaebench.config.origins import conf_dir
from vaebench.config.request import Request
from vaebench.data.images import cifar10, digits, idx, photos, read_idx
from vaebench.errors import UserError

REAL = Path(os.environ.get("VAEBENCH_DATA", "-")).absolute()  # before the tests' own folder takes its place
needs_mnist = pytest.mark.skipif(not (REAL / "mnist").is_dir(), reason="MNIST is not in VAEBENCH_DATA")
needs_fashion = pytest.mark.skipif(not (REAL / "fashion_mnist").is_dir(), reason="no Fashion-MNIST in VAEBENCH_DATA")
needs_cifar = pytest.mark.skipif(not (REAL / "cifar10").is_dir(), reason="CIFAR-10 is not in VAEBENCH_DATA")
SHAPE = [1, 6, 5]


def leaf(name: str) -> dict:
    return yaml.safe_load((conf_dir() / "dataset" / f"{name}.yaml").read_text())


def build(name: str):
    from vaebench.runs import build as module

    return module.dataset(Request({"dataset": leaf(name)}))


# IDX


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def idx_arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "train_images": random.integers(0, 256, (12, 6, 5), np.uint8),
        "train_labels": np.arange(12, dtype=np.uint8) % 3,
        "test_images": random.integers(0, 256, (4, 6, 5), np.uint8),
        "test_labels": np.arange(4, dtype=np.uint8) % 3,
    }


@pytest.fixture
def put_idx(put):
    """Writes the small IDX dataset, some of its files with other bytes."""

    def write(folder: Path, **other: bytes) -> dict[str, dict[str, str]]:
        whole = {role: gzip.compress(idx_bytes(array), mtime=0) for role, array in idx_arrays().items()}
        packed = put(folder, {f"{role}.gz": content for role, content in (whole | other).items()})
        return {role.removesuffix(".gz"): entry for role, entry in packed.items()}

    return write


def test_idx_holds_what_the_files_hold(places, put_idx):
    data = idx(name="toy", shape=SHAPE, files=put_idx(places.given / "toy"))
    arrays = idx_arrays()
    for split in ("train", "test"):
        images, labels = getattr(data, f"{split}_x"), getattr(data, f"{split}_y")
        assert images.dtype == torch.uint8
        assert labels.dtype == torch.int64
        assert np.array_equal(images[:, 0].numpy(), arrays[f"{split}_images"])
        assert labels.tolist() == arrays[f"{split}_labels"].tolist()
    assert (data.name, data.source, data.note, data.stand_in) == ("toy", "VAEBENCH_DATA", "", False)
    assert data.shape == (1, 6, 5)
    assert data.classes == 3


def test_the_given_folder_is_only_read(places, put_idx):
    files = put_idx(places.given / "toy")
    places.given.joinpath("toy").chmod(0o555)
    before = {path.name: path.stat().st_mtime_ns for path in (places.given / "toy").iterdir()}
    idx(name="toy", shape=SHAPE, files=files)
    assert {path.name: path.stat().st_mtime_ns for path in (places.given / "toy").iterdir()} == before
    assert not places.cache.exists()


def test_digest_is_of_the_content_and_not_of_its_packing(places, put_idx):
    first = idx(name="toy", shape=SHAPE, files=put_idx(places.given / "toy"))
    packed = {role: gzip.compress(idx_bytes(array), 1, mtime=5) for role, array in idx_arrays().items()}
    assert idx(name="toy", shape=SHAPE, files=put_idx(places.given / "toy", **packed)).digest == first.digest
    labels = idx_arrays()["test_labels"][::-1]
    changed = put_idx(places.given / "toy", test_labels=gzip.compress(idx_bytes(labels)))
    assert idx(name="toy", shape=SHAPE, files=changed).digest != first.digest


IMAGES = idx_bytes(idx_arrays()["train_images"])
BAD = {
    "cut gzip": (gzip.compress(IMAGES)[:-20], "cannot be read to its end"),
    "bytes after the gzip": (gzip.compress(IMAGES) + b"xx", "cannot be read to its end"),
    "not gzip": (IMAGES, "cannot be read to its end"),
    "a value too few": (gzip.compress(IMAGES[:-1]), "359 values follow the header, which announces 12 x 6 x 5 = 360"),
    "a value too many": (gzip.compress(IMAGES + b"x"), "361 values follow the header"),
    "cut header": (gzip.compress(IMAGES[:10]), "10 bytes are too few"),
    "empty": (gzip.compress(b""), "0 bytes are too few"),
    "wrong magic": (gzip.compress(b"\x01" + IMAGES[1:]), "it begins with 01000803, not 00000803"),
    "of floats": (gzip.compress(b"\0\0\x0d\x03" + IMAGES[4:]), "not an IDX file of unsigned bytes in 3 dimensions"),
    "labels": (gzip.compress(idx_bytes(np.zeros(30, np.uint8))), "it begins with 00000801"),
    "too few images": (gzip.compress(idx_bytes(np.zeros((11, 6, 5), np.uint8))), "11 train images and 12 train labels"),
    "no image": (gzip.compress(idx_bytes(np.zeros((0, 6, 5), np.uint8))), "0 train images"),
    "another size": (gzip.compress(idx_bytes(np.zeros((12, 5, 6), np.uint8))), "the train images of toy are [1, 5, 6]"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_a_bad_file_with_the_right_hash_is_refused(places, put_idx, content, message):
    files = put_idx(places.given / "toy", train_images=content)
    with pytest.raises(UserError) as error:
        idx(name="toy", shape=SHAPE, files=files)
    assert message in str(error.value)
    assert len(error.value.lines) == 1


def test_idx_names_its_roles():
    with pytest.raises(UserError, match="files must be train_images, train_labels, test_images, test_labels, not x"):
        idx(name="toy", shape=SHAPE, files={"x": {"file": "x", "sha256": "0"}})


@pytest.mark.parametrize(("shape", "top", "left"), [([3, 10, 8], 2, 1), ([3, 6, 5], 0, 0), ([1, 7, 8], 0, 1)])
def test_padding_puts_the_image_in_the_middle_of_every_channel(places, put_idx, shape, top, left):
    data = idx(name="toy", shape=shape, files=put_idx(places.given / "other"), folder="other", pad=True)
    assert list(data.shape) == shape
    for split in ("train", "test"):
        images, raw = getattr(data, f"{split}_x"), idx_arrays()[f"{split}_images"]
        for channel in range(shape[0]):
            inner = images[:, channel, top : top + 6, left : left + 5]
            assert np.array_equal(inner.numpy(), raw)
        assert int(images.sum()) == shape[0] * int(raw.sum())  # black outside
    assert data.train_y.tolist() == idx_arrays()["train_labels"].tolist()


def test_padding_is_asked_for_and_only_enlarges(places, put_idx):
    files = put_idx(places.given / "toy")
    with pytest.raises(UserError, match=r"dataset\.shape=\[3, 10, 8\]: the train images of toy are \[1, 6, 5\]"):
        idx(name="toy", shape=[3, 10, 8], files=files)
    for shape in ([3, 5, 5], [3, 6, 4], [6, 5], [0, 6, 5]):
        with pytest.raises(UserError, match=r"with dataset\.pad it must be \(channels, 6 or more, 5 or more\)"):
            idx(name="toy", shape=shape, files=files, pad=True)


def test_every_dataset_yaml_binds_to_its_reader():
    from vaebench.runs import build as module

    for path in sorted((conf_dir() / "dataset").glob("*.yaml")):
        leaves = OmegaConf.create({"dataset": yaml.safe_load(path.read_text())})
        if "_target_" in leaves.dataset:  # a composed one is bound in tests/test_requests.py
            module.check(OmegaConf.to_object(leaves))


# The embedded digits


def test_digits():
    data = build("digits")
    assert data.train_x.shape == (1437, 1, 28, 28)
    assert data.test_x.shape == (360, 1, 28, 28)
    assert (data.train_x.dtype, data.train_y.dtype) == (torch.uint8, torch.int64)
    assert (int(data.train_x.min()), int(data.train_x.max())) == (0, 255)
    assert (data.source, data.note, data.stand_in, data.classes) == ("embedded", "", True, 10)
    per_class = torch.bincount(data.train_y), torch.bincount(data.test_y)
    assert ((per_class[0] / 1437 - per_class[1] / 360).abs() < 0.002).all()  # every class in proportion
    assert data.digest == "a853a8909bf07cdc"  # on every machine and with every scikit-learn
    assert data.digest == build("digits").digest


def test_digits_at_their_own_size_are_the_scans():
    from sklearn.datasets import load_digits

    data = digits(name="digits", shape=[1, 8, 8])
    scans = load_digits()
    levels = {(image.tobytes(), label) for image, label in zip(np.uint8(scans.images), scans.target, strict=True)}
    seen = torch.cat([data.train_x, data.test_x]).double()[:, 0] * 16 / 255
    assert (seen - seen.round()).abs().max() < 0.04  # rounding to bytes
    found = zip(seen.round().to(torch.uint8).numpy(), [*data.train_y.tolist(), *data.test_y.tolist()], strict=True)
    assert {(image.tobytes(), label) for image, label in found} == levels


@pytest.mark.parametrize("shape", [[3, 28, 28], [28, 28], [1, 0, 28]])
def test_digits_are_grey(shape):
    with pytest.raises(UserError, match="the digits are grey"):
        digits(name="digits", shape=shape)


# The embedded photographs


def test_photos():
    data = build("photos")
    assert data.train_x.shape == (400, 1, 28, 28)
    assert data.test_x.shape == (200, 1, 28, 28)
    assert torch.bincount(data.train_y).tolist() == [200, 200]
    assert torch.bincount(data.test_y).tolist() == [100, 100]
    assert (data.source, data.stand_in, data.classes) == ("embedded", True, 2)
    assert data.digest == build("photos").digest
    assert 30 < float(data.train_x.float().std()) < 120


def test_photos_are_cells_of_the_photographs_and_no_cell_is_in_both_splits():
    from sklearn.datasets import load_sample_image

    data = photos(name="photos", shape=[3, 50, 60], train=80, test=40)
    cells = set()
    for name in ("china.jpg", "flower.jpg"):
        photo = load_sample_image(name)
        for top in range(0, 427 - 49, 50):
            for left in range(0, 640 - 59, 60):
                cells.add(photo[top : top + 50, left : left + 60].transpose(2, 0, 1).tobytes())
    assert len(cells) == 160
    train, test = ({image.numpy().tobytes() for image in images} for images in (data.train_x, data.test_x))
    assert (len(train), len(test)) == (80, 40)
    assert train | test <= cells
    assert not train & test


def test_grey_photos_are_pillows():
    from PIL import Image
    from sklearn.datasets import load_sample_image

    first = photos(name="photos", shape=[1, 100, 100], train=4, test=2).train_x
    for image, name in zip(first[[0, 2]], ("china.jpg", "flower.jpg"), strict=True):
        grey = np.asarray(Image.fromarray(load_sample_image(name)).convert("L")).astype(int)
        found = image[0].numpy().astype(int)
        places = [(top, left) for top in range(0, 400, 100) for left in range(0, 600, 100)]
        assert min(np.abs(grey[t : t + 100, x : x + 100] - found).max() for t, x in places) <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": [2, 28, 28]}, "the photographs are grey or in colour"),
        ({"train": 401}, "expected even numbers, half of each photo"),
        ({"test": 0}, "expected a whole number, at least 2"),
        ({"train": 500}, r"only 2 x 330 cells of 28 x 28"),
        ({"shape": [1, 500, 28]}, r"only 2 x 0 cells of 500 x 28"),
    ],
)
def test_photos_that_cannot_be_cut(options, message):
    with pytest.raises(UserError, match=message):
        photos(**({"name": "photos", "shape": [1, 28, 28], "train": 400, "test": 200} | options))


# CIFAR-10


def records(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    found = random.integers(0, 256, (count, 3073), np.uint8)
    found[:, 0] %= 10
    return found


def archive(contents: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def whole(other: dict[str, bytes] | None = None) -> dict[str, bytes]:
    names = [*(f"data_batch_{number}.bin" for number in (2, 1, 3, 4, 5)), "test_batch.bin"]
    contents = {f"cifar-10-batches-bin/{name}": records(2, seed).tobytes() for seed, name in enumerate(names)}
    return contents | {"../../escape.bin": b"x"} | (other or {})


@pytest.fixture
def partial(put, places):
    contents = {"batch_1": records(3, 1), "batch_5": records(2, 5), "test": records(4, 9)}
    packed = {f"{role}.xz": lzma.compress(content.tobytes()) for role, content in contents.items()}
    return {role.removesuffix(".xz"): entry for role, entry in put(places.given / "toy", packed).items()}


def test_records_become_images_in_plane_order(partial):
    absent = {"archive": {"file": "whole.tar.gz", "sha256": "0"}}
    data = cifar10(name="toy", shape=[3, 32, 32], files=absent, partial=partial)
    expected = np.concatenate([records(3, 1), records(2, 5)])
    assert data.train_y.tolist() == expected[:, 0].tolist()
    for image, record in zip(data.train_x, expected, strict=True):
        for channel in range(3):
            for row in range(32):
                start = 1 + 1024 * channel + 32 * row
                assert image[channel, row].tolist() == record[start : start + 32].tolist()
    assert data.test_x.shape == (4, 3, 32, 32)
    assert data.note == "CIFAR-10, batches 1 and 5, first 4 test images"
    assert not data.stand_in


def test_the_archive_is_read_in_place_and_preferred(places, put, partial, tmp_path):
    files = put(places.given / "toy", {"archive": archive(whole())})
    before = sorted(tmp_path.rglob("*"))
    data = cifar10(name="toy", shape=[3, 32, 32], files=files, partial=partial)
    assert data.train_x.shape == (10, 3, 32, 32)
    assert data.note == ""
    # batches in the order of their numbers, not of the archive: batch 2 came first, from seed 0
    assert data.train_y.tolist()[:4] == [*records(2, 1)[:, 0].tolist(), *records(2, 0)[:, 0].tolist()]
    assert sorted(tmp_path.rglob("*")) == before


BATCH = "cifar-10-batches-bin/data_batch_3.bin"
BAD_ARCHIVES = {
    "not a tar": (b"x" * 100, "cannot be read to its end"),
    "cut": (archive(whole())[:-3000], "cannot be read to its end"),
    "half a record": (archive(whole({BATCH: b"\0" * 4000})), "4000 bytes are not whole CIFAR-10 records of 3073"),
    "label 10": (archive(whole({BATCH: b"\x0a" + b"\0" * 3072})), "a label is 10"),
    "no test batch": (archive({k: v for k, v in whole().items() if "test" not in k}), "it has no test_batch.bin"),
}


@pytest.mark.parametrize(("content", "message"), BAD_ARCHIVES.values(), ids=BAD_ARCHIVES)
def test_a_bad_archive_is_refused(places, put, content, message):
    files = put(places.given / "toy", {"archive": content})
    with pytest.raises(UserError) as error:
        cifar10(name="toy", shape=[3, 32, 32], files=files)
    assert message in str(error.value)


def test_cifar10_names_its_roles():
    entry = {"file": "x", "sha256": "0"}
    with pytest.raises(UserError, match="files must be archive, and partial some of batch_1"):
        cifar10(name="toy", shape=[3, 32, 32], files={"archive": entry}, partial={"batch_1": entry})


# The real files, where they are at hand


@needs_mnist
def test_mnist(monkeypatch):
    monkeypatch.setenv("VAEBENCH_DATA", str(REAL))
    data = build("mnist")
    assert data.train_x.shape == (60000, 1, 28, 28)
    assert data.test_x.shape == (10000, 1, 28, 28)
    assert data.digest == "bc62df3e98898a05"
    assert data.train_y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert float(data.train_x.float().mean() / 255) == pytest.approx(0.1307, abs=5e-5)  # the usual normalisation
    assert float(data.train_x.float().std() / 255) == pytest.approx(0.3081, abs=5e-5)


@needs_mnist
@needs_fashion
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_padded_sets_are_the_others_in_a_frame(monkeypatch, name):
    monkeypatch.setenv("VAEBENCH_DATA", str(REAL))
    plain, padded = build(name), build(f"{name}_32")
    assert padded.name == f"{name}_32"
    assert padded.shape == (3, 32, 32)
    rows = slice(0, 500)
    inner = padded.test_x[rows, :, 2:30, 2:30]
    assert torch.equal(inner, plain.test_x[rows].expand(-1, 3, -1, -1))
    assert torch.equal(padded.test_y, plain.test_y)


@needs_mnist
def test_idx_agrees_with_torchvision(tmp_path):
    from vaebench.compat import ensure_torchvision

    ensure_torchvision()
    from torchvision.datasets.mnist import read_image_file, read_label_file

    for file, read, dimensions in (("images-idx3", read_image_file, 3), ("labels-idx1", read_label_file, 1)):
        packed = REAL / "mnist" / f"t10k-{file}-ubyte.gz"
        plain = tmp_path / "plain"
        plain.write_bytes(gzip.decompress(packed.read_bytes()))
        assert np.array_equal(read_idx(packed, dimensions=dimensions), read(str(plain)).numpy())
        assert np.array_equal(read_idx(plain, dimensions=dimensions), read(str(plain)).numpy())


@needs_cifar
@pytest.mark.slow
def test_the_part_of_cifar10(monkeypatch):
    monkeypatch.setenv("VAEBENCH_DATA", str(REAL))
    data = build("cifar10")
    assert data.train_x.shape == (20000, 3, 32, 32)
    assert data.test_x.shape == (1000, 3, 32, 32)
    assert data.note == "CIFAR-10, batches 1 and 5, first 1,000 test images"
    assert data.train_y[:5].tolist() == [6, 9, 9, 4, 1]
    assert data.classes == 10


@pytest.mark.parametrize(("name", "reader"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_the_files_are_those_of_torchvision(name, reader):
    from vaebench.compat import ensure_torchvision

    ensure_torchvision()
    from torchvision import datasets

    theirs = getattr(datasets, reader)
    ours = leaf(name)
    assert {(entry["file"], entry["md5"]) for entry in ours["files"].values()} == set(theirs.resources)
    assert ours["mirrors"] == theirs.mirrors
    for entry in ours["files"].values():
        path = REAL / name / entry["file"]
        if path.is_file():
            content = path.read_bytes()
            assert hashlib.md5(content, usedforsecurity=False).hexdigest() == entry["md5"]
            assert hashlib.sha256(content).hexdigest() == entry["sha256"]

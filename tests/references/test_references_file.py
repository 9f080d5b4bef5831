"""Vectors of a file as references."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from vaebench.contracts import ReferenceInputs
from vaebench.errors import UserError
from vaebench.references.file import File

SHAPE = (2, 3, 2)
RANDOM = np.random.default_rng(0)
VECTORS = (3 + 2 * RANDOM.standard_normal((40, 12))).astype(np.float32)
LABELS = np.arange(40) % 3


def draw(path, *, seed=0, sha256=None, standardise=True, shape=SHAPE):
    given = ReferenceInputs(shape, 0.0, 1.0, "some", seed)
    return File(path=str(path), sha256=sha256, standardise=standardise).draw(given)


def stored(folder, vectors, labels=None, kind="npz"):
    path = folder / f"vectors.{kind}"
    arrays = {"vectors": vectors} | ({} if labels is None else {"labels": labels})
    if kind == "npy":
        np.save(path, vectors)
    elif kind == "npz":
        np.savez(path, **arrays)
    else:
        save_file(arrays, path)
    return path


class TestWhole:
    @pytest.mark.parametrize("kind", ["npy", "npz", "safetensors"])
    def test_vectors_are_reshaped_and_standardised_as_a_whole(self, kind, tmp_path):
        found = draw(stored(tmp_path, VECTORS, kind=kind))
        expected = np.stack([((v - VECTORS.mean()) / VECTORS.std()).reshape(SHAPE) for v in VECTORS])
        np.testing.assert_allclose(found.z.numpy(), expected, atol=1e-5)
        assert found.z.dtype == torch.float32
        assert found.labels is None

    @pytest.mark.parametrize("kind", ["npz", "safetensors"])
    def test_labels_come_along(self, kind, tmp_path):
        found = draw(stored(tmp_path, VECTORS, LABELS.astype(np.uint8), kind=kind))
        assert found.labels.dtype == torch.int64
        assert found.labels.tolist() == LABELS.tolist()

    @pytest.mark.parametrize("dtype", ["float16", "float64", ">f4", "int32"])
    def test_any_numbers_become_float32(self, dtype, tmp_path):
        numbers = np.round(VECTORS * 10).astype(dtype)
        found = draw(stored(tmp_path, numbers, kind="npy"), standardise=False)
        np.testing.assert_array_equal(found.z.flatten(1).numpy(), np.round(VECTORS * 10))

    def test_latents_stay_as_they_are(self, tmp_path):
        latents = VECTORS.reshape(-1, *SHAPE)
        found = draw(stored(tmp_path, latents, kind="npy"), standardise=False)
        np.testing.assert_array_equal(found.z.numpy(), latents)

    def test_one_place_needs_no_drawing(self, tmp_path):
        found = draw(stored(tmp_path, VECTORS), standardise=False, shape=(12, 1, 1))
        np.testing.assert_array_equal(found.z.flatten(1).numpy(), VECTORS)


class TestByPlace:
    VECTORS = RANDOM.standard_normal((3000, 2)).astype(np.float32)
    LABELS = np.arange(3000) % 3

    def test_each_place_has_a_vector_of_the_items_class(self, tmp_path):
        found = draw(stored(tmp_path, self.VECTORS, self.LABELS), standardise=False)
        assert found.z.shape == (3000, *SHAPE)
        assert found.labels.tolist() == self.LABELS.tolist()
        classes = [{tuple(v) for v in self.VECTORS[self.LABELS == label].tolist()} for label in range(3)]
        for item, label in zip(found.z, self.LABELS, strict=True):
            for place in item.flatten(1).T.tolist():
                assert tuple(place) in classes[label]

    def test_places_are_independent(self, tmp_path):
        z = draw(stored(tmp_path, self.VECTORS)).z.flatten(1)
        torch.testing.assert_close(z.T.corrcoef(), torch.eye(12), atol=0.08, rtol=0.0)

    def test_follows_from_the_seed_alone(self, tmp_path):
        path = stored(tmp_path, self.VECTORS)
        assert torch.equal(draw(path, seed=1).z, draw(path, seed=1).z)
        assert not torch.equal(draw(path, seed=1).z, draw(path, seed=2).z)


class TestMistakes:
    @pytest.mark.parametrize(
        ("vectors", "message"),
        [
            (VECTORS[:, :7], r"its vectors have 7 numbers and .* \[2, 3, 2\]; expected 12, or 2 for each place"),
            (VECTORS.reshape(-1, 3, 2, 2), r"its latents are \[3, 2, 2\] and those to be matched \[2, 3, 2\]"),
            (VECTORS[0], r"its vectors are \[12\]; expected \[n D\], or latents \[n l h w\]"),
            (VECTORS[:1], r"vectors: 1; a distribution takes at least 2"),
            (VECTORS[:0], r"vectors: 0; a distribution takes at least 2"),
            (np.ones((4, 12)), r"all numbers are 1, there is nothing to match"),
            (np.array([["a"] * 12] * 3), r"cannot be read as .npy without running code \(it holds <U1 instead of num"),
            (np.full((3, 12), 1e300), r"row 0, counted from 0, holds a number that is not finite"),
        ],
    )
    def test_of_the_vectors(self, vectors, message, tmp_path):
        with pytest.raises(UserError, match=message):
            draw(stored(tmp_path, vectors, kind="npy"))

    @pytest.mark.parametrize("wrong", [np.nan, np.inf])
    def test_the_first_row_that_is_not_finite_is_named(self, wrong, tmp_path):
        vectors = VECTORS.copy()
        vectors[[9, 5], 3] = wrong
        with pytest.raises(UserError, match=r"row 5, counted from 0, holds a number that is not finite; leave it out"):
            draw(stored(tmp_path, vectors))

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (LABELS[:9], r"its labels are torch.int64 \[9\]; expected a whole number for each of the 40 vectors"),
            (LABELS.astype(np.float32), r"its labels are torch.float32 \[40\]"),
            (LABELS - 1, r"row 0 has the label -1; labels count from 0"),
        ],
    )
    def test_of_the_labels(self, labels, message, tmp_path):
        with pytest.raises(UserError, match=message):
            draw(stored(tmp_path, VECTORS, labels))

    def test_no_vectors(self, tmp_path):
        np.savez(tmp_path / "a.npz", images=VECTORS, labels=LABELS)
        with pytest.raises(UserError, match=r"holds images, labels; expected vectors and, if they are known, labels"):
            draw(tmp_path / "a.npz")

    @pytest.mark.parametrize("kind", ["npy", "npz", "safetensors"])
    def test_a_pickle_is_not_run(self, kind, tmp_path):
        path = tmp_path / f"a.{kind}"
        path.write_bytes(pickle.dumps(VECTORS))
        with pytest.raises(UserError, match=rf"cannot be read as .{kind} without running code"):
            draw(path)
        np.save(tmp_path / "b.npy", np.array([{}, {}]), allow_pickle=True)
        with pytest.raises(UserError, match=r"cannot be read as .npy without running code"):
            draw(tmp_path / "b.npy")

    @pytest.mark.parametrize("kind", ["npy", "npz", "safetensors"])
    def test_a_file_that_was_cut_off(self, kind, tmp_path):
        path = stored(tmp_path, VECTORS, kind=kind)
        path.write_bytes(path.read_bytes()[:300])
        with pytest.raises(UserError, match=rf"cannot be read as .{kind}"):
            draw(path)

    def test_no_file_or_another_kind(self, tmp_path):
        with pytest.raises(
            UserError, match=r"reference.path=null: name a file of vectors \(.npy, .npz, .safetensors\)"
        ):
            File(path=None, sha256=None, standardise=True)
        with pytest.raises(UserError, match=r"reference.path=.*nothing.npy: there is no such file"):
            draw(tmp_path / "nothing.npy")
        (tmp_path / "a.csv").write_text("1,2")
        with pytest.raises(UserError, match=r"a.csv: expected one of .npy, .npz, .safetensors"):
            draw(tmp_path / "a.csv")

    def test_a_file_that_has_changed(self, tmp_path):
        path = stored(tmp_path, VECTORS)
        draw(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
        with pytest.raises(UserError, match=r"reference.sha256 is 0123: the file has changed; put the right one there"):
            draw(path, sha256="0123")

"""The suite on the structure of latents: models and laws whose right answer is known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import silhouette_score
from torch import Tensor, nn

import toys
from toys import CPU, counts, dataset, values
from vaebench.contracts import SuiteResult
from vaebench.data.images import ImageData
from vaebench.data.latents import LatentData
from vaebench.errors import UserError
from vaebench.suites import latent_structure
from vaebench.suites.latent_structure import LatentStructure


def toy_data(test: int = 60, classes: int = 3) -> ImageData:
    """scikit-learn's digits, 8x8, of the first classes."""
    images, labels = (torch.from_numpy(part) for part in load_digits(return_X_y=True))
    kept = (labels < classes).nonzero()[:, 0][: 100 + test]
    x, y = (images[kept] * 255 / 16).byte().view(-1, 1, 8, 8), labels[kept]
    return dataset(x, y, train=100)


class Quarters(nn.Module):
    """The brightness of the four quarters of an image, `scale` times; one mean and deviation."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("latent_mean", torch.tensor(0.3 * scale))
        self.register_buffer("latent_std", torch.tensor(0.15 * scale))

    def encode(self, x: Tensor) -> Tensor:
        return self.scale * nn.functional.adaptive_avg_pool2d(x, 2)


class Plain(nn.Module):
    """The same without units."""

    def encode(self, x: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)


class Constant(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def encode(self, x: Tensor) -> Tensor:
        return torch.tensor([1.0, self.value]).expand(len(x), 2)


def law(samples: Tensor, labels: Tensor | None = None) -> LatentData:
    """Samples ``[n l h w]`` as a stage stores them."""
    labels = torch.zeros(len(samples), dtype=torch.int64) if labels is None else labels
    facts: dict[str, Any] = {"name": "a law", "source": "", "digest": "", "note": "", "stand_in": False}
    return LatentData(means=(samples[:, None],), logvars=(), labels=labels, place=CPU, **facts)


def options(**changes: Any) -> dict[str, Any]:
    return toys.options("latent_structure", **{"batch_size": 16, "shown": 25, "embedding": "none", **changes})


def run(model: nn.Module, cache: Path, law: LatentData | None = None, **changes: Any) -> SuiteResult:
    data = changes.pop("data", toy_data())
    return LatentStructure(**options(**changes)).run(toys.inputs(model.eval(), data, cache, reference=law))


def slow_vote(fitted: Tensor, classes: Tensor, codes: Tensor, labels: Tensor, neighbours: int) -> float:
    right = 0
    for code, label in zip(codes, labels, strict=True):
        near = (fitted - code).norm(dim=1).argsort()[:neighbours]
        counts = torch.bincount(classes[near])
        right += int(counts.argmax() == label)  # the lowest class of equals
    return right / len(codes)


@pytest.mark.parametrize("neighbours", [1, 5])
def test_votes_silhouette_and_deviations_are_those_of_slow_loops(tmp_path, neighbours):
    data = toy_data()
    result = run(Quarters(), tmp_path, neighbours=neighbours)
    codes, fitted = (Quarters().encode(x.float() / 255).flatten(1) for x in (data.test_x, data.train_x))
    over_images = [codes[:, k].double().std(correction=0) ** 2 for k in range(4)]
    std = float(codes.double().std(correction=0))
    wanted = {
        "knn": slow_vote(fitted, data.train_y, codes, data.test_y, neighbours),
        "silhouette": silhouette_score(codes.numpy(), data.test_y.numpy()),
        "std": std,
        "std@images": math.sqrt(sum(over_images) / 4),
        "std_normalised": std / 0.15,
    }
    assert values(result) == pytest.approx(wanted, rel=1e-5)
    assert 0.5 < wanted["knn"] < 1
    assert counts(result) == dict.fromkeys(wanted, 60)
    assert result.measurements[3].protocol["fitted"] == 100
    scaled = values(run(Quarters(100.0), tmp_path, neighbours=neighbours))
    assert {name: scaled[name] for name in ("knn", "silhouette", "std_normalised")} == pytest.approx(
        {name: wanted[name] for name in ("knn", "silhouette", "std_normalised")}, rel=1e-5
    )


def test_fewer_images_are_drawn_by_the_seed(tmp_path):
    found = [values(run(Plain(), tmp_path, fitted=20, compared=15, seed=seed)) for seed in (0, 0, 1)]
    assert found[0] == found[1]
    assert found[0]["silhouette"] != found[2]["silhouette"]
    result = run(Plain(), tmp_path, fitted=20, compared=15)
    counts = {one.name: (one.count, one.protocol.get("fitted")) for one in result.measurements}
    assert counts == {"std": (60, None), "std@images": (60, None), "knn": (60, 20), "silhouette": (15, None)}


def test_what_cannot_be_asked_is_left_out(tmp_path):
    assert set(values(run(Plain(), tmp_path, data=toy_data(classes=1)))) == {"std", "std@images"}
    data = toy_data()
    bare = replace(data, name="bare", train_x=data.train_x[:0], train_y=data.train_y[:0])
    assert set(values(run(Plain(), tmp_path, data=bare))) == {"std", "std@images", "silhouette"}


def test_the_distances_know_a_matched_law_from_another(tmp_path):
    """The law is the model's own latents of the training images; then one that lies a deviation away."""
    data = toy_data()
    matched = Quarters().encode(data.train_x.float() / 255)
    near, far = (values(run(Quarters(), tmp_path, law(matched + 0.15 * shift), compared=50)) for shift in (0, 1))
    for name in ("frechet", "mmd", "sliced_wasserstein"):
        assert near[name] < 4 * abs(near[f"{name}@floor"]) + 0.05
        assert far[name] > 3 * near[name]
        assert far[f"{name}@floor"] == pytest.approx(near[f"{name}@floor"], abs=1e-5)  # the shift is in both halves
    # Four numbers, each one deviation further: their mean alone makes 4 of the Frechet distance.
    assert far["frechet"] == pytest.approx(4, abs=2)


def test_units_are_the_models_and_counts_the_smaller_side(tmp_path):
    samples = torch.randn(41, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    result = run(Quarters(), tmp_path, law(0.15 * samples + 0.3))
    found = {one.name: one for one in result.measurements}
    assert found["mmd"].count == found["mmd@floor"].count == 20
    assert found["frechet"].protocol["reference_samples"] == 20
    assert found["frechet"].protocol["reference"] == "a law"
    thousand = values(run(Quarters(1000.0), tmp_path, law(150 * samples + 300)))
    names = ("frechet", "mmd", "sliced_wasserstein", "frechet@floor", "mmd@floor", "sliced_wasserstein@floor")
    assert {name: thousand[name] for name in names} == pytest.approx(
        {name: found[name].value for name in names}, rel=1e-3, abs=1e-5
    )
    plain = {one.name: one for one in run(Plain(), tmp_path, law(0.15 * samples + 0.3)).measurements}
    assert plain["frechet"].protocol["normalised"] == "no"
    assert plain["frechet"].value == pytest.approx(0.15**2 * found["frechet"].value, rel=1e-3)
    assert plain["sliced_wasserstein"].value == pytest.approx(0.15 * found["sliced_wasserstein"].value, rel=1e-3)
    assert plain["mmd"].value == pytest.approx(found["mmd"].value, rel=1e-3, abs=1e-5)  # its kernel has the law's width


def test_reading_the_law_draws_from_no_global_generator(tmp_path):
    noisy = law(torch.zeros(60, 1, 2, 2))
    noisy = LatentData(**{**vars(noisy), "logvars": (torch.zeros(60, 1, 1, 2, 2),)})
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = values(run(Quarters(), tmp_path, noisy))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(7)
    assert values(run(Quarters(), tmp_path, noisy)) == first


def test_the_picture_has_both_in_one_plane(tmp_path):
    samples = 0.3 + 0.15 * torch.randn(80, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    reference = law(torch.cat([samples, samples + 50]), torch.arange(160) // 80)
    arrays = run(Quarters(), tmp_path, reference, embedding="tsne").arrays
    assert {name: found.shape for name, found in arrays.items()} == {
        "points": (25, 2),
        "labels": (25,),
        "reference_points": (25, 2),
        "reference_labels": (25,),
    }
    assert arrays["points"].dtype == np.float32
    near, far = (arrays["reference_points"][arrays["reference_labels"] == label] for label in (0, 1))
    gaps = [np.linalg.norm(arrays["points"][:, None] - some, axis=2).min(1).mean() for some in (near, far)]
    assert gaps[0] < gaps[1]  # those that lie 300 deviations away stand apart
    again = run(Quarters(), tmp_path, reference, embedding="tsne").arrays
    np.testing.assert_array_equal(again["points"], arrays["points"])
    alone = run(Quarters(), tmp_path, embedding="tsne").arrays
    assert set(alone) == {"points", "labels"}
    assert run(Quarters(), tmp_path).arrays == {}


def test_collapsed_latents_are_measured_and_drawn(tmp_path):
    result = run(Constant(1.5), tmp_path, embedding="tsne")
    assert values(result)["std@images"] == 0
    assert values(result)["std"] == pytest.approx(0.25)
    assert not result.arrays["points"].any()


def test_what_is_not_usable_is_named(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"latents: \d+ of \d+ rows hold NaN or infinity"):
        run(Constant(math.nan), tmp_path)
    with pytest.raises(UserError, match="a law: its latents have 9 numbers, the model's 4"):
        run(Quarters(), tmp_path, law(torch.zeros(50, 1, 3, 3)))
    with pytest.raises(UserError, match="neighbours=101: there are 100 training images"):
        run(Quarters(), tmp_path, neighbours=101)
    monkeypatch.setattr(latent_structure, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"suite\.embedding=umap: needs the package umap-learn"):
        LatentStructure(**options(embedding="umap")).check(Quarters())


def test_as_many_are_fitted_as_vote():
    with pytest.raises(UserError, match=r"suite\.fitted=4: expected a whole number, at least 5 \(at least the neigh"):
        LatentStructure(**options(neighbours=5, fitted=4))

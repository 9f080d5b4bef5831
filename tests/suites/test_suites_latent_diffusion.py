"""The suite on latent diffusion with models and judges whose right answer is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import toys
from toys import bytes_of, counts, dataset, inputs, values
from vaebench.contracts import Generates, Sampling, SuiteResult
from vaebench.data.images import ImageData
from vaebench.errors import UserError
from vaebench.metrics.frechet import frechet_distance, reference
from vaebench.metrics.two_samples import inception_score, kernel_distance, precision_recall
from vaebench.suites import judges, references
from vaebench.suites.latent_diffusion import LatentDiffusion


def toy_data(test: int = 30, name: str = "toy") -> ImageData:
    return dataset(bytes_of(40 + test, 1, 8, 8), train=40, name=name)


class Generator(nn.Module):
    """Noise, brighter for higher labels; remembers what it was asked for."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.classes = classes
        self.asked: list[Tensor] = []
        self.sampling: Sampling | None = None

    def check(self, sampling: Sampling) -> None: ...

    def sample_latents(self, labels: Tensor, generator: torch.Generator, sampling: Sampling) -> Tensor:
        return torch.rand(len(labels), 1, 8, 8, generator=generator)

    def generate(self, labels: Tensor, generator: torch.Generator, sampling: Sampling) -> Tensor:
        self.asked.append(labels)
        self.sampling = sampling
        return (self.sample_latents(labels, generator, sampling) + labels.view(-1, 1, 1, 1)) / 3


class Quarters(toys.Quarters):
    """Three classes."""

    def logits(self, x: Tensor) -> Tensor:
        return 9 * self.features(x)[:, :3]


class FakeInception(Quarters):
    """Four features, three logits and nine spatial numbers in the place of Inception's."""

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().features(x), nn.functional.adaptive_avg_pool2d(x.mean(1, keepdim=True), 3).flatten(1)

    def logits(self, features: Tensor) -> Tensor:
        return 9 * features[:, :3]


def options(**changes: Any) -> dict[str, Any]:
    """Those of the YAML, small."""
    return toys.options("latent_diffusion", **{"features": "classifier", "samples": 50, "batch_size": 16, **changes})


def run(model: nn.Module, cache: Path, data: ImageData | None = None, **changes: Any) -> SuiteResult:
    assert isinstance(model, Generates)
    given = inputs(model, data or toy_data(), cache, classifier=Quarters(), classifier_key="quarters")
    return LatentDiffusion(**options(**changes)).run(given)


def drawn(samples: int = 50, batch: int = 16) -> Tensor:
    """What `Generator` draws of balanced labels."""
    random, labels = torch.Generator().manual_seed(0), torch.arange(samples) % 3
    noise = torch.cat([torch.rand(len(part), 1, 8, 8, generator=random) for part in labels.split(batch)])
    return (noise + labels.view(-1, 1, 1, 1)) / 3


def test_every_number_is_its_metric_of_the_same_samples(tmp_path):
    result = run(Generator(), tmp_path)
    judge, real = Quarters(), toy_data().test_x.float() / 255
    a, b = judge.features(real), judge.features(drawn())
    precision, recall = precision_recall(a, b, neighbours=3)
    assert values(result) == pytest.approx(
        {
            "fid": frechet_distance(reference(a), b),
            "is": inception_score(judge.logits(drawn()), splits=10),
            "precision": precision,
            "recall": recall,
            "kid": kernel_distance(a, b),
        }
    )
    assert counts(result) == {"fid": 50, "is": 50, "precision": 50, "recall": 30, "kid": 50}
    protocol = result.measurements[0].protocol
    assert protocol["features"] == "classifier"
    assert protocol["features_digest"] == "quarters"
    assert protocol["reference_images"] == 30
    assert protocol["steps"] == 50
    assert protocol["guidance_channels"] == "all"


def test_few_compared_images_change_only_what_compares_single_images(tmp_path):
    every, few = run(Generator(), tmp_path), run(Generator(), tmp_path, compared=10)
    judge, real = Quarters(), toy_data().test_x.float() / 255
    expected = precision_recall(judge.features(real[::3]), judge.features(drawn()[:10]), neighbours=3)
    assert (values(few)["precision"], values(few)["recall"]) == pytest.approx(expected)
    assert values(few)["fid"] == values(every)["fid"]
    assert values(few)["kid"] != values(every)["kid"]
    near = next(found for found in few.measurements if found.name == "precision").protocol
    assert (near["reference_images"], near["compared_samples"], near["neighbours"]) == (10, 10, 3)


def test_labels_are_balanced_or_drawn_and_pictures_lie_by_class(tmp_path):
    model = Generator()
    result = run(
        model, tmp_path, sampler="sde", steps=7, guidance=1.5, guidance_from=0.1, guidance_channels=2, shift=0.3
    )
    assert torch.cat(model.asked).bincount().tolist() == [17, 17, 16]
    assert model.sampling == Sampling("sde", 7, 0.3, 1.5, 0.1, 2)
    assert result.arrays["labels"].tolist() == sorted(i % 3 for i in range(40))
    assert result.arrays["samples"].shape == (40, 8, 8, 1)
    assert (np.diff(result.arrays["samples"].reshape(40, -1).min(1).astype(int)) > 50).sum() == 2
    model = Generator()
    run(model, tmp_path, labels="random", samples=300)
    counts = torch.cat(model.asked).bincount()
    assert counts.min() > 70
    assert len(counts.unique()) > 1
    model = Generator(classes=0)
    assert run(model, tmp_path).measurements[0].protocol["labels"] == "none"
    assert not torch.cat(model.asked).any()


def test_the_reference_is_looked_at_once_and_kept(tmp_path, monkeypatch):
    def kept() -> list[str]:
        return sorted(path.name.partition("-")[0] for path in tmp_path.iterdir())

    first = run(Generator(), tmp_path)
    assert kept() == ["features", "reference"]
    monkeypatch.setattr(references, "observe", None)  # nothing is looked at again
    assert values(run(Generator(), tmp_path)) == values(first)
    monkeypatch.undo()
    run(Generator(), tmp_path, reference="train")
    run(Generator(), tmp_path, data=toy_data(name="other"))
    assert kept() == ["features"] * 3 + ["reference"] * 3
    for path in tmp_path.glob("features-*"):
        path.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"features-.* holds no features .*delete it and evaluate again"):
        run(Generator(), tmp_path)


@pytest.fixture
def inception(monkeypatch: pytest.MonkeyPatch) -> FakeInception:
    network = FakeInception()

    def load(device: torch.device, resizing: str) -> FakeInception:
        network.resizing = resizing
        return network

    monkeypatch.setattr(judges, "load_inception", load)
    monkeypatch.setattr(references, "FEATURES", 4)
    monkeypatch.setattr(references, "SPATIAL_FEATURES", 9)
    return network


def statistics_of(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    return x.double().mean(0).numpy(), x.double().T.cov().numpy()


def test_how_images_are_looked_at_stands_in_the_protocol_and_keeps_references_apart(tmp_path, inception):
    usual = run(Generator(), tmp_path, features="inception").measurements[0].protocol
    assert "eight_bits" not in usual
    assert "resize" not in usual
    assert inception.resizing == "tensorflow"
    references = len(list(tmp_path.glob("reference-*")))
    changed = run(Generator(), tmp_path, features="inception", eight_bits="round", resize="pytorch_fid")
    assert inception.resizing == "pytorch_fid"
    for found in changed.measurements:
        assert (found.protocol["eight_bits"], found.protocol["resize"]) == ("round", "pytorch_fid")
    assert len(list(tmp_path.glob("reference-*"))) == 2 * references
    run(Generator(), tmp_path, features="inception", eight_bits="round")
    assert len(list(tmp_path.glob("reference-*"))) == 2 * references  # real images have 8 bits already
    other = run(Generator(), tmp_path, resize="pytorch_fid").measurements[0].protocol
    assert "resize" not in other  # of another network's there is nothing to resize


def test_samples_are_brought_to_eight_bits(tmp_path):
    found = values(run(Generator(), tmp_path, eight_bits="cut"))
    real, judge = toy_data().test_x.float() / 255, Quarters()
    cut = (drawn() * 255).floor() / 255
    expected = frechet_distance(reference(judge.features(real)), judge.features(cut))
    assert found["fid"] == pytest.approx(expected, rel=1e-6)
    assert found["fid"] != values(run(Generator(), tmp_path))["fid"]


def test_inception_adds_the_spatial_distance(tmp_path, inception):
    result = run(Generator(), tmp_path, features="inception")
    real = toy_data().test_x.float() / 255
    (_, a), (_, b) = inception.both(real), inception.both(drawn())
    assert values(result)["sfid"] == pytest.approx(frechet_distance(reference(a), b))
    rest = {name: value for name, value in values(result).items() if name != "sfid"}
    assert rest == pytest.approx(values(run(Generator(), tmp_path)))


def test_a_file_of_statistics_gives_what_its_split_gives(tmp_path, inception):
    images = toy_data().test_x
    features, spatial = inception.both(images.float() / 255)
    names = dict(zip(("mu", "sigma"), statistics_of(features), strict=True))
    names |= dict(zip(("mu_s", "sigma_s"), statistics_of(spatial), strict=True))
    path = tmp_path / "statistics.npz"
    np.savez(path, arr_0=images.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy(), **names)
    of_file = run(Generator(), tmp_path, features="inception", reference="file", reference_file=str(path))
    assert values(of_file) == pytest.approx(values(run(Generator(), tmp_path, features="inception")), abs=1e-6)
    assert of_file.measurements[0].protocol["reference_images"] == "unknown"
    assert len(of_file.measurements[0].protocol["reference_digest"]) == 16
    np.savez(path, mu=names["mu"], sigma=names["sigma"])
    bare = run(Generator(), tmp_path, features="inception", reference="file", reference_file=str(path))
    assert values(bare) == pytest.approx({name: values(of_file)[name] for name in ("fid", "is")})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"", "cannot be read as npz"),
        (b"PK\x03\x04 cut", "cannot be read as npz"),
        ({"m": np.zeros(4)}, "it has no mu and sigma"),
        ({"mu": np.zeros(3), "sigma": np.eye(3)}, r"mu \[3\] and sigma \[3, 3\] are not .* Inception's 4 features"),
        ({"mu": np.full(4, np.nan), "sigma": np.eye(4)}, "not a mean and a covariance"),
        ({"mu": np.array([{}] * 4), "sigma": np.eye(4)}, "cannot be read as npz"),
        ({"mu": np.zeros(4), "sigma": np.eye(4), "arr_0": np.zeros((5, 8))}, r"arr_0 is float64 \[5, 8\], not images"),
    ],
)
def test_other_files_are_refused(tmp_path, inception, content, message):
    path = tmp_path / "statistics.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.savez(path, **content)
    with pytest.raises(UserError, match=rf"suite\.reference_file=.*statistics\.npz: .*{message}"):
        run(Generator(), tmp_path, features="inception", reference="file", reference_file=str(path))


def test_too_few_reference_images_are_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"4 reference images cannot tell .* 4 features; it needs at least 5: take more images"
    ):
        run(Generator(), tmp_path, data=toy_data(test=4))


def test_the_cifar10_network_refuses_other_images(tmp_path):
    with pytest.raises(
        UserError, match=r"suite.features=cifar10_resnet: it judges 3x32x32 images, those of toy are 1x8x8"
    ):
        run(Generator(), tmp_path, features="cifar10_resnet")


def test_diverged_samples_are_refused(tmp_path):
    class Diverged(Generator):
        def generate(self, labels: Tensor, generator: torch.Generator, sampling: Sampling) -> Tensor:
            return super().generate(labels, generator, sampling) * torch.nan

    with pytest.raises(UserError, match="NaN or infinity"):
        run(Diverged(), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 12, "neighbours": 12}, "suite.samples=12: expected a whole number, at least 13"),
        ({"compared": 3}, "suite.compared=3: expected a whole number, at least 4"),
        ({"guidance_channels": 2}, "suite.guidance_channels=2: there is no guidance to have"),
        ({"reference": "file"}, "suite.reference=file: name it, suite.reference_file=PATH"),
        ({"reference_file": "x.npz"}, "suite.reference_file=x.npz: is read with suite.reference=file, not test"),
        ({"reference": "file", "reference_file": "x.npz"}, "suite.features=classifier: the statistics .* inception"),
    ],
)
def test_bad_options_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        LatentDiffusion(**options(**changes))


def test_only_the_classifier_is_asked_for():
    suites = {features: LatentDiffusion(**options(features=features)) for features in get_args(judges.Features)}
    asked = {features: suite.needs_classifier for features, suite in suites.items()}
    assert asked == {"inception": False, "classifier": True, "cifar10_resnet": False}

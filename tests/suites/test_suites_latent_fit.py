"""The suite on what a diffusion model makes of latents, with a model whose right answer is known and with LDM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import toys
from toys import bytes_of, counts, dataset, values
from vaebench.contracts import Generates, ModelsLatents, Sampling, SuiteResult
from vaebench.data.images import ImageData
from vaebench.errors import UserError
from vaebench.metrics.frechet import frechet_distance, reference
from vaebench.models.ldm import LDM
from vaebench.runs.build import check_capabilities
from vaebench.suites.latent_fit import LatentFit

LDM_OPTIONS: dict[str, Any] = {
    **{"latent_shape": [1, 2, 2], "classes": 3, "width": 16, "depth": 1, "heads": 2, "mlp_ratio": 4.0},
    **{"qk_norm": True, "positions": True, "time_scale": 1000.0, "label_dropout": 0.1, "ema_decay": 0.99},
    "statistics": None,
    **{"time_sampling": "logit_normal"},
}


def toy_data(train: int = 50, test: int = 40) -> ImageData:
    x = bytes_of(train + test, 1, 4, 4)
    x[:train] //= 2
    return dataset(x, train=train)


class Pool(nn.Module):
    """An autoencoder of one channel and 2x2 positions; `spread` is the log-variance of q(z|x)."""

    latent_shape = (1, 2, 2)

    def __init__(self, spread: float | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.spread = spread

    def latent_moments(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        mean = 10 * self.weight * nn.functional.avg_pool2d(x, 2)
        return mean, None if self.spread is None else torch.full_like(mean, self.spread)

    def decode(self, z: Tensor) -> Tensor:
        return z


class Known(nn.Module):
    """Latents of `Pool` in units of 2; the loss is the mean of a latent and a number that was drawn."""

    classes = 3

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Tensor] = []
        self.sampling: Sampling | None = None

    def check(self, sampling: Sampling) -> None:
        self.sampling = sampling

    def generate(self, labels: Tensor, generator: torch.Generator, sampling: Sampling) -> Tensor:
        raise NotImplementedError

    def sample_latents(self, labels: Tensor, generator: torch.Generator, sampling: Sampling) -> Tensor:
        self.asked.append(labels)
        return torch.arange(4.0).view(1, 2, 2) + labels.view(-1, 1, 1, 1) + torch.zeros(len(labels), 1, 2, 2)

    def encode_latents(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return Pool().latent_moments(x)[0].detach()

    def standardised(self, z: Tensor) -> Tensor:
        return z / 2

    def flow_loss(self, z: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        return z.mean((1, 2, 3)) + labels + torch.rand(len(z), generator=generator)


def pooled(images: Tensor) -> Tensor:
    """What `Pool` makes of uint8 images."""
    return 10 * nn.functional.avg_pool2d(images.float() / 255, 2)


def options(**changes: Any) -> dict[str, Any]:
    return toys.options("latent_fit", **{"batch_size": 16, "steps": 3, **changes})


def run(model: nn.Module, cache: Path, data: ImageData | None = None, **changes: Any) -> SuiteResult:
    return LatentFit(**options(**changes)).run(toys.inputs(model.eval(), toy_data() if data is None else data, cache))


def ldm(spread: float | None = None) -> LDM:
    """With statistics and weights that are not those of the start, and the encoder `Pool`."""
    torch.manual_seed(0)
    model = LDM(**LDM_OPTIONS)
    model.mean.fill_(2.5)
    model.std.fill_(0.7)
    model.adopt("autoencoder", Pool(spread))
    with torch.no_grad():
        for weight in model.averaged.network.buffers():
            weight.add_(0.1 * torch.randn(weight.shape) if weight.is_floating_point() else 0)
    return model


def test_every_number_is_its_metric_of_the_same_latents(tmp_path):
    data, model = toy_data(), Known()
    result = run(model, tmp_path)
    z = pooled(data.test_x)
    made = torch.arange(4.0) + data.test_y.view(-1, 1)
    target = reference(z.flatten(1) / 2)
    found = values(result)
    assert found["frechet"] == pytest.approx(frechet_distance(target, made / 2), rel=1e-4)
    labelled = z.flatten(1).mean(1) + data.test_y
    assert found["flow_loss"] == pytest.approx(float(labelled.mean()) + 0.5, abs=0.1)  # uniform numbers on top
    assert found["flow_loss@train"] < found["flow_loss"] - 1  # these images are half as bright
    assert torch.cat(model.asked).sort().values.equal(data.test_y.sort().values)
    assert counts(result) == dict.fromkeys(found, 40)
    assert {one.name: one.protocol["split"] for one in result.measurements}["flow_loss@train"] == "train"


def test_the_loss_is_a_mean_over_draws_and_the_seed_chooses(tmp_path):
    data = toy_data()
    rows = torch.randperm(40, generator=torch.Generator().manual_seed(5))[:20]
    z = pooled(data.test_x[rows])
    random = torch.Generator().manual_seed(5)
    drawn = torch.stack(
        [torch.cat([torch.rand(len(part), generator=random) for part in z.split(16)]) for _ in range(3)]
    )
    wanted = (z.mean((1, 2, 3)) + data.test_y[rows] + drawn).mean()
    found = values(run(Known(), tmp_path, images=20, draws=3, seed=5))
    assert found["flow_loss"] == pytest.approx(float(wanted), rel=1e-5)
    assert values(run(Known(), tmp_path, images=20, draws=3, seed=6)) != found


def test_without_training_images_what_is_of_them_is_left_out(tmp_path):
    assert set(values(run(Known(), tmp_path, toy_data(train=0)))) == {"flow_loss", "frechet"}


def test_a_diffusion_model_is_measured_in_its_own_units(tmp_path):
    model, data = ldm(), toy_data(train=40)
    check_capabilities("latentfit", LatentFit(**options()), model)
    found = values(run(model, tmp_path, data))
    assert values(run(model, tmp_path, data)) == found
    test, train = (((pooled(x) - 2.5) / 0.7).flatten(1) for x in (data.test_x, data.train_x))
    assert found["frechet@train"] == pytest.approx(frechet_distance(reference(test), train), rel=1e-3)
    # The training's images are as many as the test's, so all of them are looked at, whatever their order.
    labels, sampling = torch.arange(300) % 3, Sampling("euler", 3, 1.0, 1.0, 0.0, None)
    made = (model.sample_latents(labels, torch.Generator().manual_seed(1), sampling) - 2.5) / 0.7
    assert found["frechet"] == pytest.approx(frechet_distance(reference(test), made.flatten(1)), rel=0.3)


def test_the_loss_of_each_latent_is_that_of_a_slow_loop():
    model, labels = ldm(), torch.tensor([0, 2, 1, 1, 0])
    z = 3 * torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    found = model.flow_loss(z, labels, torch.Generator().manual_seed(2))
    random = torch.Generator().manual_seed(2)
    times = torch.rand(5, generator=random)
    noises = torch.randn(5, 1, 2, 2, generator=random)
    for one, latent, label, time, noise in zip(found, z, labels, times, noises, strict=True):
        unit = (latent - 2.5) / 0.7
        path = time * unit + (1 - time) * noise
        with torch.no_grad():
            velocity = model.averaged(path[None], time[None], label[None])[0]
        wanted = sum(float(a) ** 2 for a in (velocity - (unit - noise)).flatten()) / 4
        assert float(one) == pytest.approx(wanted, rel=1e-4)
    assert not found.requires_grad
    assert torch.equal(model.standardised(z), (z - 2.5) / 0.7)


def test_latents_are_drawn_as_in_training():
    x = torch.rand(2000, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    mean = 10 * nn.functional.avg_pool2d(x, 2)
    random = torch.Generator().manual_seed(0)
    assert torch.equal(ldm().encode_latents(x, random), mean)
    drawn = ldm(spread=-2.0).encode_latents(x, random) - mean
    assert float(drawn.std()) == pytest.approx(torch.tensor(-1.0).exp().item(), rel=0.05)
    assert abs(float(drawn.mean())) < 0.02
    again = [ldm(spread=-2.0).encode_latents(x, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*again)


def test_it_needs_the_autoencoder_and_a_model_of_latents(tmp_path):
    model = ldm()
    model._decoder = None
    with pytest.raises(UserError, match="autoencoder: none was given"):
        run(model, tmp_path)
    with pytest.raises(UserError, match="it needs a model that Generates and ModelsLatents"):
        check_capabilities("latentfit", LatentFit(**options()), Pool())  # type: ignore[arg-type]
    assert isinstance(ldm(), Generates)
    assert isinstance(ldm(), ModelsLatents)


def test_the_model_is_asked_whether_it_can_be_sampled_so():
    model = Known()
    LatentFit(**options(sampler="heun", shift=0.5)).check(model)
    assert model.sampling == Sampling("heun", 3, 0.5, 1.0, 0.0, None)

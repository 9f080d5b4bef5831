"""NaN and infinity in any argument of any metric: NaN or an error comes out, never an ordinary number."""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vaebench import metrics
from vaebench.errors import UserError
from vaebench.metrics import image, selection, speech, two_samples
from vaebench.metrics.frechet import Moments, Reference, frechet_distance, moments, reference

SETS = 30, 6
IMAGES = 2, 1, 12, 12
WAVE = (4000,)
SCORES = 1, 3, 4

# Metric -> its function of tensors, and their shapes. Each of them is spoilt in turn.
CASES: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "selection.pooled": (lambda s, o: selection.pooled(s.numpy(), o.numpy()), (SCORES, SCORES[1:])),
    "selection.somers_d": (lambda s: selection.somers_d(s.numpy(), RIGHT, 0.0), (SCORES,)),
    "selection.within_question": (
        lambda s, o: selection.within_question(s.numpy(), o.numpy(), 0.0),
        (SCORES, SCORES[1:]),
    ),
    "two_samples.require_finite": (lambda x: two_samples.require_finite(x, "rows"), (SETS,)),
    "frechet.frechet_distance": (lambda x, y: frechet_distance(reference(x), y), (SETS, SETS)),
    "frechet.moments": (moments, (SETS,)),
    "frechet.reference": (reference, (SETS,)),
    "frechet.frechet_distance of moments": (
        lambda m, c, n, d: frechet_distance(reference(Moments(m, c, 30)), Moments(n, d, 30)),
        ((6,), (6, 6), (6,), (6, 6)),
    ),
    "frechet.frechet_distance of a stored reference": (
        lambda m, r, y: frechet_distance(Reference(m, r, 30), y),
        ((6,), (6, 3), SETS),
    ),
    "image.mean_psnr": (lambda x: image.mean_psnr(x)[0], ((5,),)),
    "image.mse_per_image": (image.mse_per_image, (IMAGES, IMAGES)),
    "image.psnr_from_mse": (image.psnr_from_mse, ((5,),)),
    "image.ssim_per_image": (lambda x, y: image.ssim_per_image(x, y, border="valid"), (IMAGES, IMAGES)),
    "image.ssim_per_image, reflected": (lambda x, y: image.ssim_per_image(x, y, border="reflect"), (IMAGES, IMAGES)),
    "two_samples.inception_score": (lambda x: two_samples.inception_score(x, splits=2), (SETS,)),
    "two_samples.kernel_distance": (two_samples.kernel_distance, (SETS, SETS)),
    "two_samples.precision_recall": (lambda x, y: two_samples.precision_recall(x, y, neighbours=3), (SETS, SETS)),
    "selection.accuracy": (lambda m: selection.accuracy(m.numpy(), RIGHT), (SCORES,)),
    "selection.lowest": (lambda s: selection.lowest(s.numpy(), 0.1), (SCORES,)),
    "selection.lowest, the first": (lambda s: selection.lowest(s.numpy(), 0.0), (SCORES,)),
    "selection.paired_bootstrap": (lambda x: np.array(selection.paired_bootstrap(x.numpy(), 20, 0)), ((2, 2, 5),)),
    "two_samples.share_near": (lambda x, y: two_samples.share_near(x, y, radius=1.0), (SETS, SETS)),
    "speech.log_spectral_distance": (speech.log_spectral_distance, (SETS, SETS)),
    "speech.pesq": (lambda x, y: speech.pesq(x, y, 8000), (WAVE, WAVE)),
    "speech.si_sdr": (speech.si_sdr, (WAVE, WAVE)),
    "speech.stft_distance": (lambda x, y: speech.stft_distance(x, y, [(512, 256, 128)]), (WAVE, WAVE)),
    "speech.stoi": (lambda x, y: speech.stoi(x, y, 8000), (WAVE, WAVE)),
    "two_samples.maximum_mean_discrepancy": (
        lambda x, y: two_samples.maximum_mean_discrepancy(x, y, bandwidth=1.0),
        (SETS, SETS),
    ),
    "two_samples.median_distance": (two_samples.median_distance, (SETS,)),
    "two_samples.sliced_wasserstein": (
        lambda x, y: two_samples.sliced_wasserstein(x, y, projections=3, seed=0),
        (SETS, SETS),
    ),
}
RIGHT = np.array([[True, False, True, False]] * 3)
# What takes no floating-point numbers: counts of codes, right and wrong, words, packages, files, networks.
WITHOUT = {
    "codebook": {"code_counts", "cvu", "entropy", "perplexity", "usage"},
    "features": {"cifar10_resnet_available", "find_inception_weights", "inception_available", "load_inception"}
    | {"load_cifar10_resnet", "read_inception"},
    "frechet": {"read_tensors", "write_tensors"},
    "selection": {"against_k", "majority", "pass_at_k", "share", "uniform"},
    "speech": {"is_silent"},
}
MODULES_WITHOUT = {"answers", "bounded", "cost", "latex_answers", "marks", "math_verify_worker", "number_answers"}


def arguments(shapes: tuple[tuple[int, ...], ...]) -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    found = [torch.rand(shape, generator=random, dtype=torch.float64) for shape in shapes]
    return [x @ x.T + torch.eye(6) if shape == (6, 6) else x for x, shape in zip(found, shapes, strict=True)]


def usable(result: Any) -> bool:
    """Whether all the numbers in ``result`` are numbers; of several (one per image) one that is not will do."""
    values = result if isinstance(result, tuple) else (result,)
    return bool(all(np.isfinite(np.asarray(value)).all() for value in values if value is not None))


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """PESQ's package is not installed for the tests; what is not finite never gets as far."""
    monkeypatch.setattr(speech, "need", lambda *given: None)


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", list(CASES))
def test_what_is_no_number_stays_none(name, value):
    metric, shapes = CASES[name]
    for place, shape in enumerate(shapes):
        given = arguments(shapes)
        given[place].view(-1)[math.prod(shape) // 2] = value
        if math.isinf(value) and name.startswith("selection"):
            continue  # a logarithm of a probability may be -inf: it has its rank
        try:
            found = metric(*given)
        except UserError:
            continue
        assert not usable(found), f"argument {place}: {found}"


@pytest.mark.parametrize("name", [name for name in CASES if not name.endswith((".require_finite", ".pesq"))])
def test_numbers_are_numbers(name):
    metric, shapes = CASES[name]
    found = metric(*arguments(shapes))
    if not isinstance(found, Moments | Reference):
        assert usable(found)


def test_no_metric_is_forgotten():
    for module in pkgutil.iter_modules(metrics.__path__):
        if module.name in MODULES_WITHOUT:
            continue
        found = importlib.import_module(f"vaebench.metrics.{module.name}")
        own = {
            name
            for name, part in vars(found).items()
            if inspect.isfunction(part) and part.__module__ == found.__name__ and not name.startswith("_")
        }
        here = {name.split(".")[1].split()[0].rstrip(",") for name in CASES if name.startswith(f"{module.name}.")}
        assert own == here | WITHOUT.get(module.name, set()), module.name


def test_an_association_that_does_not_vary_is_none_and_no_less():
    constant, other = np.zeros(SCORES), np.arange(12.0).reshape(SCORES[1:])
    assert selection.within_question(constant, other, 0.0).tolist() == [[0, 0, 0]]
    other[1, 2] = math.nan
    found = selection.within_question(constant, other, 0.0)
    assert np.isnan(found).tolist() == [[False, True, False]]

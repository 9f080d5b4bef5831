"""FID features, the Frechet distance and SSIM against torch-fidelity and torchmetrics: equal first, then faster."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks.measure import Row, compare, interleave
from vaebench.compat import ensure_torchvision
from vaebench.metrics.features import read_inception
from vaebench.metrics.frechet import frechet_distance, moments, reference
from vaebench.metrics.image import ssim_per_image

FEATURES = 2048


def rows() -> Iterator[Row]:
    """Features, Frechet distance (more and fewer samples than features), SSIM."""
    ensure_torchvision()
    torch.manual_seed(0)
    with torch.no_grad():
        yield from features()
        yield frechet(samples=10_000, goal=2.5, tolerance=1e-8)
        yield frechet(samples=1_000, goal=None, tolerance=1e-5)
        yield ssim()


def features() -> Iterator[Row]:
    """2048 features per image of 28x28, batch 8, random weights; both peers against ours."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torchmetrics.image.fid import FrechetInceptionDistance

    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        torch.save(_random_state(FeatureExtractorInceptionV3), weights)
        ours = read_inception(weights)
        fidelity = FeatureExtractorInceptionV3("random", [str(FEATURES)], feature_extractor_weights_path=str(weights))
        metric = FrechetInceptionDistance(FEATURES, feature_extractor_weights_path=str(weights))
    x = torch.randint(0, 256, (8, 1, 28, 28), dtype=torch.uint8)
    repeated = x.expand(-1, 3, -1, -1).contiguous()
    wanted = fidelity(repeated)[0]
    error = float((ours(x.float() / 255) - wanted).norm() / wanted.norm())
    _require(error < 1e-4, f"features differ by {error:.1e}, relatively")

    def update() -> int:
        metric.update(repeated, real=True)
        return len(repeated)

    rates = interleave(
        {
            "ours": lambda: len(ours(x.float() / 255)),
            "torch-fidelity": lambda: len(fidelity(repeated)[0]),
            "torchmetrics": update,
        }
    )
    for peer in ("torch-fidelity", "torchmetrics"):
        note = f"equal to {error:.0e} (relative)" if peer == "torch-fidelity" else "with its running covariance"
        yield compare(
            f"FID features, against {peer}", "images per CPU-second", rates["ours"], rates[peer], goal=1.4, note=note
        )


def frechet(*, samples: int, goal: float | None, tolerance: float) -> Row:
    """One distance between given features and a kept reference, ours against torchmetrics'."""
    from torchmetrics.image.fid import _compute_fid

    known, given = (_features(samples, shift) for shift in (0.0, 0.1))
    theirs = [(m.mean, m.covariance) for m in (moments(known), moments(given))]
    target = reference(known)
    other = moments(given) if samples > FEATURES else given
    results: dict[str, float] = {}

    def ours() -> int:
        results["ours"] = frechet_distance(target, other)
        return 1

    def peer() -> int:
        results["theirs"] = float(_compute_fid(*theirs[0], *theirs[1]))
        return 1

    rates = interleave({"ours": ours, "theirs": peer})
    error = abs(results["ours"] / results["theirs"] - 1)
    _require(error < tolerance, f"Frechet distances differ by {error:.1e}, relatively")
    return compare(
        f"Frechet distance, {samples:,} x {FEATURES} features",
        "distances per CPU-second",
        rates["ours"],
        rates["theirs"],
        goal=goal,
        note=f"equal to {error:.0e} (relative)",
    )


def ssim() -> Row:
    """SSIM of 10,000 pairs of 28x28 images, as many as MNIST tests on, border rule of torchmetrics."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    x = torch.rand(10_000, 1, 28, 28)
    y = (x + 0.1 * torch.randn_like(x)).clamp(0, 1)
    results: dict[str, Tensor] = {}

    def ours() -> int:
        results["ours"] = ssim_per_image(x, y, border="reflect")
        return len(x)

    def peer() -> int:
        results["theirs"] = structural_similarity_index_measure(x, y, data_range=1.0, reduction="none")  # type: ignore[assignment]
        return len(x)

    rates = interleave({"ours": ours, "theirs": peer})
    error = float((results["ours"] - results["theirs"]).abs().max())
    _require(error < 1e-6, f"SSIM differs by {error:.1e}")
    return compare(
        "SSIM (ssim_reflect), 10,000 of 28x28",
        "images per CPU-second",
        rates["ours"],
        rates["theirs"],
        goal=10,
        note=f"equal to {error:.0e}",
    )


def _features(samples: int, shift: float) -> Tensor:
    """Synthetic features of Inception's kind: not negative, correlated."""
    mixing = torch.randn(FEATURES, FEATURES) / FEATURES**0.5
    return (torch.randn(samples, FEATURES) @ mixing + shift).relu()


def _random_state(network_class: Any) -> dict[str, Tensor]:
    """Random weights under torch-fidelity's names; the real ones are a download. Scaled so that the signal survives."""
    with mock.patch.object(network_class, "load_state_dict"), mock.patch("torch.load"):
        network: nn.Module = network_class("random", [str(FEATURES)], feature_extractor_weights_path="none")
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return network.state_dict()


def _require(condition: bool, message: str) -> None:
    """A faster number that differs is worth nothing."""
    if not condition:
        raise RuntimeError(message)

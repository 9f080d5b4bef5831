"""The inception score in closed form, by a slow loop, against torch-fidelity and torchmetrics."""

from __future__ import annotations

import math

import pytest
import torch

from vaebench.compat import ensure_torchvision
from vaebench.errors import UserError
from vaebench.metrics.two_samples import inception_score


def test_certain_and_even_predictions_score_the_number_of_classes_and_equal_ones_one():
    certain = torch.eye(5).repeat(20, 1) * 1000
    assert inception_score(certain, splits=10) == pytest.approx(5)
    assert inception_score(torch.randn(1, 7).repeat(30, 1), splits=3) == pytest.approx(1)
    sorted_by_class = certain[certain.argmax(1).argsort()]
    assert inception_score(sorted_by_class, splits=5) == pytest.approx(1)


def test_a_slow_loop_over_parts_of_unequal_size():
    logits = 2 * torch.randn(11, 4, generator=torch.Generator().manual_seed(0))
    p = logits.double().softmax(1)
    scores = []
    for part in (p[:4], p[4:8], p[8:]):
        marginal = part.mean(0)
        divergences = [
            sum(float(a) * math.log(float(a / b)) for a, b in zip(row, marginal, strict=True)) for row in part
        ]
        scores.append(math.exp(sum(divergences) / len(divergences)))
    assert inception_score(logits, splits=3) == pytest.approx(sum(scores) / 3, rel=1e-12)


def test_torch_fidelity():
    ensure_torchvision()
    peer = pytest.importorskip("torch_fidelity.metric_isc")
    logits = 3 * torch.randn(200, 10, generator=torch.Generator().manual_seed(1))
    theirs = peer.isc_features_to_metric(logits, splits=10, shuffle=False)["inception_score_mean"]
    assert inception_score(logits, splits=10) == pytest.approx(theirs, rel=1e-9)


def test_too_few_images_are_named():
    with pytest.raises(UserError, match="9 images cannot be divided into 10 parts"):
        inception_score(torch.zeros(9, 3), splits=10)

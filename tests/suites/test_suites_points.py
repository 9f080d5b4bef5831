"""The suite on points in the plane: what it measures, what it leaves for pictures, what it refuses."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from toys import inputs, values
from vaebench.contracts import SuiteResult
from vaebench.data.points import draw, s_curve
from vaebench.errors import UserError
from vaebench.metrics.two_samples import share_near, sliced_wasserstein
from vaebench.suites.points import Points

LAW = s_curve(name="s_curve", count=10, seed=0)


def moved(last: Tensor) -> SimpleNamespace:
    """A training of three moments."""
    path = torch.stack([torch.zeros_like(last), last / 2, last])
    kept = {"path": path, "steps": torch.tensor([0, 50, 80]), "arrows": torch.ones(3, 2, 5, 2)}
    return SimpleNamespace(kept=lambda: {**kept, "levels": torch.tensor([0.1, 0.5])})


def run(last: Tensor, **options: float) -> SuiteResult:
    suite = Points(**{"projections": 20, "radius": 0.08, "seed": 0, **options})
    return suite.run(inputs(moved(last), LAW, Path()))


def test_it_measures_the_last_positions():
    last = draw(300, torch.Generator().manual_seed(9)) * 0.7
    result = run(last)
    found = values(result)
    reference = draw(300, torch.Generator().manual_seed(0))
    assert torch.equal(torch.from_numpy(result.arrays["reference"]), reference)
    assert found["sliced_wasserstein"] == sliced_wasserstein(last, reference, projections=20, seed=0)
    assert found["coverage"] == share_near(reference, last, radius=0.08)
    assert found["precision"] == share_near(last, reference, radius=0.08)
    assert found["std_x"] == pytest.approx(float(last[:, 0].double().std(correction=0)), rel=1e-5)
    assert found["std_y"] == pytest.approx(float(last[:, 1].double().std(correction=0)), rel=1e-5)
    assert {measured.count for measured in result.measurements} == {300}
    assert result.measurements[0].protocol == {"projections": 20, "radius": 0.08, "seed": 0, "order": 1}


def test_the_law_itself_and_a_collapse_stand_at_both_ends():
    law, point = values(run(draw(1500, torch.Generator().manual_seed(9)))), values(run(torch.zeros(1500, 2)))
    for name in ("sliced_wasserstein", "coverage", "precision"):
        assert law[name] == pytest.approx(law[f"{name}@reference"], abs=0.02)
    assert law["coverage"] > 0.98
    assert law["sliced_wasserstein"] < 0.03 < 0.3 < point["sliced_wasserstein"]
    assert point["coverage"] < 0.05
    assert (point["precision"], point["std_x"], point["std_y"]) == (1.0, 0.0, 0.0)


def test_pictures_have_what_was_kept_and_the_law():
    arrays = run(torch.ones(6, 2)).arrays
    assert {name: found.shape for name, found in arrays.items()} == {
        **{"path": (3, 6, 2), "steps": (3,), "arrows": (3, 2, 5, 2), "levels": (2,), "reference": (6, 2)}
    }
    assert arrays["path"][-1].tolist() == [[1, 1]] * 6


def test_what_it_refuses():
    suite = Points(projections=20, radius=0.08, seed=0)
    with pytest.raises(UserError, match="compares with the law of the data: digits has none; use s_curve"):
        suite.run(inputs(moved(torch.ones(6, 2)), SimpleNamespace(name="digits"), Path()))
    with pytest.raises(UserError, match="6 of 6 rows hold NaN or infinity"):
        run(torch.full((6, 2), torch.inf))

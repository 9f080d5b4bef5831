"""The pictures of points in the plane, from what the suite on them stores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vaebench.papers.tables import Column, Row, Table
from vaebench.papers.verdicts import Interval
from vaebench.report import figures, point_plots
from vaebench.report.summary import Cell, Section

STEPS = np.array([0, 100, 250, 500, 1000, 1500, 2000, 3000, 5000])
LEVELS = np.array([0.1, 0.5, 0.9], np.float32)
ROWS = {"dmd": "distribution matching", "teacher1": "teacher, target held"}


def stored(seed: int, moments: int = 9) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "path": rng.uniform(-1.5, 1.5, (moments, 60, 2)).astype(np.float32),
        "steps": STEPS[:moments],
        "reference": rng.uniform(-1, 1, (60, 2)).astype(np.float32),
        "arrows": rng.normal(size=(moments, 3, 20, 2)).astype(np.float32),
        "levels": LEVELS,
    }


def offsets(axes) -> list[np.ndarray]:
    return [np.asarray(cloud.get_offsets()) for cloud in axes.collections]


def test_a_line_per_objective_and_a_panel_per_moment():
    found = {label: stored(number) for number, label in enumerate(ROWS.values())}
    figure = point_plots.moments(found)
    assert len(figure.axes) == 2 * 7
    assert [axes.get_title() for axes in figure.axes[:7]] == ["0", "100", "500", "1000", "1500", "3000", "5000"]
    assert {axes.get_title() for axes in figure.axes[7:]} == {""}
    assert [axes.get_ylabel() for axes in figure.axes[::7]] == ["distribution\nmatching", "teacher, target\nheld"]
    for place, arrays in zip((0, 7), found.values(), strict=True):
        grey, blue = offsets(figure.axes[place + 6])
        np.testing.assert_allclose(grey, arrays["reference"])
        np.testing.assert_allclose(blue, arrays["path"][-1])


def test_points_that_ran_away_are_followed_up_to_a_bound():
    far = stored(0)
    far["path"][-1, 0] = 2.0
    assert point_plots.moments({"a": far}).axes[0].get_xlim() == pytest.approx((-2.1, 2.1))
    far["path"][-1, 0] = 1e6
    assert point_plots.moments({"a": far}).axes[0].get_xlim() == pytest.approx((-4.0, 4.0))
    assert point_plots.moments({"a": stored(0)}).axes[0].get_xlim() == pytest.approx((-1.6, 1.6))


def test_a_short_training_has_fewer_moments():
    figure = point_plots.moments({"a": stored(0, moments=2)})
    assert [axes.get_title() for axes in figure.axes] == ["0", "100"]
    assert len(point_plots.arrows(stored(0, moments=2)).axes) == 3


def test_arrows_at_each_level_without_the_first_moment():
    found = stored(0)
    figure = point_plots.arrows(found)
    assert len(figure.axes) == 3 * 3
    assert [axes.get_title() for axes in figure.axes[:3]] == ["t = 0.1", "t = 0.5", "t = 0.9"]
    assert [axes.get_ylabel() for axes in figure.axes[::3]] == ["step 100", "step 1500", "step 5000"]
    quiver = figure.axes[-1].collections[1]
    np.testing.assert_allclose(np.stack([quiver.U, quiver.V], 1), found["arrows"][-1, 2])
    np.testing.assert_allclose(quiver.get_offsets(), found["path"][-1, :20])


def cell(row: str) -> Cell:
    runs = {seed: (f"{row}{seed}", "e") for seed in (0, 1)}
    own = Interval(0.02, 0.01, 0.03, 2)
    return Cell(row, "swd", {0: 0.02, 1: 0.02}, own, None, False, True, None, (), (), (), runs, False)


def section() -> Section:
    rows = {row: Row(label, "dmvae/toy") for row, label in ROWS.items()}
    column = Column("SWD", point_plots.SUITE, "sliced_wasserstein", "lower", 3)
    table = Table("objectives", "s_curve", rows, {"swd": column})
    cells = {(row, "swd"): cell(row) for row in rows}
    return Section("objectives", table, "small", "s_curve", (), {"swd": "SWD"}, cells, (), (), ())


def test_they_are_drawn_from_the_first_seeds_arrays(tmp_path):
    store, folder = tmp_path / "store", tmp_path / "results"
    for number, row in enumerate(ROWS):
        for seed in (0, 1):
            place = store / f"{row}{seed}" / "evals" / "e"
            place.mkdir(parents=True)
            np.savez_compressed(place / "arrays.npz", **stored(number))
    written = figures.write(section(), store, folder)
    names = ["points-objectives-small-s_curve.png", "arrows-objectives-small-s_curve.png"]
    assert [path.name for path in written] == names
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size < 300_000 for path in written)
    captions = dict(figures.there(section(), folder))
    assert list(captions) == names
    assert captions[names[0]].startswith("Points moved by each objective")
    assert figures.write(section(), Path("nowhere"), tmp_path / "none") == []

"""The pictures of points in the plane, from what the suite on them stores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seen import Stored
from vaebench.papers.tables import Column, Row, Table
from vaebench.papers.verdicts import Interval
from vaebench.report import pictures
from vaebench.report.judged import Cell
from vaebench.report.pictures import drawing
from vaebench.report.summary import Section
from vaebench.suites.pictures.points import PICTURES

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


def cell(row: str) -> Cell:
    runs = {seed: (f"{row}{seed}", "e") for seed in (0, 1)}
    own = Interval(0.02, 0.01, 0.03, 2)
    return Cell(row, "swd", {0: 0.02, 1: 0.02}, own, None, False, True, None, (), (), "", (), (), runs, False)


def section() -> Section:
    rows = {row: Row(label, "dmvae/toy") for row, label in ROWS.items()}
    column = Column("SWD", "points", "sliced_wasserstein", "lower", 3)
    table = Table("objectives", "s_curve", rows, {"swd": column})
    cells = {(row, "swd"): cell(row) for row in rows}
    return Section("objectives", table, "small", "s_curve", (), {"swd": "SWD"}, cells, (), (), ())


MOTION, MOMENTS, ARROWS = (picture.draw for picture in PICTURES)


def shown(*arrays: dict[str, np.ndarray]) -> Stored:
    return Stored(section(), "points", dict(zip(ROWS, arrays, strict=False)))


def test_a_line_per_objective_and_a_panel_per_moment():
    found = [stored(0), stored(1)]
    content = MOMENTS(shown(*found))
    assert (content.across, len(content.panels)) == (7, 2 * 7)
    steps = ["step 0", "step 100", "step 500", "step 1000", "step 1500", "step 3000", "step 5000"]
    assert [panel.title for panel in content.panels] == [*steps, *[""] * 7]
    assert [panel.y.label for panel in content.panels[::7]] == list(ROWS.values())
    for place, arrays in zip((6, 13), found, strict=True):
        grey, blue = content.panels[place].marks
        np.testing.assert_array_equal(grey.points, arrays["reference"])
        np.testing.assert_array_equal(blue.points, arrays["path"][-1])


@pytest.mark.parametrize(("furthest", "limit"), [(1.0, 1.6), (2.0, 2.1), (1e6, 4.0)])
def test_points_that_ran_away_are_followed_up_to_a_bound(furthest, limit):
    far = stored(0)
    far["path"][-1, 0] = furthest
    assert MOMENTS(shown(far)).panels[0].x.limits == pytest.approx((-limit, limit))


def test_a_short_training_has_fewer_moments():
    content = MOMENTS(shown(stored(0, moments=2)))
    assert [panel.title for panel in content.panels] == ["step 0", "step 100"]
    assert len(ARROWS(shown(stored(0, moments=2))).panels) == 3


def test_arrows_at_each_level_without_the_first_moment():
    found = stored(0)
    content = ARROWS(shown(found, stored(1)))
    assert (content.across, len(content.panels)) == (3, 3 * 3)
    assert [panel.title for panel in content.panels[:3]] == ["t = 0.1", "t = 0.5", "t = 0.9"]
    assert [panel.y.label for panel in content.panels[::3]] == ["step 100", "step 1500", "step 5000"]
    quiver = drawing.panels(content).axes[-1].collections[1]
    np.testing.assert_allclose(np.stack([quiver.U, quiver.V], 1), found["arrows"][-1, 2])
    np.testing.assert_allclose(quiver.get_offsets(), found["path"][-1, :20])


def test_they_are_drawn_from_the_first_seeds_arrays(tmp_path):
    store, folder = tmp_path / "store", tmp_path / "results"
    for number, row in enumerate(ROWS):
        for seed in (0, 1):
            place = store / f"{row}{seed}" / "evals" / "e"
            place.mkdir(parents=True)
            np.savez_compressed(place / "arrays.npz", **stored(number))
    written = pictures.write(section(), store, folder)
    names = [f"{name}-objectives-small-s_curve" for name in ("motion", "points", "arrows")]
    files = [f"{names[0]}.gif", f"{names[1]}.svg", f"{names[2]}.svg"]
    assert [path.name for path in written] == files
    assert (folder / f"{names[0]}.png").read_bytes().startswith(b"\x89PNG"), "its still"
    assert all(path.stat().st_size < 600_000 for path in written)
    captions = dict(pictures.there(section(), folder))
    assert list(captions) == files
    assert captions[files[0]].startswith("Points moved by each objective")


def test_a_frame_per_moment_and_some_between_on_the_straight_way():
    found = [stored(0), stored(1)]
    frames = MOTION(shown(*found)).frames
    assert len(frames) == 3 * (len(STEPS) - 1) + 1
    assert [frame.title for frame in frames[::3]] == [f"step {step:,}" for step in STEPS]
    assert [panel.title for panel in frames[0].panels] == list(ROWS.values())
    for number, arrays in enumerate(found):
        path, positions = arrays["path"], [frame.panels[number].marks[1].points for frame in frames]
        np.testing.assert_allclose(positions[::3], path)
        np.testing.assert_allclose(positions[4], (2 * path[1] + path[2]) / 3, rtol=1e-5)
    assert frames[1].title == "step 33"
    assert MOTION(shown(stored(0), stored(1, moments=3))) is None, "trainings of other lengths are not shown together"
    assert MOTION(shown(stored(0, moments=1))) is None


def test_a_cloud_of_dots_is_an_image(tmp_path):
    many = {**stored(0), "reference": np.zeros((3000, 2), np.float32)}
    place = tmp_path / "store" / "dmd0" / "evals" / "e"
    place.mkdir(parents=True)
    np.savez_compressed(place / "arrays.npz", **many)
    written = {
        path.name.partition("-")[0]: path.suffix for path in pictures.write(section(), tmp_path / "store", tmp_path)
    }
    assert written == {"motion": ".gif", "points": ".png", "arrows": ".png"}
    assert pictures.write(section(), Path("nowhere"), tmp_path / "none") == []

"""The picture of where latents lie, from arrays as the suite stores them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from vaebench.report.pictures import drawing
from vaebench.suites.pictures.latents import PICTURES

(DRAW,) = (picture.draw for picture in PICTURES if picture.kind == "structure")


def arrays(law: bool, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    found = {"points": rng.normal(size=(60, 2)).astype(np.float32), "labels": np.arange(60) % 12}
    if law:
        found |= {"reference_points": rng.normal(size=(40, 2)).astype(np.float32), "reference_labels": np.arange(40)}
    return found


def shown(stored: dict[str, dict[str, np.ndarray]]) -> SimpleNamespace:
    return SimpleNamespace(labelled=lambda need: {label: found for label, found in stored.items() if need in found})


def test_a_row_is_a_panel_with_its_points_and_the_laws() -> None:
    stored = {"SSL": arrays(True), "KL": arrays(False), "Gaussian": arrays(True, 1), "Text": arrays(True, 2)}
    figure = drawing.panels(DRAW(shown(stored)))
    assert [axes.get_title() for axes in figure.axes] == list(stored)
    offsets = [[np.asarray(drawn.get_offsets()) for drawn in axes.collections] for axes in figure.axes]
    assert [len(each) for each in offsets] == [2, 1, 2, 2]
    np.testing.assert_allclose(offsets[0][0], stored["SSL"]["reference_points"])
    np.testing.assert_allclose(offsets[0][1], stored["SSL"]["points"])
    colours = figure.axes[0].collections[1].get_array()
    np.testing.assert_array_equal(colours, np.arange(60) % 12 % 10)  # eleven classes and more share colours
    (legend,) = figure.legends
    labels = {text.get_text() for text in legend.get_texts()}
    assert labels == {"test image, coloured by class", "sample of the reference"}


def test_without_a_law_there_are_no_crosses_to_explain() -> None:
    figure = drawing.panels(DRAW(shown({"KL": arrays(False)})))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["test image, coloured by class"]


def test_rows_without_a_picture_are_left_out() -> None:
    stored = {"a": arrays(True), "b": {"labels": np.arange(3)}, "c": {}}
    assert [panel.title for panel in DRAW(shown(stored)).panels] == ["a"]
    assert not DRAW(shown({"c": {}}))

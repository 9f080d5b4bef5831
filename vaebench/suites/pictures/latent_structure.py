"""What the suite latent_structure has to show: where test images lie, and the law they were matched with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaebench.contracts.pictures import Panels, Picture, Scatter
from vaebench.suites.pictures.compression import plane, scatter

if TYPE_CHECKING:
    from vaebench.report.stored import Arrays, Shown


def _structure(shown: Shown) -> Panels | None:
    """The rows whose evaluation was asked for a picture."""
    return plane({label: _panel(arrays) for label, arrays in shown.labelled("points").items()})


def _panel(arrays: Arrays) -> list[Scatter]:
    """Dots in the colours of their labels, above crosses where the row was matched with a law."""
    marks = [scatter("test image, coloured by class", arrays)]
    if "reference_points" in arrays:
        style: dict[str, Any] = {"label": "sample of the reference", "colour": "#222222", "size": 7, "marker": "x"}
        marks.insert(0, Scatter(points=arrays["reference_points"], **style))
    return marks


PICTURES = (
    Picture(
        kind="structure",
        caption="Latents of test images, coloured by class, and samples of the reference they were matched with, in "
        "one plane (t-SNE or UMAP; distances between groups mean little in it). First seed",
        draw=_structure,
        place=40,
    ),
)

"""The picture of where latents lie: test images by class, and samples of the law they were matched with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vaebench.report.plots import blank

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Arrays = Mapping[str, np.ndarray]

SUITE = "latent_structure"
_ACROSS = 3
_REFERENCE = "#222222"


def drawable(stored: Mapping[str, Arrays]) -> dict[str, Arrays]:
    """The rows whose evaluation was asked for a picture."""
    return {row: found for row, found in stored.items() if "points" in found}


def embedded(stored: Mapping[str, Arrays]) -> Figure:
    """A panel per row label, each with axes of its own: a plane of t-SNE or UMAP has neither scale nor direction.

    ``stored``: arrays of the suite latent_structure. Dots are ``points`` ``[n 2]`` in the colours of their ``labels``,
    crosses below them ``reference_points``, where the row was matched with a law.
    """
    from matplotlib.lines import Line2D

    across = min(_ACROSS, len(stored))
    down = -(-len(stored) // across)
    figure, _ = blank(2.3 * down + 0.4)
    for number, (label, found) in enumerate(stored.items()):
        axes = figure.add_subplot(down, across, number + 1)
        _panel(axes, found)
        axes.set_title(label, fontsize=9)
    handles = [Line2D([], [], color="tab:blue", marker="o", ms=3, lw=0, label="test image, coloured by class")]
    if any("reference_points" in found for found in stored.values()):
        handles.append(Line2D([], [], color=_REFERENCE, marker="x", ms=4, lw=0, label="sample of the reference"))
    figure.legend(handles=handles, ncols=2, loc="lower center", fontsize=7, frameon=False)
    figure.tight_layout(rect=(0, 0.3 / figure.get_figheight(), 1, 1))
    return figure


def _panel(axes: Axes, found: Arrays) -> None:
    if "reference_points" in found:
        x, y = found["reference_points"].T
        axes.scatter(x, y, c=_REFERENCE, marker="x", s=7, lw=0.5, alpha=0.6)
    x, y = found["points"].T
    axes.scatter(x, y, c=found["labels"] % 10, cmap="tab10", vmin=0, vmax=9, s=4, lw=0)
    axes.set(xticks=[], yticks=[])

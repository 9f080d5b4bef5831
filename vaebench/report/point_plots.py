"""The pictures of points in the plane: where objectives move them, and where distribution matching points to."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill
from typing import TYPE_CHECKING

from vaebench.report.plots import COLOURS, blank

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Arrays = Mapping[str, np.ndarray]

SUITE = "points"
_MOMENTS = 7  # of a path that are shown
_LABEL = 16  # characters to a line of a row's label
_ROWS = 3  # moments whose arrows are shown
_LIMIT = 1.6  # of the axes, where nothing lies further out
_FURTHEST = 4.0  # what lies beyond is not shown


def moments(stored: Mapping[str, Arrays]) -> Figure:
    """A line of panels per objective, a panel per moment: the points on the law's, which are grey.

    ``stored``: by label, ``path`` ``[m n 2]``, ``steps`` ``[m]`` and ``reference`` ``[n 2]`` of the suite points.
    """
    across = min(_MOMENTS, max(len(found["steps"]) for found in stored.values()))
    figure, height = blank(0.88 * len(stored) + 0.35)
    for down, (label, found) in enumerate(stored.items()):
        limit = _reach(found["path"])
        for column, place in enumerate(_spread(len(found["steps"]), across)):
            axes = figure.add_subplot(len(stored), across, down * across + column + 1)
            _cloud(axes, found["reference"], "#BBBBBB")
            _cloud(axes, found["path"][place], COLOURS[0])
            _frame(axes, limit, f"{found['steps'][place]}" if not down else "")
            if not column:
                axes.set_ylabel(fill(label, _LABEL), fontsize=7, rotation=0, ha="right", va="center")
    figure.tight_layout(pad=0.3, rect=(0, 0, 1, 1 - 0.14 / height))
    figure.text(0.5, 1 - 0.04 / height, "steps of the student", ha="center", va="top", fontsize=8)
    return figure


def arrows(found: Arrays) -> Figure:
    """Early, in the middle and at the end (down) and at each level of noise (across): whither points would be moved.

    ``found``: what `moments` takes, and ``arrows`` ``[m l k 2]`` at the times ``levels`` ``[l]``; the first moment, at
    which both flows are one, is left out. Lengths are those of the gradient.
    """
    steps, levels = found["steps"], found["levels"]
    later = [place for place in range(len(steps)) if steps[place] > 0]
    places = [later[number] for number in _spread(len(later), min(_ROWS, len(later)))]
    figure, _ = blank(1.45 * len(places) + 0.2)
    for down, place in enumerate(places):
        limit = _reach(found["path"][place : place + 1])
        for column, level in enumerate(levels):
            axes = figure.add_subplot(len(places), len(levels), down * len(levels) + column + 1)
            _cloud(axes, found["reference"], "#BBBBBB")
            start, moved = found["path"][place][: found["arrows"].shape[2]], found["arrows"][place, column]
            axes.quiver(
                *start.T, *moved.T, angles="xy", scale_units="xy", scale=1, width=0.006, color=COLOURS[1], zorder=2
            )
            _frame(axes, limit, f"t = {level:g}" if not down else "")
            if not column:
                axes.set_ylabel(f"step {steps[place]}", fontsize=7)
    figure.tight_layout(pad=0.3)
    return figure


def _cloud(axes: Axes, points: np.ndarray, colour: str) -> None:
    axes.scatter(points[:, 0], points[:, 1], s=0.6, lw=0, color=colour, rasterized=True)


def _frame(axes: Axes, limit: float, title: str) -> None:
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[], aspect="equal")
    axes.set_title(title, fontsize=7, pad=2)


def _reach(path: np.ndarray) -> float:
    """Half the side of a square around the origin that the points fit in, within bounds."""
    return min(max(_LIMIT, 1.05 * float(abs(path).max())), _FURTHEST)


def _spread(count: int, shown: int) -> list[int]:
    """``shown`` of ``count`` numbers, the first and the last among them."""
    return [round(number * (count - 1) / max(1, shown - 1)) for number in range(shown)] if shown > 1 else [count - 1]

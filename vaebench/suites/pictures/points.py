"""What the suite points has to show: where objectives move points, and where distribution matching points to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaebench.contracts.pictures import GREY, Axis, Moving, Panel, Panels, Picture, Scatter

if TYPE_CHECKING:
    import numpy as np

    from vaebench.report.stored import Arrays, Shown

_MOMENTS = 7  # of a path that are shown
_BETWEEN = 3  # frames from one moment to the next
_ROWS = 3  # moments whose arrows are shown
_LIMIT = 1.6  # of the axes, where nothing lies further out
_FURTHEST = 4.0  # what lies beyond is not shown


def _moments(shown: Shown) -> Panels | None:
    """A line of panels per objective, a panel per moment: the points on the law's, which are grey."""
    stored, panels = shown.labelled(), []
    across = min(_MOMENTS, max((len(found["steps"]) for found in stored.values()), default=0))
    for down, (label, found) in enumerate(stored.items()):
        for column, place in enumerate(_spread(len(found["steps"]), across)):
            title = f"step {found['steps'][place]}" if not down else ""
            cloud = Scatter(points=found["path"][place], size=0.6)
            panels.append(_panel(found, found["path"], cloud, title, "" if column else label))
    return Panels(panels=panels, across=across, height=0.9)


def _motion(shown: Shown) -> Moving | None:
    """A panel per objective, a frame per moment, and some between, in which the points go straight."""
    import numpy as np

    stored = shown.labelled()
    steps = [int(step) for step in next(iter(stored.values()))["steps"]] if stored else []
    if len(steps) < 2 or any(list(found["steps"]) != steps for found in stored.values()):
        return None
    frames = []
    for place in np.linspace(0, len(steps) - 1, (len(steps) - 1) * _BETWEEN + 1):
        step = round(float(np.interp(place, range(len(steps)), steps)))
        panels = [
            _panel(found, found["path"], Scatter(points=_between(found["path"], place), size=0.8), label, "")
            for label, found in stored.items()
        ]
        frames.append(Panels(panels=panels, title=f"step {step:,}", across=min(5, len(panels)), height=1.45))
    return Moving(frames)


def _between(path: np.ndarray, place: float) -> np.ndarray:
    """Positions ``[n 2]`` at a moment of a path ``[m n 2]``, or on the straight way to the next."""
    before, share = int(place), place % 1
    after = min(before + 1, len(path) - 1)
    found: np.ndarray = (1 - share) * path[before] + share * path[after]
    return found


def _arrows(shown: Shown) -> Panels | None:
    """Of the first row: early, in the middle and at the end (down), whither points would be moved at each noise level.

    The first moment, at which both flows are one, is left out. Lengths are those of the gradient.
    """
    found = next(iter(shown.labelled().values()), None)
    if found is None:
        return None
    later = [place for place, step in enumerate(found["steps"]) if step > 0]
    panels = []
    for down, number in enumerate(_spread(len(later), min(_ROWS, len(later)))):
        place = later[number]
        for column, level in enumerate(found["levels"]):
            moves = found["arrows"][place, column]
            arrows = Scatter(points=found["path"][place][: len(moves)], moves=moves, colour=1)
            title = "" if down else f"t = {level:g}"
            label = "" if column else f"step {found['steps'][place]}"
            panels.append(_panel(found, found["path"][place], arrows, title, label))
    return Panels(panels=panels, across=len(found["levels"]), height=1.5)


def _panel(found: Arrays, within: np.ndarray, mark: Scatter, title: str, label: str) -> Panel:
    """The law's points, grey, below the mark; the side of the square holds the points ``within``, up to a bound."""
    limit = min(max(_LIMIT, 1.05 * float(abs(within).max())), _FURTHEST)
    axis = Axis(limits=(-limit, limit), ticks={})
    law = Scatter(points=found["reference"], size=0.6, colour=GREY)
    y = Axis(label=label, limits=(-limit, limit), ticks={}, flat=True)
    return Panel(marks=[law, mark], title=title, x=axis, y=y, square=True)


def _spread(count: int, shown: int) -> list[int]:
    """``shown`` of ``count`` numbers, the first and the last among them."""
    return [round(number * (count - 1) / max(1, shown - 1)) for number in range(shown)] if shown > 1 else [count - 1]


PICTURES = (
    Picture(
        kind="motion",
        caption="Points moved by each objective (blue) and what they should reach (grey); between the moments that "
        "were kept the points go straight. First seed",
        draw=_motion,
        place=5,
    ),
    Picture(
        kind="points",
        caption="Points moved by each objective (blue) and what they should reach (grey), along the training. "
        "First seed",
        draw=_moments,
    ),
    Picture(
        kind="arrows",
        caption="Where distribution matching would move the points of the first row, a column per noise level "
        "(t = 0: noise, 1: data) and a line per moment of the training; grey: what they should reach. First seed",
        draw=_arrows,
    ),
)

"""What there is to see of a table, as plain data: a suite's pictures say it, `vaebench.report.pictures` draws it.

No torch, no matplotlib. A colour is a place in the palette, or a name that matplotlib knows. Arrays are numpy's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

    from vaebench.papers.verdicts import Interval
    from vaebench.report.stored import Shown

Colour = int | str
GREY = "#BBBBBB"
# What a paper prints, in every picture.
PAPER: Mapping[str, Any] = {"dash": "", "marker": "D", "hollow": True, "size": 5, "width": 1, "colour": "#000000"}


@dataclass(frozen=True)
class Images:
    """A grid of images uint8 ``[n h w c]``: a labelled line per entry, broken after ``per_line`` of them (0: never)."""

    lines: Mapping[str, np.ndarray]
    per_line: int = 0

    def __bool__(self) -> bool:
        """Whether there is anything to see."""
        return bool(self.lines)


@dataclass(frozen=True)
class Sounds:
    """Clips int16 ``[n t]`` at ``rate`` Hz to listen to: the originals, and by label what was made of them."""

    originals: np.ndarray
    made: Mapping[str, np.ndarray]
    rate: int


@dataclass(frozen=True, kw_only=True)
class Line:
    """Points in order. ``dash`` and ``marker``: matplotlib's; no ``marker``: the colour's own (``""``: none).

    ``below``, ``above``: how far an interval reaches from each point, drawn as bars or as a ``band``; upright, or
    along x with ``sideways``.
    """

    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    label: str = ""
    colour: Colour = 0
    dash: str = "-"
    marker: str | None = None
    size: float = 4
    hollow: bool = False
    width: float = 1.4
    below: Sequence[float] | np.ndarray | None = None
    above: Sequence[float] | np.ndarray | None = None
    band: bool = False
    sideways: bool = False

    @property
    def ends(self) -> list[float]:
        """How far down and up it reaches, with its intervals."""
        none = [0.0] * len(self.y)
        below, above = (none if reach is None else reach for reach in (self.below, self.above))
        return [float(end) for y, b, a in zip(self.y, below, above, strict=True) for end in (y - b, y + a)]


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """Dots ``[n 2]`` of one colour, or each of that of its class; with ``moves`` ``[n 2]``: arrows from there.

    ``classes``: int ``[n]``; their ``names`` stand in the legend, in colours from ``colour`` on.
    """

    points: np.ndarray
    classes: np.ndarray | None = None
    names: Sequence[str] = ()
    moves: np.ndarray | None = None
    label: str = ""
    colour: Colour = 0
    size: float = 4
    marker: str = "o"


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Bars of these ``lengths`` at these places; ``sideways``: they lie. ``errors``: half of an interval.

    ``starts``: where each begins; None: at 0.
    """

    places: Sequence[float] | np.ndarray
    lengths: Sequence[float] | np.ndarray
    starts: Sequence[float] | None = None
    errors: Sequence[float] | None = None
    label: str = ""
    colour: Colour = 0
    width: float = 0.8
    sideways: bool = False


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Densities ``[b]`` between edges ``[b+1]``."""

    edges: np.ndarray
    densities: np.ndarray
    label: str = ""
    colour: Colour = 0


@dataclass(frozen=True, kw_only=True)
class Level:
    """A line across the panel at ``at``, upright with ``sideways``; between ``low`` and ``high`` it is shaded."""

    at: float
    label: str = ""
    colour: Colour = "black"
    dash: str = "--"
    low: float | None = None
    high: float | None = None
    sideways: bool = False


Mark = Line | Scatter | Bars | Histogram | Level


@dataclass(frozen=True, kw_only=True)
class Axis:
    """``limits``: None: those of the data. ``ticks``: texts by place; None: as the scale has them.

    ``bold``: places of ticks that stand out. ``slanted``: the ticks' texts. ``flat``: the label of an upright axis.
    """

    label: str = ""
    scale: Literal["linear", "log", "log2", "symlog"] = "linear"
    limits: tuple[float, float] | None = None
    ticks: Mapping[float, str] | None = None
    bold: Sequence[float] = ()
    slanted: bool = False
    flat: bool = False


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Marks on one pair of axes. ``square``: a unit is as long on both."""

    marks: Sequence[Mark]
    title: str = ""
    x: Axis = Axis()
    y: Axis = Axis()
    square: bool = False


@dataclass(frozen=True, kw_only=True)
class Panels:
    """Panels in reading order, at most ``across`` to a line of ``height`` inches (one for each line, or one for all).

    ``legend``: below all panels with so many entries to a line, or beside or inside each panel. It has the labels of
    the marks in their order, each once. ``title``: what all of them show.
    """

    panels: Sequence[Panel]
    title: str = ""
    across: int = 1
    height: float | Sequence[float] = 3.0
    legend: int | Literal["beside", "inside"] = 5

    def __bool__(self) -> bool:
        """Whether there is anything to see."""
        return any(panel.marks for panel in self.panels)


@dataclass(frozen=True)
class Moving:
    """Frames shown one after the other, each for so many milliseconds, the last for longer; then from the beginning.

    Where nothing may move, the last one stands for all.
    """

    frames: Sequence[Panels]
    milliseconds: int = 90

    def __bool__(self) -> bool:
        """Whether there is anything to see."""
        return any(self.frames)


@dataclass(frozen=True)
class Picture:
    """One picture of a table. It stands in ``PICTURES`` of a module in ``suites/pictures/``.

    ``kind``: the beginning of its file's name; of several with one kind the first that has something to show is drawn.
    ``caption``: below it. ``draw``: what there is to see of a table and of what the suite stored for it, if anything.
    ``of_numbers``: made of the table's numbers alone, so it is drawn again when arrays are gone. ``place``: among a
    table's pictures, the smallest first. ``instead_of``: the kind of a picture that is not drawn beside this suite's.
    ``suites``: the modules of those that have it; none: the one that is called as the picture's own module.
    """

    kind: str
    caption: str | Callable[[Shown], str]
    draw: Callable[[Shown], Images | Panels | Moving | Sounds | None]
    of_numbers: bool = False
    place: int = 50
    instead_of: str = ""
    suites: tuple[str, ...] = ()


def listing(labels: Sequence[str], bold: Sequence[float] = ()) -> Axis:
    """An upright axis with a label at each whole number, 0 at the top."""
    ticks = {float(place): label for place, label in enumerate(labels)}
    return Axis(limits=(len(labels) - 0.4, -0.6), ticks=ticks, bold=bold)


def intervals(found: Mapping[float, Interval], *, sideways: bool = False, **style: Any) -> Line:
    """A line through means by place, the smallest first, each with its interval; one seed alone has none."""
    places = sorted(found)
    each = [found[place] for place in places]
    means = [one.mean for one in each]
    return Line(
        x=means if sideways else places,
        y=places if sideways else means,
        below=[0.0 if one.low is None else max(0.0, one.mean - one.low) for one in each],
        above=[0.0 if one.high is None else max(0.0, one.high - one.mean) for one in each],
        sideways=sideways,
        **style,
    )


def printed(found: Mapping[float, float], **style: Any) -> Line:
    """What a paper prints, by place, beside `intervals` of the same colour."""
    places = sorted(found)
    heights = [found[place] for place in places]
    return Line(x=places, y=heights, **{**PAPER, "dash": ":", **style})


def curves(logs: Iterable[Sequence[Mapping[str, float]]], along: str, term: str, **style: Any) -> list[Line]:
    """A logged term of each training that has it, along epochs or steps; a value alone is a dot."""
    found = [[(line[along], line[term]) for line in log if term in line] for log in logs]
    return [
        Line(x=x, y=y, marker="." if len(x) == 1 else "", width=1.1, **style)
        for x, y in (zip(*points, strict=True) for points in found if points)
    ]

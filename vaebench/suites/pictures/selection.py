"""What the suite selection has to show: who picks which answer, and how well.

A row's ``measures`` names its selector; `METHOD` is the one that the others are there to be compared with.
"""

from __future__ import annotations

from textwrap import fill, shorten
from typing import TYPE_CHECKING, Any

from vaebench.contracts.pictures import (
    PAPER,
    Axis,
    Bars,
    Histogram,
    Level,
    Line,
    Mark,
    Panel,
    Panels,
    Picture,
    Scatter,
    intervals,
    listing,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np

    from vaebench.papers.tables import Row
    from vaebench.papers.verdicts import Interval
    from vaebench.report.stored import Arrays, Shown

METHOD = "min_entropy"
# What every selector is compared with: drawn in each panel, in colours of no selector.
_ORACLE = "oracle"
_REFERENCES = {"random": "#888888", "single": "#888888", "majority": "#000000", _ORACLE: "#000000"}
_DASHES = {_ORACLE: ":", "max_entropy": "--"}
_REPEATED = ("-", "-.", ":", "--")
_BLUE, _WRONG, _RIGHT = range(3)
_OTHERS = range(1, 6)
_GREY = "#555555"
_WIDTH = 0.1  # the least of an axis, in nats of entropy or in standard deviations of the prior


def _bars(shown: Shown) -> Panels | None:
    """One line per row: ours as a dot with its interval, the paper's as an open diamond, random pick as a band.

    The first column of accuracies; printed tables in their order, others best first.
    """
    column = next((name for name, column in shown.section.table.columns.items() if column.unit == "%"), "")
    found = [(shown.rows[row], cell) for row, cell in shown.cells(column).items() if shown.rows[row].measures]
    if not any(cell.ours for _, cell in found):
        return None
    if not shown.section.table.reported:
        found.sort(key=lambda pair: pair[1].ours.mean if pair[1].ours else 0.0, reverse=True)
    ours: dict[bool, dict[float, Interval]] = {False: {}, True: {}}
    paper: dict[float, float] = {}
    for place, (row, cell) in enumerate(found):
        if cell.ours is not None:
            ours[row.measures == METHOD][place] = cell.ours
        if cell.reported is not None:
            paper[place] = cell.reported
    style: dict[str, Any] = {"sideways": True, "dash": "", "marker": "o", "size": 5, "width": 1.8}
    marks: list[Mark] = [
        intervals(ours[False], colour=_GREY, label="ours, 95 % interval", **style),
        intervals(ours[True], colour=_BLUE, **style),
    ]
    randoms = [cell.ours for row, cell in found if row.measures == "random" and cell.ours]
    if len(randoms) == 1:
        band: dict[str, Any] = {"low": randoms[0].low, "high": randoms[0].high, "colour": _REFERENCES["random"]}
        marks.append(Level(at=randoms[0].mean, label="random pick", dash="-", sideways=True, **band))
    if paper:
        marks.append(Line(x=list(paper.values()), y=list(paper), label="the paper's number", **PAPER))
    labels = [fill(row.label, 40) for row, _ in found]
    bold = [place for place, (row, _) in enumerate(found) if row.measures == METHOD]
    height = 0.75 + sum(0.11 + 0.125 * (label.count("\n") + 1) for label in labels)
    panel = Panel(marks=marks, x=Axis(label="accuracy, %"), y=listing(labels, bold))
    return Panels(panels=[panel], title=shown.finding, height=height, legend=3)


def _accuracy_at_k(shown: Shown) -> Panels | None:
    """One panel above the other, one colour per selector; each with its own scale and its legend beside it.

    The scale leaves the oracle out: it is so far above that nobody could tell the others apart.
    """
    grouped = _groups(shown)
    stored = shown.arrays()
    ticks = {int(k): str(int(k)) for group in grouped.values() for row in group for k in stored[row]["k_values"]}
    panels, heights = [], []
    for title, group in grouped.items():
        others = [m for row in group if (m := shown.rows[row].measures) not in (METHOD, *_DASHES, *_REFERENCES)]
        drawn: dict[str, int] = {}
        lines = {}
        for row in group:
            selector = shown.rows[row].measures
            lines[row] = _at_k(shown.rows[row], stored[row], others, drawn.get(selector, 0))
            drawn[selector] = drawn.get(selector, 0) + 1
        inside = [line for row, line in lines.items() if shown.rows[row].measures != _ORACLE] or list(lines.values())
        x = Axis(label="answers to pick from", scale="log2", ticks=dict(sorted(ticks.items())))
        y = Axis(label="accuracy, %", limits=_scale(inside))
        panels.append(Panel(marks=list(lines.values()), title=title, x=x, y=y))
        heights.append(0.75 + max(2.0, 0.125 * sum(line.label.count("\n") + 1 for line in lines.values())))
    return Panels(panels=panels, height=heights, legend="beside")


def _groups(shown: Shown) -> dict[str, list[str]]:
    """By panel, its rows: those that were embedded and answered alike.

    The references that need no embedding stand in every panel, and get one of their own only if there is no other.
    """
    panels: dict[str, list[str]] = {}
    for name, arrays in shown.arrays().items():
        row = shown.rows[name]
        if row.measures and f"accuracy_at_k.{row.measures}" in arrays:
            panels.setdefault(_made_with(row), []).append(name)
    bare = panels.pop("", [])
    references = [row for row in bare if shown.rows[row].measures in _REFERENCES]
    panels = {title: [*rows, *references] for title, rows in panels.items()}
    if len(references) < len(bare) or not panels:
        panels["no embedding"] = [row for row in bare if row not in references] + references
    return {title: rows for title, rows in panels.items() if rows}


def _at_k(row: Row, arrays: Arrays, others: Sequence[str], repeated: int) -> Line:
    """Accuracy at every k. ``repeated``: how many lines of the same selector the panel has already."""
    selector, k = row.measures, arrays["k_values"]
    accuracy = arrays[f"accuracy_at_k.{selector}"]
    style: dict[str, Any] = {"colour": _BLUE, "width": 1.1, "size": 3.5, "marker": ""}
    style |= {"dash": _DASHES.get(selector, "-")}
    if selector in _REFERENCES:
        style |= {"colour": _REFERENCES[selector], "width": 1.5}
    elif selector == METHOD:
        style |= {"width": 2.8, "marker": "o", "size": 5, "band": True}
        low, high = (arrays.get(f"accuracy_at_k.{selector}.{end}") for end in ("low", "high"))
        if low is not None and high is not None:
            style |= {"below": accuracy - low, "above": high - accuracy}
    elif selector in others:
        number = others.index(selector)
        style |= {"colour": _OTHERS[number % len(_OTHERS)], "marker": None}
        repeated = number // len(_OTHERS)
    if len(k) == 1:
        style |= {"marker": "X", "size": 6}
    if repeated:
        style |= {"dash": _REPEATED[repeated % len(_REPEATED)]}
    return Line(x=k, y=accuracy, label=fill(row.label, 30), **style)


def _scale(lines: Iterable[Line]) -> tuple[float, float]:
    ends = [end for line in lines for end in line.ends]
    room = max(0.5, 0.08 * (max(ends) - min(ends)))
    return min(ends) - room, max(ends) + room


def _entropy(shown: Shown) -> Panels | None:
    """Densities of right and wrong answers, from counts ``[b]`` over ``entropy_edges [b+1]`` (nats)."""
    x, y = "entropy of the posterior, nats", Axis(label="density")
    panels = []
    for label, arrays in _of_the_method(shown, "entropy_edges").items():
        edges = arrays["entropy_edges"]
        limits = _wide_enough(edges)
        marks = [
            _density(edges, arrays[f"entropy_{name}"], f"{name} answers", colour)
            for name, colour in (("right", _RIGHT), ("wrong", _WRONG))
        ]
        panels.append(Panel(marks=marks, title=label, x=Axis(label=x, limits=limits), y=y))
    return Panels(panels=panels, across=2, height=2.4, legend=3)


def _density(stored: np.ndarray, counts: np.ndarray, label: str, colour: int) -> Histogram:
    """Edges equal up to rounding (a collapsed posterior) leave bins of no width: they go with their neighbour."""
    import numpy as np

    edges = np.unique(stored.astype(np.float64))
    places = np.minimum(np.searchsorted(edges, stored[:-1].astype(np.float64)), len(edges) - 2)
    merged = np.bincount(places, counts, minlength=len(edges) - 1)
    densities = merged / np.diff(edges) / max(1.0, merged.sum())
    return Histogram(edges=edges, densities=densities, label=label, colour=colour)


def _z(shown: Shown) -> Panels | None:
    """Means of the posterior ``[m 2]``, in the order stored: neither colour covers the other."""
    panels = []
    for label, arrays in _of_the_method(shown, "z").items():
        names = ("wrong answers", "right answers")
        right = arrays["z_right"].astype(int)
        dots = Scatter(points=arrays["z"], classes=right, names=names, colour=_WRONG, size=3.5)
        x = Axis(label="first principal component", limits=_wide_enough(arrays["z"][:, 0]))
        y = Axis(label="second", limits=_wide_enough(arrays["z"][:, 1]))
        panels.append(Panel(marks=[dots], title=label, x=x, y=y))
    return Panels(panels=panels, across=2, height=3.1, legend=3)


def _picks(shown: Shown) -> Panels | None:
    """Shares of the picks by place ``[k]`` and by source ``[s]``, beside the fair share. One source has no panel."""
    found, panels = _of_the_method(shown, "picks_position"), []
    several = max((len(arrays["sources"]) for arrays in found.values()), default=0)
    for label, arrays in found.items():
        shares = 100.0 * arrays["picks_position"] / arrays["picks_position"].sum()
        fair = Level(at=100 / len(shares), label="the fair share")
        bars = Bars(places=range(1, len(shares) + 1), lengths=shares)
        x, y = Axis(label="position of the picked answer"), Axis(label="picks, %")
        panels.append(Panel(marks=[bars, fair], title=label, x=x, y=y))
        if several > 1:
            panels.append(_by_source(arrays))
    height = max(1.9, 0.8 + 0.16 * several)
    return Panels(panels=panels, across=2 if several > 1 else 1, height=height, legend=3)


def _by_source(arrays: Arrays) -> Panel:
    shares = 100.0 * arrays["picks_source"] / arrays["picks_source"].sum()
    names = [shorten(str(name), 30, placeholder="...") for name in arrays["sources"]]
    bars = Bars(places=range(len(names)), lengths=shares, width=0.75, sideways=True)
    fair = Level(at=100 / len(names), label="the fair share", sideways=True)
    return Panel(marks=[bars, fair], x=Axis(label="picks by who answered, %"), y=listing(names))


def _of_the_method(shown: Shown, needed: str) -> dict[str, Arrays]:
    """By label, the arrays of the rows that pick as the method does, one per embedder."""
    found = {name: arrays for name, arrays in shown.arrays(needed).items() if shown.rows[name].measures == METHOD}
    return {shown.rows[name].label: found[name] for name in shown.rows if name in found}


def _wide_enough(values: np.ndarray) -> tuple[float, float]:
    """Limits that do not blow up rounding: what a collapsed posterior says of all answers stays one spike, one spot."""
    low, high = float(values.min()), float(values.max())
    middle, half = (low + high) / 2, max(1.1 * (high - low), _WIDTH) / 2
    return middle - half, middle + half


def _made_with(row: Row) -> str:
    """Embedder and answerer as the row chooses them: ``embedder jina, answers llama``; empty if it chooses neither."""
    chosen = {name: value for name, value in row.set.items() if name == "embedder" or name.startswith("answers@")}
    return ", ".join(f"{name.partition('@')[0]} {value}" for name, value in chosen.items())


PICTURES = (
    Picture(
        "numbers", "Accuracy of every row with its 95 % interval; the method in blue", _bars, of_numbers=True, place=0
    ),
    Picture(
        "accuracy_at_k",
        "Accuracy against the number of answers to pick from, averaged over which of them are offered. "
        "Each panel has its own scale, and the oracle may leave it at the top",
        _accuracy_at_k,
    ),
    Picture(
        "entropy", "Entropy of the posterior of right and of wrong answers; apart is what the method needs", _entropy
    ),
    Picture("z", "Means of the posterior of right and of wrong answers, on their first two principal components", _z),
    Picture(
        "picks",
        "Which answers the lowest entropy picks, by their place in the shuffled list and by who wrote them",
        _picks,
    ),
)

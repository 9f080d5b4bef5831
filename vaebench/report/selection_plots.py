"""The pictures of who picks which answer. A row's ``measures`` names its selector; `METHOD` is the paper's."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaebench.papers.tables import Row
from vaebench.papers.verdicts import Interval
from vaebench.report.plots import COLOURS, MARKERS, blank
from vaebench.report.summary import Section

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Arrays = Mapping[str, np.ndarray]

METHOD = "min_entropy"
_OPPOSITE = "max_entropy"
# What every selector is compared with: drawn in each panel, in colours of no selector.
_ORACLE = "oracle"
_REFERENCES = {"random": "#888888", "single": "#888888", "majority": "#000000", _ORACLE: "#000000"}
_DASHES = {_ORACLE: ":", _OPPOSITE: "--"}
_REPEATED = ("-", "-.", ":", "--")
_BLUE, _WRONG, _RIGHT = COLOURS[:3]
_OTHERS = COLOURS[1:6]
_GREY = "#555555"
# The least width of an axis, in nats of entropy or in standard deviations of the prior.
_WIDTH = 0.1
_SMALL = {"fontsize": 7, "frameon": False}


@dataclass(frozen=True)
class Line:
    """One row of the table: accuracy in percent at every k ``[n]``; ``low`` and ``high`` ``[n]`` where known."""

    label: str
    measures: str
    k: np.ndarray
    accuracy: np.ndarray
    low: np.ndarray | None
    high: np.ndarray | None


@dataclass(frozen=True)
class Dot:
    """One row of the table: ours and the paper's accuracy in percent, where there is one."""

    label: str
    measures: str
    ours: Interval | None
    paper: float | None


def methods(section: Section) -> list[str]:
    """The rows that pick as the paper does, one per embedder."""
    return [name for name, row in section.table.rows.items() if row.measures == METHOD]


def accuracy_lines(section: Section, stored: Mapping[str, Arrays]) -> dict[str, list[Line]]:
    """By panel, its lines. ``stored``: by row, what the suite stored.

    Rows share a panel if they were embedded and answered alike. The references that need no embedding stand in every
    panel, and get one of their own only if there is no other.
    """
    panels: dict[str, list[Line]] = {}
    for name, arrays in stored.items():
        row = section.table.rows[name]
        key = f"accuracy_at_k.{row.measures}"
        if row.measures and key in arrays:
            low, high = arrays.get(f"{key}.low"), arrays.get(f"{key}.high")
            line = Line(row.label, row.measures, arrays["k_values"], arrays[key], low, high)
            panels.setdefault(_made_with(row), []).append(line)
    bare = panels.pop("", [])
    references = [line for line in bare if line.measures in _REFERENCES]
    panels = {title: [*lines, *references] for title, lines in panels.items()}
    if len(references) < len(bare) or not panels:
        panels["no embedding"] = [line for line in bare if line not in references] + references
    return {title: lines for title, lines in panels.items() if lines}


def accuracy_dots(section: Section) -> list[Dot]:
    """Every row with its cell in the first column of accuracies; printed tables in their order, others best first."""
    columns = [name for name, column in section.table.columns.items() if column.unit == "%"]
    found = []
    for name, row in section.table.rows.items():
        cell = section.cells.get((name, columns[0])) if columns and row.measures else None
        if cell is not None:
            found.append(Dot(row.label, row.measures, cell.ours, cell.reported))
    if all(dot.ours is None for dot in found):
        return []
    if section.table.reported:
        return found
    return sorted(found, key=lambda dot: dot.ours.mean if dot.ours else 0.0, reverse=True)


def accuracy_at_k(panels: Mapping[str, Sequence[Line]]) -> Figure:
    """One panel above the other, one colour per selector; each with its own scale and its legend beside it.

    The scale leaves the oracle out: it is so far above that nobody could tell the others apart.
    """
    heights = [0.75 + max(2.0, 0.125 * sum(_lines(line.label, 30) for line in lines)) for lines in panels.values()]
    figure, _ = blank(sum(heights))
    grid = figure.add_gridspec(len(panels), 1, height_ratios=heights)
    for number, (title, lines) in enumerate(panels.items()):
        axes = figure.add_subplot(grid[number])
        others = [line.measures for line in lines if line.measures not in (METHOD, _OPPOSITE, *_REFERENCES)]
        drawn: dict[str, int] = {}
        for line in lines:
            _at_k(axes, line, others, drawn.setdefault(line.measures, 0))
            drawn[line.measures] += 1
        axes.set_ylim(*_scale(lines))
        axes.set_title(title, fontsize=9)
        axes.set_ylabel("accuracy, %", fontsize=8)
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.03), labelspacing=0.35, **_SMALL)
    ticks = sorted({int(k) for lines in panels.values() for line in lines for k in line.k})
    for axes in figure.axes:
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [str(k) for k in ticks], minor=False)
        axes.tick_params(labelsize=8)
    figure.axes[-1].set_xlabel("answers to pick from", fontsize=8)
    figure.tight_layout()
    return figure


def bars(dots: Sequence[Dot]) -> Figure:
    """One line per row: ours as a dot with its interval, the paper's as an open diamond, random pick as a band."""
    labels = [textwrap.fill(dot.label, 40) for dot in dots]
    figure, height = blank(0.75 + sum(0.11 + 0.125 * (label.count("\n") + 1) for label in labels))
    axes = figure.add_subplot()
    randoms = [dot.ours for dot in dots if dot.measures == "random" and dot.ours]
    if len(randoms) == 1:
        _band(axes, randoms[0])
    for place, dot in enumerate(dots):
        colour = _BLUE if dot.measures == METHOD else _GREY
        if dot.ours is not None:
            reach = _reach(dot.ours)
            axes.errorbar(dot.ours.mean, place, xerr=reach, color=colour, marker="o", ms=5, lw=1.8, capsize=3)
        if dot.paper is not None:
            axes.plot(dot.paper, place, color=colour, marker="d", mfc="none", ms=8, mew=1.3, ls="none")
    axes.set_yticks(range(len(dots)), labels, fontsize=7)
    for tick, dot in zip(axes.get_yticklabels(), dots, strict=True):
        if dot.measures == METHOD:
            tick.set(color=_BLUE, fontweight="bold")
    axes.set_ylim(len(dots) - 0.4, -0.6)
    axes.set_xlabel("accuracy, %", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(alpha=0.3)
    handles = [axes.plot([], [], "o", color=_GREY, ms=5, label="ours, 95 % interval")[0]]
    if len(randoms) == 1:
        handles += [axes.plot([], [], color=_REFERENCES["random"], lw=1.5, label="random pick")[0]]
    if any(dot.paper is not None for dot in dots):
        handles += [axes.plot([], [], "d", color=_GREY, mfc="none", ms=8, mew=1.3, label="the paper's number")[0]]
    figure.legend(handles=handles, ncols=3, loc="lower center", **_SMALL)
    figure.tight_layout(rect=(0, 0.22 / height, 1, 1))
    return figure


def entropies(rows: Mapping[str, Arrays]) -> Figure:
    """By row label: densities of right and wrong answers, from counts ``[b]`` over ``entropy_edges [b+1]`` (nats)."""
    import numpy as np

    figure, panels = _panels(rows, 2.4)
    for axes, arrays in panels:
        # Entropies equal up to rounding (a collapsed posterior) leave bins of no width: they go with their neighbour.
        stored = arrays["entropy_edges"].astype(np.float64)
        edges = np.unique(stored)
        places = np.minimum(np.searchsorted(edges, stored[:-1]), len(edges) - 2)
        for name, colour in (("right", _RIGHT), ("wrong", _WRONG)):
            counts = np.bincount(places, arrays[f"entropy_{name}"], minlength=len(edges) - 1)
            density = counts / np.diff(edges) / max(1.0, counts.sum())
            axes.stairs(density, edges, fill=True, color=colour, alpha=0.25)
            axes.stairs(density, edges, color=colour, lw=1.3, label=f"{name} answers")
        axes.set_xlim(*_wide_enough(*axes.get_xlim()))
        axes.ticklabel_format(axis="x", useOffset=False)
        axes.set_xlabel("entropy of the posterior, nats", fontsize=8)
        axes.set_ylabel("density", fontsize=8)
        axes.grid(alpha=0.3)
    _shared_legend(figure)
    return figure


def posterior_means(rows: Mapping[str, Arrays]) -> Figure:
    """By row label: ``z [m 2]``, coloured by ``z_right [m]``, in the order stored: neither colour covers the other."""
    import numpy as np

    figure, panels = _panels(rows, 3.1)
    for axes, arrays in panels:
        right = arrays["z_right"].astype(bool)
        points = arrays["z"]
        colours = np.where(right, _RIGHT, _WRONG)
        # Full colours and hard edges: thousands of soft points would make a file of several hundred kB.
        axes.scatter(points[:, 0], points[:, 1], s=3.5, c=colours, linewidths=0, antialiased=False)
        for name, colour in (("right", _RIGHT), ("wrong", _WRONG)):
            axes.plot([], [], "o", color=colour, ms=4, label=f"{name} answers")
        axes.set(xlim=_wide_enough(*axes.get_xlim()), ylim=_wide_enough(*axes.get_ylim()))
        axes.locator_params(nbins=6)
        axes.set_xlabel("first principal component", fontsize=8)
        axes.set_ylabel("second", fontsize=8)
        axes.grid(alpha=0.3)
    _shared_legend(figure)
    return figure


def picks(rows: Mapping[str, Arrays]) -> Figure:
    """By row label: shares ``picks_position [k]`` and ``picks_source [s]`` of ``sources [s]``, beside the fair share.

    Shown in percent. A single source has no panel.
    """
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    several = max(len(arrays["sources"]) for arrays in rows.values())
    height = max(1.9, 0.8 + 0.16 * several)
    figure, total = blank(height * len(rows) + 0.3)
    grid = figure.add_gridspec(len(rows), 2 if several > 1 else 1)
    for number, (label, arrays) in enumerate(rows.items()):
        shares = _percent(arrays["picks_position"])
        axes = figure.add_subplot(grid[number, 0])
        axes.bar(np.arange(1, len(shares) + 1), shares, color=_BLUE, width=0.8)
        axes.axhline(100 / len(shares), color="black", lw=1.2, ls="--", label="the fair share")
        axes.set_title(textwrap.fill(label, 44), fontsize=9, loc="left")
        axes.set_xlabel("position of the picked answer", fontsize=8)
        axes.set_ylabel("picks, %", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(labelsize=7)
        axes.grid(axis="y", alpha=0.3)
        if several > 1:
            _by_source(figure.add_subplot(grid[number, 1]), arrays)
    _shared_legend(figure, total)
    return figure


def _by_source(axes: Axes, arrays: Arrays) -> None:
    shares, names = _percent(arrays["picks_source"]), [str(name) for name in arrays["sources"]]
    axes.barh(range(len(names)), shares, color=_BLUE, height=0.75)
    axes.axvline(100 / len(names), color="black", lw=1.2, ls="--")
    axes.set_yticks(range(len(names)), [textwrap.shorten(name, 30, placeholder="...") for name in names])
    axes.invert_yaxis()
    axes.set_xlabel("picks by who answered, %", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(axis="x", alpha=0.3)


def _at_k(axes: Axes, line: Line, others: Sequence[str], repeated: int) -> None:
    """``repeated``: how many lines of the same selector the panel has already."""
    style: dict[str, Any] = {"lw": 1.1, "ms": 3.5, "color": _BLUE, "ls": _DASHES.get(line.measures, "-")}
    if line.measures in _REFERENCES:
        style |= {"color": _REFERENCES[line.measures], "lw": 1.5}
    elif line.measures == METHOD:
        style |= {"lw": 2.8, "marker": "o", "ms": 5, "zorder": 3}
    elif line.measures in others:
        number = others.index(line.measures)
        style |= {"color": _OTHERS[number % len(_OTHERS)], "marker": MARKERS[1 + number % (len(MARKERS) - 1)]}
        repeated = number // len(_OTHERS)
    if len(line.k) == 1:
        style |= {"marker": "X", "ms": 6}
    if repeated:
        style |= {"ls": _REPEATED[repeated % len(_REPEATED)]}
    axes.plot(line.k, line.accuracy, label=textwrap.fill(line.label, 30), **style)
    if line.measures == METHOD and line.low is not None and line.high is not None:
        axes.fill_between(line.k, line.low, line.high, color=_BLUE, alpha=0.15, lw=0)


def _scale(lines: Sequence[Line]) -> tuple[float, float]:
    shown = [line for line in lines if line.measures != _ORACLE] or lines
    drawn = [line.accuracy for line in shown]
    drawn += [edge for line in shown for edge in (line.low, line.high) if line.measures == METHOD and edge is not None]
    lowest, highest = min(float(values.min()) for values in drawn), max(float(values.max()) for values in drawn)
    room = max(0.5, 0.08 * (highest - lowest))
    return lowest - room, highest + room


def _wide_enough(low: float, high: float) -> tuple[float, float]:
    """Limits that do not blow up rounding: what a collapsed posterior says of all answers stays one spike, one spot."""
    middle, half = (low + high) / 2, max(high - low, _WIDTH) / 2
    return middle - half, middle + half


def _reach(found: Interval) -> list[list[float]]:
    """How far the interval goes below and above the mean: a bootstrap's need not be symmetric."""
    low = found.mean if found.low is None else found.low
    high = found.mean if found.high is None else found.high
    return [[max(0.0, found.mean - low)], [max(0.0, high - found.mean)]]


def _band(axes: Axes, random: Interval) -> None:
    axes.axvline(random.mean, color=_REFERENCES["random"], lw=1.2, zorder=0)
    if random.low is not None and random.high is not None:
        axes.axvspan(random.low, random.high, color=_REFERENCES["random"], alpha=0.2, lw=0, zorder=0)


def _panels(rows: Mapping[str, Arrays], height: float) -> tuple[Figure, Iterator[tuple[Axes, Arrays]]]:
    """A figure of two panels a line, titled by row; the panels are made as they are asked for."""
    across = min(2, len(rows))
    down = -(-len(rows) // across)
    figure, _ = blank(height * down + 0.3)

    def made() -> Iterator[tuple[Axes, Arrays]]:
        for number, (label, arrays) in enumerate(rows.items()):
            axes = figure.add_subplot(down, across, number + 1)
            axes.set_title(textwrap.fill(label, 44), fontsize=9)
            axes.tick_params(labelsize=7)
            yield axes, arrays

    return figure, made()


def _shared_legend(figure: Figure, height: float | None = None) -> None:
    """The first panel's legend under all of them."""
    lines, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(lines, labels, ncols=3, loc="lower center", **_SMALL)
    figure.tight_layout(rect=(0, 0.25 / (height or figure.get_figheight()), 1, 1))


def _percent(shares: np.ndarray) -> np.ndarray:
    return 100.0 * shares / shares.sum()


def _made_with(row: Row) -> str:
    """Embedder and answerer as the row chooses them: ``embedder jina, answers llama``; empty if it chooses neither."""
    chosen = {name: value for name, value in row.set.items() if name == "embedder" or name.startswith("answers@")}
    return ", ".join(f"{name.partition('@')[0]} {value}" for name, value in chosen.items())


def _lines(text: str, width: int) -> int:
    return len(textwrap.wrap(text, width))

"""The pictures of discrete codes: how evenly they are used, how that goes in training, and what more of them bring.

A row that stands on the table's grid is a method at a codebook size; other rows have no size and are methods of their
own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaebench.papers.verdicts import Interval
from vaebench.report.plots import COLOURS, MARKERS, blank
from vaebench.report.summary import Section

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec

SUITE = "tokens"
Log = Sequence[Mapping[str, float]]
Points = Mapping[int, Interval]

_WATCHED = {"usage": "share of codes used", "cvu": "CVU"}
# What the picture over codebook sizes shows, where it was measured: evenness, and the quality people look at first.
_QUANTITIES = ("cvu", "psnr", "lsd", "stoi")
_PER_LINE = 4  # legend entries
_EVEN, _PAPER = "all equally frequent", "the paper's numbers"
_DASHES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Entry:
    """A row: ``size`` is the codebook's (None: the row has none), ``label`` the method's without it."""

    row: str
    method: str
    label: str
    size: int | None


@dataclass(frozen=True)
class Panel:
    """One quantity against the codebook size. ``lines``: by method its label, ours and the paper's by size."""

    title: str
    lines: Mapping[str, tuple[str, Points, Mapping[int, float]]]


def is_about_tokens(section: Section) -> bool:
    """Whether a table measures discrete codes."""
    return any(column.suite == SUITE for column in section.table.columns.values())


def entries(section: Section, rows: Iterable[str] | None = None) -> list[Entry]:
    """The table's rows, or those of ``rows``, in the table's order."""
    wanted = set(section.table.rows if rows is None else rows)
    return [
        Entry(name, row.written, row.short, int(row.point["K"]))
        if "K" in row.point
        else Entry(name, name, row.label, None)
        for name, row in section.table.rows.items()
        if name in wanted
    ]


def of_the_largest(section: Section, rows: Iterable[str]) -> list[str]:
    """Those of the rows that have the largest codebook, and those that name no size."""
    found = entries(section, rows)
    largest = max((entry.size for entry in found if entry.size is not None), default=None)
    return [entry.row for entry in found if entry.size in (None, largest)]


def watched(section: Section, logs: Mapping[str, Sequence[Log]]) -> Figure | None:
    """Usage (top) and CVU (bottom) against the training step, a column per codebook size, a line per seed.

    ``logs``: by row, the log of each seed's training. None where no training was watched.
    """
    terms = {f"watch/{name}" for name in _WATCHED}
    lines = {row: [line for log in seeds for line in log] for row, seeds in logs.items()}
    groups = _by_size(entries(section, [row for row, found in lines.items() if any(terms & set(x) for x in found)]))
    if not groups:
        return None
    styles = _styles(section)
    figure, grid = _grid(2, len(groups), 1.7, len({entry.method for group in groups.values() for entry in group}))
    for across, (size, group) in enumerate(groups.items()):
        for down, (name, title) in enumerate(_WATCHED.items()):
            axes = figure.add_subplot(grid[down, across])
            for entry in group:
                _watch(axes, entry, logs[entry.row], f"watch/{name}", styles)
            axes.set_ylim(-0.03, 1.03)
            _finish(axes, _title(size) if down == 0 else "", title if across == 0 else "")
        axes.set_xlabel("training step", fontsize=8)
    _legend(figure)
    return figure


def code_shares(section: Section, counts: Mapping[str, np.ndarray]) -> Figure | None:
    """The share of tokens that each code gets, sorted, on a log scale: a panel per codebook size, a line per row.

    ``counts``: by row, int64 ``[K]``. A line ends where the codes that occur do; dotted: all codes equally frequent.
    """
    import numpy as np

    groups = _by_size(entries(section, counts))
    if not groups:
        return None
    styles = _styles(section)
    figure, grid = _grid(1, len(groups), 2.6, len({entry.method for group in groups.values() for entry in group}))
    for across, (size, group) in enumerate(groups.items()):
        axes = figure.add_subplot(grid[0, across])
        for entry in group:
            share = np.sort(counts[entry.row][counts[entry.row] > 0])[::-1] / counts[entry.row].sum()
            colour, dash, _ = styles[entry.method]
            # One code alone is a point: a line through it would not be seen.
            marker = "o" if len(share) == 1 else None
            place = np.arange(1, len(share) + 1)
            axes.plot(place, share, color=colour, ls=dash, lw=1.4, marker=marker, ms=4, label=entry.label)
        most = max(len(counts[entry.row]) for entry in group)
        axes.axhline(1 / (size or most), color="black", lw=1, ls=":", label=_EVEN)
        axes.set_yscale("log")
        axes.set_xlim(-0.03 * most, 1.03 * most)
        _finish(axes, _title(size), "share of tokens" if across == 0 else "")
        axes.set_xlabel("codes, most frequent first", fontsize=8)
    _legend(figure)
    return figure


def size_panels(section: Section) -> list[Panel]:
    """What was measured by us at two codebook sizes at least, by quantity."""
    panels = []
    columns = {column.measurement: name for name, column in section.table.columns.items() if column.suite == SUITE}
    for measurement in (name for name in _QUANTITIES if name in columns):
        lines: dict[str, tuple[str, dict[int, Interval], dict[int, float]]] = {}
        for entry in entries(section):
            cell = section.cells.get((entry.row, columns[measurement]))
            if cell is None or entry.size is None:
                continue
            _, ours, paper = lines.setdefault(entry.method, (entry.label, {}, {}))
            if cell.ours is not None:
                ours[entry.size] = cell.ours
            if cell.reported is not None:
                paper[entry.size] = cell.reported
        if len({size for _, ours, _ in lines.values() for size in ours}) > 1:
            column = section.table.columns[columns[measurement]]
            title = f"{section.headings[columns[measurement]]}{column.unit and f', {column.unit}'}"
            panels.append(Panel(title, {method: line for method, line in lines.items() if line[1]}))
    return panels


def against_size(section: Section, panels: Sequence[Panel]) -> Figure:
    """Ours as lines with 95 % intervals, the paper's as open diamonds on dotted lines of the same colour."""
    styles = _styles(section)
    methods = {method for panel in panels for method in panel.lines}
    figure, grid = _grid(1, len(panels), 2.9, len(methods) + 1)
    printed = False
    for across, panel in enumerate(panels):
        axes = figure.add_subplot(grid[0, across])
        sizes = set()
        for method, (label, ours, paper) in panel.lines.items():
            colour, dash, marker = styles[method]
            x = sorted(ours)
            error = [ours[size].half or 0.0 for size in x]
            means = [ours[size].mean for size in x]
            axes.errorbar(x, means, error, color=colour, ls=dash, marker=marker, ms=4, lw=1.5, capsize=3, label=label)
            if paper:
                at = sorted(paper)
                heights = [paper[size] for size in at]
                axes.plot(at, heights, ":", color=colour, marker="d", mfc="white", ms=6, lw=1, label=f"_{label}")
                printed = True
            sizes |= {*ours, *paper}
        axes.set_ylim(*_scale(panel))
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted(sizes), [str(size) for size in sorted(sizes)], minor=False)
        axes.minorticks_off()
        _finish(axes, panel.title, "")
        axes.set_xlabel("codebook size", fontsize=8)
    if printed:
        figure.axes[0].plot([], [], "d:", color="#555555", mfc="white", ms=6, lw=1, label=_PAPER)
    _legend(figure)
    return figure


def _scale(panel: Panel) -> tuple[float, float]:
    """Limits round ours and what the paper has near them: one failed training of its own would flatten all others."""
    intervals = [found for _, ours, _ in panel.lines.values() for found in ours.values()]
    ends = [found.mean + sign * (found.half or 0.0) for found in intervals for sign in (-1, 1)]
    low, high = min(ends), max(ends)
    reach = max(high - low, 0.1 * abs(high))
    printed = [number for _, _, paper in panel.lines.values() for number in paper.values()]
    shown = [low, high, *(number for number in printed if low - reach <= number <= high + reach)]
    room = 0.06 * (max(shown) - min(shown)) or 0.5
    return min(shown) - room, max(shown) + room


def _by_size(found: Sequence[Entry]) -> dict[int | None, list[Entry]]:
    """Entries by codebook size, the smallest first, those without one last."""
    sizes = sorted({entry.size for entry in found}, key=lambda size: (size is None, size or 0))
    return {size: [entry for entry in found if entry.size == size] for size in sizes}


def _styles(section: Section) -> dict[str, tuple[str, str, str]]:
    """Colour, line and marker of each method, the same in every picture of a table."""
    methods = dict.fromkeys(entry.method for entry in entries(section))
    return {
        method: (
            COLOURS[number % len(COLOURS)],
            _DASHES[number // len(COLOURS) % len(_DASHES)],
            MARKERS[number % len(MARKERS)],
        )
        for number, method in enumerate(methods)
    }


def _watch(
    axes: Axes, entry: Entry, seeds: Sequence[Log], term: str, styles: Mapping[str, tuple[str, str, str]]
) -> None:
    colour, dash, _ = styles[entry.method]
    for log in seeds:
        points = [(line["step"], line[term]) for line in log if term in line]
        if points:
            x, y = zip(*points, strict=True)
            marker = "." if len(points) == 1 else None
            axes.plot(x, y, color=colour, ls=dash, lw=1.2, alpha=0.8, marker=marker, label=entry.label)


def _grid(down: int, across: int, height: float, labels: int) -> tuple[Figure, GridSpec]:
    """A figure with room for a legend of so many labels below it, and the grid of its panels."""
    figure, _ = blank(0.75 + height * down + _legend_height(labels))
    return figure, figure.add_gridspec(down, across)


def _legend_height(labels: int) -> float:
    """Inches."""
    return 0.2 + 0.17 * -(-labels // _PER_LINE)


def _title(size: int | None) -> str:
    return "" if size is None else f"codebook of {size:,}"


def _finish(axes: Axes, title: str, label: str) -> None:
    axes.set_title(title, fontsize=9)
    axes.set_ylabel(label, fontsize=8)
    axes.tick_params(which="both", labelsize=7)
    axes.grid(alpha=0.3)


def _legend(figure: Figure) -> None:
    """One entry per label over all panels, below them."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    # Matplotlib names lines before error bars; what is no method comes last here.
    found |= {label: found.pop(label) for label in (_EVEN, _PAPER) if label in found}
    figure.legend(list(found.values()), list(found), ncols=_PER_LINE, loc="lower center", fontsize=7, frameon=False)
    figure.tight_layout(rect=(0, _legend_height(len(found)) / figure.get_figheight(), 1, 1))

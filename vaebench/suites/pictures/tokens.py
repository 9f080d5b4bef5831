"""What the suite tokens has to show: how evenly codes are used, how that goes in training, what more of them bring.

A row that stands on the table's grid is a method at a codebook size; other rows have no size and are methods of their
own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaebench.contracts.pictures import (
    Axis,
    Images,
    Level,
    Line,
    Panel,
    Panels,
    Picture,
    Sounds,
    curves,
    intervals,
    printed,
)
from vaebench.suites.pictures.images import RECONSTRUCTIONS, beside

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np

    from vaebench.report.stored import Arrays, Shown

_WATCHED = {"watch/usage": "share of codes used", "watch/cvu": "CVU"}
# What the picture over codebook sizes shows, where it was measured: evenness, and the quality people look at first.
_QUANTITIES = ("cvu", "psnr", "lsd", "stoi")
_PALETTE = 8
_DASHES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Entry:
    """A row: ``size`` is the codebook's (None: the row has none), ``label`` the method's without it."""

    row: str
    method: str
    label: str
    size: int | None


def entries(shown: Shown, rows: Iterable[str] | None = None) -> list[Entry]:
    """The table's rows, or those of ``rows``, in the table's order."""
    wanted = set(shown.rows if rows is None else rows)
    return [
        Entry(name, row.written, row.short, int(row.point["K"]))
        if "K" in row.point
        else Entry(name, name, row.label, None)
        for name, row in shown.rows.items()
        if name in wanted
    ]


def _of_the_largest(shown: Shown, *needed: str) -> dict[str, Arrays]:
    """Arrays of the rows that have the largest codebook, and of those that name no size."""
    stored = shown.arrays(*needed)
    found = entries(shown, stored)
    largest = max((entry.size for entry in found if entry.size is not None), default=None)
    return {entry.row: stored[entry.row] for entry in found if entry.size in (None, largest)}


def _reconstructions(shown: Shown) -> Images | None:
    found = _of_the_largest(shown, "reconstructions")
    return beside(shown, found, "test images", "inputs", "reconstructions")


def _sounds(shown: Shown) -> Sounds | None:
    """The original clips and what the rows with the largest codebook make of them, in the table's order."""
    found = _of_the_largest(shown, "audio_reconstructions")
    if not found:
        return None
    first = next(iter(found.values()))
    made = {shown.rows[row].label: arrays["audio_reconstructions"] for row, arrays in found.items()}
    return Sounds(first["audio_inputs"], made, int(first["sample_rate"]))


def _watch(shown: Shown) -> Panels | None:
    """Usage (top) and CVU (bottom) against the training step, a column per codebook size, a line per seed.

    A table out of domain is about the trainings of another one, which shows how they went.
    """
    own = shown.section.table.trained_on(shown.section.dataset) == shown.section.dataset
    logs = shown.logs() if own else {}
    watched = [
        row for row, seeds in logs.items() if any(_WATCHED.keys() & line.keys() for log in seeds for line in log)
    ]
    groups = _by_size(entries(shown, watched))
    panels = []
    for down, (term, title) in enumerate(_WATCHED.items()):
        for across, (size, group) in enumerate(groups.items()):
            drawn = [line for e in group for line in curves(logs[e.row], "step", term, **_style(shown, e))]
            x = Axis(label="training step" if down else "")
            y = Axis(label="" if across else title, limits=(-0.03, 1.03))
            panels.append(Panel(marks=drawn, title="" if down else _title(size), x=x, y=y))
    return Panels(panels=panels, across=len(groups), height=2.0, legend=4)


def _codes(shown: Shown) -> Panels | None:
    """The share of tokens that each code gets, sorted, on a log scale: a panel per codebook size, a line per row.

    A line ends where the codes that occur do; dotted: all codes equally frequent.
    """
    counts = {row: found["code_counts"] for row, found in shown.arrays("code_counts").items()}
    groups, panels = _by_size(entries(shown, counts)), list[Panel]()
    for size, group in groups.items():
        most = max(len(counts[entry.row]) for entry in group)
        even = Level(at=1 / (size or most), label="all equally frequent", dash=":")
        lines = [_shares(counts[entry.row], _style(shown, entry)) for entry in group]
        x = Axis(label="codes, most frequent first", limits=(-0.03 * most, 1.03 * most))
        y = Axis(label="" if panels else "share of tokens", scale="log")
        panels.append(Panel(marks=[*lines, even], title=_title(size), x=x, y=y))
    return Panels(panels=panels, across=len(panels), height=3.1, legend=4)


def _shares(counts: np.ndarray, style: Mapping[str, Any]) -> Line:
    """Of codes that occur; one alone is a point: a line through it would not be seen."""
    shares = counts[counts > 0] / counts.sum()
    shares[::-1].sort()
    return Line(x=range(1, len(shares) + 1), y=shares, marker="o" if len(shares) == 1 else "", **style)


def _sizes(shown: Shown) -> Panels | None:
    """What we measured at two codebook sizes at least: ours with 95 % intervals, the paper's as open diamonds."""
    panels, leaders = [], []
    for column in (shown.columns[name] for name in _QUANTITIES if name in shown.columns):
        cells, methods = shown.cells(column), dict[str, list[Entry]]()
        for entry in entries(shown, cells):
            if entry.size is not None:
                methods.setdefault(entry.method, []).append(entry)
        ours, paper = list[Line](), list[Line]()
        for group in methods.values():
            style = _style(shown, group[0])
            mine = {float(e.size or 0): cell.ours for e in group if (cell := cells[e.row]).ours is not None}
            theirs = {float(e.size or 0): cell.reported for e in group if (cell := cells[e.row]).reported is not None}
            if mine:
                ours.append(intervals(mine, **style))
                paper += [printed(theirs, colour=style["colour"])] if theirs else []
        if len({place for line in ours for place in line.x}) > 1:
            places = sorted({int(place) for line in (*ours, *paper) for place in line.x})
            x = Axis(label="codebook size", scale="log2", ticks={float(size): str(size) for size in places})
            y = Axis(limits=limits(ours, paper))
            named = [printed({}, label="the paper's numbers", colour="#555555")] if paper else []
            panels.append(Panel(marks=[*ours, *paper, *named], title=shown.heading(column), x=x, y=y))
            leaders.append(shown.leader(column))
    return Panels(panels=panels, title="; ".join(filter(None, leaders)), across=len(panels), height=3.3, legend=4)


def limits(ours: Iterable[Line], paper: Iterable[Line]) -> tuple[float, float]:
    """Those of ours and of what the paper has near them: one failed training of its own would flatten all others."""
    ends = [end for line in ours for end in line.ends]
    low, high = min(ends), max(ends)
    reach = max(high - low, 0.1 * abs(high))
    shown = [low, high, *(y for line in paper for y in line.y if low - reach <= y <= high + reach)]
    room = 0.06 * (max(shown) - min(shown)) or 0.5
    return min(shown) - room, max(shown) + room


def _by_size(found: list[Entry]) -> dict[int | None, list[Entry]]:
    """Entries by codebook size, the smallest first, those without one last."""
    sizes = sorted({entry.size for entry in found}, key=lambda size: (size is None, size or 0))
    return {size: [entry for entry in found if entry.size == size] for size in sizes}


def _style(shown: Shown, entry: Entry) -> dict[str, Any]:
    """Label, colour and dash of a method, the same in every picture of a table."""
    number = list(dict.fromkeys(each.method for each in entries(shown))).index(entry.method)
    return {"label": entry.label, "colour": number, "dash": _DASHES[number // _PALETTE % len(_DASHES)]}


def _title(size: int | None) -> str:
    return "" if size is None else f"codebook of {size:,}"


PICTURES = (
    Picture("reconstructions", RECONSTRUCTIONS, _reconstructions, place=10),
    Picture(
        "sizes",
        "Evenness of use (CVU) and quality against the codebook size; bars: 95 % intervals. "
        "What the paper has far from ours is left out",
        _sizes,
        of_numbers=True,
    ),
    Picture(
        "codes",
        "The share of test tokens that each code gets, sorted; a line ends where the codes that occur do. First seed",
        _codes,
    ),
    # Tens of rows with terms of their own would make curves that nobody can read: the watched numbers say more.
    Picture(
        "watch",
        "Share of codes used and CVU during the training, on training data; one line per seed",
        _watch,
        instead_of="curves",
    ),
    Picture("listen", "Listen to test clips and their reconstructions", _sounds),
)

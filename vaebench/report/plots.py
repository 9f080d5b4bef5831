"""The drawing of the report's pictures: dark text on white, readable at a phone's width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vaebench.papers.verdicts import Interval
from vaebench.report.summary import Section

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 7.0
# Okabe and Ito: told apart with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = "osD^vP*X"


def images(lines: Mapping[str, np.ndarray], per_line: int = 0) -> Figure:
    """A grid of images uint8 ``[n h w c]``, one labelled line per entry, broken after ``per_line`` images."""
    import numpy as np

    blocks = [np.concatenate([_line(part) for part in _broken(array, per_line)]) for array in lines.values()]
    width, heights = max(block.shape[1] for block in blocks), [block.shape[0] for block in blocks]
    label = 1.35  # inches
    scale = (_WIDTH - label) / width
    figure, height = blank(scale * (sum(heights) + 4 * len(blocks)))
    top = height
    for name, block in zip(lines, blocks, strict=True):
        top -= scale * (block.shape[0] + 4)
        box = (label / _WIDTH, top / height, scale * block.shape[1] / _WIDTH, scale * block.shape[0] / height)
        axes = figure.add_axes(box)
        axes.imshow(block, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        middle = (top + scale * block.shape[0] / 2) / height
        figure.text((label - 0.08) / _WIDTH, middle, _wrapped(name), ha="right", va="center", fontsize=8)
    return figure


def is_number(text: str) -> bool:
    """Whether a measurement's suffix is a standard deviation."""
    try:
        float(text)
    except ValueError:
        return False
    return True


Points = dict[str, tuple[dict[float, Interval], dict[float, float]]]


def accuracy_points(section: Section) -> Points:
    """By row label: ours and the paper's by standard deviation, ``accuracy@clean`` standing at 0."""
    found: Points = {}
    for (row, column), cell in section.cells.items():
        name, _, sigma = section.table.columns[column].measurement.partition("@")
        if name != "accuracy" or not (is_number(sigma) or sigma == "clean"):
            continue
        ours, paper = found.setdefault(section.table.rows[row].label, ({}, {}))
        at = 0.0 if sigma == "clean" else float(sigma)
        if cell.ours is not None:
            ours[at] = cell.ours
        if cell.reported is not None:
            paper[at] = cell.reported
    return {label: points for label, points in found.items() if points[0]}


def accuracy(points: Points) -> Figure:
    """Ours as lines with 95 % intervals, the paper's as open diamonds on dotted lines of the same colour."""
    figure, _ = blank(4.2)
    axes = figure.add_subplot()
    for number, (label, (ours, paper)) in enumerate(points.items()):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        width = 1.8 if paper else 1.0
        x = sorted(ours)
        error = [ours[at].half or 0.0 for at in x]
        means = [ours[at].mean for at in x]
        axes.errorbar(x, means, error, color=colour, marker=marker, ms=4, lw=width, capsize=3, label=label)
        if paper:
            at = sorted(paper)
            heights = [paper[sigma] for sigma in at]
            axes.plot(at, heights, ":", color=colour, marker="d", mfc="white", ms=8, label=f"{label}, paper")
    axes.set(xlabel="standard deviation of the noise", ylabel="accuracy", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    figure.tight_layout()
    return figure


def importances(rows: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Importance per dimension ``[l]``, sorted, those of the mask ``[l]`` coloured."""
    import numpy as np

    figure, _ = blank(2.2 * len(rows))
    for number, (label, (importance, mask)) in enumerate(rows.items()):
        axes = figure.add_subplot(len(rows), 1, number + 1)
        order = np.argsort(-importance, kind="stable")
        place = np.arange(len(order))
        kept = mask[order]
        axes.bar(place[~kept], importance[order][~kept], width=1.0, color="#BBBBBB", label="masked")
        axes.bar(place[kept], importance[order][kept], width=1.0, color=COLOURS[0], label="kept")
        axes.set(title=label, ylabel="importance", xlim=(-1, len(order)))
        axes.title.set_fontsize(9)
        axes.legend(fontsize=7, frameon=False)
    figure.axes[-1].set_xlabel("dimensions, sorted by importance")
    figure.tight_layout()
    return figure


def curves(rows: Mapping[str, Sequence[Sequence[Mapping[str, float]]]]) -> Figure:
    """One panel per logged term, one line per seed, one colour per row."""
    # Lines of one log need not hold the same terms: a validation has a line of its own.
    terms = list(dict.fromkeys(k for logs in rows.values() for log in logs for line in log for k in line if "/" in k))
    across = min(2, len(terms))
    down = -(-len(terms) // across)
    figure, _ = blank(2.4 * down + 0.4)
    for number, term in enumerate(terms):
        axes = figure.add_subplot(down, across, number + 1)
        _curve(axes, term, rows)
    handles = {str(line.get_label()): line for axes in figure.axes for line in axes.lines}
    shown = [label for label in handles if not label.startswith("_")]
    lines = [handles[label] for label in shown]
    figure.legend(lines, shown, fontsize=7, ncols=4, loc="lower center", frameon=False)
    figure.tight_layout(rect=(0, 0.35 / (2.4 * down + 0.4), 1, 1))
    return figure


def readings(section: Section) -> Figure:
    """Every ranked reading: its distance above, its answers below (one dot per axis)."""
    ranking, study = section.ranking, section.table.study
    assert ranking is not None
    assert study is not None
    frame = ranking.ranked
    answers = [(axis, answer) for axis, found in study.axes.items() for answer in found]
    figure, height = blank(2.7 + 0.19 * len(answers))
    bottom, split = 0.5 / height, (0.5 + 0.19 * len(answers)) / height
    left, width = 0.24, 0.73
    below = figure.add_axes((left, bottom, width, split - bottom))
    above = figure.add_axes((left, split + 0.15 / height, width, 1 - split - 0.5 / height), sharex=below)
    above.plot(frame["rank"], frame["distance"], "o-", ms=3.5, lw=0.8, color=COLOURS[1])
    above.set(ylabel="distance", ylim=(0, None), title=section.place)
    above.title.set_fontsize(8)
    above.grid(alpha=0.3)
    above.tick_params(labelbottom=False, labelsize=8)
    for place, (axis, answer) in enumerate(answers):
        those = frame[frame[axis] == answer]["rank"]
        colour = COLOURS[list(study.axes).index(axis) % len(COLOURS)]
        below.plot(those, [-place] * len(those), "s", ms=3, color=colour)
    below.set_yticks([-place for place in range(len(answers))], [f"{axis}: {answer}" for axis, answer in answers])
    below.tick_params(labelsize=7)
    below.set_xlabel("readings, nearest first", fontsize=8)
    below.grid(alpha=0.2)
    return figure


def blank(height: float) -> tuple[Figure, float]:
    """An empty white figure as wide as all of them, and its height in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure, height


def _curve(axes: Axes, term: str, rows: Mapping[str, Sequence[Sequence[Mapping[str, float]]]]) -> None:
    lowest, highest = float("inf"), float("-inf")
    for number, (label, logs) in enumerate(rows.items()):
        for seed, log in enumerate(logs):
            points = [(line["epoch"], line[term]) for line in log if term in line]
            if not points:
                continue
            x, y = zip(*points, strict=True)
            shown = label if seed == 0 else f"_{label}"
            colour, marker = COLOURS[number % len(COLOURS)], "." if len(points) == 1 else None
            axes.plot(x, y, color=colour, marker=marker, lw=1, alpha=0.8, label=shown)
            lowest, highest = min(lowest, *y), max(highest, *y)
    if lowest > 0 and highest > 100 * lowest:
        axes.set_yscale("log")
    axes.set_title(term, fontsize=9)
    axes.set_xlabel("epoch", fontsize=8)
    axes.tick_params(which="both", labelsize=7)
    axes.grid(alpha=0.3)


def _broken(array: np.ndarray, per_line: int) -> list[np.ndarray]:
    size = per_line or len(array)
    return [array[start : start + size] for start in range(0, len(array), size)]


def _line(array: np.ndarray) -> np.ndarray:
    """Images ``[n h w c]`` side by side with a white pixel round each, ``[h n*w]`` or ``[h n*w 3]``."""
    import numpy as np

    padded = np.pad(array, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)
    joined = np.concatenate(list(padded), axis=1)
    return joined[..., 0] if joined.shape[-1] == 1 else joined


def _wrapped(text: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, 16))

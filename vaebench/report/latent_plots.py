"""The pictures of autoencoders under a diffusion model: noise on latents, what is in them, how generation goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaebench.papers.verdicts import Interval
from vaebench.report.plots import COLOURS, MARKERS, blank, is_number
from vaebench.report.summary import Section

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Arrays = Mapping[str, np.ndarray]

SMOOTHNESS, DIFFUSION, COMPRESSION = "smoothness", "latent_diffusion", "compression"
# What the picture over noise shows, where it was measured at three levels at least.
_QUANTITIES = {"rfid": "rFID", "psnr": "PSNR, dB"}
# Columns that stand beside the paper's numbers as bars.
_BARS = ("gfid", "rfid", "psnr")
_SHOWN_IMAGES = 2  # of a row, at each level of noise
_SHOWN_CHANNELS = 8
_SIDE = 28  # pixels at least that a channel's map is enlarged to
_PER_LINE = 5  # legend entries


@dataclass(frozen=True)
class Panel:
    """One quantity. ``lines``: by row, ours by place on the horizontal axis."""

    title: str
    lines: Mapping[str, Mapping[float, Interval]]


def noise_panels(section: Section) -> list[Panel]:
    """Quantities against the noise on the latents, in units of their deviation."""
    panels = []
    for quantity, title in _QUANTITIES.items():
        lines: dict[str, dict[float, Interval]] = {}
        for (row, name), cell in section.cells.items():
            column = section.table.columns[name]
            measured, _, level = column.measurement.partition("@")
            if column.suite == SMOOTHNESS and measured == quantity and is_number(level) and cell.ours is not None:
                lines.setdefault(row, {})[float(level)] = cell.ours
                title = _with_features(section, name, title)
        if len({level for line in lines.values() for level in line}) >= 3:
            panels.append(Panel(title, lines))
    return panels


def against_noise(section: Section, panels: Sequence[Panel]) -> Figure:
    """A panel per quantity, a line with 95 % intervals per row; no noise stands at the left end."""
    figure, _ = blank(3.2)
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), number + 1)
        levels = sorted({level for line in panel.lines.values() for level in line})
        smallest = next((level for level in levels if level > 0), 1.0)
        _lines(axes, section, panel)
        axes.set_xscale("symlog", linthresh=smallest, linscale=0.5)
        axes.set_xticks(levels, [f"{level:g}" for level in levels], minor=False)
        axes.minorticks_off()
        axes.tick_params(axis="x", rotation=60)
        axes.set_xlabel("noise ε", fontsize=8)
        axes.set_title(panel.title, fontsize=9)
    _legend(figure)
    return figure


def step_panels(section: Section) -> list[Panel]:
    """What was measured along a training, at two places at least; a place is a share of its steps.

    The columns are the snapshots 1, 2, ... and, last, the trained model itself.
    """
    columns = {name: column for name, column in section.table.columns.items() if column.stage}
    last = max((column.snapshot or 0 for column in columns.values()), default=0)
    if not last:
        return []
    parts = last + any(column.snapshot is None for column in columns.values())
    panels: dict[str, dict[str, dict[float, Interval]]] = {}
    titles = {}
    for (row, name), cell in section.cells.items():
        if name in columns and cell.ours is not None:
            column = columns[name]
            lines = panels.setdefault(column.measurement, {})
            lines.setdefault(row, {})[(column.snapshot or parts) / parts] = cell.ours
            titles[column.measurement] = section.headings[name].replace(f", {column.label.partition(', ')[2]}", "")
    return [
        Panel(titles[measured], lines)
        for measured, lines in panels.items()
        if len({place for line in lines.values() for place in line}) > 1
    ]


def against_steps(section: Section, panels: Sequence[Panel]) -> Figure:
    """A panel per quantity, a line with 95 % intervals per row."""
    figure, _ = blank(3.2)
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), number + 1)
        _lines(axes, section, panel)
        axes.set_xlabel("share of the training's steps", fontsize=8)
        axes.set_title(panel.title, fontsize=9)
    _legend(figure)
    return figure


def compared(section: Section) -> list[str]:
    """The columns with numbers of ours and of the paper's that are drawn as bars."""
    if not {column.suite for column in section.table.columns.values()} & {SMOOTHNESS, DIFFUSION}:
        return []
    cells = section.cells.items()
    both = {name for (_, name), cell in cells if cell.ours is not None and cell.reported is not None}
    return [name for name in _BARS if name in both]


def beside_the_paper(section: Section, columns: Sequence[str]) -> Figure:
    """Bars of each column: ours with 95 % intervals at the left, the paper's at the right, each on its own scale."""
    rows = [row for row in section.table.printed if row in set(section.measured_rows())]
    figure, _ = blank(len(columns) * (0.75 + 0.24 * len(rows)))
    for down, name in enumerate(columns):
        for across, whose in enumerate(("ours", "paper")):
            axes = figure.add_subplot(len(columns), 2, 2 * down + across + 1)
            for place, row in enumerate(rows):
                cell = section.cells.get((row, name))
                if cell is not None:
                    _bar(axes, place, cell.ours if whose == "ours" else cell.reported)
            axes.set_yticks(range(len(rows)), [section.table.rows[row].label for row in rows] if not across else [])
            axes.set_ylim(len(rows) - 0.4, -0.6)
            heading = section.headings[name] if whose == "ours" else section.table.columns[name].label
            unit = section.table.columns[name].unit
            axes.set_title(f"{heading}{unit and f', {unit}'}, {whose}", fontsize=8)
            axes.tick_params(labelsize=7)
            axes.grid(alpha=0.3, axis="x")
    figure.tight_layout()
    return figure


def groups(section: Section) -> Figure | None:
    """How far groups lie apart against the variance inside them, a panel per kind of group, a point per row.

    Apart: the silhouette, where it was measured, else the separability.
    """
    names = {column.measurement: name for name, column in section.table.columns.items() if column.suite == COMPRESSION}
    found: dict[tuple[str, str], dict[str, list[Interval]]] = {}
    for kind in [name.partition("@")[2] for name in names if name.startswith("within@")]:
        apart = next((what for what in ("silhouette", "separability") if f"{what}@{kind}" in names), None)
        for row in section.table.rows if apart else ():
            pair = [section.cells.get((row, names[f"{what}@{kind}"])) for what in ("within", apart)]
            both = [cell.ours for cell in pair if cell is not None and cell.ours is not None]
            if len(both) == 2:
                found.setdefault((kind, str(apart)), {})[row] = both
    if not found:
        return None
    figure, _ = blank(3.2)
    for number, ((kind, apart), points) in enumerate(found.items()):
        axes = figure.add_subplot(1, len(found), number + 1)
        for row, (x, y) in points.items():
            colour, marker = _style(section, row)
            label, errors = section.table.rows[row].label, (y.half or 0.0, x.half or 0.0)
            axes.errorbar(x.mean, y.mean, *errors, color=colour, marker=marker, ms=6, capsize=3, ls="", label=label)
        axes.set_xlabel("variance inside", fontsize=8)
        axes.set_ylabel(apart, fontsize=8)
        axes.set_title(f"groups: {kind}", fontsize=9)
    _legend(figure)
    return figure


def scatter(stored: Mapping[str, Arrays]) -> Figure:
    """By row label, ``points`` ``[n 2]`` in the plane, coloured by ``labels`` ``[n]``."""
    across = min(3, len(stored))
    down = -(-len(stored) // across)
    figure, _ = blank(2.3 * down + 0.1)
    for number, (label, found) in enumerate(stored.items()):
        axes = figure.add_subplot(down, across, number + 1)
        x, y = found["points"].T
        axes.scatter(x, y, c=found["labels"] % 10, cmap="tab10", vmin=0, vmax=9, s=3, lw=0)
        axes.set_title(label, fontsize=9)
        axes.set(xticks=[], yticks=[])
    figure.tight_layout()
    return figure


def noises(section: Section) -> str:
    """The levels of noise a table shows, the smallest first: ``0, 0.1, 0.5``."""
    names = [column.measurement for column in section.table.columns.values() if column.suite == SMOOTHNESS]
    levels = {float(name.partition("@")[2]) for name in names if name.startswith("psnr@")}
    return ", ".join(f"{level:g}" for level in sorted(levels))


def at_each_noise(stored: Mapping[str, Arrays]) -> tuple[dict[str, np.ndarray], int]:
    """By row, images uint8 ``[n h w c]``: an image, then its reconstructions, more noise on the latent each; per line.

    ``stored``: ``inputs``, ``epsilons`` and ``at_<epsilon>`` of the suite smoothness.
    """
    import numpy as np

    lines, length = {}, 0
    for row, found in stored.items():
        names = [name for name in (f"at_{float(level):g}" for level in found["epsilons"]) if name in found]
        columns = [found["inputs"], *(found[name] for name in names)]
        lines[row] = np.stack([column[:_SHOWN_IMAGES] for column in columns], 1).reshape(-1, *columns[0].shape[1:])
        length = len(columns)
    return lines, length


def hidden(stored: Mapping[str, Arrays]) -> dict[str, np.ndarray]:
    """By row and what, images uint8 ``[n h w c]``: with patches hidden, and as the model completes them.

    A model that hides nothing (after a tuning) is left out.
    """
    import numpy as np

    lines = {}
    for row, found in stored.items():
        if "masked" in found and not np.array_equal(found["masked"], found["inputs"]):
            lines[f"{row}: hidden"] = found["masked"]
            lines[f"{row}: completed"] = found["completed"]
    return lines


def channel_maps(stored: Mapping[str, Arrays]) -> tuple[dict[str, np.ndarray], int]:
    """By row, grey maps uint8 ``[n h w 1]`` of the first channels of some images' latents; and how many make a line.

    ``stored``: ``latents`` uint8 ``[n h w l]`` of the suite smoothness, each channel scaled by itself.
    """
    lines, length = {}, 0
    for row, found in stored.items():
        maps = found["latents"][:_SHOWN_IMAGES, :, :, :_SHOWN_CHANNELS].transpose(0, 3, 1, 2)
        factor = -(-_SIDE // maps.shape[-1])
        large = maps.repeat(factor, -1).repeat(factor, -2)
        lines[row] = large.reshape(-1, *large.shape[2:], 1)
        length = max(length, maps.shape[1])
    return lines, length


def _lines(axes: Axes, section: Section, panel: Panel) -> None:
    for row, line in panel.lines.items():
        colour, marker = _style(section, row)
        places = sorted(line)
        means = [line[place].mean for place in places]
        errors = [line[place].half or 0.0 for place in places]
        label = section.table.rows[row].label
        axes.errorbar(places, means, errors, color=colour, marker=marker, ms=4, lw=1.4, capsize=3, label=label)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)


def _bar(axes: Axes, place: int, value: Interval | float | None) -> None:
    if isinstance(value, Interval):
        axes.barh(place, value.mean, xerr=value.half or 0.0, color=COLOURS[0], height=0.7, capsize=3)
    elif value is not None:
        axes.barh(place, value, color="#BBBBBB", height=0.7)


def _style(section: Section, row: str) -> tuple[str, str]:
    """Colour and marker of a row, the same in every picture of a table."""
    number = list(section.table.rows).index(row)
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]


def _with_features(section: Section, column: str, title: str) -> str:
    """The title with the features that stand in for Inception's, as they stand in the column's heading."""
    label, heading = section.table.columns[column].label, section.headings[column]
    return title if heading == label else f"{_QUANTITIES['rfid']}{heading.removeprefix(label)}"


def _legend(figure: Figure) -> None:
    """One entry per label over all panels, below them."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=7)
    figure.legend(list(found.values()), list(found), ncols=_PER_LINE, loc="lower center", fontsize=7, frameon=False)
    room = 0.2 + 0.17 * -(-len(found) // _PER_LINE)
    figure.tight_layout(rect=(0, room / figure.get_figheight(), 1, 1))

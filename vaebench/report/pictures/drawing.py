"""How what there is to see is drawn; how it looks says ``house.mplstyle`` beside this."""

from __future__ import annotations

import io
from collections.abc import Iterable
from textwrap import fill
from typing import TYPE_CHECKING, Any

from vaebench.contracts.pictures import (
    Axis,
    Bars,
    Colour,
    Histogram,
    Images,
    Level,
    Line,
    Mark,
    Panel,
    Panels,
    Scatter,
)

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 7.0  # inches
_LABEL = 1.35  # inches, of the labels of images
MARKERS = "osD^vP*X"
_DOTS = 300  # dots of one colour beyond which they are pixels: as shapes they would make a file of megabytes
_PAUSE = 2500  # milliseconds, of a moving picture's last frame
_TITLE = 92  # characters of a line of the title
_MANY = 4  # panels to a line beyond which texts are smaller
_SCALES: dict[str, dict[str, Any]] = {"log2": {"value": "log", "base": 2}, "log": {"value": "log"}}


def png(figure: Figure, *, few_colours: bool = False) -> bytes:
    """The file of a picture of images, or of a cloud of dots, whose colours fit a palette of 256."""
    from PIL import Image

    buffer = io.BytesIO()
    # No software version in the file: the same numbers give the same picture.
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None}, pil_kwargs={"optimize": True})
    if not few_colours:
        return buffer.getvalue()
    smaller = io.BytesIO()
    Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(smaller, "PNG", optimize=True)
    return smaller.getvalue()


def svg(figure: Figure) -> bytes:
    """The file of a chart; its texts are texts, and many dots are pixels (`_DOTS`)."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", dpi=150, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def gif(figures: Iterable[Figure], milliseconds: int) -> bytes:
    """The file of a moving picture, whose frames share the colours of the last."""
    import numpy as np
    from PIL import Image

    drawn = []
    for figure in figures:
        figure.set_dpi(90)
        figure.canvas.draw()
        drawn.append(Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()))  # type: ignore[attr-defined]
    colours = drawn[-1].quantize(32, dither=Image.Dither.NONE)
    first, *others = [frame.quantize(palette=colours, dither=Image.Dither.NONE) for frame in drawn]
    durations = [milliseconds] * len(others) + [_PAUSE]
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=durations, loop=0, optimize=True)
    return buffer.getvalue()


def images(content: Images) -> Figure:
    """The grid, each line of it with its label at the left."""
    blocks = {name: _block(array, content.per_line) for name, array in content.lines.items()}
    width, heights = max(block.shape[1] for block in blocks.values()), [len(block) for block in blocks.values()]
    scale = (_WIDTH - _LABEL) / width
    height = scale * (sum(heights) + 4 * len(blocks))
    figure, top = _blank(height), height
    for name, block in blocks.items():
        top -= scale * (block.shape[0] + 4)
        box = (_LABEL / _WIDTH, top / height, scale * block.shape[1] / _WIDTH, scale * block.shape[0] / height)
        axes = figure.add_axes(box)
        axes.imshow(block, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        middle = (top + scale * block.shape[0] / 2) / height
        figure.text((_LABEL - 0.08) / _WIDTH, middle, _broken(name, 16), ha="right", va="center", fontsize=8)
    return figure


def panels(content: Panels) -> Figure:
    """The panels, with their legend."""
    across = min(content.across, len(content.panels))
    down = -(-len(content.panels) // across)
    heights = [content.height] * down if isinstance(content.height, int | float) else list(content.height)
    marks = [mark for panel in content.panels for mark in panel.marks]
    labels = {mark.label for mark in marks if mark.label}
    labels |= {name for mark in marks if isinstance(mark, Scatter) for name in mark.names}
    below = 0.2 + 0.17 * -(-len(labels) // content.legend) if labels and isinstance(content.legend, int) else 0.0
    title = "\n".join(_broken(line, _TITLE) for line in content.title.splitlines())
    above = 0.22 + 0.14 * title.count("\n") if title else 0.0
    figure = _blank(sum(heights) + below + above)
    grid = figure.add_gridspec(down, across, height_ratios=heights)
    handles: dict[str, Any] = {}
    for number, panel in enumerate(content.panels):
        axes = figure.add_subplot(grid[divmod(number, across)])
        own = _panel(axes, panel, across)
        handles = own | handles
        if content.legend == "beside":
            place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.03), "labelspacing": 0.35}
            axes.legend(own.values(), map(_plain, own), fontsize=7, frameon=False, **place)
        elif content.legend == "inside" and own:
            axes.legend(own.values(), map(_plain, own), fontsize=7, frameon=False)
    if below and isinstance(content.legend, int):
        figure.legend(
            handles.values(), map(_plain, handles), ncols=content.legend, loc="lower center", fontsize=7, frameon=False
        )
    tall = figure.get_figheight()
    figure.tight_layout(pad=0.4 if across > _MANY else 1.08, rect=(0, below / tall, 1, 1 - above / tall))
    if title:
        figure.suptitle(title, x=0.01, y=1 - 0.06 / tall, ha="left", va="top", fontsize=9, fontweight="bold")
    return figure


def _panel(axes: Axes, panel: Panel, across: int) -> dict[str, Any]:
    """Draw a panel, one of so many to a line; returns what its legend shows by label."""
    from matplotlib.ticker import MaxNLocator

    small = across > _MANY
    handles: dict[str, Any] = {}
    for mark in panel.marks:
        for label, handle in _mark(axes, mark).items():
            handles.setdefault(label, handle)
    if any(isinstance(mark, Bars) and not mark.sideways for mark in panel.marks):
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    size: dict[str, Any] = {"fontsize": 7, "pad": 2} if small else {}
    axes.set_title(_broken(panel.title, _TITLE // max(2, across)), **size)
    _axis(axes, "x", panel.x, small=small)
    _axis(axes, "y", panel.y, small=small)
    if panel.square:
        axes.set_aspect("equal")
    return handles


def _axis(axes: Axes, which: str, wanted: Axis, *, small: bool) -> None:
    def put(what: str, *values: Any, **options: Any) -> None:
        getattr(axes, f"set_{which}{what}")(*values, **options)

    if wanted.scale == "symlog":
        places = [place for place in wanted.ticks or () if place > 0]
        put("scale", "symlog", linthresh=min(places, default=1.0), linscale=0.5)
    elif wanted.scale != "linear":
        put("scale", **_SCALES[wanted.scale])
    if wanted.ticks is not None:
        put("ticks", list(wanted.ticks), [_plain(text) for text in wanted.ticks.values()], minor=False)
        put("ticks", [], minor=True)
        texts = axes.get_xticklabels() if which == "x" else axes.get_yticklabels()
        for place, text in zip(wanted.ticks, texts, strict=True):
            if place in wanted.bold:
                text.set(color="C0", fontweight="bold")
    if wanted.limits is not None:
        put("lim", *wanted.limits)
    if wanted.slanted:
        axes.tick_params(axis=which, labelrotation=60)  # type: ignore[arg-type]
    flat = {"rotation": 0, "ha": "right", "va": "center"} if wanted.flat else {}
    put("label", _broken(wanted.label, 16) if wanted.flat else _plain(wanted.label), fontsize=7 if small else 8, **flat)


def _mark(axes: Axes, mark: Mark) -> dict[str, Any]:
    """Draw a mark; returns its legend's entries."""
    colour = _colour(mark.colour)
    match mark:
        case Line():
            drawn = _draw_line(axes, mark, colour)
        case Scatter():
            return _draw_scatter(axes, mark, colour)
        case Bars():
            options: dict[str, Any] = {"height" if mark.sideways else "width": mark.width, "color": colour}
            if mark.starts is not None:
                options["left" if mark.sideways else "bottom"] = mark.starts
            if mark.errors is not None:
                options |= {"xerr" if mark.sideways else "yerr": mark.errors, "capsize": 3}
            drawn = (axes.barh if mark.sideways else axes.bar)(mark.places, mark.lengths, **options)
        case Histogram():
            axes.stairs(mark.densities, mark.edges, fill=True, color=colour, alpha=0.25)
            drawn = axes.stairs(mark.densities, mark.edges, color=colour, lw=1.3)
        case Level():
            line, span = (axes.axvline, axes.axvspan) if mark.sideways else (axes.axhline, axes.axhspan)
            drawn = line(mark.at, color=colour, lw=1.2, ls=mark.dash, zorder=0)
            if mark.low is not None and mark.high is not None:
                span(mark.low, mark.high, color=colour, alpha=0.2, lw=0, zorder=0)
    return {mark.label: drawn} if mark.label else {}


def _draw_line(axes: Axes, mark: Line, colour: str) -> Any:
    marker = mark.marker
    if marker is None:
        marker = MARKERS[mark.colour % len(MARKERS)] if isinstance(mark.colour, int) else "o"
    style: dict[str, Any] = {"color": colour, "ls": mark.dash or "none", "marker": marker or None, "ms": mark.size}
    style |= {"lw": mark.width, "mfc": "white" if mark.hollow else colour}
    if mark.below is None or mark.above is None:
        return axes.plot(mark.x, mark.y, **style)[0]
    if mark.band:
        axes.fill_between(mark.x, mark.ends[::2], mark.ends[1::2], color=colour, alpha=0.15, lw=0)
        return axes.plot(mark.x, mark.y, **style)[0]
    error: dict[str, Any] = {"xerr" if mark.sideways else "yerr": [mark.below, mark.above]}
    return axes.errorbar(mark.x, mark.y, capsize=3, **error, **style)


def _draw_scatter(axes: Axes, mark: Scatter, colour: str) -> dict[str, Any]:
    from matplotlib.lines import Line2D

    x, y = mark.points.T
    if mark.moves is not None:
        axes.quiver(
            x,
            y,
            *mark.moves.T,
            rasterized=len(x) > _DOTS,
            angles="xy",
            scale_units="xy",
            scale=1,
            width=0.006,
            color=colour,
            zorder=2,
        )
        return {}
    style: dict[str, Any] = {
        "rasterized": len(x) > _DOTS,
        "s": mark.size,
        "marker": mark.marker,
        "lw": 0.5 if mark.marker == "x" else 0,
    }
    if mark.names and mark.classes is not None:
        start = mark.colour if isinstance(mark.colour, int) else 0
        colours = [_colour(start + number) for number in range(len(mark.names))]
        # Hard edges: thousands of soft ones would make a file of several hundred kB.
        axes.scatter(x, y, c=[colours[number] for number in mark.classes], antialiased=False, **style)
        dots = (Line2D([], [], color=own, marker="o", ms=4, lw=0) for own in colours)
        return dict(zip(mark.names, dots, strict=True))
    if mark.classes is not None:
        style |= {"c": mark.classes % 10, "cmap": "tab10", "vmin": 0, "vmax": 9}
    else:
        style |= {"c": colour}
    axes.scatter(x, y, **style)
    shown = "tab:blue" if mark.classes is not None else colour
    return {mark.label: Line2D([], [], color=shown, marker=mark.marker, ms=4, lw=0)} if mark.label else {}


def _block(array: np.ndarray, per_line: int) -> np.ndarray:
    """Images ``[n h w c]``, ``per_line`` of them side by side (0: all), the last line filled up with white."""
    import numpy as np

    if not 0 < per_line < len(array):
        return _line(array)
    full = np.pad(array, ((0, -len(array) % per_line), (0, 0), (0, 0), (0, 0)), constant_values=255)
    return np.concatenate([_line(part) for part in np.split(full, len(full) // per_line)])


def _line(array: np.ndarray) -> np.ndarray:
    """Images ``[n h w c]`` side by side with a white pixel round each, ``[h n*w]`` or ``[h n*w 3]``."""
    import numpy as np

    padded = np.pad(array, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)
    joined = np.concatenate(list(padded), axis=1)
    return joined[..., 0] if joined.shape[-1] == 1 else joined


def _plain(text: str) -> str:
    """As it is written: between dollars matplotlib would read mathematics, and stop where it is none."""
    return text.replace("$", r"\$")


def _broken(text: str, width: int) -> str:
    return _plain(fill(text, width))


def _colour(wanted: Colour) -> str:
    """A place in the style's palette, which begins anew at its end."""
    return f"C{wanted}" if isinstance(wanted, int) else wanted


def _blank(height: float) -> Figure:
    """An empty white figure as wide as all of them, ``height`` inches high."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure

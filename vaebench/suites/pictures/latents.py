"""What the suites on latents have to show: where images lie, how tight groups are, which dimensions count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaebench.contracts.pictures import GREY, Axis, Bars, Line, Panel, Panels, Picture, Scatter, intervals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vaebench.report.stored import Arrays, Shown


def _groups(shown: Shown) -> Panels | None:
    """How far groups lie apart against the variance inside them, a panel per kind of group, a point per row.

    Apart: the silhouette, where it was measured, else the separability.
    """
    panels, columns = [], shown.columns
    for kind in [name.partition("@")[2] for name in columns if name.startswith("within@")]:
        apart = next((what for what in ("silhouette", "separability") if f"{what}@{kind}" in columns), None)
        marks: list[Line] = []
        both = shown.along({0: columns[f"within@{kind}"], 1: columns[f"{apart}@{kind}"]}) if apart else {}
        for row, found in both.items():
            if len(found) == 2:
                style = {"dash": "", "size": 6, **shown.style(row)}
                marks.append(intervals({found[0].mean: found[1]}, **style))
                marks.append(intervals({found[1].mean: found[0]}, sideways=True, **style))
        if marks:
            title, x, y = f"groups: {kind}", Axis(label="variance inside"), Axis(label=str(apart))
            panels.append(Panel(marks=marks, title=title, x=x, y=y))
    return Panels(panels=panels, across=len(panels), height=2.8)


def _dots(label: str, arrays: Arrays) -> Scatter:
    """``points`` ``[n 2]`` in the plane, coloured by ``labels`` ``[n]``."""
    return Scatter(points=arrays["points"], classes=arrays["labels"], label=label)


def _plane(panels: Mapping[str, Sequence[Scatter]]) -> Panels | None:
    """A panel per row label, three to a line: a plane of projections has neither scale nor direction."""
    bare = Axis(ticks={})
    found = [Panel(marks=marks, title=title, x=bare, y=bare) for title, marks in panels.items()]
    return Panels(panels=found, across=3, height=2.3, legend=2)


def _scatter(shown: Shown) -> Panels | None:
    if not _groups(shown):
        return None
    return _plane({label: [_dots("", arrays)] for label, arrays in shown.labelled().items()})


def _structure(shown: Shown) -> Panels | None:
    """The rows whose evaluation was asked for a picture."""
    return _plane({label: _clouds(arrays) for label, arrays in shown.labelled("points").items()})


def _clouds(arrays: Arrays) -> list[Scatter]:
    """Dots in the colours of their labels, above crosses where the row was matched with a law."""
    marks = [_dots("test image, coloured by class", arrays)]
    if "reference_points" in arrays:
        style: dict[str, Any] = {"label": "sample of the reference", "colour": "#222222", "size": 7, "marker": "x"}
        marks.insert(0, Scatter(points=arrays["reference_points"], **style))
    return marks


def _importance(shown: Shown) -> Panels | None:
    found = [_by_importance(label, arrays) for label, arrays in shown.labelled().items()]
    return Panels(panels=found, height=2.2, legend="inside")


def _by_importance(label: str, arrays: Arrays) -> Panel:
    """Importance per dimension ``[l]``, sorted, those of the mask ``[l]`` coloured."""
    order = (-arrays["importance"]).argsort(kind="stable")
    importance, kept = arrays["importance"][order], arrays["mask"][order]
    bars = [
        Bars(places=those.nonzero()[0], lengths=importance[those], width=1.0, label=name, colour=colour)
        for name, those, colour in (("masked", ~kept, GREY), ("kept", kept, 0))
    ]
    x = Axis(label="dimensions, sorted by importance", limits=(-1, len(order)))
    return Panel(marks=bars, title=label, x=x, y=Axis(label="importance"))


PICTURES = (
    Picture(
        "groups",
        "How far groups lie apart against the variance inside them; bars: 95 % intervals",
        _groups,
        of_numbers=True,
        suites=("compression",),
    ),
    Picture(
        "scatter",
        "Latents of test images on their first two principal components, coloured by class. First seed",
        _scatter,
        suites=("compression",),
    ),
    Picture(
        "structure",
        "Latents of test images, coloured by class, and samples of the reference they were matched with, in "
        "one plane (t-SNE or UMAP; distances between groups mean little in it). First seed",
        _structure,
        place=40,
        suites=("latent_structure",),
    ),
    Picture(
        "importance",
        "Moving average of each dimension's importance, sorted; kept dimensions coloured",
        _importance,
        suites=("masks",),
    ),
)

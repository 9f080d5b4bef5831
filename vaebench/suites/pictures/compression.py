"""What the suite compression has to show: how tight groups of latents are, and the latents in a plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaebench.contracts.pictures import Axis, Line, Panel, Panels, Picture, Scatter, intervals

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


def scatter(label: str, arrays: Arrays) -> Scatter:
    """``points`` ``[n 2]`` in the plane, coloured by ``labels`` ``[n]``."""
    return Scatter(points=arrays["points"], classes=arrays["labels"], label=label)


def plane(panels: Mapping[str, Sequence[Scatter]]) -> Panels | None:
    """A panel per row label, three to a line: a plane of projections has neither scale nor direction."""
    bare = Axis(ticks={})
    found = [Panel(marks=marks, title=title, x=bare, y=bare) for title, marks in panels.items()]
    return Panels(panels=found, across=3, height=2.3, legend=2)


def _scatter(shown: Shown) -> Panels | None:
    if not _groups(shown):
        return None
    return plane({label: [scatter("", arrays)] for label, arrays in shown.labelled().items()})


PICTURES = (
    Picture(
        kind="groups",
        caption="How far groups lie apart against the variance inside them; bars: 95 % intervals",
        draw=_groups,
        of_numbers=True,
    ),
    Picture(
        kind="scatter",
        caption="Latents of test images on their first two principal components, coloured by class. First seed",
        draw=_scatter,
    ),
)

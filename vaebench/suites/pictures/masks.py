"""What the suite masks has to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaebench.contracts.pictures import GREY, Axis, Bars, Panel, Panels, Picture

if TYPE_CHECKING:
    from vaebench.report.stored import Arrays, Shown


def _importance(shown: Shown) -> Panels | None:
    found = [_panel(label, arrays) for label, arrays in shown.labelled().items()]
    return Panels(panels=found, height=2.2, legend="inside")


def _panel(label: str, arrays: Arrays) -> Panel:
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
        kind="importance",
        caption="Moving average of each dimension's importance, sorted; kept dimensions coloured",
        draw=_importance,
        colours="all",
    ),
)

"""What the suite noise has to show: noisy images, and accuracy against the noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaebench.contracts.pictures import Axis, Images, Line, Panel, Panels, Picture, intervals, printed
from vaebench.suites.pictures.images import beside

if TYPE_CHECKING:
    from vaebench.report.stored import Shown


def _largest(shown: Shown) -> str:
    """The largest standard deviation that was measured."""
    return f"{max(shown.levels('accuracy'), default=0.0):g}"


def _caption(shown: Shown) -> str:
    return f"Noisy test images (top) and their reconstructions, standard deviation {_largest(shown)}"


def _images(shown: Shown) -> Images | None:
    sigma = _largest(shown)
    return beside(shown, shown.arrays(), "noisy images", f"noisy@{sigma}", f"reconstructions@{sigma}")


def _accuracy(shown: Shown) -> Panels | None:
    """Ours as lines with 95 % intervals, the paper's as open diamonds; without noise is at 0."""
    clean = {0.0: shown.columns["accuracy@clean"]} if "accuracy@clean" in shown.columns else {}
    columns = clean | shown.levels("accuracy")
    paper, lines = shown.printed(columns), list[Line]()
    for number, (row, found) in enumerate(shown.along(columns).items()):
        label = shown.rows[row].label
        lines.append(intervals(found, label=label, colour=number, width=1.8 if row in paper else 1.0))
        if row in paper:
            lines.append(printed(paper[row], label=f"{label}, paper", colour=number))
    x, y = Axis(label="standard deviation of the noise"), Axis(label="accuracy", limits=(0, 1.02))
    title = shown.leader(columns[max(columns)], f"accuracy at the largest noise, {max(columns):g}") if columns else ""
    return Panels(panels=[Panel(marks=lines, x=x, y=y)], title=title, height=4.2, legend="beside")


PICTURES = (
    Picture("noise", _caption, _images, place=15),
    Picture(
        "accuracy",
        "Accuracy on reconstructions against the noise's standard deviation; bars: 95 % intervals",
        _accuracy,
        of_numbers=True,
    ),
)

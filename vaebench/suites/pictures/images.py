"""Images that suites have to show, and our numbers beside the paper's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vaebench.contracts.pictures import GREY, Bars, Images, Panel, Panels, Picture, listing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaebench.report.stored import Arrays, Shown

RECONSTRUCTIONS = "Test images (top) and their reconstructions"
_SAMPLES = "Generated images"
# What is drawn beside the paper's numbers where both have it, in this order.
_QUANTITIES = ("fid", "rfid@0", "psnr")


def beside(shown: Shown, found: Mapping[str, Arrays], title: str, above: str, below: str) -> Images | None:
    """The array ``above`` of the first of the rows ``found``, then every row's ``below``."""
    if not found:
        return None
    lines = {title: next(iter(found.values()))[above]}
    return Images(lines | {shown.rows[row].label: arrays[below] for row, arrays in found.items()})


def _reconstructions(shown: Shown) -> Images | None:
    return beside(shown, shown.arrays(), "test images", "inputs", "reconstructions")


def _samples(shown: Shown) -> Images | None:
    return Images({label: arrays["samples"][:20] for label, arrays in shown.labelled().items()}, per_line=10)


def _sorted_samples(shown: Shown) -> Images | None:
    """Of models that were trained to the end; every other image, as they lie in the order of their classes."""
    if any(column.snapshot for column in shown.section.table.columns.values()):
        return None
    return Images({label: arrays["samples"][::2][:20] for label, arrays in shown.labelled().items()}, per_line=10)


def _beside_the_paper(shown: Shown) -> Panels | None:
    """Bars of each column: ours with 95 % intervals at the left, the paper's at the right, each on its own scale."""
    table = shown.section.table
    plain = {c.measurement: name for name, c in table.columns.items() if not c.minus and c.snapshot is None}
    found = {plain[quantity]: shown.cells(plain[quantity]) for quantity in _QUANTITIES if quantity in plain}
    columns = {
        name: cells for name, cells in found.items() if any(c.ours and c.reported is not None for c in cells.values())
    }
    rows = [row for row in table.printed if row in set(shown.section.measured_rows())]
    panels = []
    style: dict[str, Any] = {"width": 0.7, "sideways": True}
    for name, cells in columns.items():
        ours = {n: c.ours for n, row in enumerate(rows) if (c := cells.get(row)) and c.ours}
        paper = {n: c.reported for n, row in enumerate(rows) if (c := cells.get(row)) and c.reported is not None}
        means, halves = [one.mean for one in ours.values()], [one.half or 0.0 for one in ours.values()]
        mine = Bars(places=list(ours), lengths=means, errors=halves, **style)
        theirs = Bars(places=list(paper), lengths=list(paper.values()), colour=GREY, **style)
        unit, listed = table.columns[name].unit, listing([table.rows[row].label for row in rows])
        label = f"{table.columns[name].label}{unit and f', {unit}'}"
        panels += [
            Panel(marks=[mine], title=f"{shown.heading(name)}, ours", y=listed),
            Panel(marks=[theirs], title=f"{label}, paper", y=replace(listed, ticks={})),
        ]
    return Panels(panels=panels, across=2, height=0.75 + 0.24 * len(rows))


PICTURES = (
    Picture("reconstructions", RECONSTRUCTIONS, _reconstructions, place=10, suites=("reconstruction",)),
    Picture("samples", _SAMPLES, _samples, place=20, suites=("generation",)),
    Picture("samples", _SAMPLES, _sorted_samples, place=20, suites=("latent_diffusion",)),
    Picture(
        "beside",
        "Ours with 95 % intervals beside the paper's numbers, each on its own scale",
        _beside_the_paper,
        of_numbers=True,
        place=30,
        suites=("latent_diffusion", "smoothness"),
    ),
)

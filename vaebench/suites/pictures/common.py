"""Pictures that several suites have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaebench.contracts.pictures import GREY, Axis, Bars, Images, Panel, Panels, Picture

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaebench.report.stored import Arrays, Shown
    from vaebench.report.summary import Cell

# What is drawn beside the paper's numbers where both have it, in this order.
_QUANTITIES = ("fid", "rfid@0", "psnr")


def beside(shown: Shown, found: Mapping[str, Arrays], title: str, above: str, below: str) -> Images | None:
    """The array ``above`` of the first of the rows ``found``, then every row's ``below``."""
    if not found:
        return None
    lines = {title: next(iter(found.values()))[above]}
    return Images(lines | {shown.rows[row].label: arrays[below] for row, arrays in found.items()})


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
    for name, cells in columns.items():
        unit = table.columns[name].unit
        mine = _bars(rows, {row: cell for row, cell in cells.items() if cell.ours}, paper=False)
        theirs = _bars(rows, {row: cell for row, cell in cells.items() if cell.reported is not None}, paper=True)
        limits, labels = (len(rows) - 0.4, -0.6), {float(n): table.rows[row].label for n, row in enumerate(rows)}
        label = f"{table.columns[name].label}{unit and f', {unit}'}"
        panels += [
            Panel(marks=[mine], title=f"{shown.heading(name)}, ours", y=Axis(limits=limits, ticks=labels)),
            Panel(marks=[theirs], title=f"{label}, paper", y=Axis(limits=limits, ticks={})),
        ]
    return Panels(panels=panels, across=2, height=0.75 + 0.24 * len(rows)) if panels else None


def _bars(rows: list[str], cells: dict[str, Cell], *, paper: bool) -> Bars:
    there = [(place, cells[row]) for place, row in enumerate(rows) if row in cells]
    found = [(place, cell.reported if paper else cell.ours.mean) for place, cell in there]  # type: ignore[union-attr]
    return Bars(
        places=[place for place, _ in found],
        lengths=[number for _, number in found],  # type: ignore[misc]
        errors=None if paper else [(cell.ours.half if cell.ours else None) or 0.0 for _, cell in there],
        colour=GREY if paper else 0,
        width=0.7,
        sideways=True,
    )


RECONSTRUCTIONS = "Test images (top) and their reconstructions"
BESIDE = Picture(
    kind="beside",
    caption="Ours with 95 % intervals beside the paper's numbers, each on its own scale",
    draw=_beside_the_paper,
    of_numbers=True,
    place=30,
)

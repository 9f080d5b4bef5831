"""Tables and lines in the width there is: a table too wide for it becomes several, or a paragraph for each row."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

_COMFORT = 16  # columns in which a cell may wrap; a number with its interval has less
_LONGEST = 30  # of a word that a column is made wide enough for
_SHORT = 24  # of cells that can stand in a table apart from the other half of their row
_BORDER = 3  # columns of a border with the blanks beside it


# Wrapping every cell of a table with twelve columns on a narrow screen gives columns of two letters. Where the columns
# do not fit, those of short cells are dealt out to several tables, in which the first column is repeated; where that
# would not tell rows apart, or cells are sentences, each row is a paragraph of "heading: cell".
def fitted(table: Table, console: Console) -> list[RenderableType]:
    """The table as what fits into the console's width; no cell loses letters."""
    for column in table.columns:
        if column.overflow == "ellipsis":
            column.overflow = "fold"
    wanted = [_wanted(column, console) for column in table.columns]
    if len(wanted) < 3 or not table.show_header or sum(wanted) + 1 <= console.width:
        return [table]
    first, *others = table.columns
    cells = [_text(cell, console).plain for cell in first.cells]
    short = all(_measured(cell, console).maximum <= _SHORT for column in others for cell in column.cells)
    if short and len(set(cells)) == len(cells):
        return _pages(table, wanted, console.width)
    return _paragraphs(table, console)


def _wanted(column: Column, console: Console) -> int:
    """The width in which a column can be read, with its border."""
    sizes = [_measured(cell, console) for cell in (column.header, *column.cells)]
    word = min(_LONGEST, max((size.minimum for size in sizes), default=0))
    return max(word, min(_COMFORT, max((size.maximum for size in sizes), default=0))) + _BORDER


def _measured(cell: RenderableType, console: Console) -> Measurement:
    return Measurement.get(console, console.options.update(width=10_000), cell)


def _text(cell: RenderableType, console: Console) -> Text:
    return cell if isinstance(cell, Text) else console.render_str(str(cell))


def _pages(table: Table, wanted: Sequence[int], width: int) -> list[RenderableType]:
    """Several tables with the same first column."""
    pages: list[list[int]] = [[]]
    taken = wanted[0] + 1
    for number, one in enumerate(wanted[1:], start=1):
        if pages[-1] and taken + one > width:
            pages.append([])
            taken = wanted[0] + 1
        pages[-1].append(number)
        taken += one
    found: list[RenderableType] = []
    for page in pages:
        columns = [table.columns[number] for number in (0, *page)]
        part = Table(title=None if found else table.title, title_justify=table.title_justify)
        for column in columns:
            part.add_column(column.header, overflow="fold", style=column.style, justify=column.justify)
        for row in zip(*(column.cells for column in columns), strict=True):
            part.add_row(*row)
        found.append(part)
    return found


def _paragraphs(table: Table, console: Console) -> list[RenderableType]:
    """A paragraph for each row, under its first cell; rows with the same one stand together."""
    found: list[RenderableType] = [_text(table.title, console)] if table.title else []
    heads = [_text(column.header, console).plain.replace("\n", " ") for column in table.columns]
    before = None
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        first, *others = (_text(cell, console) for cell in cells)
        if first.plain != before:
            head = first.copy()
            head.stylize("bold")
            found.append(head)
            before = first.plain
        parts = [Text.assemble(f"{name}: ", cell) for name, cell in zip(heads[1:], others, strict=True) if cell.plain]
        found.append(hung(Text.assemble("  ", Text("; ").join(parts)), console, further=0))
    return found


def hung(text: Text, console: Console, further: int = 2) -> Text:
    """A text that begins with blanks, broken between words; its other lines begin ``further`` to the right."""
    indent = len(text.plain) - len(text.plain.lstrip(" "))
    if text.cell_len <= console.width or not 0 < indent < console.width // 3 or "\n" in text.plain:
        return text
    after = indent + further
    lines = text[indent:].wrap(console, console.width - after, overflow="fold", no_wrap=False)
    for line in lines:
        line.rstrip()
    return Text.assemble(" " * indent, Text(f"\n{' ' * after}").join(lines))

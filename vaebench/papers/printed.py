"""The numbers a paper prints, as a text that reads like its table."""

from __future__ import annotations

import re
from collections.abc import Collection

NOTHING, FAILED = "-", "failed"
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?")
Numbers = dict[str, dict[str, float]]


def read(text: str, columns: Collection[str]) -> tuple[Numbers, dict[str, tuple[str, ...]], list[str]]:
    """Rows below a line of columns -> numbers by row and column, failed trainings by row, and mistakes.

    The first word of the first line stands in the corner and counts for nothing. ``-`` stands where nothing is printed,
    ``failed`` where the paper says that the training failed. What is printed side by side is divided by ``|``: of such
    parts a table takes those whose columns it has.
    """
    numbers: Numbers = {}
    failed: dict[str, tuple[str, ...]] = {}
    mistakes: list[str] = []
    first, *lines = [line.split("|") for line in str(text).splitlines() if line.strip()] or [[""]]
    heads = [head.split() for head in first]
    heads[0] = heads[0][1:]
    parts = [part for part, head in enumerate(heads) if len(heads) == 1 or set(head) <= set(columns)]
    header = [column for part in parts for column in heads[part]]
    for line in lines:
        row, *first_cells = line[0].split()
        there = [first_cells, *(cells.split() for cells in line[1:])]
        if [len(cells) for cells in there] != [len(head) for head in heads]:
            mistakes.append(f"reported: row {row} has not as many numbers as there are columns ({NOTHING} for none)")
            continue
        pairs = zip(header, (cell for part in parts for cell in there[part]), strict=True)
        found = {column: cell for column, cell in pairs if cell != NOTHING}
        failed[row] = tuple(column for column, cell in found.items() if cell == FAILED)
        here = {column: cell for column, cell in found.items() if cell != FAILED}
        wrong = {column: cell for column, cell in here.items() if not _NUMBER.fullmatch(cell)}
        mistakes += [f"reported: {row}.{column}: {cell!r} is no number" for column, cell in wrong.items()]
        if here:
            numbers[row] = {column: float(cell) for column, cell in here.items() if column not in wrong}
    return numbers, failed, mistakes

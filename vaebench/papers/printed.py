"""The numbers a paper prints, as a text that reads like its table."""

from __future__ import annotations

import re
from collections.abc import Collection

from vaebench.errors import unknown

NOTHING, FAILED = "-", "failed"
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?")
Numbers = dict[str, dict[str, float]]


def read(
    text: str, columns: Collection[str], elsewhere: Collection[str] = ()
) -> tuple[Numbers, dict[str, tuple[str, ...]], list[str]]:
    """Rows below a line of columns -> numbers by row and column, failed trainings by row, and mistakes.

    The first word of all stands in the corner; a line that begins with it again is another line of columns. ``-``
    stands where nothing is printed, ``failed`` where the paper says that the training failed. What is printed side by
    side is divided by ``|``: of such parts a table takes those whose columns it has; others are of columns that there
    are ``elsewhere``. ``*_256`` in front of a part's columns says what rows are called from there on: the row ``fsq``
    is ``fsq_256``.
    """
    numbers: Numbers = {}
    failed: dict[str, tuple[str, ...]] = {}
    mistakes: list[str] = []
    corner = ""
    seen: set[tuple[str, str]] = set()
    heads: list[tuple[str, list[str]]] = []
    for line in (line for line in text.splitlines() if line.strip()):
        row, *first = line.partition("|")[0].split() or [""]
        parts = [first, *(part.split() for part in line.split("|")[1:])]
        if not heads or row == corner:
            corner, heads, called = row, [], "*"
            for head in parts:
                called, head = (head[0], head[1:]) if "*" in "".join(head[:1]) else (called, head)
                heads.append((called, head))
                odd = [column for column in head if column not in {*columns, *elsewhere}] if len(parts) > 1 else []
                mistakes += [f"reported: {unknown('column', name, {*columns, *elsewhere})}" for name in odd]
            continue
        if [len(cells) for cells in parts] != [len(head) for _, head in heads]:
            mistakes.append(f"reported: row {row} has not as many numbers as there are columns ({NOTHING} for none)")
            continue
        for cells, (called, head) in zip(parts, heads, strict=True):
            if len(heads) > 1 and not set(head) <= set(columns):
                continue
            name = called.replace("*", row)
            for column, cell in zip(head, cells, strict=True):
                if (name, column) in seen:
                    mistakes.append(f"reported: {name}.{column} stands twice")
                seen.add((name, column))
                if cell == FAILED:
                    failed[name] = (*failed.get(name, ()), column)
                elif _NUMBER.fullmatch(cell):
                    numbers.setdefault(name, {})[column] = float(cell)
                elif cell != NOTHING:
                    mistakes.append(f"reported: {name}.{column}: {cell!r} is no number")
    return numbers, failed, mistakes

"""What a report reads from the store: a run that cannot be read is named on stderr and left out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from vaebench.errors import UserError, printable

T = TypeVar("T")


def or_none(read: Callable[[], T]) -> T | None:
    """What ``read`` gives; None, and one line, if a file of the store is not what it should be."""
    try:
        return read()
    except UserError as error:
        say(" ".join(error.lines))
        return None


@cache
def say(line: str) -> None:
    """Say once what is left out."""
    sys.stderr.write(f"left out: {printable(line)}\n")

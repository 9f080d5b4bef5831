"""The one exception a user is meant to see."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from typing import Any

_LONGEST = 200  # of what a person typed, where a message repeats it
_TURNED = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # they reorder what is around them


class UserError(Exception):
    """Something the user can put right: the command prints its lines, without a traceback, and exits with 2."""

    def __init__(self, *lines: str) -> None:
        """Keep one line per separate mistake, so that all of them are shown at once."""
        super().__init__("\n".join(lines))
        self.lines = lines


def unknown(kind: str, value: str, choices: Iterable[str]) -> str:
    """One line for a name that does not exist: the valid choices, if there are any, and the nearest match."""
    names = sorted(choices)
    if not names:
        return f"unknown {shown(kind)} {shown(value)!r}"
    near = difflib.get_close_matches(shown(value), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {shown(kind)} {shown(value)!r}{hint} Valid: {', '.join(names)}"


def shown(value: Any) -> str:
    """A value as a message repeats it: of a long one the beginning and the length."""
    text = "null" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text):,} characters)"


def printable(text: str) -> str:
    """The text with its control characters spelled out, as in Python: what comes from data moves no cursor."""
    if text.isprintable():
        return text
    return "".join(repr(c)[1:-1] if unicodedata.category(c) in ("Cc", "Cs") or c in _TURNED else c for c in text)


def in_a_line(error: BaseException, most: int | None = 200) -> str:
    """An exception as its type and the first line of its text, at most so many characters."""
    first = next(iter(str(error).strip().splitlines()), "")
    return printable(f"{type(error).__name__}: {first}"[:most])


class Interrupted(Exception):  # noqa: N818 (not an error: what was done is stored)
    """The work was asked to stop and has stored its state."""

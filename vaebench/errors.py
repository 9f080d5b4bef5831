"""The one exception a user is meant to see."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can put right: the command prints its lines, without a traceback, and exits with 2."""

    def __init__(self, *lines: str) -> None:
        """Keep one line per separate mistake, so that all of them are shown at once."""
        super().__init__("\n".join(lines))
        self.lines = lines


def unknown(kind: str, value: str, choices: Iterable[str]) -> str:
    """One line for a name that does not exist: the valid choices and the nearest match."""
    names = sorted(choices)
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {kind} {str(value)!r}{hint} Valid: {', '.join(names)}"


class Interrupted(Exception):  # noqa: N818 (not an error: what was done is stored)
    """The work was asked to stop and has stored its state."""

"""Checks of constructor options: each gives one line for a mistake and nothing otherwise; all are raised together."""

from __future__ import annotations

import math
from collections.abc import Collection

from vaebench.errors import UserError, unknown


def require(*mistakes: str | None) -> None:
    """Raise `UserError` with every line that is not None."""
    lines = [line for line in mistakes if line is not None]
    if lines:
        raise UserError(*lines)


def one_of(name: str, value: str, choices: Collection[str]) -> str | None:
    """``value`` is one of ``choices``."""
    return None if value in choices else unknown(name, value, choices)


def whole(name: str, value: int, low: int, high: float = math.inf, bound: str = "") -> str | None:
    """``low <= value <= high``; ``bound`` says in words where ``high`` comes from."""
    if low <= value <= high:
        return None
    wanted = f"at least {low}" if high == math.inf else f"{low} to {high}"
    return f"{name}={value}: expected a whole number, {wanted}{bound and f' ({bound})'}"


def non_negative(name: str, value: float) -> str | None:
    """``value`` is finite and not below 0."""
    return None if 0 <= value < math.inf else f"{name}={value}: expected a finite number, 0 or more"


def fraction(name: str, value: float) -> str | None:
    """``value`` lies in [0, 1)."""
    return None if 0 <= value < 1 else f"{name}={value}: expected a number from 0 up to, not including, 1"


def probability(name: str, value: float) -> str | None:
    """One line if ``value`` does not lie in [0, 1]."""
    return None if 0 <= value <= 1 else f"{name}={value}: expected a probability, 0 to 1"


def positive(name: str, value: float) -> str | None:
    """One line if ``value`` is not finite and above 0."""
    return None if 0 < value < math.inf else f"{name}={value}: expected a finite number above 0"

"""Trackers: one module for each package that shows runs while they are made. Another is a choice in ``conf/tracker``.

A package is imported when a run begins to be tracked, in the tracker's own thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flat(config: Mapping[str, Any], inside: str = "") -> dict[str, Any]:
    """Nested options by their dotted names; lists are values."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= flat(value, f"{inside}{key}.") if isinstance(value, Mapping) else {f"{inside}{key}": value}
    return found

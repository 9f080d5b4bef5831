"""Infinite numbers in files: JSON has none, so they are stored as the texts ``inf`` and ``-inf``, which `float` reads.

An image that is reconstructed exactly has an infinite PSNR, and so has the mean over a set with it. NaN is no number
and is never stored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def spelled(content: Any) -> Any:
    """Plain data for JSON: every infinite number as its text."""
    if isinstance(content, Mapping):
        return {key: spelled(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [spelled(value) for value in content]
    return str(float(content)) if isinstance(content, float) and math.isinf(content) else content


def number(value: Any) -> Any:
    """A stored number or None, or a list of such, read back. Raises `ValueError` for anything else."""
    if isinstance(value, list):
        return [number(item) for item in value]
    if value in ("inf", "-inf"):
        return float(value)
    if not (value is None or isinstance(value, int | float)):
        raise ValueError(f"{value!r:.40} is no number")
    return value


def difference(left: float, right: float) -> float:
    """``left - right``; 0 for two equal ones, both infinite among them."""
    return 0.0 if left == right else left - right

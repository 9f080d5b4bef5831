"""Of which part of a batch a method's step is, in a training on several processes, and of what its random numbers are.

A method knows nothing of that. It says `whole` around what it draws for no item or for all of them, and `along` where
the items do not come first; who trains cuts the rest into parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

# No context variable: gradients are computed in threads of PyTorch's own.
_part, _dimension = (0, 1), 0
_NONE = -1


@contextmanager
def at_work(rank: int, size: int) -> Iterator[None]:
    """Inside it, a step of a training is made by ``size`` processes, of which this is number ``rank``."""
    global _part
    before, _part = _part, (rank, size)
    try:
        yield
    finally:
        _part = before


def part() -> tuple[int, int]:
    """Which part of a batch is this process's, of how many."""
    return _part


@contextmanager
def along(dimension: int) -> Iterator[None]:
    """Inside it, the items of what is drawn lie along another dimension than the first."""
    global _dimension
    before, _dimension = _dimension, dimension
    try:
        yield
    finally:
        _dimension = before


@contextmanager
def whole() -> Iterator[None]:
    """Inside it, what is drawn is the same in every process."""
    with along(_NONE):
        yield


def dimension() -> int | None:
    """Along which the items of what is drawn now lie; None: it is drawn for no item, or for all."""
    return None if _dimension == _NONE else _dimension

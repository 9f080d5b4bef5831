"""Of what random numbers are drawn in a training on several processes: of this process's items, or of the whole batch.

A method says `whole` around what it draws for no item, or for all of them; who trains cuts the rest into parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_of_whole: ContextVar[bool] = ContextVar("of_whole", default=False)


@contextmanager
def whole() -> Iterator[None]:
    """Inside it, what is drawn is the same in every process."""
    token = _of_whole.set(True)
    try:
        yield
    finally:
        _of_whole.reset(token)


def are_parts() -> bool:
    """Whether what is drawn now is for this process's items."""
    return not _of_whole.get()

"""Work on many things by threads: in order, a few of them ahead, with a line now and then about how long it takes.

Threads and no processes: Pillow, NumPy and checksums leave Python's lock while they work, and a file that is waited for
takes no processor at all.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from vaebench.compat import cores

_T = TypeVar("_T")
_U = TypeVar("_U")

_EACH = 4
_EVERY = 30.0  # seconds between two lines


def ahead(
    work: Callable[[_T], _U], items: Iterable[_T], threads: int | None = None, each: int = _EACH
) -> Iterator[tuple[_T, _U]]:
    """Each item and what ``work`` makes of it, in their order, while threads are at work on those behind it.

    ``threads``: None for one per core. ``each``: how many items per thread are begun before they are asked for. What
    ``work`` raises is raised when its item's turn has come.
    """
    count = threads or cores()
    pool, begun = ThreadPoolExecutor(count), deque[tuple[_T, Future[_U]]]()
    try:
        for item in items:
            begun.append((item, pool.submit(work, item)))
            if len(begun) > each * count:
                yield _next(begun)
        while begun:
            yield _next(begun)
    finally:
        pool.shutdown(cancel_futures=True)


def _next(begun: deque[tuple[_T, Future[_U]]]) -> tuple[_T, _U]:
    item, made = begun.popleft()
    return item, made.result()


def told(things: Iterable[_T], total: int, what: str) -> Iterator[_T]:
    """The same things; every half minute a line on stderr says how many of ``total`` there were, and what is left.

    ``what``: the line's beginning, like "decoded".
    """
    begun = said = time.monotonic()
    for number, thing in enumerate(things, start=1):
        yield thing
        now = time.monotonic()
        if now - said >= _EVERY:
            said = now
            minutes, seconds = divmod(int((now - begun) / number * (total - number)), 60)
            sys.stderr.write(f"note: {what} {number:,} of {total:,} files, {minutes}:{seconds:02d} left\n")

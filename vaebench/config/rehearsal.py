"""A rehearsal: all parts of a reproduction are run, shortly, on made-up data and weights, to see that they run here.

``VAEBENCH_REHEARSAL=1`` makes one of a command and of all processes that it starts. Then files need not have the
published checksums, and an FID takes as few images as there are. In return every request bears a mark, a part of its
key, so that no run of a rehearsal is ever taken for another; and so does every number, which no folder of results
takes (`vaebench.papers.cells`).
"""

from __future__ import annotations

import os

ON = "VAEBENCH_REHEARSAL"
MARK = "rehearsal"


def on() -> bool:
    """Whether this is one."""
    return bool(os.environ.get(ON))


def mark() -> dict[str, bool]:
    """What a request bears in a rehearsal; nothing otherwise."""
    return {MARK: True} if on() else {}


def right(found: str, published: str) -> bool:
    """Whether a file has the published sha256, all of its hex digits or the first; in a rehearsal any has."""
    return on() or found.startswith(published)

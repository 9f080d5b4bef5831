"""Being asked to stop: by Ctrl-C or SIGTERM, or by the death of the process that one works for."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection, parent_process
from types import FrameType

STOPPING = "stopping as soon as all is saved (once more: at once)\n"
SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ONE_WISH = 1.0  # seconds


@contextmanager
def stop_on_signal(say: str = "") -> Iterator[Callable[[], bool]]:
    """Yields whether one was asked to stop: by the first Ctrl-C or SIGTERM, which also writes ``say`` to stderr.

    A later one raises KeyboardInterrupt. What comes within a second of the first is the same wish: `timeout` and
    schedulers signal a process and its group. Outside the main thread the signals are left alone.
    """
    first: float | None = None

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if first is None:
            first = time.monotonic()
            sys.stderr.write(say)
        elif time.monotonic() - first > _ONE_WISH:
            raise KeyboardInterrupt

    try:
        previous = {number: signal.signal(number, ask) for number in SIGNALS}
    except ValueError:
        previous = {}
    try:
        yield lambda: first is not None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def signal_group(leader: int, number: signal.Signals) -> None:
    """Send a signal to every process of the group that ``leader`` leads, if there is one."""
    with suppress(OSError):
        os.killpg(leader, number)


def when_parent_ends(do: Callable[[], None]) -> None:
    """Call ``do`` in a thread when the process that started this one with `multiprocessing` has ended, however."""
    parent = parent_process()
    assert parent is not None, "not a child of multiprocessing"

    def watch() -> None:
        connection.wait([parent.sentinel])
        do()

    threading.Thread(target=watch, daemon=True).start()


def end_with_parent() -> None:
    """Let this process end at once when its parent has; the initializer of a pool whose work nobody else wants."""
    when_parent_ends(lambda: os._exit(1))

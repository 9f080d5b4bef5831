"""Whether who works on a run is alive. It touches a file of the run every few seconds, whatever else it does.

The operating system's lock dies with its owner on the same machine. On a file system that several machines share it may
outlive its owner, or not be seen by the others at all; then the file is what they go by.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

from vaebench.errors import printable

SILENCE = 120.0  # seconds without a touch after which the owner is dead, or hangs
_EVERY = 10.0
FILE = ".alive"


@contextmanager
def touching(folder: Path) -> Iterator[None]:
    """Show signs of life of who works in the folder of a run, from within."""
    file, ended = folder / FILE, Event()

    def touch() -> None:
        with suppress(OSError):  # the folder is gone: who works there notices
            file.touch()

    def go_on() -> None:
        while not ended.wait(_EVERY):
            touch()

    touch()
    thread = Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_EVERY)


class Watch:
    """How long a run has shown no sign of life, by this machine's own clock: those of others may differ."""

    def __init__(self, folder: Path) -> None:
        self.file, self.seen, self.since = folder / FILE, self._touched(folder / FILE), time.monotonic()

    def silent(self) -> float:
        """The seconds since it was first looked at as it is."""
        if (now := self._touched(self.file)) != self.seen:
            self.seen, self.since = now, time.monotonic()
        return time.monotonic() - self.since

    @staticmethod
    def _touched(file: Path) -> int:
        try:
            return file.stat().st_mtime_ns
        except OSError:
            return 0


def elsewhere(status: Mapping[str, Any], folder: Path) -> bool:
    """Whether another machine works on a run, by its status and the time of its last sign of life."""
    if status["status"] != "running" or status.get("host") in (None, socket.gethostname()):
        return False
    try:
        return time.time() - (folder / FILE).stat().st_mtime < SILENCE
    except OSError:
        return False


def surely_dead(status: Mapping[str, Any]) -> bool:
    """Of an owner that shows no sign of life: whether it is not a process of this machine that hangs."""
    if status.get("host") != socket.gethostname():
        return True
    try:
        os.kill(int(status["pid"]), 0)
    except ProcessLookupError:
        return True
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return False
    return False


def holder(status: Mapping[str, Any]) -> str:
    """Who works on a run: process, host, since when."""
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(status["started"])))
        return printable(f"pid {int(status['pid'])} on {status['host']}, since {since}")
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return "another process"  # which has not written its status yet

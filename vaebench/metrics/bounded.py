"""Questions to a Python file in a process of its own, which ends and is replaced when it thinks for too long.

A time limit by signal reaches neither C code nor threads other than the first; the end of a process reaches all.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

_SECONDS_TO_START = 120.0  # of importing what the file needs, on a busy machine
_PATIENCE = 30.0  # seconds by the clock for each of processor time, before a process that does not end is killed


class Bounded:
    """Asks a Python file, a line of JSON for a line of JSON, at most ``seconds`` of processor time for each.

    The file writes one line when it is ready, ``null`` or why it cannot be, and then a line for each
    ``[seconds, question]`` it reads; it ends itself when it computes for longer (``signal.ITIMER_PROF``). One that does
    not, where there is no such timer or because it sleeps, is killed much later by the clock. It starts with the first
    question, without the caller's modules; one process serves them all.
    """

    def __init__(self, script: Path, *, seconds: float) -> None:
        self._script = script
        self._seconds = seconds
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def ask(self, question: Any) -> Any | None:
        """The answer to a question that JSON can hold; None if it took too long or the process died of it.

        Raises `RuntimeError` if the file cannot be started; the message is what it says about it.
        """
        process = self._process or self._start()
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps([self._seconds, question]) + "\n")
            process.stdin.flush()
            line = self._lines.get(timeout=self._seconds * _PATIENCE)
        except (queue.Empty, OSError):
            line = ""
        if line:
            return json.loads(line)
        self._stop()
        return None

    def _start(self) -> subprocess.Popen[str]:
        self._lines = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(self._script)],  # -P: the files beside the script are not modules
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )
        threading.Thread(target=_forward, args=(self._process.stdout, self._lines), daemon=True).start()
        try:
            first = self._lines.get(timeout=_SECONDS_TO_START)
        except queue.Empty:
            first = ""
        fault = json.loads(first) if first else f"{self._script.name} did not start"
        if fault is not None:
            self._stop()
            raise RuntimeError(fault)
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            with suppress(OSError):  # a question that was not read to its end
                process.stdin.close()  # type: ignore[union-attr]


def _forward(stream: IO[str], lines: queue.SimpleQueue[str]) -> None:
    """Hand on every line and, at the end of the stream, an empty one."""
    with stream:
        for line in stream:
            lines.put(line)
    lines.put("")

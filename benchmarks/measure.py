"""Paired measurement: variants take turns, so that a busy machine slows all of them alike."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

ROUNDS = 5

Variant = Callable[[], int]  # does some work on this thread and returns how many images (or calls) it was


@dataclass(frozen=True)
class Row:
    """One comparison. ``ours`` and ``theirs`` in ``unit``; ``ratio``: how many times faster ours is, paired.

    ``goal``: the ratio aimed at (None: none was set). Without a peer, ``theirs`` and ``ratio`` are None, and ``goal``
    is the most that ``ours`` may be, in ``unit``.
    """

    what: str
    unit: str
    ours: float
    theirs: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    goal: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal was reached; None without a goal."""
        if self.goal is None:
            return None
        return self.ours <= self.goal if self.ratio is None else self.ratio >= self.goal


def interleave(variants: Mapping[str, Variant], *, turns: int = 1, rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Work per CPU-second of each variant in each round, after one unmeasured round.

    In a round every variant has ``turns`` turns, forwards and backwards through the variants: the shorter a turn, the
    more alike are the moments that are compared. CPU-seconds of the process, not wall seconds: on a machine that does
    other work too, only these compare.
    """
    rates: dict[str, list[float]] = {name: [] for name in variants}
    forwards = list(variants)
    for round_ in range(rounds + 1):
        counts, seconds = dict.fromkeys(variants, 0), dict.fromkeys(variants, 0.0)
        for turn in range(turns):
            for name in forwards[:: -1 if turn % 2 else 1]:
                start = time.process_time()
                counts[name] += variants[name]()
                seconds[name] += time.process_time() - start
        if round_:
            for name in variants:
                rates[name].append(counts[name] / seconds[name])
    return rates


def compare(
    what: str, unit: str, ours: Sequence[float], theirs: Sequence[float], *, goal: float | None = None, note: str = ""
) -> Row:
    """A row from two paired lists of rates (more is better)."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return Row(
        what,
        unit,
        statistics.median(ours),
        statistics.median(theirs),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        goal,
        note,
    )


@dataclass(frozen=True)
class Usage:
    """What one finished process took: wall and CPU seconds, and its largest memory in bytes."""

    wall: float
    cpu: float
    peak: int


def run_process(*arguments: str, environment: Mapping[str, str] | None = None) -> Usage:
    """Run ``python <arguments>`` to its end; raises `RuntimeError` with its output if it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(environment or {})},
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}:\n{output.decode()[-2000:]}")
    return Usage(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, peak_bytes(usage))


def peak_bytes(usage: resource.struct_rusage) -> int:
    """The most memory that a process held. Linux counts the peak in KiB, macOS in bytes."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)

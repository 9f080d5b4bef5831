"""The log of a training, ``metrics.jsonl``, the same whether it was broken off or not; and how fast it is, never so."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vaebench import disk
from vaebench.errors import UserError
from vaebench.runs.store import CHECKPOINT, Run
from vaebench.runs.tracking import Record

if TYPE_CHECKING:
    from vaebench.engine.feed import Lap

_LONG, _MUCH = 60.0, 0.1  # seconds, and the share of all, that are waited for data before one says so
_LOG = "metrics.jsonl"


# A killed training has logged steps that its last checkpoint does not know; they are done again, and their entries must
# not stand twice. The file alone cannot be trusted to be cut back: its last line may be torn, and what lies above it
# may have been changed since. So every checkpoint carries the log that belongs to it, under its own checksum, and a
# resumed training begins by writing that. In memory the log is kept as lines, because each checkpoint needs all of it.
class Log:
    """``metrics.jsonl``, one entry a line. Each checkpoint holds a copy, so that a resumed log is the same."""

    def __init__(self, run: Run, begun: str) -> None:
        self.run = run
        self.lines = begun.splitlines(keepends=True)
        run.write(_LOG, begun.encode())

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.lines)

    def append(self, record: dict[str, Any]) -> None:
        """One more entry."""
        self.lines.append(json.dumps(record) + "\n")
        self.run.append(_LOG, self.lines[-1])


def logged(run: Run, state: dict[str, Any] | None) -> str:
    """What was logged up to the checkpoint; what came after it will be logged again, to the same numbers."""
    if state is None:
        return ""
    if "log" in state:
        return str(state["log"])
    try:
        old = disk.content(run.path(_LOG)).decode(errors="replace")
    except UserError as error:
        raise UserError(f"{error}; remove {run.path(CHECKPOINT)} to start over") from error
    kept = []  # a checkpoint from before 0.6
    for line in old.splitlines():
        try:
            step = json.loads(line)["step"]
            if step > state["step"]:
                continue
        except (ValueError, TypeError, KeyError, RecursionError):  # the line a killed process was writing
            break
        kept.append(line + "\n")
    return "".join(kept)


class Speed:
    """How fast a training is: to its tracker as often as it logs, and in all that this process did of it.

    It is no part of the log. ``track``: takes an entry for the tracker. ``note``: says a line to the user, once, if the
    training waits for its data.
    """

    def __init__(self, track: Callable[[Record], None], note: Callable[[str], None]) -> None:
        self.track, self.note = track, note
        self.whole: Lap | None = None
        self.said = False

    def lap(self, step: int, lap: Lap) -> None:
        """Some steps more, up to ``step``."""
        self.whole = whole = self.whole + lap if self.whole else lap
        self.track({"step": step} | {f"speed/{name}": value for name, value in lap.facts().items()})
        if not self.said and whole.waited > max(_LONG, _MUCH * whole.seconds):
            self.said = True
            self.note(
                f"{whole.waited / whole.seconds:.0%} of the time its steps wait for data: what they read of, decoded "
                "files in VAEBENCH_CACHE or latents in the store, lies on a disk that is too slow for them"
            )

    def facts(self) -> dict[str, float]:
        """Of all steps; empty if there were none."""
        return self.whole.facts() if self.whole else {}

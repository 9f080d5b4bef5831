"""The log of a training, ``metrics.jsonl``, which is the same whether it was broken off or not."""

from __future__ import annotations

import json
from typing import Any

from vaebench import disk
from vaebench.errors import UserError
from vaebench.runs.store import CHECKPOINT, Run

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

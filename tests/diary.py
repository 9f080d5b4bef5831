"""A tracker of one's own, in a plain folder: it writes down what it is told, and fails where it is told to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_CODE = """
import json
import pathlib
import threading

class Diary:
    def __init__(self, *, path: str, fails: str | None, sample_every: int | None) -> None:
        self.path, self.fails, self.sample_every = pathlib.Path(path), fails, sample_every

    def where(self, store):
        return f"read {self.path}"

    def _told(self, what, *facts):
        if self.fails == f"{what} hangs":
            threading.Event().wait()
        if self.fails == what:
            raise SystemExit("the server is gone\\nand so on")
        with self.path.open("a") as file:
            file.write(json.dumps([self.key, what, *facts]) + "\\n")

    def begin(self, run):
        self.key = run.key
        self._told("begin", run.name, dict(run.tags), run.parent, run.step)
        return 0

    def curves(self, step, values):
        self._told("curves", step, dict(values))

    def images(self, step, grids):
        self._told("images", step, {name: list(grid.shape) for name, grid in grids.items()})

    def final(self, step, values):
        self._told("final", step, dict(values))

    def close(self, ended):
        self._told("close", ended)
"""
_CHOICE = "_target_: diaries.Diary\npath: null\nfails: null\nsample_every: null\n"


def plugin(place: Path) -> str:
    """Write the plug-in with the tracker `diary` into a folder."""
    (place / "tracker").mkdir(parents=True)
    (place / "tracker" / "diary.yaml").write_text(_CHOICE)
    (place / "diaries.py").write_text(_CODE)
    return str(place)


def leaf(path: Path) -> dict[str, Any]:
    """The tracker as a worker is told of it."""
    return {"_target_": "diaries.Diary", "path": str(path), "fails": None, "sample_every": None}


def told(path: Path) -> list[list[Any]]:
    """What it wrote down: of each call the run's key, the call, and what was said."""
    return [json.loads(line) for line in path.read_text().splitlines()]

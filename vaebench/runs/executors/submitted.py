"""What was submitted to a scheduler, on disk: a task reads there what it has to do, a later command what is left."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import rmtree
from typing import Any

from vaebench.config.origins import FOLDERS
from vaebench.contracts import Job
from vaebench.disk import json_object, write_json
from vaebench.errors import UserError
from vaebench.runs.store import Run

_FILE = "submission.json"
_PATHS = frozenset({"VAEBENCH_DATA", FOLDERS, "PYTHONPATH"})  # options that hold folders
_JOB = {"verb": str, "folder": str, "tags": list, "needs": [str]}
_FORM = {"machine": dict, "arrays": [{"id": str, "tasks": [[_JOB]]}]}


@dataclass(frozen=True)
class Array:
    """Tasks that were submitted as one; ``id``: what the scheduler calls it, empty before."""

    tasks: Sequence[Sequence[Job]]
    id: str = ""


@dataclass(frozen=True)
class Submission:
    """``folder``: where it stands, and the tasks' logs. ``machine``: as of `contracts.Told`."""

    folder: Path
    machine: Mapping[str, Any]
    arrays: list[Array] = field(default_factory=list)

    @property
    def file(self) -> Path:
        """What a task is given to read."""
        return self.folder / _FILE

    def jobs(self, array: int, number: int) -> Sequence[Job]:
        """Those of a task."""
        return self.arrays[array].tasks[number]

    def named(self, array: int, name: str) -> None:
        """Keep what the scheduler calls an array."""
        self.arrays[array] = replace(self.arrays[array], id=name)
        self.write()

    def write(self) -> None:
        """Write it down."""
        arrays = [{"id": one.id, "tasks": [list(map(_plain, task)) for task in one.tasks]} for one in self.arrays]
        write_json(self.file, {"machine": dict(self.machine), "arrays": arrays})

    def close(self) -> None:
        """Nothing of it goes on: later commands do not look at it. The logs stay."""
        with suppress(OSError):
            self.file.replace(self.folder / "over.json")

    @staticmethod
    def new(folder: Path, machine: Mapping[str, Any]) -> Submission:
        """One with a folder of its own in this one."""
        folder.mkdir(parents=True, exist_ok=True)
        name = tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=folder)
        Path(name).chmod(0o755)
        return Submission(Path(name), machine)

    @staticmethod
    def read(file: Path) -> Submission:
        """What `write` wrote. Raises `UserError` if it is something else."""
        found = json_object(file, _FORM)
        arrays = [Array([list(map(_job, task)) for task in one["tasks"]], one["id"]) for one in found["arrays"]]
        return Submission(file.parent, found["machine"], arrays)


def earlier(folder: Path) -> Iterator[Submission]:
    """What was submitted from this store before and is not all done; of what is, the folder is removed."""
    for file in sorted(folder.glob(f"*/{_FILE}")):
        try:
            found = Submission.read(file)
        except UserError:  # it is being written, or was damaged: its runs are made again
            continue
        if all(Run(job.folder).done for array in found.arrays for task in array.tasks for job in task):
            with suppress(OSError):
                rmtree(found.folder)
        else:
            yield found


def environment() -> dict[str, str]:
    """What the command was told by its environment, with whole paths: who works elsewhere does not inherit it."""
    given = {name: value for name, value in os.environ.items() if name.startswith("VAEBENCH_")}
    given |= {"PYTHONPATH": os.environ["PYTHONPATH"]} if os.environ.get("PYTHONPATH") else {}
    for name in given.keys() & _PATHS:
        given[name] = os.pathsep.join(str(Path(one).absolute()) for one in given[name].split(os.pathsep))
    return given


def _plain(job: Job) -> dict[str, Any]:
    return {
        "verb": job.verb,
        "folder": str(job.folder),
        "tags": [list(pair) for pair in job.tags],
        "needs": [str(folder) for folder in job.needs],
    }


def _job(found: Mapping[str, Any]) -> Job:
    tags: Iterable[Sequence[str]] = found["tags"]
    pairs = tuple((str(name), str(text)) for name, text in tags)
    return Job(found["verb"], Path(found["folder"]), pairs, tuple(map(Path, found["needs"])))

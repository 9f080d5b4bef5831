"""Content-addressed run folders.

A run is its request: the folder is named by the request's key. ``status.json`` says ``done`` only when everything else
is on disk, and in the same write with which checksums; every write is a temporary file and a rename; the lock is the
operating system's and dies with its owner. What a folder's files may hold: `records`.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from vaebench.config.request import Request
from vaebench.disk import as_json, hold, remove_unfinished, write_bytes
from vaebench.errors import UserError
from vaebench.runs import alive, kinds, records

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

CHECKPOINT = "checkpoint.pt"
_NOT_STORED = frozenset({"status.json", CHECKPOINT})  # of a folder's files, those that no checksum is kept of


def store_root(configured: str | None = None) -> Path:
    """The store: the configured folder, else $VAEBENCH_HOME, else ``./runs``."""
    return Path(configured or os.environ.get("VAEBENCH_HOME", "") or "runs").expanduser().absolute()


@dataclass(frozen=True)
class Run:
    """One folder of the store: a training, or an evaluation inside its training's folder."""

    folder: Path

    @property
    def key(self) -> str:
        """The request's key: the name of the folder."""
        return self.folder.name

    @property
    def root(self) -> Path:
        """The folder of the store."""
        run, evals = self.folder.parents[1], self.folder.parent
        nested = evals.name == "evals" and records.is_key(run.name)  # an evaluation lies in a run
        return run.parent if nested else evals

    def parents(self) -> dict[str, Run]:
        """The runs that this one builds on, by role, in the order of its request."""
        return {role: Run(self.root / key) for role, key in self.request().data.get("parents", {}).items()}

    def path(self, name: str) -> Path:
        """Where a file of the run is or will be. Who reads one takes `intact`."""
        return self.folder / name

    def request(self) -> Request:
        """The stored request. Raises `UserError` if it is unreadable or not the one the folder is named by."""
        path = self.path("request.yaml")
        try:
            request = Request(records.request(path, lambda verb: kinds.of(verb).REQUEST))
        except UserError as error:
            raise UserError(f"{error}; remove the folder and run again") from error
        if request.key != self.key:
            raise UserError(
                f"{path}: was changed after it was written (its key is {request.key}, the folder is {self.key}); "
                "restore it, or remove the folder and run again"
            )
        if "files" in self.status():  # what is no part of the key
            self.intact(path.name)
        return request

    def status(self) -> dict[str, Any]:
        """``{"status": "done" | "running" | "failed" | "interrupted", ...}``, or ``new``.

        ``damaged``, with the ``reason``, if the file is none that a worker writes.
        """
        path = self.path("status.json")
        try:
            return records.status(path)
        except UserError as error:
            if not os.path.lexists(path):
                return {"status": "new"}
            return {"status": "damaged", "reason": f"{error}; remove it and run the same command"}

    def state(self) -> str:
        """The status in a word; a run whose process has died is ``interrupted``, whatever it wrote last."""
        status = self.status()
        if status["status"] != "running" or alive.elsewhere(status, self.folder):
            return str(status["status"])
        with self.lock(timeout=0) as free:
            return "interrupted" if free else "running"

    @property
    def done(self) -> bool:
        """Whether all of the run is on disk."""
        return self.status()["status"] == "done"

    def check_done(self, where: str) -> None:
        """Raise `UserError`, beginning with ``where``, if the run is not finished."""
        if not self.done:
            raise UserError(f"{where}: is {self.state()}, not finished; the command that started it goes on")

    def set_status(self, status: str, **facts: Any) -> None:
        """Replace the status."""
        self.write_json("status.json", {"status": status, **facts})

    def finish(self, *, spent: float) -> None:
        """Say that the run is done and, in the same write, which checksums its files have and the seconds it took."""
        paths = {name: self.path(name) for name in self._files()}
        files = {n: {"sha256": records.checksum(path), "bytes": path.stat().st_size} for n, path in paths.items()}
        self.set_status("done", files=files, spent=spent)

    def _files(self) -> list[str]:
        """The names of all files in the folder that are read back; no links, nothing hidden, no evaluations."""
        found = []
        for place, folders, names in os.walk(self.folder):
            folders[:] = [name for name in folders if name[0] != "." and Path(place, name) != self.path("evals")]
            paths = [Path(place, name) for name in names if name[0] != "."]
            found += [str(path.relative_to(self.folder)) for path in paths if path.is_file() and not path.is_symlink()]
        return sorted(set(found) - _NOT_STORED)

    def result(self) -> dict[str, Any]:
        """``result.json`` of a finished run. Raises `UserError` if it is gone or damaged."""
        form = kinds.of(self.request()["verb"]).RESULT
        return self._read("result.json", lambda path: records.result(path, form))

    def provenance(self) -> dict[str, Any]:
        """``provenance.json`` of a finished run. Raises `UserError` as `result` does."""
        return self._read("provenance.json", records.provenance)

    def log(self) -> list[dict[str, float]]:
        """The entries of a training's log. Raises `UserError` as `result` does."""
        return self._read("metrics.jsonl", records.log)

    def arrays(self) -> dict[str, np.ndarray]:
        """What an evaluation stored for pictures. Raises `UserError` as `result` does."""
        return self._read("arrays.npz", records.arrays)

    def _read(self, name: str, read: Callable[[Path], T]) -> T:
        path = self.intact(name)
        try:
            return read(path)
        except UserError as error:
            raise UserError(f"{error}; {self.again()}") from error

    def intact(self, name: str) -> Path:
        """A file of a finished run, compared with the checksum it was finished with.

        Raises:
            UserError: it is missing, is no file, or is another one.
        """
        return self._compared(name, *self._sums())

    def all_intact(self, pattern: str) -> list[Path]:
        """All files of a finished run whose names fit, in order, each as `intact`; ``*`` stands for folders too."""
        sums, whole = self._sums()
        names = [name for name in sums if fnmatch(name, pattern)]
        if not names and not whole:
            names = [str(path.relative_to(self.folder)) for path in self.folder.glob(pattern)]
        return [self._compared(name, sums, whole) for name in sorted(names)]

    def check_folder(self, name: str) -> Path:
        """A folder of a finished run that other code reads. Raises `UserError` if a file in it is another or new."""
        sums, whole = self._sums()
        there = (path for path in self.path(name).rglob("*") if path.is_symlink() or not path.is_dir())
        found = {str(path.relative_to(self.folder)) for path in there}
        for each in sorted(found | {each for each in sums if each.startswith(f"{name}/")}):
            self._compared(each, sums, whole)
        return self.path(name)

    def _sums(self) -> tuple[dict[str, str], bool]:
        """The sha256 of the run's files by name, and whether that is all of them.

        Before 0.6 a training kept that of its weights and a run of latents those of its shards, in ``result.json``.
        """
        status = self.status()
        if status["status"] == "damaged":
            raise UserError(status["reason"])
        if "files" in status:
            return {name: facts["sha256"] for name, facts in status["files"].items()}, True
        try:
            old = records.result(self.path("result.json"), kinds.of(self.request()["verb"]).RESULT)
        except UserError:  # who reads that says so
            return {}, False
        weights = {"model.safetensors": old["weights_sha256"]} if "weights_sha256" in old else {}
        return {**weights, **old.get("sha256", {})}, False

    def _compared(self, name: str, sums: dict[str, str], whole: bool) -> Path:
        path = self.path(name)
        wanted = sums.get(name)
        if not path.is_file():
            what = "is missing" if not os.path.lexists(path) else "is no file"
        elif wanted is None and whole:
            what = "was not there when the run was finished"
        elif wanted is not None and records.checksum(path) != wanted:
            what = "is damaged, its checksum is not the one it was finished with"
        else:
            return path
        raise UserError(f"{path}: {what}; {self.again(path)}")

    def again(self, path: Path | None = None) -> str:
        """What to do about a damaged file of a finished run."""
        both = f"{path} and " if path is not None and os.path.lexists(path) else ""
        return f"remove {both}{self.path('status.json')} and run the same command: what is missing is made again"

    def write_json(self, name: str, content: Any) -> None:
        """Write plain data as a file of the run; raises as `write` does."""
        self.write(name, as_json(content))

    def write(self, name: str, content: bytes) -> None:
        """Write a file of the run. Raises `UserError` if the folder is gone: it is not made again here."""
        path = self.path(name)
        try:
            if path.parent != self.folder:
                path.parent.mkdir(exist_ok=True)
            write_bytes(path, content, make_folder=False)
        except FileNotFoundError as error:
            raise self.gone() from error
        except (FileExistsError, NotADirectoryError) as error:
            raise UserError(f"{path.parent}: is a file, and a folder belongs there; remove it") from error

    def append(self, name: str, line: str) -> None:
        """Append to a file that `write` has begun; raises as `write` does, and does not follow a link."""
        try:
            flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
            with os.fdopen(os.open(self.path(name), flags), "w", encoding="utf-8") as file:
                file.write(line)
        except FileNotFoundError as error:
            raise self.gone() from error
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EISDIR):
                raise
            raise UserError(f"{self.path(name)}: was replaced by a link or a folder; remove it") from error

    def gone(self) -> UserError:
        """What to say when the folder was removed while the run was being made."""
        return UserError(f"{self.folder}: was removed while the run was being made; the same command starts it anew")

    def place(self) -> tuple[int, int] | None:
        """Which folder this is on its disk; None if there is none. One that was removed and made again is another."""
        try:
            found = self.folder.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def remove_unfinished(self) -> None:
        """Remove what a killed process was writing; the caller holds the lock.

        A request is written before the lock is taken, so one that is being written may have a living writer.
        """
        for folder in (self.folder, self.path("snapshots")):
            remove_unfinished(folder, old=True, unlocked=".request.yaml.")

    def remove(self, name: str) -> None:
        """Remove a file, a link or a folder of the run, if it is there."""
        path = self.path(name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def lock(
        self, timeout: float = math.inf, waiting: Callable[[str], None] | None = None
    ) -> AbstractContextManager[bool]:
        """Hold the run's lock; gives False if ``timeout`` seconds were not enough.

        ``waiting`` hears every two seconds who holds it; what it raises ends the waiting.
        """
        if self.place() is None:  # the lock would make it again
            raise self.gone()
        return hold(self.path(".lock"), timeout, lambda: waiting(alive.holder(self.status())) if waiting else None)


@dataclass(frozen=True)
class Store:
    """The folder of the runs."""

    root: Path

    def find(self, request: Request) -> Run:
        """Where the request's run is or would be; an evaluation of one run lies inside it."""
        if "run" in request.data.get("parents", {}):
            return Run(self.root / request["parents"]["run"] / "evals" / request.key)
        return Run(self.root / request.key)

    def run(self, key: str) -> Run | None:
        """The run of that key, if it is there."""
        folder = self.root / key
        return Run(folder) if records.is_key(key) and (folder / "request.yaml").is_file() else None

    def open(self, request: Request) -> Run:
        """The request's run, made if it is new. Raises `UserError` if it cannot be."""
        run = self.find(request)
        path = run.path("request.yaml")
        if not path.exists() or _outdated(run, request):
            try:
                write_bytes(path, yaml.safe_dump(dict(request.data), sort_keys=False).encode())
            except OSError as error:
                raise UserError(
                    f"store {self.root}: cannot be written ({error.strerror}); choose another with store=FOLDER "
                    "or VAEBENCH_HOME"
                ) from error
        return run

    def runs(self) -> list[Run]:
        """Every run in the store, oldest first; those whose request is lost as well."""
        if not self.root.is_dir():
            return []
        folders = [path for path in self.root.iterdir() if records.is_key(path.name) and _begun(path) is not None]
        return [Run(folder) for folder in sorted(folders, key=lambda folder: (_begun(folder), folder.name))]


def _begun(folder: Path) -> float | None:
    """When a run's folder was made; None if it is no such folder."""
    for name in ("request.yaml", "status.json"):
        with suppress(OSError):
            return (folder / name).lstat().st_mtime
    return None


def _outdated(run: Run, request: Request) -> bool:
    """Whether an unfinished run's request differs in what is no part of the key, like a file that was moved since."""
    try:
        return not run.done and dict(run.request().data) != dict(request.data)
    except UserError:  # changed by hand: who reads it says so
        return False

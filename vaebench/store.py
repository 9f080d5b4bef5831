"""Content-addressed run folders.

A run is its request: the folder is named by the request's key. ``status.json`` says ``done`` only when everything else
is on disk; every write is a temporary file and a rename; the lock is the operating system's and dies with its owner.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from vaebench.config import KEY_LENGTH, Request
from vaebench.errors import UserError


def store_root(configured: str | None = None) -> Path:
    """The store: the configured folder, else $VAEBENCH_HOME, else ``./runs``."""
    return Path(configured or os.environ.get("VAEBENCH_HOME", "") or "runs").expanduser().absolute()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all (temporary file, fsync, rename)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write plain data as indented JSON, whole or not at all."""
    write_bytes(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


@dataclass(frozen=True)
class Run:
    """One folder of the store: a training, or an evaluation inside its training's folder."""

    folder: Path

    @property
    def key(self) -> str:
        """The request's key: the name of the folder."""
        return self.folder.name

    def path(self, name: str) -> Path:
        """A file of the run."""
        return self.folder / name

    def request(self) -> Request:
        """The stored request. Raises `UserError` if it is unreadable or not the one the folder is named by."""
        path = self.path("request.yaml")
        try:
            data = yaml.safe_load(path.read_text())
        except (OSError, yaml.YAMLError) as error:
            raise UserError(
                f"{path}: cannot be read ({type(error).__name__}); remove the folder and run again"
            ) from error
        if not isinstance(data, dict):
            raise UserError(f"{path}: is not a request; remove the folder and run again")
        request = Request(data)
        if request.key != self.key:
            raise UserError(
                f"{path}: was changed after it was written (its key is {request.key}, the folder is {self.key}); "
                "restore it, or remove the folder and run again"
            )
        return request

    def status(self) -> dict[str, Any]:
        """``{"status": "done" | "running" | "failed" | "interrupted" | "new", ...}``."""
        try:
            return dict(json.loads(self.path("status.json").read_text()))
        except (OSError, ValueError):
            return {"status": "new"}

    def state(self) -> str:
        """The status in a word; a run whose process has died is ``interrupted``, whatever it wrote last."""
        state = str(self.status()["status"])
        if state != "running":
            return state
        with self.lock(timeout=0) as free:
            return "interrupted" if free else state

    @property
    def done(self) -> bool:
        """Whether all of the run is on disk."""
        return self.status()["status"] == "done"

    def set_status(self, status: str, **facts: Any) -> None:
        """Replace the status."""
        write_json(self.path("status.json"), {"status": status, **facts})

    def result(self) -> dict[str, Any]:
        """``result.json`` of a finished run. Raises `UserError` if it is gone or damaged."""
        path = self.path("result.json")
        try:
            return dict(json.loads(path.read_text()))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path}: cannot be read ({type(error).__name__}); remove {self.path('status.json')} and run again"
            ) from error

    @contextmanager
    def lock(self, timeout: float = -1) -> Iterator[bool]:
        """Hold the run's lock; yields False if ``timeout`` seconds (-1: any time) were not enough."""
        lock = FileLock(str(self.path(".lock")), timeout=timeout)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()


class Store:
    """The folder of the runs."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, request: Request) -> Run:
        """Where the request's run is or would be; an evaluation of one run lies inside it."""
        if "run" in request.data.get("parents", {}):
            return Run(self.root / request["parents"]["run"] / "evals" / request.key)
        return Run(self.root / request.key)

    def run(self, key: str) -> Run | None:
        """The training or stage of that key, if it is there."""
        folder = self.root / key
        return Run(folder) if len(key) == KEY_LENGTH and (folder / "request.yaml").is_file() else None

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
        """Every training in the store, oldest first."""
        if not self.root.is_dir():
            return []
        folders = [
            path for path in self.root.iterdir() if len(path.name) == KEY_LENGTH and (path / "request.yaml").exists()
        ]
        return [Run(folder) for folder in sorted(folders, key=lambda f: (f / "request.yaml").stat().st_mtime)]


def _outdated(run: Run, request: Request) -> bool:
    """Whether an unfinished run's request differs in what is no part of the key, like a file that was moved since."""
    try:
        return not run.done and dict(run.request().data) != dict(request.data)
    except UserError:  # changed by hand: who reads it says so
        return False

"""How files are written: whole or not at all, never through a link; and what a killed write leaves is removed."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from vaebench.errors import UserError

TEMPORARY = ".vaebench-part"  # how the name of a file ends while it is written


def write_bytes(path: Path, content: bytes, *, make_folder: bool = True) -> None:
    """Write a file whole or not at all (temporary file, fsync, rename); a link in its place is replaced, not followed.

    ``make_folder``: make the folder it lies in, if need be.
    """
    if make_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except IsADirectoryError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"{path}: is a folder, and a file belongs there; remove it") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write plain data as indented JSON, whole or not at all."""
    write_bytes(path, as_json(content))


def as_json(content: Any) -> bytes:
    """Plain data as indented JSON; raises `ValueError` for a number that JSON has not."""
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def remove_unfinished(folder: Path, *, older_than: float = 0.0) -> None:
    """Remove what killed processes were writing into a folder.

    Whoever calls this holds the lock of those who write there; else ``older_than`` tells the dead from the living, in
    seconds.
    """
    with suppress(OSError):  # it is in nobody's way
        for path in folder.glob(f".*{TEMPORARY}"):
            if time.time() - path.lstat().st_mtime >= older_than:
                path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder that several commands write into; what killed ones left there is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(str(folder / ".lock")):
        remove_unfinished(folder)
        yield

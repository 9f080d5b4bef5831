"""How files are written, and how what was written is read back.

Written: whole or not at all, never through a link; what a killed write leaves is removed. Read: never beyond a bound,
and compared with the form that it should have. A reader raises a `UserError` of one line, "PATH: what is wrong with
it"; who asked adds what to do.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock, Timeout

from vaebench.errors import UserError

_MOST_BYTES = {".yaml": 1 << 20, ".json": 64 << 20, ".jsonl": 512 << 20}
_BEFORE_0_6 = re.compile(r"\..+\.[a-z0-9_]{8}")  # how it was called then: .checkpoint.pt.k2x8_a0q
_SURELY_DEAD = 3600.0  # seconds after which a file that is still being written has lost its writer
_PATIENCE = 2.0  # seconds of waiting for a lock before one says for whom
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


def remove_unfinished(folder: Path, *, older_than: float = 0.0, old: bool = False, unlocked: str = "") -> None:
    """Remove what killed processes were writing into a folder.

    Whoever calls this holds the lock of those who write there; else ``older_than`` tells the dead from the living, in
    seconds. ``old``: also what versions before 0.6 were writing, whose names say less; for folders of ours alone.
    ``unlocked``: how the names of those begin that are written without the lock; they have to be an hour old.
    """
    with suppress(OSError):  # it is in nobody's way
        for path in folder.glob(".*"):
            ours = path.name.endswith(TEMPORARY) or (old and _BEFORE_0_6.fullmatch(path.name))
            least = max(older_than, _SURELY_DEAD if unlocked and path.name.startswith(unlocked) else 0.0)
            if ours and path.is_file() and time.time() - path.lstat().st_mtime >= least:
                path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder that several commands write into; what killed ones left there is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(str(folder / ".lock")):
        remove_unfinished(folder)
        yield


@contextmanager
def hold(path: Path, timeout: float, waiting: Callable[[], None]) -> Iterator[bool]:
    """Hold a lock; yields False if ``timeout`` seconds were not enough. ``waiting`` is called every two seconds."""
    lock = FileLock(str(path))
    until = time.monotonic() + timeout
    while not _acquired(lock, min(_PATIENCE, max(0.0, until - time.monotonic()))):
        if time.monotonic() >= until:
            yield False
            return
        waiting()
    try:
        yield True
    finally:
        lock.release()


def _acquired(lock: FileLock, seconds: float) -> bool:
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        return False
    except OSError as error:
        path = Path(lock.lock_file)
        if path.is_symlink() or path.is_dir():
            raise UserError(f"{path}: is a link or a folder, and a file belongs there; remove it") from error
        raise
    return True


def content(path: Path) -> bytes:
    """A regular file's bytes (or those of one that a link leads to), as many as a file of its kind can have."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            refuse(path, "is no file")
        most = _MOST_BYTES.get(path.suffix, math.inf)
        if found.st_size > most:
            refuse(path, f"has {found.st_size:,} bytes, which is too much for such a file")
        return path.read_bytes()
    except FileNotFoundError:
        refuse(path, "is missing")
    except OSError as error:
        refuse(path, f"cannot be read ({error.strerror})")


def sha256_of(path: Path) -> str:
    """The hex digits of a file's sha256."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        refuse(path, f"cannot be read ({error.strerror})")


def mistake(value: Any, form: Any, where: str = "") -> str:
    """What is wrong with plain data, in a few words; empty if nothing is.

    ``form``: a type or several; ``[form]``, a list of such; ``{field: form}``, a mapping that has these fields among
    others, those with a ``?`` perhaps.
    """
    if isinstance(form, list):
        if not isinstance(value, list):
            return f"{where or 'it'} is no list"
        return next((found for each in value if (found := mistake(each, form[0], f"an item of {where}"))), "")
    if isinstance(form, dict):
        if not isinstance(value, dict):
            return f"{where or 'it'} is no mapping"
        for field, inner in form.items():
            name = field.removesuffix("?")
            if name not in value and field == name:
                return f"{where + '.' if where else ''}{name} is missing"
            found = mistake(value[name], inner, f"{where + '.' if where else ''}{name}") if name in value else ""
            if found:
                return found
        return ""
    kinds = form if isinstance(form, tuple) else (form,)
    fits = isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)
    return "" if fits else f"{where or 'it'} is {called(value)}"


def called(value: Any) -> str:
    """A value's kind in a word."""
    names = {type(None): "null", bool: "true or false", str: "text", dict: "a mapping", list: "a list"}
    return names.get(type(value), f"a {type(value).__name__}")


def text_of(path: Path) -> str:
    """A file's text, UTF-8."""
    try:
        return content(path).decode()
    except UnicodeDecodeError:
        refuse(path, "is not text")


def json_object(path: Path, form: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object of a form."""
    try:
        found = json.loads(text_of(path), parse_constant=_no_number)
    except (ValueError, RecursionError):
        refuse(path, "is not JSON")
    wrong = mistake(found, dict(form))
    if wrong:
        refuse(path, f"is damaged ({wrong})")
    return dict(found)


def _no_number(constant: str) -> NoReturn:
    raise ValueError(constant)


def refuse(path: Path, what: str) -> NoReturn:
    """Raise the `UserError` of a reader."""
    raise UserError(f"{path}: {what}")

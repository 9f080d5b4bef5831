"""What is read back from a run's folder, each kind of file in one place: its content is checked before it is used.

A reader raises a `UserError` of one line, "PATH: what is wrong with it"; who asked adds what to do. Nothing read here
runs code, hangs, or is read beyond a bound.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import yaml

from vaebench.config.choices import LOADER
from vaebench.config.request import KEY_LENGTH
from vaebench.contracts import infinite
from vaebench.disk import called, content, json_object, mistake, refuse, sha256_of, text_of
from vaebench.errors import UserError

if TYPE_CHECKING:
    import numpy as np

STATES = ("done", "running", "failed", "interrupted", "submitted")  # the words of a status.json
KEY = re.compile(rf"[0-9a-f]{{{KEY_LENGTH}}}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_VALUES, _DEEPEST = 100_000, 50  # of a request, aliases counted as often as they are used
_summed: dict[tuple[str, int, int, int], str] = {}  # sha256 of what this process has read once

_NUMBER = (int, float)
_STATUS = {
    "status": str,
    "reason?": str,
    "host?": str,
    "pid?": int,
    "started?": _NUMBER,
    "heartbeat?": _NUMBER,
    "spent?": _NUMBER,
    "step?": int,
    "total?": int,
    "files?": dict,
}
_NUMBERS = ("value", "low", "high", "by_seed")  # of a measurement


def status(path: Path) -> dict[str, Any]:
    """``{"status": one of STATES, ...}``; of a finished run with ``files``: sha256 and bytes of each, by name."""
    found = json_object(path, _STATUS)
    if found["status"] not in STATES:
        refuse(path, f"says {str(found['status'])[:40]!r}, and not one of {', '.join(STATES)}")
    for name, facts in found.get("files", {}).items():
        inside = not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
        if not inside or mistake(facts, {"sha256": str, "bytes": int}) or not _SHA256.fullmatch(facts["sha256"]):
            refuse(path, f"has no checksum for {name[:80]!r}")
    return found


def spent(status: Mapping[str, Any]) -> float:
    """The seconds that went into a run until its last status, which may be that of a process that is dead."""
    found = float(status.get("spent", 0.0))
    if status["status"] == "running":
        found += max(0.0, status.get("heartbeat", 0.0) - status.get("started", 0.0))
    return round(found, 3)


def request(path: Path, form_of: Callable[[str], Mapping[str, Any]]) -> dict[str, Any]:
    """A request as plain data: text, numbers, lists and mappings, with the fields that its verb needs.

    ``form_of``: what these are; raises `UserError` for a verb that there is none of.
    """
    try:
        found = LOADER(content(path).decode()).get_single_data()
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        refuse(path, f"cannot be read ({type(error).__name__})")
    wrong = _not_plain(found) or mistake(found, {"verb": str})
    try:
        wrong = wrong or mistake(found, {**form_of(found["verb"]), "parents?": dict})
    except UserError:
        wrong = f"asks for {found['verb'][:40]!r}"
    wrong = wrong or next(
        (f"parents.{role} is no run's key" for role, key in found.get("parents", {}).items() if not is_key(key)), ""
    )
    if wrong:
        refuse(path, f"is not a request ({wrong})")
    return dict(found)


def is_key(key: Any) -> bool:
    """Whether that can be the name of a run: 12 hexadecimal digits."""
    return isinstance(key, str) and bool(KEY.fullmatch(key))


def result(path: Path, form: Mapping[str, Any]) -> dict[str, Any]:
    """What a job came to; ``form``: of its kind."""
    found = json_object(path, form)
    if "measurements" not in form:
        return found
    if not found["measurements"]:
        refuse(path, "is damaged (no measurements)")
    try:
        measured = [
            each | {name: infinite.number(each[name]) for name in _NUMBERS if name in each}
            for each in found["measurements"]
        ]
    except ValueError as error:
        refuse(path, f"is damaged ({error})")
    return found | {"measurements": measured}


def provenance(path: Path) -> dict[str, Any]:
    """Where and with what a run was made; of a training with ``note``, what is worth knowing of its data."""
    return json_object(path, {"commit": str, "device": str, "note?": (str, type(None))})


def ledger(path: Path) -> dict[str, str]:
    """sha256 by the name of a file."""
    found = json_object(path, {})
    for name, value in found.items():
        if not isinstance(value, str) or not _SHA256.fullmatch(value):
            refuse(path, f"has no checksum for {name[:80]!r}")
    return found


def log(path: Path) -> list[dict[str, float]]:
    """The entries of a training's log: ``step`` and numbers by name, NaN among them where a term was none."""
    entries = []
    for number, line in enumerate(text_of(path).splitlines(), start=1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            refuse(path, f"line {number} is not JSON")
        wrong = mistake(entry, {"step": int}) or next(
            (f"{name[:80]!r} is no number" for name, value in entry.items() if mistake(value, _NUMBER)), ""
        )
        if wrong:
            refuse(path, f"line {number} is no entry ({wrong})")
        entries.append(entry)
    return entries


def arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` by name; never objects, which would be pickles."""
    import zipfile
    import zlib

    import numpy as np

    faults = (OSError, ValueError, KeyError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return dict(stored)
    except (*faults, TypeError, AttributeError) as error:  # the last two: it holds one array
        refuse(path, f"holds no arrays ({type(error).__name__})")


def checksum(path: Path) -> str:
    """The sha256 of a file, which is read once in a process as long as it stays as it is."""
    found = path.stat()
    place = (str(path), found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    if place not in _summed:
        _summed[place] = sha256_of(path)
    return _summed[place]


def _not_plain(data: Any) -> str:
    """What in a loaded YAML is more than text, finite numbers, lists and mappings, or more than a request can be."""
    pending, seen = [(data, 0)], 0
    while pending:
        value, depth = pending.pop()
        seen += 1
        if seen > _MOST_VALUES or depth > _DEEPEST:  # an alias inside itself is endless
            return "it is too large or too deep"
        if isinstance(value, dict):
            if not all(isinstance(name, str | int | float) for name in value):
                return "a name in it is no text"
            pending += [(each, depth + 1) for each in value.values()]
        elif isinstance(value, list):
            pending += [(each, depth + 1) for each in value]
        elif isinstance(value, float) and not math.isfinite(value):
            return f"it holds {value}"
        elif not isinstance(value, str | int | float | None):
            return f"it holds {called(value)}"
    return ""

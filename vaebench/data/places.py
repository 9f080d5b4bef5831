"""The two places where data lies, ``$VAEBENCH_DATA``, only ever read, and the cache; the folders of a set in them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from vaebench.data.files import Splits


@dataclass(frozen=True)
class Tree:
    """A set of ordinary folders that is there.

    ``root``: its folder. ``splits``: the folders of ``train`` and of ``test`` below it, none where ``missing`` names
    what was looked for. ``source``: ``VAEBENCH_DATA`` or ``download`` (the cache).
    """

    root: Path
    splits: Mapping[str, tuple[Path, ...]]
    missing: Mapping[str, tuple[str, ...]]
    source: str


def given(folder: str) -> Path | None:
    """A folder of ``$VAEBENCH_DATA``; None if that is not set."""
    root = os.environ.get("VAEBENCH_DATA", "")
    return Path(root).expanduser().absolute() / folder if root else None


def cache(folder: str) -> Path:
    """A folder of ``$VAEBENCH_CACHE``, by default of ``~/.cache/vaebench``."""
    return Path(os.environ.get("VAEBENCH_CACHE", "") or "~/.cache/vaebench").expanduser().absolute() / folder


def find_tree(name: str, splits: Splits) -> Tree | None:
    """The set's folder in the first place that has a file in any of its sub-folders; None if none has."""
    for root, source in ((given(name), "VAEBENCH_DATA"), (cache(name), "download")):
        if root is None:
            continue
        found = {role: {each: _first(root, each) for each in folders} for role, folders in splits.items()}
        there = {role: tuple(path for path in each.values() if path) for role, each in found.items()}
        if any(next(walk(path), None) for paths in there.values() for path in paths):
            missing = {role: tuple(key for key, path in each.items() if not path) for role, each in found.items()}
            return Tree(root, there, missing, source)
    return None


def walk(folder: Path, suffixes: Sequence[str] = ()) -> Iterator[Path]:
    """The files below a folder, without hidden ones; links to folders are followed once.

    In the order of their names, those of a folder before those of its sub-folders.
    """
    seen = set()
    for where, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        folders[:] = [] if real in seen else sorted(each for each in folders if each[0] != ".")
        for file in sorted(files) if real not in seen else ():
            path = Path(where, file)
            if file[0] != "." and (not suffixes or path.suffix.lower() in suffixes):
                yield path
        seen.add(real)


def contents(name: str, splits: Splits) -> str | None:
    """16 hex digits over the names and sizes of a set's files; None if there are none.

    Nothing is read: it tells a folder that was changed from what it was.
    """
    tree = find_tree(name, splits)
    if tree is None:
        return None
    folders = tuple((role, path) for role, paths in sorted(tree.splits.items()) for path in paths)
    return _contents(folders, tuple(path.stat().st_mtime_ns for _, path in folders))


@lru_cache
def _contents(folders: tuple[tuple[str, Path], ...], changed: tuple[int, ...]) -> str:
    """Looked at once per process, until a folder is ``changed``: a plan asks for it once per row."""
    del changed
    found = hashlib.sha256()
    for role, folder in folders:
        for path in walk(folder):
            found.update(f"{role} {path.relative_to(folder)} {path.stat().st_size}\n".encode())
    return found.hexdigest()[:16]


def _first(root: Path, names: str) -> Path | None:
    """The first of the folders ``a|b`` that is there."""
    return next((root / each for each in names.split("|") if (root / each).is_dir()), None)

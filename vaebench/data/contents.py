"""What the files of a set of ordinary folders hold: checksums, taken anew only of what has changed.

A file's checksum is kept in ``$VAEBENCH_CACHE/checksums/`` with its size, its times of change and its inode, and taken
again when one of them is another. So a set is known by its content, and a copy of it is the same set.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaebench.config.choices import kinds
from vaebench.data.files import check_fields, split_names
from vaebench.data.places import READ, BadFile, Splits, Tree, cache, find_tree, not_read, opened, shown_path, walk
from vaebench.disk import write_bytes
from vaebench.errors import UserError

_DIGITS = 32  # of a checksum that are kept: 128 bits
_SETTLED = 2_000_000_000  # ns; a file changed later than this before it was read may change again at the same time
_WORTH_A_LINE = 500, 1 << 30  # files or bytes that take long enough to say so

# size, times of the last change of content and of the file, inode
_State = tuple[int, int, int, int]
_looks: ContextVar[dict[Any, Listing] | None] = ContextVar("looks", default=None)


@dataclass(frozen=True)
class Item:
    """A file of a set. ``name``: its path below the split's folder; ``digest``: empty if it cannot be read."""

    path: Path
    name: str
    digest: str

    @property
    def label(self) -> str:
        """The sub-folder of the split's folder that it lies in; empty for none."""
        return self.name.partition(os.sep)[0] if os.sep in self.name else ""


@dataclass(frozen=True)
class Listing:
    """The files of a set by split, in order. ``not_read``: how many there are of other formats, by their ending."""

    files: Mapping[str, tuple[Item, ...]]
    not_read: Mapping[str, int]

    @property
    def digest(self) -> str:
        """16 hex digits over names and contents."""
        found = hashlib.sha256()
        for split in sorted(self.files):
            for item in self.files[split]:
                found.update(b"%s %s\0%s\n" % (split.encode(), os.fsencode(item.name), item.digest.encode()))
        return found.hexdigest()[:16]


def listing(tree: Tree, kind: str) -> Listing:
    """The files of a set of this kind (``images``, ``audio``), with their checksums."""
    looks, key = _looks.get(), (tree.root, tuple(sorted(tree.splits.items())), kind)
    if looks is not None and key in looks:
        return looks[key]
    there = [(split, folder, path) for split, each in tree.splits.items() for folder in each for path in walk(folder)]
    digests = checksums(tree.root, [path for _, _, path in there if path.suffix.lower() in READ[kind]])
    files: dict[str, list[Item]] = {split: [] for split in tree.splits}
    for split, folder, path in there:
        if path in digests:
            files[split].append(Item(path, str(path.relative_to(folder)), digests[path]))
    other = not_read(kind, (path.suffix.lower() for _, _, path in there))
    found = Listing({split: tuple(items) for split, items in files.items()}, other)
    if looks is not None:
        looks[key] = found
    return found


@contextmanager
def one_look() -> Iterator[None]:
    """Every set is looked at once in here: a plan asks for it once per row."""
    token = _looks.set({})
    try:
        yield
    finally:
        _looks.reset(token)


def checksums(folder: Path, paths: Sequence[Path]) -> dict[Path, str]:
    """The first 32 hex digits of the sha256 of each file below a folder; empty for one that cannot be read.

    Files that are as they were when their checksum was taken are not read.
    """
    where = cache("checksums") / f"{folder.name}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}.json"
    known, states = _read(where), {path: _state(path) for path in paths}
    before = {path: known.get(str(path), (None, "")) for path in paths}
    found = {path: before[path][1] if state else "" for path, state in states.items()}
    missing = {path: state for path, state in states.items() if state and before[path][0] != state}
    if not missing:
        return found
    if len(missing) >= _WORTH_A_LINE[0] or sum(size for size, *_ in missing.values()) >= _WORTH_A_LINE[1]:
        sys.stderr.write(f"note: taking the checksums of {len(missing):,} files in {shown_path(folder)}, once\n")
    began = time.time_ns()
    found |= {path: digest_of(path) for path in missing}
    settled = {path: state for path, state in states.items() if state and max(state[1:3]) < began - _SETTLED}
    known |= {str(path): (state, found[path]) for path, state in settled.items() if found[path]}
    content = json.dumps({path: [*state, digest] for path, (state, digest) in known.items()})
    with suppress(OSError, UserError):  # a cache that cannot be written costs time and nothing else
        write_bytes(where, content.encode())
    return found


def _state(path: Path) -> _State | None:
    """What tells a file that was changed from what it was; None if it is no ordinary file."""
    try:
        state = path.stat()
    except OSError:
        return None
    ordinary = stat.S_ISREG(state.st_mode)
    return (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino) if ordinary else None


def digest_of(path: Path) -> str:
    """The first 32 hex digits of a file's sha256, read now; empty if it cannot be read."""
    try:
        with opened(path) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:_DIGITS]
    except (BadFile, OSError):
        return ""


def _read(where: Path) -> dict[str, tuple[_State, str]]:
    """The checksums of before; none where the file is not one of ours, so that they are taken anew."""
    try:
        stored = json.loads(where.read_bytes())
        return {path: (tuple(map(int, state)), str(digest)) for path, (*state, digest) in stored.items()}  # type: ignore[misc]
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def contents(name: str, splits: Splits, kind: str) -> str | None:
    """16 hex digits over the names and contents of a set's files; None if there are none."""
    tree = find_tree(name, splits, kind)
    return None if tree is None else listing(tree, kind).digest


def dataset_leaf(leaf: Mapping[str, Any]) -> dict[str, Any]:
    """A dataset's YAML; of ordinary folders with their ``contents``: changed files make another request.

    Raises `UserError` for a name or a shape that cannot be one.
    """
    check_fields(leaf)
    leaf = {name: value for name, value in leaf.items() if name != "about"}
    if "splits" not in leaf:
        return leaf
    name = str(leaf["name"])
    return {**leaf, "contents": contents(name, split_names(name, leaf["splits"]), kinds(leaf.get("data"))[0])}

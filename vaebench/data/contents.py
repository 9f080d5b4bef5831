"""What the files of a set of ordinary folders hold: checksums, taken anew only of what has changed.

A folder that ``dataset.path`` names may have no test split; then one is made, by the contents too: the same files give
the same split wherever they lie.

A file's checksum is kept in ``$VAEBENCH_CACHE/checksums/`` with its size, its times of change and its inode, and taken
again when one of them is another. So a set is known by its content, and a copy of it is the same set.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeVar

from annotated_types import Interval

from vaebench.config.signatures import Seed, checked
from vaebench.data import hub
from vaebench.data.ahead import ahead, told
from vaebench.data.named import own_tree
from vaebench.data.places import READ, BadFile, Splits, Tree, cache, find_tree, not_read, opened, shown_path, walk
from vaebench.disk import write_bytes
from vaebench.errors import UserError

T = TypeVar("T")

_DIGITS = 32  # of a checksum that are kept: 128 bits
_SETTLED = 2_000_000_000  # ns; a file changed later than this before it was read may change again at the same time
_KEPT_EVERY = 50_000  # files whose checksums are written down while those of others are taken
_WORTH_A_LINE = 500, 1 << 30  # files or bytes that take long enough to say so

# size, times of the last change of content and of the file, inode
_State = tuple[int, int, int, int]
_DIGEST = re.compile("[0-9a-f]{16}")  # of a request that was stored, and so may hold anything
TestShare = Annotated[float, Interval(gt=0, lt=1)]  # of the files of a set, that are held out
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

    @property
    def content(self) -> str:
        """What tells it from files that hold something else; one that cannot be read is like no other."""
        return self.digest or f"unreadable {self.name}"


@dataclass(frozen=True)
class Listing:
    """The files of a set by split, in order. ``not_read``: how many there are of other formats, by their ending."""

    files: Mapping[str, tuple[Item, ...]]
    not_read: Mapping[str, int]

    @cached_property
    def digest(self) -> str:
        """16 hex digits over names and contents."""
        found = hashlib.sha256()
        for split in sorted(self.files):
            for item in self.files[split]:
                found.update(b"%s %s\0%s\n" % (split.encode(), os.fsencode(item.name), item.digest.encode()))
        return found.hexdigest()[:16]

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """The number of each label, counted in the order of their names; 0 also for files in no sub-folder."""
        labels = {item.label for items in self.files.values() for item in items} - {""}
        return {"": 0} | {label: number for number, label in enumerate(sorted(labels))}

    @cached_property
    def highest_label(self) -> int:
        """The highest number of a label among the files to train on; -1 if there are none."""
        return max((self.numbers[label] for label in {item.label for item in self.files["train"]}), default=-1)


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
    """Every set is looked at once in here: a plan asks for it once per row, a chain once per training."""
    token = _looks.set({} if (before := _looks.get()) is None else before)
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
    found |= dict.fromkeys(missing, "")  # and not what they held before

    def keep() -> None:
        settled = {path: state for path, state in states.items() if state and max(state[1:3]) < began - _SETTLED}
        known.update({str(path): (state, found[path]) for path, state in settled.items() if found[path]})
        content = json.dumps({path: [*state, digest] for path, (state, digest) in known.items()})
        with suppress(OSError, UserError):  # a cache that cannot be written costs time and nothing else
            write_bytes(where, content.encode())

    taken = told(ahead(digest_of, missing), len(missing), "checksums of")
    for number, (path, digest) in enumerate(taken, start=1):
        found[path] = digest
        if number % _KEPT_EVERY == 0:  # of a million files the first are not read again after a kill
            keep()
    keep()
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
    found = named(name, splits, kind)
    return None if found is None else found.digest


def named(name: str, splits: Splits, kind: str) -> Listing | None:
    """The files of a set; None if there are none."""
    tree = find_tree(name, splits, kind)
    return None if tree is None else listing(tree, kind)


@checked("dataset")
def own(
    path: str | None,
    kind: str,
    test_share: TestShare | None,
    split_seed: Seed | None,
    contents: str | None = None,
) -> tuple[Tree, Listing]:
    """A folder that ``dataset.path`` names, and its files by split; ``contents``: the digest they must have.

    Without a test split ``test_share`` of the files is held out, drawn with ``split_seed``. Raises `UserError` if it is
    not usable, or holds others.
    """

    def look(place: str | None) -> tuple[tuple[Tree, Listing], str]:
        tree = own_tree(place, kind)
        files = listing(tree, kind)
        found = files if tree.splits["test"] else held_out(files, test_share, split_seed)
        return (tree, found), found.digest

    return found_again(path, contents, look)


def found_again(path: str | None, contents: str | None, look: Callable[[str | None], tuple[T, str]]) -> T:
    """What ``look`` makes of a folder, if the digest that it gives besides is ``contents`` (None: any).

    Where that is not so, the folder counts that a command was last told to hold these contents: the one of a finished
    run may have been moved. Raises `UserError` if there is none.
    """
    wrong: list[str] = []
    moved = _remembered(contents) if contents else None
    for place in [path, moved] if moved and moved != path else [path]:
        try:
            found, digest = look(place)
        except UserError as error:
            wrong += error.lines
            continue
        if contents in (None, digest):
            return found
        wrong.append(f"dataset.path={shown_path(place or '')}: does not hold any more what the run was trained on")
    advice = "; put that back, or give the command the folder that has it now (dataset.path=DIR)" if contents else ""
    raise UserError(f"{wrong[0]}{advice}")


def held_out(found: Listing, share: float | None, seed: int | None) -> Listing:
    """A share of the training files, at least one, as the test files, every class in proportion.

    Which ones depends on the files' contents and ``seed`` alone. Files of the same content stay together, so that none
    is tested on that was trained on. Raises `UserError` if there are not two different ones, or an option is null.
    """
    files = found.files["train"]
    if share is None or seed is None:
        raise UserError(
            f"dataset.test_share={share}, dataset.split_seed={seed}: there is no test split, so neither can be null"
        )
    classes: dict[str, dict[str, str]] = {}  # label -> content -> its place in the draw
    for item in files:
        drawn = hashlib.sha256(f"{seed} {item.content}".encode("utf-8", "surrogateescape")).hexdigest()
        classes.setdefault(item.label, {})[item.content] = drawn
    # Each class is spread evenly over [0, 1), in the order of the draw: the beginning has the same share of all.
    places: dict[str, tuple[float, str]] = {}
    for members in classes.values():
        for rank, content in enumerate(sorted(members, key=members.__getitem__)):
            place = (rank + 0.5) / len(members), members[content]
            places[content] = min(place, places.get(content, place))
    if len(places) < 2:
        what = "is one file only" if len(files) == 1 else f"are {len(files)} files of the same content"
        raise UserError(
            f"{shown_path(files[0].path)}: there {what}, and two are needed: one to train on, one to test on"
        )
    count = min(max(1, round(share * len(places))), len(places) - 1)
    tested = {*sorted(places, key=places.__getitem__)[:count]}
    split: dict[str, list[Item]] = {"train": [], "test": []}
    for item in files:
        split["test" if item.content in tested else "train"].append(item)
    return Listing({name: tuple(items) for name, items in split.items()}, found.not_read)


def remember(contents: str, root: Path) -> None:
    """Note where a folder of one's own lies now, for runs that know it from where it was."""
    if _remembered(contents) != str(root):
        with suppress(OSError, UserError):
            write_bytes(cache("own") / contents, os.fsencode(root))


def _remembered(contents: str) -> str | None:
    try:
        return os.fsdecode((cache("own") / contents).read_bytes()) if _DIGEST.fullmatch(contents) else None
    except OSError:
        return None


def hf_folder(path: str | None, revision: str | None, contents: str | None) -> Path | None:
    """The folder of a set for the library `datasets`, with these contents if any are given; None if it is on the hub.

    Raises `UserError` if there is none, or it holds others.
    """
    if ("@" in contents) if contents else hub.folder(path, revision) is None:
        return None

    def look(place: str | None) -> tuple[Path, str]:
        folder = hub.folder(place, revision)
        if folder is None:
            raise UserError(f"dataset.path={place}: there is no such folder")
        return folder, all_files(folder)

    return found_again(path, contents, look)


def all_files(folder: Path) -> str:
    """16 hex digits over the names and contents of all files of a folder, without hidden ones."""
    digests = checksums(folder, list(walk(folder)))
    files = (Item(path, str(path.relative_to(folder)), digest) for path, digest in digests.items())
    return Listing({"all": tuple(files)}, {}).digest

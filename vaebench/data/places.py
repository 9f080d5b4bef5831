"""The places where data lies, the folders of ``$VAEBENCH_DATA``, only ever read, and the cache; what of a set is there.

``VAEBENCH_DATA`` names one folder or several, separated as in ``PATH``; the first that has what is looked for counts.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import NoReturn

from vaebench.errors import UserError, printable

# train and test -> sub-folders of a set of ordinary folders; "val|test": the first of these that is there
Splits = Mapping[str, Sequence[str]]
# What the files of a set of ordinary folders end in, in lower case, by its kind; and other endings of pictures and
# sounds, whose files are left alone, counted and named.
READ = {"images": (".jpg", ".jpeg", ".png", ".webp", ".bmp"), "audio": (".wav", ".flac", ".mp3", ".ogg")}
_NOT_READ = {
    "images": frozenset(
        ".jpe .jfif .gif .tif .tiff .avif .heic .heif .jxl .jp2 .j2k .psd .tga .ppm .pgm .pbm .svg .eps .ico .dng .exr "
        ".apng .dcm .hdr".split()
    ),
    "audio": frozenset(".aac .aif .aiff .au .caf .m4a .mp4 .opus .oga .sph .snd .w64 .webm .wma .wv".split()),
}
NAMED = "dataset.path"  # where data of one's own come from
_SHOWN_BAD = 20  # files of a folder that are named


class BadFile(Exception):  # noqa: N818 (says what is wrong with a file; the caller decides whether it is an error)
    """A file that cannot be used; the message says why and does not name it."""


@dataclass(frozen=True)
class Tree:
    """A set of ordinary folders that is there.

    ``root``: its folder. ``splits``: the folders of ``train`` and of ``test`` below it, none where ``missing`` names
    what was looked for. ``origin``: ``VAEBENCH_DATA``, ``cache`` or ``dataset.path``.
    """

    root: Path
    splits: Mapping[str, tuple[Path, ...]]
    missing: Mapping[str, tuple[str, ...]]
    origin: str

    @property
    def source(self) -> str:
        """What the data themselves call the origin."""
        return "download" if self.origin == "cache" else self.origin


@dataclass(frozen=True)
class FileStatus:
    """A file, or the folder of a set of ordinary folders, whose name then has ``/`` behind it.

    ``state``: ``present``, ``missing``, ``corrupt`` (if it was read), or ``not read``: a folder that has only files of
    other formats. ``where``: its path, if it exists.
    """

    file: str
    state: str
    where: Path | None


@dataclass(frozen=True)
class DatasetStatus:
    """A dataset's files and where they come from.

    ``origin``: ``embedded``, ``VAEBENCH_DATA``, ``cache``, ``downloadable``, ``unavailable`` or ``dataset.path``.
    ``partial``: only a part of the set is on disk, and ``files`` are those of the part.
    """

    name: str
    origin: str
    files: tuple[FileStatus, ...]
    partial: bool


def roots() -> list[Path]:
    """The folders that ``$VAEBENCH_DATA`` names, in order, whether they are there or not; none if it is not set."""
    named = os.environ.get("VAEBENCH_DATA", "").split(os.pathsep)
    return [Path(root).expanduser().absolute() for root in dict.fromkeys(named) if root]


def given(folder: str) -> list[Path]:
    """A folder in each of those of ``$VAEBENCH_DATA``, in the order in which they are looked at."""
    return [root / folder for root in roots()]


def no_roots() -> str:
    """One line about what ``$VAEBENCH_DATA`` names and is no folder; empty if all of it is there."""
    lacking = [shown_path(root) for root in roots() if not root.is_dir()]
    return f"VAEBENCH_DATA: {', '.join(lacking)}: no such folder" if lacking else ""


def cache(folder: str) -> Path:
    """A folder of ``$VAEBENCH_CACHE``, by default of ``~/.cache/vaebench``."""
    return Path(os.environ.get("VAEBENCH_CACHE", "") or "~/.cache/vaebench").expanduser().absolute() / folder


def everywhere(folder: str) -> list[Path]:
    """The folder in each of the places, in the order in which they are looked at."""
    return [*given(folder), cache(folder)]


def find_tree(name: str, splits: Splits, kind: str) -> Tree | None:
    """The set's folder in the first place that has a file of this kind in any of its sub-folders; None if none has."""
    for root in everywhere(name):
        found = {role: {each: _first(root, each) for each in folders} for role, folders in splits.items()}
        there = {role: tuple(path for path in each.values() if path) for role, each in found.items()}
        if any(next(walk(path, READ[kind]), None) for paths in there.values() for path in paths):
            missing = {role: tuple(key for key, path in each.items() if not path) for role, each in found.items()}
            return Tree(root, there, missing, "VAEBENCH_DATA" if root in given(name) else "cache")
    return None


def others(name: str, splits: Splits) -> str:
    """What all files end in that lie in the set's sub-folders, in any place: what there is where it is not found."""
    folders = [_first(root, each) for root in everywhere(name) for names in splits.values() for each in names]
    return endings(Counter(path.suffix.lower() for folder in folders if folder for path in walk(folder)))


def not_read(kind: str, suffixes: Iterable[str]) -> dict[str, int]:
    """How many files end in each ending of pictures or sounds that is not read."""
    return dict(sorted(Counter(suffix for suffix in suffixes if suffix in _NOT_READ[kind]).items()))


def endings(counts: Mapping[str, int]) -> str:
    """``3 .gif, 1 .txt``: how many files there are of each ending."""
    return ", ".join(
        f"{count:,} {shown_path(ending) or 'without an ending'}" for ending, count in sorted(counts.items())
    )


def of_folders(name: str, kind: str, splits: Splits, *, read: bool) -> DatasetStatus:
    """The status of a set of ordinary folders; with ``read`` every picture or sound of it is tried."""
    tree = find_tree(name, splits, kind)
    if tree is None:
        there = others(name, splits)
        state, where = ("not read", everywhere(name)[0]) if there else ("missing", None)
        entry = FileStatus(f"{name}/ ({there})" if there else f"{name}/", state, where)
        return DatasetStatus(name, "unavailable", (entry,), partial=False)
    paths = [path for folders in tree.splits.values() for folder in folders for path in walk(folder)]
    left = endings(not_read(kind, (path.suffix.lower() for path in paths)))
    bad = _bad([path for path in paths if path.suffix.lower() in READ[kind]], kind) if read else []
    more = [FileStatus(f"and {len(bad) - _SHOWN_BAD:,} more", "corrupt", tree.root)] if len(bad) > _SHOWN_BAD else []
    folder = FileStatus(f"{name}/ (not read: {left})" if left else f"{name}/", "present", tree.root)
    return DatasetStatus(name, tree.origin, (folder, *bad[:_SHOWN_BAD], *more), partial=any(tree.missing.values()))


def _bad(paths: Sequence[Path], kind: str) -> list[FileStatus]:
    """Those of the files that are no picture or sound, each with the reason."""
    from vaebench.data.pictures import picture
    from vaebench.data.waves import read as read_audio

    found = []
    for path in paths:
        try:
            if kind == "audio":
                read_audio(path)
            else:
                picture(path, mode="RGB", side=1)
        except BadFile as error:
            found.append(FileStatus(f"{path.name}: {error}", "corrupt", path))
    return found


def walk(folder: Path, suffixes: Sequence[str] = ()) -> Iterator[Path]:
    """The files below a folder, without hidden ones; links to folders are followed once.

    In the order of their names, those of a folder before those of its sub-folders. Not all need be ordinary files.
    Raises `UserError` if a folder cannot be listed.
    """
    seen = set()
    for where, folders, files in os.walk(folder, followlinks=True, onerror=_not_listed):
        real = os.path.realpath(where)
        folders[:] = [] if real in seen else sorted(each for each in folders if each[0] != ".")
        for file in sorted(files) if real not in seen else ():
            path = Path(where, file)
            if file[0] != "." and (not suffixes or path.suffix.lower() in suffixes):
                yield path
        seen.add(real)


def _not_listed(error: OSError) -> NoReturn:
    raise UserError(
        f"{shown_path(error.filename)}: cannot be listed ({error.strerror}); make it readable, or move it away"
    )


def opened(path: Path) -> BufferedReader:
    """A file, open for reading, if it is an ordinary one: a pipe would wait for ever.

    Raises `BadFile` if it is none, is a link that leads nowhere, or cannot be opened.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BadFile("it is no ordinary file")
        return path.open("rb")
    except OSError as error:
        nowhere = isinstance(error, FileNotFoundError) and path.is_symlink()
        raise BadFile("it is a link that leads nowhere" if nowhere else error.strerror or str(error)) from error


def shown_path(path: Path | str) -> str:
    """A path as text for a message: bytes that are no UTF-8 and what is not printed are written as escapes."""
    return printable(os.fsencode(path).decode("utf-8", "backslashreplace"))


def _first(root: Path, names: str) -> Path | None:
    """The first of the folders ``a|b`` that is there."""
    return next((root / each for each in names.split("|") if (root / each).is_dir()), None)

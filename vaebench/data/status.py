"""Which files of a dataset are where and in what state, as records and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vaebench.data.files import Splits
from vaebench.data.places import READ, BadFile, cache, find_tree, given, not_read, others, shown_path, walk

_SHOWN_BAD = 20  # files of a folder that are named


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

    ``origin``: ``embedded``, ``VAEBENCH_DATA``, ``cache``, ``downloadable`` or ``unavailable``.
    ``partial``: only a part of the set is on disk, and ``files`` are those of the part.
    """

    name: str
    origin: str
    files: tuple[FileStatus, ...]
    partial: bool


def of_folders(name: str, kind: str, splits: Splits, *, read: bool) -> DatasetStatus:
    """Of a set of ordinary folders; with ``read`` every picture or sound of it is tried."""
    tree = find_tree(name, splits, kind)
    if tree is None:
        there = endings(others(name, splits))
        state, where = ("not read", given(name) or cache(name)) if there else ("missing", None)
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


def endings(counts: Mapping[str, int]) -> str:
    """``3 .gif, 1 .txt``: how many files there are of each ending."""
    return ", ".join(
        f"{count:,} {shown_path(ending) or 'without an ending'}" for ending, count in sorted(counts.items())
    )

"""What the YAML of a dataset says of its files: names, sha256, mirrors, and the folder they lie in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaebench.config.choices import leaf
from vaebench.config.signatures import require
from vaebench.data.places import Splits, everywhere, given
from vaebench.errors import UserError

# role -> {file: name, sha256: hex digits} and, if need be, {md5: hex digits, folder: another than the set's}
Files = Mapping[str, Mapping[str, str]]
PARTS = ("problems", "answers")  # of a dataset that is composed
_LONGEST_NAME = 100
_MOST_VALUES = 1 << 26  # in an item: 256 MB of float32
_FIELDS = frozenset({"file", "sha256", "md5", "folder"})


@dataclass(frozen=True)
class File:
    """One file to look for, as YAML describes it, and where it can be downloaded."""

    folder: str
    file: str
    sha256: str
    mirrors: tuple[str, ...]

    def find(self) -> Path | None:
        """Where it is, if it is."""
        return next((path for folder in everywhere(self.folder) if (path := folder / self.file).is_file()), None)

    def is_given(self, path: Path) -> bool:
        """Whether this is where it lies in ``$VAEBENCH_DATA``."""
        return path.parent in given(self.folder)


@dataclass(frozen=True)
class Spec:
    """All that YAML says of a dataset's files.

    ``kind``: ``images``, ``answers``, or what it says. ``splits``: the sub-folders of a set of ordinary folders, which
    has no ``files``; None for any other set. ``own``: whether it is what ``dataset.path`` names.
    """

    name: str
    files: tuple[File, ...]
    partial: tuple[File, ...]
    kind: str
    splits: Splits | None = None
    own: bool = False

    @property
    def embedded(self) -> bool:
        """Whether it is there without a file."""
        return not self.files and self.splits is None and not self.own


def specification(name: str) -> Spec:
    """The files of a dataset: its own, or those of its problems and of its answers.

    Raises `UserError` if there is no such dataset, or a YAML is not what it should be.
    """
    own = leaf("dataset", name)
    if own.get("name") != name:
        raise UserError(
            f"conf/dataset/{name}.yaml: must be a mapping with 'name: {name}', the name its files and results go by"
        )
    chosen = parts(name)
    files: dict[tuple[str, str], File] = {}
    partial: dict[tuple[str, str], File] = {}  # by folder and name: two parts may name the same file
    for choice, said in [(choice, leaf(group, choice)) for group, choice in chosen.items()] or [(name, own)]:
        for group, found in (("files", files), ("partial", partial)):
            if said.get(group):
                described = entries(choice, said.get("folder"), said[group], said.get("mirrors") or ())
                found |= {(entry.folder, entry.file): entry for entry in described.values()}
    kind = "answers" if chosen else str(own.get("data") or "images")
    splits = None if own.get("splits") is None else split_names(name, own["splits"])
    return Spec(name, tuple(files.values()), tuple(partial.values()), kind, splits, is_own(own))


def is_own(leaf: Mapping[str, Any]) -> bool:
    """Whether a dataset's YAML describes what ``dataset.path`` names."""
    return {"path", "test_share", "split_seed"} <= leaf.keys()


def parts(name: str) -> dict[str, str]:
    """What a composed dataset is made of: ``{"problems": ..., "answers": ...}``, choices of these groups; else empty.

    Raises `UserError` if there is no such dataset, or its YAML does not say.
    """
    chosen = {}
    for entry in leaf("dataset", name).get("defaults") or ():
        for key, choice in entry.items() if isinstance(entry, Mapping) else ():
            group, _, package = str(key).removeprefix("/").partition("@")
            if group in PARTS and package == group:
                chosen[group] = str(choice)
    if chosen and sorted(chosen) != sorted(PARTS):
        raise UserError(f"conf/dataset/{name}.yaml: defaults must name both /problems@problems and /answers@answers")
    return chosen


def entries(name: str, folder: str | None, files: Files, mirrors: Sequence[str] = ()) -> dict[str, File]:
    """The files to look for, by their roles; without a ``folder`` they lie in that of the set's name.

    Names become paths and may come from a stored request: none may lead out of its folder. Raises `UserError`.
    """
    wrong, folder = _misnamed(name), folder or name
    if not _inside(folder):
        wrong.append(f"dataset {name}: folder={folder!r} must lie in the data folder")
    found = {}
    for role, entry in files.items():
        if not isinstance(entry, Mapping) or not {"file", "sha256"} <= entry.keys() <= _FIELDS:
            wrong.append(f"dataset {name}, {role}: must have the fields file and sha256, and may have md5 and folder")
            continue
        own = entry.get("folder") or folder
        if not _plain(entry["file"]):
            wrong.append(f"dataset {name}, {role}: file={entry['file']!r} must be a plain name, without a folder")
        if not _inside(own):
            wrong.append(f"dataset {name}, {role}: folder={own!r} must lie in the data folder")
        found[role] = File(own, entry["file"], entry["sha256"], tuple(mirrors))
    require(*wrong)
    return found


def split_names(name: str, splits: Splits) -> dict[str, tuple[str, ...]]:
    """The sub-folders of a set of ordinary folders, checked: none may lead out of the set's own folder.

    Raises `UserError` if there is no train or no test, or a name is not one.
    """
    if not isinstance(splits, Mapping) or sorted(splits) != ["test", "train"]:
        raise UserError(f"dataset {name}: splits must be train and test, each a list of sub-folders")
    wrong = _misnamed(name)
    for role, folders in splits.items():
        if isinstance(folders, str) or not folders:
            wrong.append(f"dataset.splits.{role}={folders!r}: must be a list of sub-folders, [{role}] for one")
        elif bad := [each for each in folders if not isinstance(each, str) or not all(map(_inside, each.split("|")))]:
            wrong.append(
                f"dataset.splits.{role}: {bad[0]!r} must be plain names, one below the other (a/b) or one of (a|b)"
            )
    require(*wrong)
    return {role: tuple(folders) for role, folders in splits.items()}


def check_fields(leaf: Mapping[str, Any]) -> None:
    """What any dataset's YAML says of it: its name becomes paths and headings, an item of its shape has to fit.

    Raises `UserError` if the name is not a plain one, or the shape is beyond every memory.
    """
    wrong, shape = _misnamed(leaf.get("name")), leaf.get("shape")
    if isinstance(shape, list) and all(type(size) is int for size in shape) and math.prod(shape) > _MOST_VALUES:
        wrong.append(f"dataset.shape={shape}: {math.prod(shape):,} numbers in one item; at most {_MOST_VALUES:,}")
    require(*wrong)


def _misnamed(name: Any) -> list[str]:
    if _plain(name):
        return []
    shown = repr(name) if len(str(name)) <= _LONGEST_NAME else f"{str(name)[:_LONGEST_NAME]!r}..."
    return [f"dataset.name={shown}: must be a plain name, without a folder, of {_LONGEST_NAME} characters at most"]


def _plain(name: Any) -> bool:
    """Whether it is the name of a file or a folder, that can be shown too."""
    return (
        isinstance(name, str)
        and name == Path(name).name
        and name not in ("", "..")
        and "\\" not in name
        and name.isprintable()
        and len(name) <= _LONGEST_NAME
    )


def _inside(folder: Any) -> bool:
    """Whether the folder is named by plain names, one below the other."""
    return isinstance(folder, str) and all(map(_plain, folder.split("/")))

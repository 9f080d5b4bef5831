"""Where a dataset's files are, whether they are whole, and how they get here.

A file is looked for in ``$VAEBENCH_DATA/<folder>/``, which is only ever read, then in the cache,
``$VAEBENCH_CACHE/<folder>/`` (default ``~/.cache/vaebench``); otherwise it is downloaded into the cache. Its sha256 is
checked before every use. What there is to look for stands in YAML: ``files``, ``mirrors`` and, for a set of which a
part is of use, ``partial``.

- Images: ``conf/dataset/<name>.yaml`` says it, and the folder is the dataset's name.
- Problems and answers: the dataset's ``defaults`` name its ``/problems@problems`` and ``/answers@answers``, and
  ``conf/problems`` and ``conf/answers`` say it, with a ``folder`` that several may share. A file may name another.
- A set of ordinary folders has ``splits`` instead, sub-folders of its own one in either place; no file is named, none
  is hashed, and nothing is downloaded.

What has neither ``files`` nor ``splits`` is embedded in a package, generated, or made by a language model.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaebench.config.choices import choices
from vaebench.data.download import Undelivered, download, sha256_of
from vaebench.data.files import File, Files, Spec, Splits, entries, specification, split_names
from vaebench.data.places import READ, Tree, cache, find_tree, given, others, shown_path
from vaebench.data.status import DatasetStatus, FileStatus, endings, of_folders
from vaebench.errors import UserError


@dataclass(frozen=True)
class Located:
    """A dataset's files by role, each with the right sha256. ``source``: ``VAEBENCH_DATA`` or ``download``."""

    paths: Mapping[str, Path]
    source: str


def available(name: str) -> str:
    """Where the dataset would come from, as `DatasetStatus.origin`; nothing is read, the network is not asked."""
    return _origin(specification(name))


@functools.cache
def at_hand(name: str) -> bool:
    """Whether the dataset can be used: what is missing is brought here now, so that nobody has to guess."""
    spec = specification(name)
    try:
        for entry in spec.files if _origin(spec) == "downloadable" else ():
            if not _find(entry):
                _download(entry)
    except UserError:
        return False
    return _origin(spec) != "unavailable"


def usual_images() -> str:
    """MNIST if it is at hand or can be downloaded, else the embedded digits, which is said."""
    if at_hand("mnist"):
        return "mnist"
    sys.stderr.write(
        "note: dataset=digits, the embedded stand-in: MNIST is neither here nor downloadable (set VAEBENCH_DATA)\n"
    )
    return "digits"


def status(name: str, *, hashed: bool = False) -> DatasetStatus:
    """Which files of a dataset are where. ``hashed``: after reading every file; a wrong sha256 makes it ``corrupt``.

    Of ordinary folders no sha256 is known: there a file is ``corrupt`` that is no picture or sound.
    """
    spec = specification(name)
    if spec.splits is not None:
        return of_folders(name, spec.kind, spec.splits, read=hashed)
    files, found = _here(spec), []
    for entry in files:
        path = _find(entry)
        state = "present" if path else "missing"
        if path and hashed and sha256_of(path) != entry.sha256:
            state = "corrupt"
        found.append(FileStatus(entry.file, state, path))
    return DatasetStatus(name, _origin(spec), tuple(found), partial=files is not spec.files)


def verify(name: str) -> DatasetStatus:
    """`status` after every file was read."""
    return status(name, hashed=True)


def fetch(name: str) -> DatasetStatus:
    """Download what is missing of a dataset into the cache, and again what is corrupt there; then `verify`.

    Raises:
        UserError: no mirror delivers a file, the cache cannot be written, a file in ``$VAEBENCH_DATA`` is corrupt, or
            the set is one of ordinary folders that are not there.
    """
    spec = specification(name)
    if spec.splits is not None:
        obtain_folders(name=name, splits=spec.splits, kind=spec.kind)
    for entry in spec.files:
        path = _find(entry)
        if path and not _is_given(entry, path) and sha256_of(path) != entry.sha256:
            _download(entry)
    _whole(dict(enumerate(spec.files)))
    return verify(name)


def obtain(
    *, name: str, files: Files, mirrors: Sequence[str] = (), folder: str = "", roles: Collection[str] = ()
) -> Located:
    """Find every file, downloading what is missing, and check every sha256.

    ``folder``: where they lie, one or more plain names joined by ``/``; empty if it is ``name``. ``roles``: which files
    there must be; empty if the set has them as it likes.

    Raises:
        UserError: a file is missing and cannot be downloaded, has another sha256, or is ill described.
    """
    if roles and set(files) != set(roles):
        raise UserError(f"dataset {name}: files must be {', '.join(roles)}, not {', '.join(files) or 'none'}")
    wanted = entries(name, folder or name, files, mirrors)
    paths = _whole(wanted)
    all_given = all(_is_given(wanted[role], path) for role, path in paths.items())
    return Located(paths, "VAEBENCH_DATA" if all_given else "download")


def obtain_folders(*, name: str, splits: Splits, kind: str) -> Tree:
    """Find a set of ordinary folders, ``splits`` by train and test; without a training split it is for evaluation only.

    ``kind``: of files, ``images`` or ``audio``.

    Raises:
        UserError: it is not there, has no test split, or only some of a split's folders, or is ill described.
    """
    splits = split_names(name, splits)
    tree = find_tree(name, splits, kind)
    wanted = ", ".join(each.replace("|", " or ") for each in dict.fromkeys(sum(splits.values(), ())))
    if tree is None:
        embedded = _embedded(name)
        there = endings(others(name, splits))
        raise UserError(
            f"{name}: no file that ends in {', '.join(READ[kind])} in its sub-folders {wanted}"
            f"{f', only {there}' if there else ''}. Looked in {_places(name)}; nothing is downloaded. "
            f"Set VAEBENCH_DATA to a folder that has {name}/ with them{f', or choose {embedded}' if embedded else ''}"
        )
    lines = [
        f"{shown_path(tree.root)}: has no {folders[0].replace('|', ' or ')}; put it there, or name what there is in "
        f"dataset.splits.{role}"
        for role, folders in tree.missing.items()
        if folders and (tree.splits[role] or role == "test")
    ]
    if lines:
        raise UserError(*lines)
    return tree


def is_partial(*, name: str, files: Files, partial: Files) -> bool:
    """Whether ``partial`` is what there is: all of it is on disk, and not all of ``files``. Nothing is read."""
    whole, part = (tuple(entries(name, name, group, ()).values()) for group in (files, partial))
    return _is_part(whole, part)


def _find(entry: File) -> Path | None:
    folders = [folder for folder in (given(entry.folder), cache(entry.folder)) if folder]
    return next((folder / entry.file for folder in folders if (folder / entry.file).is_file()), None)


def _is_given(entry: File, path: Path) -> bool:
    return path.parent == given(entry.folder)


def _whole(entries: Mapping[Any, File]) -> dict[Any, Path]:
    """The path of every file, downloaded if it was missing, each with the right sha256."""
    paths = {role: _find(entry) or _download(entry) for role, entry in entries.items()}
    for role, path in paths.items():
        found, expected = sha256_of(path), entries[role].sha256
        if found != expected:
            raise UserError(
                f"{path}: not used, its sha256 is {found} and should be {expected} (it was cut off, or is another "
                f"version); {_remedy(entries[role], path)}"
            )
    return paths


def _is_part(files: Sequence[File], partial: Sequence[File]) -> bool:
    return bool(partial) and all(map(_find, partial)) and not all(map(_find, files))


def _here(spec: Spec) -> tuple[File, ...]:
    """The files to look at: those of the whole set, or of the part that is all there is."""
    return spec.partial if _is_part(spec.files, spec.partial) else spec.files


def _origin(spec: Spec) -> str:
    """The weakest origin of any of its files."""
    if spec.splits is not None:
        tree = find_tree(spec.name, spec.splits, spec.kind)
        return tree.origin if tree else "unavailable"
    if spec.embedded:
        return "embedded"
    found = [(entry, _find(entry)) for entry in _here(spec)]
    if all(path for _, path in found):
        return "VAEBENCH_DATA" if all(path and _is_given(entry, path) for entry, path in found) else "cache"
    return "downloadable" if all(path or entry.mirrors for entry, path in found) else "unavailable"


def _download(entry: File) -> Path:
    """One file from the first mirror that delivers it, into the cache."""
    path = cache(entry.folder) / entry.file
    try:
        download([f"{mirror.rstrip('/')}/{entry.file}" for mirror in entry.mirrors], path, sha256=entry.sha256)
    except Undelivered as error:
        raise UserError(_not_found(entry, str(error))) from error
    except OSError as error:
        raise UserError(
            f"{path.parent}: cannot be written ({error.strerror or error}); set VAEBENCH_CACHE to a folder for "
            "downloaded datasets, or VAEBENCH_DATA to a folder that has them"
        ) from error
    return path


def _remedy(entry: File, path: Path) -> str:
    if _is_given(entry, path):
        return "put the right file there, or delete it to use the cache or a download"
    return f"run 'vaebench data fetch {_dataset_of(entry)}' to download it again, or delete it"


def _dataset_of(entry: File) -> str:
    """A dataset to fetch this file with: the one of its folder's name, or the first that has it."""
    specs = {name: specification(name).files for name in choices("dataset")}
    users = [name for name, files in specs.items() if (entry.folder, entry.file) in {(f.folder, f.file) for f in files}]
    return entry.folder if entry.folder in users or not users else users[0]


def _not_found(entry: File, reasons: str) -> str:
    name = _dataset_of(entry)
    embedded = _embedded(name)
    return (
        f"{name}: {entry.file} is not here and cannot be downloaded. Looked in {_places(entry.folder)}; "
        f"tried {reasons}. Set VAEBENCH_DATA to a folder that has "
        f"{entry.folder}/{entry.file}"
        + (f", run 'vaebench data fetch {name}' where there is a network" if entry.mirrors else "")
        + (f", or choose {embedded}" if embedded else "")
    )


def _places(folder: str) -> str:
    first = given(folder)
    return f"{f'{first} (VAEBENCH_DATA)' if first else 'VAEBENCH_DATA (not set)'} and {cache(folder)} (cache)"


def _embedded(name: str) -> str:
    """What to choose in place of a dataset that cannot be had: those of its kind that need no file."""
    specs = [specification(other) for other in choices("dataset")]
    kind = next((spec.kind for spec in specs if spec.name == name), "images")
    return " or ".join(f"dataset={spec.name}" for spec in specs if spec.embedded and spec.kind == kind)

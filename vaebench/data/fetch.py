"""Where a dataset's files are, whether they are whole, and how they get here.

A file is looked for in ``$VAEBENCH_DATA/<folder>/`` (``VAEBENCH_DATA`` may name several folders, as ``PATH`` does; they
are only ever read), then in the cache, ``$VAEBENCH_CACHE/<folder>/`` (default ``~/.cache/vaebench``); otherwise it is
downloaded into the cache. Its sha256 is checked before every use. What there is to look for stands in YAML: ``files``,
``mirrors`` and, for a set of which a part is of use, ``partial``.

- Images: ``conf/dataset/<name>.yaml`` says it, and the folder is the dataset's name.
- Problems and answers: the dataset's ``defaults`` name its ``/problems@problems`` and ``/answers@answers``, and
  ``conf/problems`` and ``conf/answers`` say it, with a ``folder`` that several may share. A file may name another.
- A set of ordinary folders has ``splits`` instead, sub-folders of its own one in any of these places; no file is
  named, none is hashed, and nothing is downloaded.

- Data of one's own lie where ``dataset.path`` says.

What has none of these is embedded in a package, generated, or made by a language model.
"""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock

from vaebench.config import rehearsal
from vaebench.config.choices import choices
from vaebench.config.signatures import require
from vaebench.data import places
from vaebench.data.files import File, Files, Spec, entries, specification, split_names
from vaebench.data.places import (
    NAMED,
    READ,
    DatasetStatus,
    FileStatus,
    Splits,
    Tree,
    cache,
    find_tree,
    given,
    shown_path,
)
from vaebench.disk import sha256_of
from vaebench.errors import UserError

_STALL_SECONDS = 20.0  # without an answer, or without a byte more, for so long a download has failed


class Undelivered(Exception):  # noqa: N818 (says why no address delivered; the caller knows what to do)
    """No address delivered the file; the message names each with its reason."""


@dataclass(frozen=True)
class Located:
    """A dataset's files by role, each with the right sha256. ``source``: ``VAEBENCH_DATA`` or ``download``."""

    paths: Mapping[str, Path]
    source: str


def available(name: str) -> str:
    """Where the dataset would come from, as `DatasetStatus.origin`; nothing is read, the network is not asked."""
    spec = specification(name)
    if spec.own:
        return NAMED
    if spec.splits is not None:
        tree = find_tree(name, spec.splits, spec.kind)
        return tree.origin if tree else "unavailable"
    if spec.embedded:
        return "embedded"
    found = [(entry, entry.find()) for entry in _here(spec)]  # the weakest origin of any of them
    if all(path for _, path in found):
        return "VAEBENCH_DATA" if all(path and entry.is_given(path) for entry, path in found) else "cache"
    return "downloadable" if all(path or entry.mirrors for entry, path in found) else "unavailable"


def whence(name: str) -> str:
    """`available`, with the folders that the files are in where ``$VAEBENCH_DATA`` names several."""
    origin = available(name)
    if origin != "VAEBENCH_DATA" or len(places.roots()) < 2:
        return origin
    files = [entry.where for entry in status(name).files if entry.where]
    used = [root for root in places.roots() if any(path.is_relative_to(root) for path in files)]
    return f"{origin}: {', '.join(map(shown_path, used))}"


@functools.cache
def at_hand(name: str) -> bool:
    """Whether the dataset can be used: what is missing is brought here now, so that nobody has to guess."""
    origin = available(name)
    try:
        for entry in specification(name).files if origin == "downloadable" else ():
            if not entry.find():
                _download(entry)
    except UserError:
        return False
    return origin != "unavailable"


def usual_images(*, quiet: bool = False) -> str:
    """MNIST if it is at hand or can be downloaded, else the embedded digits, which is said if not ``quiet``."""
    if at_hand("mnist"):
        return "mnist"
    if not quiet:
        sys.stderr.write(
            "note: dataset=digits, the embedded stand-in: MNIST is neither here nor downloadable (set VAEBENCH_DATA)\n"
        )
    return "digits"


def status(name: str, *, hashed: bool = False) -> DatasetStatus:
    """Which files of a dataset are where. ``hashed``: after reading every file; a wrong sha256 makes it ``corrupt``.

    Of ordinary folders no sha256 is known: there a file is ``corrupt`` that is no picture or sound.
    """
    spec = specification(name)
    if spec.own:
        return DatasetStatus(name, NAMED, (FileStatus("what dataset.path=... names", "-", None),), partial=False)
    if spec.splits is not None:
        return places.of_folders(name, spec.kind, spec.splits, read=hashed)
    files, found = _here(spec), []
    for entry in files:
        path = entry.find()
        corrupt = path and hashed and sha256_of(path) != entry.sha256
        found.append(FileStatus(entry.file, "corrupt" if corrupt else "present" if path else "missing", path))
    return DatasetStatus(name, available(name), tuple(found), partial=files is not spec.files)


def verify(name: str) -> DatasetStatus:
    """`status` after every file was read."""
    return status(name, hashed=True)


def fetch(name: str) -> DatasetStatus:
    """Download what is missing of a dataset into the cache, and again what is corrupt there; then `verify`.

    Raises `UserError` if no mirror delivers a file, the cache cannot be written, a file in ``$VAEBENCH_DATA`` is
    corrupt, or the set is one of ordinary folders that are not there.
    """
    spec = specification(name)
    if spec.own:
        raise UserError(f"vaebench data fetch {name}: it is your own, where dataset.path says; nothing is fetched")
    if spec.splits is not None:
        obtain_folders(name=name, splits=spec.splits, kind=spec.kind)
    for entry in spec.files:
        path = entry.find()
        if path and not entry.is_given(path) and sha256_of(path) != entry.sha256:
            _download(entry)
    _whole(dict(enumerate(spec.files)))
    return verify(name)


def obtain(
    *, name: str, files: Files, mirrors: Sequence[str] = (), folder: str = "", roles: Collection[str] = ()
) -> Located:
    """Find every file, downloading what is missing, and check every sha256.

    ``folder``: where they lie, one or more plain names joined by ``/``; empty if it is ``name``. ``roles``: which files
    there must be; empty if the set has them as it likes. Raises `UserError` if a file is missing and cannot be
    downloaded, has another sha256, or is ill described.
    """
    if roles and set(files) != set(roles):
        raise UserError(f"dataset {name}: files must be {', '.join(roles)}, not {', '.join(files) or 'none'}")
    wanted = entries(name, folder, files, mirrors)
    paths = _whole(wanted)
    all_given = all(wanted[role].is_given(path) for role, path in paths.items())
    return Located(paths, "VAEBENCH_DATA" if all_given else "download")


def obtain_folders(*, name: str, splits: Splits, kind: str) -> Tree:
    """Find a set of ordinary folders, ``splits`` by train and test; without a training split it is for evaluation only.

    ``kind``: of files, ``images`` or ``audio``. Raises `UserError` if it is not there, has no test split, or only some
    of a split's folders, or is ill described.
    """
    splits = split_names(name, splits)
    tree = find_tree(name, splits, kind)
    if tree is None:
        wanted = ", ".join(each.replace("|", " or ") for each in dict.fromkeys(sum(splits.values(), ())))
        embedded, there = _embedded(name), places.others(name, splits)
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
    require(*lines)
    return tree


def is_partial(files: Collection[File], partial: Collection[File]) -> bool:
    """Whether ``partial`` is what there is: all of it is on disk, and not all of ``files``. Nothing is read."""
    return bool(partial) and all(map(File.find, partial)) and not all(map(File.find, files))


def _here(spec: Spec) -> tuple[File, ...]:
    """The files to look at: those of the whole set, or of the part that is all there is."""
    return spec.partial if is_partial(spec.files, spec.partial) else spec.files


def _whole(entries: Mapping[Any, File]) -> dict[Any, Path]:
    """The path of every file, downloaded if it was missing, each with the right sha256."""
    paths = {role: entry.find() or _download(entry) for role, entry in entries.items()}
    for role, path in paths.items():
        entry, found = entries[role], sha256_of(path)
        if not rehearsal.right(found, entry.sha256):
            remedy = "put the right file there, or delete it to use the cache or a download"
            if not entry.is_given(path):
                remedy = f"run 'vaebench data fetch {_dataset_of(entry)}' to download it again, or delete it"
            raise UserError(
                f"{path}: not used, its sha256 is {found} and should be {entry.sha256} (it was cut off, or is another "
                f"version); {remedy}"
            )
    return paths


def _download(entry: File) -> Path:
    """One file from the first mirror that delivers it, into the cache."""
    path = cache(entry.folder) / entry.file
    try:
        download([f"{mirror.rstrip('/')}/{entry.file}" for mirror in entry.mirrors], path, sha256=entry.sha256)
    except Undelivered as error:
        name = _dataset_of(entry)
        embedded = _embedded(name)
        raise UserError(
            f"{name}: {entry.file} is not here and cannot be downloaded. Looked in {_places(entry.folder)}; "
            f"tried {error}. Set VAEBENCH_DATA to a folder that has {entry.folder}/{entry.file}"
            + (f", run 'vaebench data fetch {name}' where there is a network" if entry.mirrors else "")
            + (f", or choose {embedded}" if embedded else "")
        ) from error
    except OSError as error:
        raise UserError(
            f"{path.parent}: cannot be written ({error.strerror or error}); set VAEBENCH_CACHE to a folder for "
            "downloaded datasets, or VAEBENCH_DATA to a folder that has them"
        ) from error
    return path


def _dataset_of(entry: File) -> str:
    """A dataset to fetch this file with: the one of its folder's name, or the first that has it."""
    specs = {name: specification(name).files for name in choices("dataset")}
    users = [name for name, files in specs.items() if (entry.folder, entry.file) in {(f.folder, f.file) for f in files}]
    return entry.folder if entry.folder in users or not users else users[0]


def _places(folder: str) -> str:
    named = ", ".join(f"{shown_path(path)} (VAEBENCH_DATA)" for path in given(folder)) or "VAEBENCH_DATA (not set)"
    return f"{named} and {cache(folder)} (cache)"


def _embedded(name: str) -> str:
    """What to choose in place of a dataset that cannot be had: those of its kind that need no file."""
    specs = [specification(other) for other in choices("dataset")]
    kind = next((spec.kind for spec in specs if spec.name == name), "images")
    return " or ".join(f"dataset={spec.name}" for spec in specs if spec.embedded and spec.kind == kind)


def verified(path: str | Path, sha256: str | None, *, option: str) -> Path:
    """A file that ``option.path`` names. Raises `UserError` if it is none, or not the one with this ``sha256``."""
    found = Path(path).expanduser()
    if not found.is_file():
        what = "is a folder; name a file in it" if found.is_dir() else "there is no such file"
        raise UserError(f"{option}.path={path}: {what}")
    if sha256 and (own := sha256_of(found)) != sha256:
        raise UserError(
            f"{found}: its sha256 is {own} and {option}.sha256 is {sha256}: the file has changed; put the right one "
            f"there, or leave {option}.sha256 null to use this one"
        )
    return found


def download(urls: Sequence[str], path: Path, *, sha256: str) -> None:
    """Bring a file to ``path``, which is there only when its ``sha256`` (all its hex digits, or the first) is right.

    One process at a time; one that waited finds the file. It arrives under another name, a fixed one, so a killed
    download leaves one file at most, which the next overwrites. Raises `Undelivered` if no address has it, `OSError` if
    the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    reasons = []
    with FileLock(str(path.with_name(f".{path.name}.lock"))):
        if path.is_file() and sha256_of(path).startswith(sha256):
            return
        try:
            for url in urls:
                with part.open("wb") as file:
                    reason = _receive(url, file)
                found = sha256_of(part)
                if not reason and found.startswith(sha256):
                    part.replace(path)
                    return
                reasons.append(f"{url} ({reason or f'it delivered a file with sha256 {found} instead of {sha256}'})")
        finally:
            part.unlink(missing_ok=True)
    raise Undelivered(", ".join(reasons) or "no mirror, since none is named")


def _receive(url: str, file: BinaryIO) -> str:
    """Write what an address delivers, with a bar on a terminal; returns why it did not, empty if it did."""
    from http.client import HTTPException
    from urllib.request import Request, urlopen

    from rich.console import Console
    from rich.progress import wrap_file

    if not url.startswith(("http://", "https://")):
        return "not an address that begins with http:// or https://"
    console = Console(stderr=True)
    try:
        with urlopen(Request(url, headers={"User-Agent": "vaebench"}), timeout=_STALL_SECONDS) as answer:
            name, size = url.rpartition("/")[2], answer.length or 0
            with wrap_file(answer, size, description=name, console=console, disable=not console.is_terminal) as body:
                shutil.copyfileobj(body, file, 1 << 20)
            return f"it broke off, {answer.length:,} bytes before the end" if answer.length else ""
    except (OSError, HTTPException, ValueError) as error:  # network; protocol; address
        return " ".join(str(error).split())[:200] or type(error).__name__

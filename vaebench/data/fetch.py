"""Where a dataset's files are, whether they are whole, and how they get here.

A file is looked for in ``$VAEBENCH_DATA/<name>/``, which is only ever read, then in the cache,
``$VAEBENCH_CACHE/<name>/`` (default ``~/.cache/vaebench``); otherwise it is downloaded into the cache. Its sha256 is
checked before every use. What there is to look for stands in ``conf/dataset/<name>.yaml``: ``files``, ``mirrors`` and,
for a set of which a part is of use, ``partial``. A dataset without ``files`` is embedded in a package.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from vaebench import config
from vaebench.data.download import answering, download, sha256_of
from vaebench.errors import UserError, unknown

Files = Mapping[str, Mapping[str, str]]  # role -> {file: name, sha256: hex digits, md5: hex digits (optional)}


@dataclass(frozen=True)
class Located:
    """A dataset's files by role, each with the right sha256. ``source``: ``VAEBENCH_DATA`` or ``download``."""

    paths: Mapping[str, Path]
    source: str


@dataclass(frozen=True)
class FileStatus:
    """``state``: ``present``, ``missing`` or, if it was hashed, ``corrupt``. ``where``: its path, if it exists."""

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


@dataclass(frozen=True)
class _Spec:
    """What ``conf/dataset/<name>.yaml`` says of files."""

    name: str
    files: Files = field(default_factory=dict)
    partial: Files = field(default_factory=dict)
    mirrors: Sequence[str] = ()


def available(name: str) -> str:
    """Where the dataset would come from, as `DatasetStatus.origin`; nothing is read.

    The network is asked only if a file is missing, once per process and for 3 s at most.
    """
    return _origin(_spec(name))


def status(name: str) -> DatasetStatus:
    """Which files of a dataset are where; nothing is read."""
    return _status(name, hashed=False)


def verify(name: str) -> DatasetStatus:
    """`status` after hashing every file that is there: a wrong sha256 makes it ``corrupt``."""
    return _status(name, hashed=True)


def fetch(name: str) -> DatasetStatus:
    """Download what is missing of a dataset into the cache, and again what is corrupt there; then `verify`.

    Raises:
        UserError: no mirror delivers a file, the cache cannot be written, or a file in ``$VAEBENCH_DATA`` is corrupt.
    """
    spec = _spec(name)
    for entry in spec.files.values():
        path = _find(name, entry["file"])
        if path and path.parent == _cache(name) and sha256_of(path) != entry["sha256"]:
            _download(name, entry, spec.mirrors)
    obtain(name=name, files=spec.files, mirrors=spec.mirrors)
    return verify(name)


def obtain(*, name: str, files: Files, mirrors: Sequence[str] = ()) -> Located:
    """Find every file, downloading what is missing, and check every sha256.

    Raises:
        UserError: a file is missing and cannot be downloaded, has another sha256, or is ill described.
    """
    _check(name, files)
    paths = {role: _find(name, entry["file"]) or _download(name, entry, mirrors) for role, entry in files.items()}
    for role, path in paths.items():
        found, expected = sha256_of(path), files[role]["sha256"]
        if found != expected:
            raise UserError(
                f"{path}: not used, its sha256 is {found} and should be {expected} (it was cut off, or is another "
                f"version); {_remedy(name, path)}"
            )
    return Located(paths, "VAEBENCH_DATA" if _all_given(name, paths.values()) else "download")


def is_partial(*, name: str, files: Files, partial: Files) -> bool:
    """Whether ``partial`` is what there is: all of it is on disk, and not all of ``files``. Nothing is read."""
    _check(name, files, partial)
    return bool(partial) and _on_disk(name, partial) and not _on_disk(name, files)


def command(words: list[str]) -> int:
    """``vaebench data status|fetch|verify [dataset ...]``: act, and print a table of the files.

    ``status`` and ``verify`` look at every dataset if none is named.

    Returns:
        0, or 1 if a file is corrupt, or missing from a dataset that ``verify`` was asked for by name.
    """
    verbs = {"status": status, "fetch": fetch, "verify": verify}
    verb, named = (words[0], words[1:]) if words else ("status", [])
    names = config.choices("dataset")
    if verb not in verbs:
        raise UserError(unknown("data command", verb, verbs))
    if bad := [name for name in named if name not in names]:
        raise UserError(*(unknown("dataset", name, names) for name in bad))
    if verb == "fetch" and not named:
        raise UserError(f"vaebench data fetch: which dataset? Valid: {', '.join(names)}")
    found = [verbs[verb](name) for name in named or names]
    _show(found)
    states = {entry.state for item in found for entry in item.files}
    return int("corrupt" in states or (verb == "verify" and bool(named) and "missing" in states))


def _show(found: Sequence[DatasetStatus]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("dataset", "from")
    for column in ("file", "state"):
        table.add_column(column, no_wrap=True)
    table.add_column("folder", overflow="fold")
    for item in found:
        origin = f"{item.origin} (a part of it)" if item.partial else item.origin
        for number, entry in enumerate(item.files or (FileStatus("-", "present", None),)):
            folder = str(entry.where.parent) if entry.where else "-"
            table.add_row(*(("", "") if number else (item.name, origin)), entry.file, entry.state, folder)
    Console(highlight=False).print(table, markup=False)


def _spec(name: str) -> _Spec:
    names = config.choices("dataset")
    if name not in names:
        raise UserError(unknown("dataset", name, names))
    where = f"conf/dataset/{name}.yaml"
    try:
        leaf: Any = yaml.safe_load((config.conf_dir() / "dataset" / f"{name}.yaml").read_text())
    except yaml.YAMLError as error:
        raise UserError(f"{where}: is not YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(leaf, Mapping) or leaf.get("name") != name:
        raise UserError(f"{where}: must be a mapping with 'name: {name}', the name its files and results go by")
    spec = _Spec(name, **{key: leaf[key] for key in ("files", "partial", "mirrors") if key in leaf})
    _check(name, spec.files, spec.partial)
    return spec


def _check(name: str, *groups: Files) -> None:
    """Names become paths and may come from a stored request: none may lead out of its folder."""
    wrong = [] if name == Path(name).name else [f"dataset.name={name!r}: must be a plain name, without a folder"]
    for role, entry in (item for files in groups for item in files.items()):
        if not isinstance(entry, Mapping) or not {"file", "sha256"} <= entry.keys() <= {"file", "sha256", "md5"}:
            wrong.append(f"dataset {name}, {role}: must have the fields file and sha256, and may have md5")
        elif entry["file"] != Path(entry["file"]).name:
            wrong.append(f"dataset {name}, {role}: file={entry['file']!r} must be a plain name, without a folder")
    if wrong:
        raise UserError(*wrong)


def _given(name: str) -> Path | None:
    folder = os.environ.get("VAEBENCH_DATA", "")
    return Path(folder).expanduser().absolute() / name if folder else None


def _cache(name: str) -> Path:
    return Path(os.environ.get("VAEBENCH_CACHE", "") or "~/.cache/vaebench").expanduser().absolute() / name


def _find(name: str, file: str) -> Path | None:
    folders = [folder for folder in (_given(name), _cache(name)) if folder]
    return next((folder / file for folder in folders if (folder / file).is_file()), None)


def _on_disk(name: str, files: Files) -> bool:
    return all(_find(name, entry["file"]) for entry in files.values())


def _all_given(name: str, paths: Iterable[Path]) -> bool:
    return all(path.parent == _given(name) for path in paths)


def _here(spec: _Spec) -> Files:
    """The files to look at: those of the whole set, or of the part that is all there is."""
    return spec.partial if is_partial(name=spec.name, files=spec.files, partial=spec.partial) else spec.files


def _origin(spec: _Spec) -> str:
    if not spec.files:
        return "embedded"
    paths = [_find(spec.name, entry["file"]) for entry in _here(spec).values()]
    if all(paths):
        return "VAEBENCH_DATA" if _all_given(spec.name, filter(None, paths)) else "cache"
    return "downloadable" if spec.name in _downloadable() else "unavailable"


def _status(name: str, *, hashed: bool) -> DatasetStatus:
    spec = _spec(name)
    files = _here(spec)
    found = []
    for entry in files.values():
        path = _find(name, entry["file"])
        state = "present" if path else "missing"
        if path and hashed and sha256_of(path) != entry["sha256"]:
            state = "corrupt"
        found.append(FileStatus(entry["file"], state, path))
    return DatasetStatus(name, _origin(spec), tuple(found), partial=files is not spec.files)


@cache
def _downloadable() -> frozenset[str]:
    """The datasets with a missing file that some mirror has; the mirrors of all are asked at once, to wait once."""
    addresses = {}
    for spec in map(_spec, config.choices("dataset")):
        missing = [entry["file"] for entry in _here(spec).values() if not _find(spec.name, entry["file"])]
        if missing:
            addresses[spec.name] = [_url(mirror, missing[0]) for mirror in spec.mirrors]
    return answering(addresses)


def _url(mirror: str, file: str) -> str:
    return f"{mirror.rstrip('/')}/{file}"


def _download(name: str, entry: Mapping[str, str], mirrors: Sequence[str]) -> Path:
    """One file from the first mirror that delivers it, into the cache; one process at a time."""
    path = _cache(name) / entry["file"]
    reasons = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(path.with_name(f".{path.name}.lock"))):
            if path.is_file() and sha256_of(path) == entry["sha256"]:
                return path  # another process was faster
            for mirror in mirrors:
                reason = download(_url(mirror, path.name), path, sha256=entry["sha256"], md5=entry.get("md5"))
                if not reason:
                    return path
                reasons.append(f"{mirror} ({reason})")
    except OSError as error:
        raise UserError(
            f"{path.parent}: cannot be written ({error.strerror or error}); set VAEBENCH_CACHE to a folder for "
            "downloaded datasets, or VAEBENCH_DATA to a folder that has them"
        ) from error
    raise UserError(_not_found(name, path.name, reasons))


def _remedy(name: str, path: Path) -> str:
    if path.parent == _given(name):
        return "put the right file there, or delete it to use the cache or a download"
    return f"run 'vaebench data fetch {name}' to download it again, or delete it"


def _not_found(name: str, file: str, reasons: Sequence[str]) -> str:
    given = _given(name)
    places = f"{f'{given} (VAEBENCH_DATA)' if given else 'VAEBENCH_DATA (not set)'} and {_cache(name)} (cache)"
    embedded = " or ".join(f"dataset={other}" for other in config.choices("dataset") if not _spec(other).files)
    return (
        f"{name}: {file} is not here and cannot be downloaded. Looked in {places}; "
        f"tried {', '.join(reasons) or 'no mirror, since none is named'}. Set VAEBENCH_DATA to a folder that has "
        f"{name}/{file}, run 'vaebench data fetch {name}' where there is a network, or choose {embedded}"
    )

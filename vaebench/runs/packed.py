"""Runs that are taken elsewhere: one file that holds a run, its evaluations and all it builds on."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from vaebench.errors import UserError, shown
from vaebench.runs import alive, records
from vaebench.runs.store import CHECKPOINT, Run, Store

_MADE_ANEW = frozenset({CHECKPOINT, ".lock"})  # of a folder, what is not taken


def behind(run: Run) -> list[Run]:
    """A run after all that it builds on, each once. Raises `UserError` if one is missing or not finished."""
    found: dict[str, Run] = {}
    for role, parent in run.parents().items():
        if not parent.done:
            raise UserError(f"run {run.key}: its {role}, run {parent.key}, is not finished; the same command makes it")
        found |= {one.key: one for one in behind(parent)}
    return list((found | {run.key: run}).values())


def pack(run: Run, target: Path) -> list[str]:
    """Write a finished run into the zip file ``target``. Returns the keys of the runs in it.

    Raises:
        UserError: the run or one that it builds on is not finished, a file of theirs is damaged, ``target`` exists.
    """
    run.check_done(f"run {run.key}")
    if target.exists():
        raise UserError(f"{target}: exists; remove it, or name another file")
    runs = behind(run)
    handle, partial = tempfile.mkstemp(dir=target.absolute().parent, prefix=f".{target.name}.")
    os.close(handle)
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in dict.fromkeys(path for one in runs for path in _checked(one)):
                archive.write(path, path.relative_to(run.root).as_posix())
        Path(partial).replace(target)
    finally:
        Path(partial).unlink(missing_ok=True)
    return [one.key for one in runs]


def _checked(run: Run) -> Iterator[Path]:
    """The files of a run and of its finished evaluations; each is compared with its checksum."""
    yield from run.all_intact("*")
    yield run.path("status.json")
    for one in evaluations(run):
        yield from _checked(one)


def evaluations(run: Run) -> Iterator[Run]:
    """Those of a training that are finished."""
    found = (Run(path.parent) for path in sorted(run.path("evals").glob("*/status.json")))
    return (one for one in found if one.done)


def unpack(source: Path, store: Store) -> tuple[list[str], list[str]]:
    """Put the runs of a packed file into the store. Returns the keys that are new, and those that were there.

    Raises:
        UserError: it is no such file, or holds anything but intact finished runs; then nothing is put anywhere.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            store.root.mkdir(parents=True, exist_ok=True)
            _check_names(source, archive, store.root)
            with tempfile.TemporaryDirectory(dir=store.root, prefix=".unpacked-") as folder:
                archive.extractall(folder)
                return moved(str(source), Store(Path(folder)), store)
    except (OSError, zipfile.BadZipFile, zipfile.LargeZipFile, RuntimeError, NotImplementedError) as error:
        raise UserError(f"{source}: cannot be unpacked ({error})") from error


def _check_names(source: Path, archive: zipfile.ZipFile, target: Path) -> None:
    """Raise `UserError` for names that lead out of a run's folder, links, more bytes than ``target`` has room for."""
    for entry in archive.infolist():
        path = PurePosixPath(entry.filename)
        is_link = entry.external_attr >> 28 == 0o12
        if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or is_link:
            raise UserError(f"{source}: holds {shown(entry.filename)!r}, which is no file of a run")
        if not records.is_key(path.parts[0]) or path.name in _MADE_ANEW:
            raise UserError(f"{source}: holds {shown(entry.filename)!r}, and is no packed run")
    size, room = sum(entry.file_size for entry in archive.infolist()), shutil.disk_usage(target).free
    if size > room:
        raise UserError(f"{source}: holds {size:,} bytes, and there is room for {room:,}")


def moved(
    source: str, unpacked: Store, store: Store, only: Collection[str] | None = None
) -> tuple[list[str], list[str]]:
    """Every run that is new, after all of them have been looked at. Returns the new keys, and those that were there.

    ``only``: the keys of those that count; None: all.

    Raises `UserError`, beginning with ``source``, if one is not finished, is damaged or builds on what is nowhere.
    """
    runs = [run for run in unpacked.runs() if only is None or run.key in only]
    for run in runs:
        for one in (run, *(Run(path.parent) for path in run.path("evals").glob("*/request.yaml"))):
            if not one.done:
                raise UserError(f"{source}: run {one.key} in it is not finished")
            one.request()
            one.all_intact("*")
        for parent in run.parents().values():
            if unpacked.run(parent.key) is None and store.run(parent.key) is None:
                raise UserError(f"{source}: run {run.key} builds on run {parent.key}, which is neither in it nor here")
    new = [run for run in runs if not ((here := store.run(run.key)) and here.done)]
    for run in new:
        if (here := store.run(run.key)) is not None:  # begun, and not finished
            discard(here)
        run.folder.replace(store.root / run.key)
    return [run.key for run in new], [run.key for run in runs if run not in new]


def remove(run: Run, store: Store) -> None:
    """Remove a run with its evaluations.

    Raises:
        UserError: it is being worked on, or other runs build on it.
    """
    children = []
    for one in store.runs():
        try:
            children += [one.key] if run.key in one.request().data.get("parents", {}).values() else []
        except UserError:
            continue  # who builds on what cannot be read
    if children:
        raise UserError(f"run {run.key}: {', '.join(children)} build on it; remove them first")
    discard(run)


def discard(run: Run) -> None:
    """Remove its folder. Raises `UserError` if it is being worked on."""
    with run.lock(timeout=0) as free:
        if not free or alive.elsewhere(run.status(), run.folder):
            raise UserError(f"run {run.key}: is being worked on by {alive.holder(run.status())}; stop that first")
        gone = run.folder.with_name(f".removed-{run.key}")  # half a run is never there under its name
        run.folder.replace(gone)
    shutil.rmtree(gone)

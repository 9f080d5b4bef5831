"""Runs in a store elsewhere (``s3://bucket/runs``, ``gs://``, ``sftp://``, a mounted folder): pushed there, and pulled.

There it looks as here: a folder for each run, whose ``status.json`` is written last and holds the checksums of all. So
what was broken off is no run, and the same command goes on. A run that is done is left as it is, here and there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from vaebench.disk import locked
from vaebench.errors import UserError, in_a_line, printable
from vaebench.runs import records
from vaebench.runs.packed import behind, discard, evaluations, moved
from vaebench.runs.store import Run, Store

_CHUNK = 1 << 20
_STATUS = "status.json"
_STAGE = ".pulled"  # the folder of a store in which runs lie that are not all there
Say = Callable[[str], None]


@dataclass(frozen=True)
class Remote:
    """A store behind a URL. ``files``: its file system, as fsspec has it; ``root``: the folder there."""

    url: str
    files: Any
    root: str

    @staticmethod
    def at(url: str) -> Remote:
        """Raises `UserError` for what is no URL, or of a kind whose package is not installed."""
        from fsspec.core import url_to_fs

        if "://" not in url:
            raise UserError(f"{url!r}: is no URL; write s3://bucket/runs, gs://bucket/runs, sftp://host/runs")
        try:
            files, root = url_to_fs(url)
        except ImportError as error:
            hint = "pip install 'vaebench[remote]'" if url.startswith("s3") else str(error)
            raise UserError(f"{url}: a package is missing; {printable(hint)}") from error
        except Exception as error:  # of a library: some kinds connect at once
            raise UserError(f"{url}: {printable(str(error) or type(error).__name__)}") from error
        files.invalidate_cache()
        return Remote(url.rstrip("/"), files, root.rstrip("/"))

    def path(self, name: str) -> str:
        """Where a file is or would be; ``name``: with the key of its run before it."""
        return f"{self.root}/{name}"

    def names(self, pattern: str) -> list[str]:
        """The files that fit, by name."""
        found = self.files.glob(self.path(pattern))
        return sorted(str(path)[str(path).rindex(self.root) + len(self.root) + 1 :] for path in found)

    def sum(self, name: str) -> str:
        """The sha256 of a file, empty if it is not there."""
        found = hashlib.sha256()
        try:
            with self.files.open(self.path(name), "rb") as file:
                while chunk := file.read(_CHUNK):
                    found.update(chunk)
        except FileNotFoundError:
            return ""
        return found.hexdigest()

    def size(self, name: str) -> int | None:
        """The bytes of a file, None if it is not there."""
        try:
            return int(self.files.size(self.path(name)))
        except FileNotFoundError:
            return None


def push(remote: Remote, wanted: Iterable[Run], say: Say) -> tuple[list[str], list[str]]:
    """Put finished runs, their finished evaluations and all they build on into a store elsewhere.

    Returns the keys of runs that are new there, and of those that were there.

    Raises:
        UserError: a run is not finished or damaged, the other side takes nothing.
    """
    new, there = list[str](), list[str]()
    bucket = remote.root.partition("/")[0]  # of a folder on a disk, nothing
    with _talking(remote):
        try:
            remote.files.ls(bucket) if bucket else None
        except FileNotFoundError as error:
            raise UserError(
                f"{remote.url}: there is no {bucket}, and none is made; name another, or make it first"
            ) from error
    runs = list({one.key: one for run in wanted for one in behind(run)}.values())
    for run in runs:
        run.check_done(f"run {run.key}")
        with _talking(remote):
            sent = [_push(remote, part, say) for part in (run, *evaluations(run))]
        (new if any(sent) else there).append(run.key)
    return new, there


def _push(remote: Remote, run: Run, say: Say) -> bool:
    """Whether a run was not there yet; an evaluation counts as one."""
    place = run.folder.relative_to(run.root).as_posix()
    if _is_done(remote, place):
        return False
    sums = run.status().get("files")
    if sums is None:
        raise UserError(f"run {run.key}: was stored before 0.6, without checksums; `vaebench runs pack` takes it")
    say(f"pushing {place}: {len(sums)} files, {sum(one['bytes'] for one in sums.values()):,} bytes")
    for name, facts in sums.items():
        target = f"{place}/{name}"
        # What an earlier push has sent is compared with what it should be: a broken one may have left a part.
        if remote.size(target) == facts["bytes"] and remote.sum(target) == facts["sha256"]:
            continue
        remote.files.makedirs(remote.path(target).rpartition("/")[0], exist_ok=True)
        remote.files.put_file(str(run.intact(name)), remote.path(target))
    remote.files.pipe_file(remote.path(f"{place}/{_STATUS}"), run.path(_STATUS).read_bytes())
    return True


def _is_done(remote: Remote, place: str) -> bool:
    try:
        return bool(json.loads(remote.files.cat_file(remote.path(f"{place}/{_STATUS}"))).get("status") == "done")
    except (FileNotFoundError, ValueError, AttributeError):
        return False


def pull(remote: Remote, store: Store, begins: Iterable[str], say: Say) -> tuple[list[str], list[str]]:
    """Take runs from a store elsewhere, with their evaluations and all they build on; all of them if none is named.

    ``begins``: how their keys begin. Returns the keys of what is new here, and of what was here.

    Raises:
        UserError: there is no such run, what came is not what was sent, or is no finished run.
    """
    stage, there = Store(store.root / _STAGE), list[str]()
    with locked(stage.root):
        with _talking(remote):
            begins, names = list(begins), [name.partition("/")[0] for name in remote.names(f"*/{_STATUS}")]
            keys = [key for key in names if records.is_key(key) and (begins or _is_done(remote, key))]
            wanted = _named(remote.url, keys, begins)
            seen: set[str] = set()
            while wanted:
                key = wanted.pop(0)
                seen.add(key)
                here = store.run(key)
                if here is not None and here.done:
                    there += [key]
                    continue
                _pull(remote, key, stage, say)
                parents = Run(stage.root / key).request().data.get("parents", {}).values()
                wanted += [parent for parent in parents if parent not in {*seen, *wanted} and parent in names]
            for key in there:
                _pull_evaluations(remote, key, store, stage, say)
        new, _ = moved(remote.url, stage, store, seen)
        for key in seen:  # what is left of them: folders of evaluations that were moved
            shutil.rmtree(stage.root / key, ignore_errors=True)
    return new, there


def _pull(remote: Remote, key: str, stage: Store, say: Say) -> None:
    _fetch(remote, key, stage, say)
    for name in remote.names(f"{key}/evals/*/{_STATUS}"):
        if _is_done(remote, place := name.removesuffix(f"/{_STATUS}")):
            _fetch(remote, place, stage, say)


def _pull_evaluations(remote: Remote, key: str, store: Store, stage: Store, say: Say) -> None:
    """Those that a run here does not have yet."""
    for name in remote.names(f"{key}/evals/*/{_STATUS}"):
        place = name.removesuffix(f"/{_STATUS}")
        target = store.root / place
        if Run(target).done or not _is_done(remote, place):
            continue
        _fetch(remote, place, stage, say)
        run = Run(stage.root / place)
        run.request()
        run.all_intact("*")
        target.parent.mkdir(exist_ok=True)
        if target.exists():  # begun here, and not finished
            discard(Run(target))
        run.folder.replace(target)


def _fetch(remote: Remote, place: str, stage: Store, say: Say) -> None:
    """Bring one folder: every file is compared with its checksum, the status comes last."""
    folder = stage.root / place
    folder.mkdir(parents=True, exist_ok=True)
    coming = folder / f"coming.{_STATUS}"
    remote.files.get_file(remote.path(f"{place}/{_STATUS}"), str(coming))
    sums = records.status(coming).get("files")
    if sums is None:
        raise UserError(f"{remote.url}/{place}: has no checksums, and is no finished run")
    say(f"pulling {place}: {len(sums)} files, {sum(one['bytes'] for one in sums.values()):,} bytes")
    for name, facts in sums.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and records.checksum(path) == facts["sha256"]:
            continue
        remote.files.get_file(remote.path(f"{place}/{name}"), str(path))
        if records.checksum(path) != facts["sha256"]:
            path.unlink()
            raise UserError(f"{remote.url}/{place}/{name}: is not what its run was finished with; push it again")
    coming.replace(folder / _STATUS)


def _named(url: str, keys: list[str], begins: list[str]) -> list[str]:
    """The keys that begin so; all of them if none is asked for."""
    if missing := [one for one in begins if not any(key.startswith(one) for key in keys)]:
        raise UserError(*(f"{url}: holds no finished run {one}" for one in missing))
    return [key for key in keys if not begins or key.startswith(tuple(begins))]


@contextmanager
def _talking(remote: Remote) -> Iterator[None]:
    """What the other side refuses is one line; its libraries have errors of their own."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{remote.url}: {in_a_line(error, most=300)}; the same command goes on from here") from error

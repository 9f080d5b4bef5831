"""What ``dataset.path`` is to the library `datasets`: a folder of this machine, or a name on the Hugging Face hub."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from vaebench.config.signatures import checked
from vaebench.data.places import shown_path
from vaebench.errors import UserError, printable

_COMMIT = re.compile(r"[0-9a-f]{40}")
_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_SECONDS = 20.0  # without an answer


@checked("dataset")
def folder(path: str | None, revision: str | None) -> Path | None:
    """The folder that a path names; None if it is a name on the hub. Raises `UserError` if it can be neither."""
    if path is None or not path.strip():
        raise UserError(
            "dataset=hf: which set? Name a folder or a set on the Hugging Face hub: dataset.path=NAME_OR_DIR"
        )
    here = Path(path).expanduser().absolute()
    if not str(here).isprintable():  # it is stored with the run, and shown
        raise UserError(f"dataset.path={shown_path(here)}: has characters that cannot be printed; rename it")
    try:
        is_folder, is_file = here.is_dir(), here.is_file()
    except OSError as error:
        raise UserError(f"dataset.path={shown_path(here)}: cannot be opened ({error.strerror})") from error
    if is_folder:
        if revision is not None:
            raise UserError(
                f"dataset.revision={revision}: {shown_path(here)} is a folder, which has none; leave it out"
            )
        return here
    if is_file:
        raise UserError(f"dataset.path={shown_path(here)}: is a file; name the folder that it lies in")
    if not _NAME.fullmatch(path):
        raise UserError(f"dataset.path={shown_path(here)}: there is no such folder, and it is no name on the hub")
    return None


@cache
def commit(name: str, revision: str | None) -> str:
    """The commit that a set on the hub is at; asks the hub, or what was downloaded before where it does not answer.

    Raises `UserError` if there is no such set or revision, or the hub cannot be reached and nothing was downloaded.
    """
    if revision and _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        return str(HfApi().dataset_info(name, revision=revision, timeout=_SECONDS).sha)
    except RepositoryNotFoundError as error:
        raise UserError(
            f"dataset.path={name}: there is no such folder, and no such set on the Hugging Face hub that this machine "
            "may read; a private one takes a login (hf auth login)"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"dataset.revision={revision}: {name} has no such commit, tag or branch on the hub") from error
    except Exception as error:  # offline, or the network fails in any way
        known = Path(HF_HUB_CACHE, f"datasets--{name.replace('/', '--')}", "refs", revision or "main")
        if known.is_file() and _COMMIT.fullmatch(found := known.read_text(encoding="utf-8", errors="replace").strip()):
            return found
        raise UserError(
            f"dataset.path={name}: there is no such folder, and the Hugging Face hub cannot be asked for a set of this "
            f"name ({reason(error)}); try again where there is a network, or name a folder"
        ) from error


def reason(error: BaseException) -> str:
    """The first line of an error, or of the one behind it."""
    lines = [line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()]
    return printable(lines[0][:300]) if lines else type(error).__name__

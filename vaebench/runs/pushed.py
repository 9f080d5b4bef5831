"""An exported model on the Hugging Face hub: the files of its folder become a commit of a repository there."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vaebench import __version__
from vaebench.compat import need
from vaebench.errors import UserError, shown

_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token with write access (huggingface.co/settings/tokens)"


def check(name: str) -> None:
    """Raise `UserError` if nothing could be pushed to a repository of that name: the hub is not asked."""
    need("--push", ["huggingface_hub"], "hub")
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
        complete = all(name.partition("/"))
    except HFValidationError:
        complete = False
    if not complete:
        raise UserError(
            f"--push {shown(name)}: expected ORG/NAME, like my-group/beta-vae: letters, digits and, inside, "
            "'_' and single '-' and '.'; 96 characters at most"
        )


def push(folder: Path, name: str, *, private: bool, message: str) -> str:
    """Upload the files of a folder as one commit, to a repository that is made if it is not there. Returns its address.

    ``private``: whether only its owners may see it; if not, that is left to the hub's settings for them.

    Raises:
        UserError: no token, or one that may not write there; no network; a repository to be private that is public.
            The folder stays as it is, and what was uploaded is not uploaded again.
    """
    try:
        with _quiet():
            return _uploaded(folder, name, private, message)
    except Exception as error:  # of the HTTP library too, which is another in another version of the hub's client
        why = str(error) if isinstance(error, UserError) else _why(error, name)
        again = f"{folder} is written, and the same command goes on from there"
        raise UserError(f"--push {name}: {why}; {again}") from error


def _uploaded(folder: Path, name: str, private: bool, message: str) -> str:
    from huggingface_hub import HfApi, get_token

    token = get_token()
    if token is None:
        raise UserError(f"there is no token; {_LOG_IN}")
    api = HfApi(token=token, library_name="vaebench", library_version=__version__)
    address = api.create_repo(name, private=private or None, exist_ok=True)
    if private and not api.repo_info(name).private:  # one that is there stays as public as it is
        raise UserError(
            "that repository is public, so nothing was uploaded; make it private in its settings on the hub, "
            "choose another name, or leave --private out"
        )
    api.upload_folder(repo_id=name, folder_path=folder, commit_message=message)
    return str(address)


def _why(error: BaseException, name: str) -> str:
    """What to do, by the first cause that is an answer of the hub or of the network; else the error in a line."""
    cause: BaseException | None = error
    while cause is not None:
        status = getattr(getattr(cause, "response", None), "status_code", None)
        lines = (str(getattr(cause, "server_message", None) or "") or str(cause)).strip().splitlines()
        said = shown(lines[0] if lines else type(cause).__name__)
        if status == 401:
            return f"the hub refuses the token (401); {_LOG_IN}"
        if status == 403:
            return f"the token may not write to {name.partition('/')[0]} (403: {said}); {_LOG_IN}"
        network = isinstance(cause, ConnectionError | TimeoutError) or type(cause).__module__.startswith("httpx")
        if status is not None and status < 500 and status != 429:
            return f"the hub refuses it ({status}: {said})"
        if status is not None or network:
            return f"the hub cannot be reached ({said})"
        innermost, cause = f"{type(cause).__name__}: {said}", cause.__cause__
    return f"it failed ({innermost})"


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings and log lines of the hub's client, and bars on a terminal only."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    log, bars = logging.getLogger("huggingface_hub"), not are_progress_bars_disabled()
    level = log.level
    log.setLevel(logging.ERROR)
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        log.setLevel(level)
        if bars:
            enable_progress_bars()

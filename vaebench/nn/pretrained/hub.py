"""The Hugging Face hub: asked once, its libraries kept quiet, and what to do where it gives nothing."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

_PATIENCE = 10  # seconds that the hub has for its first word
_LICENCE = "accept its licence on its page and set HF_TOKEN"
_TALKATIVE = ("transformers", "sentence_transformers", "diffusers", "huggingface_hub", "httpx", "httpx2", "peft")
Found = TypeVar("Found")


def cached_or_given(
    read: Callable[[bool], Found], name: str, revision: str | None, failures: tuple[type[Exception], ...]
) -> Found:
    """What ``read(local)`` finds in the hub's cache, else on the hub; raises one of the ``failures`` of reading.

    The hub is asked once whether it gives anything, so one that is out of reach costs seconds.
    """
    try:
        return read(True)
    except failures:
        if (refused := refusal(name, revision)) is not None:
            raise refused from None
    return read(False)


def refusal(name: str, revision: str | None) -> Exception | None:
    """Why the hub gives no model of this name, asked once: the libraries ask for many files, each again and again.

    An `OSError` if it refused, a `ConnectionError` if it did not answer, a `ValueError` if no model can have this name.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision), timeout=_PATIENCE)
    except (OSError, ValueError) as error:
        return error
    except Exception as error:  # of the HTTP library, which is another in another version of the hub's client
        return ConnectionError(str(error) or type(error).__name__)
    return None


def why(error: Exception, *, option: str, offline: str, library: str = "transformers", otherwise: str = "") -> str:
    """Why a model cannot be loaded, in a line: what to do (`remedy`, else ``otherwise``), and the error in brackets."""
    advice = remedy(error, option=option, offline=offline, library=library) or otherwise
    return f"{advice} ({reason(error)})" if advice else reason(error)


def reason(error: Exception) -> str:
    """An error by its type and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def remedy(error: Exception, *, option: str, offline: str, library: str = "transformers") -> str | None:
    """What to do, by the first cause that is of the hub; None if none is.

    ``option``: what holds the model's ``revision`` (``embedder``); ``offline``: what to do without a network;
    ``library``: in whose format the model has to be.
    """
    from huggingface_hub import errors

    cause: BaseException | None = error
    while cause is not None:
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if isinstance(cause, errors.GatedRepoError):
            return _LICENCE
        if isinstance(cause, errors.RepositoryNotFoundError | errors.HFValidationError):
            return "there is no such model on the hub (or it is private: HF_TOKEN)"
        if isinstance(cause, errors.RevisionNotFoundError):
            return f"the hub has no such revision of it; see {option}.revision"
        if isinstance(cause, errors.HfHubHTTPError) and status in (401, 403):
            return _LICENCE
        if isinstance(cause, errors.RemoteEntryNotFoundError):
            return f"it is no model in the format of {library}"
        if isinstance(cause, errors.HfHubHTTPError | errors.LocalEntryNotFoundError | ConnectionError | TimeoutError):
            return offline
        cause = cause.__cause__ or cause.__context__
    return None


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, warnings and log lines of the libraries: what matters is raised or counted."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    downloads = not are_progress_bars_disabled()
    with _transformers_quiet():
        before = {name: logging.getLogger(name).level for name in _TALKATIVE}
        try:
            disable_progress_bars()
            for name in _TALKATIVE:
                logging.getLogger(name).setLevel(logging.ERROR)
            with warnings.catch_warnings(action="ignore"):
                yield
        finally:
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)
            if downloads:
                enable_progress_bars()


@contextmanager
def _transformers_quiet() -> Iterator[None]:
    """No progress bars of transformers, where it is in use: importing it takes seconds, and not everybody has it."""
    if "transformers" not in sys.modules:
        yield
        return
    from transformers.utils import logging as library

    library.get_verbosity()  # sets the library's own level first, which would undo ours
    bars = library.is_progress_bar_enabled()
    try:
        library.disable_progress_bar()
        yield
    finally:
        if bars:
            library.enable_progress_bar()

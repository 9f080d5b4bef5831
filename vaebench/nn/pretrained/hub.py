"""The Hugging Face hub: asked once, its libraries kept quiet, and what to do where it gives nothing."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_PATIENCE = 10  # seconds that the hub has for its first word
_LICENCE = "accept its licence on its page and set HF_TOKEN"
_TALKATIVE = ("transformers", "sentence_transformers", "huggingface_hub", "httpx", "httpx2", "peft")


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


def remedy(error: Exception, *, option: str, offline: str) -> str | None:
    """What to do, by the first cause that is of the hub; None if none is.

    ``option``: what holds the model's ``revision`` (``embedder``); ``offline``: what to do without a network.
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
            return "it is no model in transformers' format"
        if isinstance(cause, errors.HfHubHTTPError | errors.LocalEntryNotFoundError | ConnectionError | TimeoutError):
            return offline
        cause = cause.__cause__ or cause.__context__
    return None


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, warnings and log lines of the libraries: what matters is raised or counted."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging as library

    library.get_verbosity()  # sets the library's own level first, which would undo ours
    before = {name: logging.getLogger(name).level for name in _TALKATIVE}
    bars, downloads = library.is_progress_bar_enabled(), not are_progress_bars_disabled()
    try:
        library.disable_progress_bar()
        disable_progress_bars()
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
        if bars:
            library.enable_progress_bar()
        if downloads:
            enable_progress_bars()

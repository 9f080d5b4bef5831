"""One file from one address, and the question whether an address answers. torch is imported only to download."""

from __future__ import annotations

import hashlib
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic

from vaebench.compat import ensure_torchvision
from vaebench.errors import UserError

PROBE_SECONDS = 3.0
_STALL_SECONDS = 20.0  # a download without a byte for so long has failed


def sha256_of(path: Path) -> str:
    """The hex digits of a file's sha256. Raises `UserError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def download(url: str, path: Path, *, sha256: str, md5: str | None = None) -> str:
    """Bring ``url`` to ``path``, through a temporary file that is renamed once its sha256 is right.

    The caller holds a lock on ``path``, so the temporary file has a fixed name: a killed download leaves one at most.

    Returns:
        Why the address did not deliver the file; empty if it did.

    Raises:
        OSError: the folder cannot be written.
    """
    from http.client import HTTPException

    if not url.startswith(("http://", "https://")):
        return "not an address that begins with http:// or https://"
    ensure_torchvision()
    from torchvision.datasets.utils import download_url

    temporary = path.with_name(f".{path.name}.part")
    temporary.touch()  # an unwritable folder shows here, where it cannot be taken for a failure of the network
    temporary.unlink()  # torchvision would take a file that is there for the finished one
    try:
        with stall_limit():
            download_url(url, root=str(path.parent), filename=temporary.name, md5=md5)
        found = sha256_of(temporary)
        if found != sha256:
            return f"it delivered a file with sha256 {found} instead of {sha256}"
        temporary.replace(path)
    except (OSError, HTTPException, RuntimeError, ValueError) as error:  # network; protocol; md5, redirects; address
        return " ".join(str(error).split())[:200] or type(error).__name__
    finally:
        temporary.unlink(missing_ok=True)
    return ""


def answering(addresses: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """The names of which at least one address has something, all asked at once, in `PROBE_SECONDS` at most."""
    answers: SimpleQueue[tuple[str, bool]] = SimpleQueue()

    def ask(name: str, url: str) -> None:
        answers.put((name, _has_something(url)))

    for name, urls in addresses.items():
        for url in urls:
            Thread(target=ask, args=(name, url), daemon=True).start()
    waiting = Counter({name: len(urls) for name, urls in addresses.items()})
    found: set[str] = set()
    deadline = monotonic() + PROBE_SECONDS
    while +waiting:
        try:
            name, there = answers.get(timeout=max(0.0, deadline - monotonic()))
        except Empty:
            break
        waiting[name] -= 1
        if there:
            found.add(name)
            waiting[name] = 0
    return frozenset(found)


def _has_something(url: str) -> bool:
    """Asks for the headers only; a proxy named by the environment is used, as in the download."""
    from http.client import HTTPException
    from urllib.request import Request, urlopen

    try:
        with urlopen(Request(url, method="HEAD"), timeout=PROBE_SECONDS):
            return True
    except (OSError, HTTPException, ValueError):
        return False


@contextmanager
def stall_limit() -> Iterator[None]:
    """A limit that torchvision and torch.hub do not offer: without one a dropped connection waits for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_STALL_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)

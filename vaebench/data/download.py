"""One file from the first address that has it, whole or not at all."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from vaebench.errors import UserError

_STALL_SECONDS = 20.0  # without an answer, or without a byte more, for so long a download has failed


class Undelivered(Exception):  # noqa: N818 (says why no address delivered; the caller knows what to do)
    """No address delivered the file; the message names each with its reason."""


def sha256_of(path: Path) -> str:
    """The hex digits of a file's sha256. Raises `UserError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def download(urls: Sequence[str], path: Path, *, sha256: str) -> None:
    """Bring a file to ``path``, which is there only when its ``sha256`` (all its hex digits, or the first) is right.

    One process at a time; one that waited finds the file. It arrives under another name, a fixed one, so a killed
    download leaves one file at most, which the next overwrites.

    Raises:
        Undelivered: no address has it.
        OSError: the folder cannot be written.
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

"""Which pictures need no drawing: the file is, byte for byte, what was drawn of the same content by the same code.

What was drawn of a content is kept as ``$VAEBENCH_CACHE/pictures/<digest of the content>``, a file with the checksum of
the picture's bytes. So a picture that was changed by hand, or lost, is drawn again, wherever it lies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vaebench.contracts import pictures
from vaebench.data import places
from vaebench.disk import write_bytes
from vaebench.errors import UserError
from vaebench.report.pictures import drawing
from vaebench.report.pictures.house import STYLE


def digest(*content: Any) -> str:
    """Of what a picture is drawn of (records, arrays, plain data) and of the code that draws it."""
    found = hashlib.sha256(_code())
    _feed(found, content)
    return found.hexdigest()


def as_drawn(path: Path, of: str) -> bool:
    """Whether a file is what was drawn of the content with this digest."""
    try:
        return not path.is_symlink() and _checksum(path.read_bytes()) == _kept(of).read_bytes()
    except OSError:
        return False


def keep(of: str, drawn: bytes) -> None:
    """Remember what was drawn; where the cache cannot be written it is drawn again next time."""
    with suppress(OSError, UserError):
        write_bytes(_kept(of), _checksum(drawn))


def _kept(of: str) -> Path:
    return places.cache("pictures") / of


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


@cache
def _code() -> bytes:
    """The modules that turn a content into a file, and the versions of what they use."""
    sources = [Path(str(module.__file__)).read_bytes() for module in (drawing, pictures)] + [STYLE.read_bytes()]
    return b"\0".join([*sources, *(version(name).encode() for name in ("matplotlib", "numpy", "pillow"))])


def _feed(found: Any, value: Any) -> None:
    """Add a value, its type and its length, so that no two contents are the same text."""
    import numpy as np

    found.update(f"{type(value).__name__}(".encode())
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        found.update(f"{value.dtype.str}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    elif is_dataclass(value):
        _feed(found, {one.name: getattr(value, one.name) for one in fields(value)})
    elif isinstance(value, Mapping):
        _feed(found, list(value.items()))
    elif value is None or isinstance(value, str | int | float | np.generic):
        found.update(repr(value).encode())
    else:
        for part in value:
            _feed(found, part)
            found.update(b",")
    found.update(b")")

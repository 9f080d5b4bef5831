"""A request: the resolved configuration of one run as plain data, and the key that names its folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

KEY_LENGTH = 12
# Where a file is fetched from does not change what it holds (its sha256 stands beside it), so it is no part of the key.
# ``needs``, ``data`` and ``about`` describe a leaf: which packages it takes, which kind of data it is for, what to call
# it. A ``path`` has its sha256 beside it too.
_NOT_IN_KEY = frozenset({"mirrors", "needs", "extra", "data", "path", "builds_on", "about"})


@dataclass(frozen=True)
class Request:
    """The resolved configuration of one training or one evaluation, as plain data; its `key` names its folder.

    ``where``: the option that asks for it (``chain.LINK``), for messages; empty if it is the command itself.
    """

    data: Mapping[str, Any]
    where: str = field(default="", compare=False)

    @cached_property
    def key(self) -> str:
        """The first 12 hex digits of the sha256 over the canonical form of the data."""
        text = json.dumps(_canonical(self.data), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]

    def __getitem__(self, name: str) -> Any:
        return self.data[name]


def _canonical(value: Any) -> Any:
    """``None`` is absence (a new optional field must not rename every run) and 1.0 is 1."""
    if isinstance(value, Mapping):
        items = {str(k): v for k, v in value.items() if v is not None and k not in _NOT_IN_KEY}
        return {k: _canonical(v) for k, v in items.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value

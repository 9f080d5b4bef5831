"""Text from data: what may stand in a table, a page or a terminal."""

from __future__ import annotations

import json
import re
from typing import Any

# C0 and C1 controls, line and paragraph separators, marks that turn the direction of writing, lone surrogates.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")


def plain(text: str) -> str:
    """``text`` on one line: a blank in place of control characters."""
    return _CONTROL.sub(" ", text)


def plain_json(text: str, kind: type) -> str:
    """JSON of a ``kind`` (dict or list) whose strings are `plain`. Raises ValueError if it is something else."""
    found = json.loads(text)
    if not isinstance(found, kind):
        raise ValueError(f"{text!r:.40} is no {kind.__name__}")
    return json.dumps(_plain(found), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {plain(name): _plain(item) for name, item in value.items()}
    return value

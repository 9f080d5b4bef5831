"""Which values the typed fields of a configuration may have: declared beside each field, checked in one place.

What is given is a configuration (`DictConfig`) or plain data, of which a part may be absent.
"""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from typing import Any

from omegaconf import DictConfig, ListConfig
from omegaconf.errors import OmegaConfBaseException

from vaebench.errors import shown, unknown

MOST = 10**12  # of anything that is counted
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True)
class _Number:
    """``low`` to ``high``, ``low`` itself not if ``above``; a whole number or any finite one."""

    low: float
    high: float = math.inf
    above: bool = False
    whole: bool = True

    def mistake(self, value: Any) -> str:
        """What is expected of the value instead, empty if nothing is."""
        kinds = int if self.whole else (int, float)
        fits = isinstance(value, kinds) and not isinstance(value, bool)
        if fits and self.low <= value <= self.high and value != math.inf and not (self.above and value == self.low):
            return ""
        what = "a whole number" if self.whole else "a finite number"
        if self.above:
            return f"expected {what} above {self.low:g}"
        wanted = f"{self.low:g} to {self.high}" if fits and value > self.high else f"at least {self.low:g}"
        return f"expected {what}, {wanted}"


@dataclass(frozen=True)
class _Choice:
    """One of some texts."""

    valid: Callable[[], Iterable[str]]


@dataclass(frozen=True)
class _Folder:
    """The path of a folder."""

    def mistake(self, value: Any) -> str:
        """What is expected of the value instead, empty if nothing is."""
        if not str(value).strip():
            return "names no folder; leave it out, or give a folder"
        return "is an address; a folder of this machine is wanted" if _ADDRESS.match(str(value)) else ""


def count(default: Any, low: int = 1, high: int = MOST) -> Any:
    """A field that holds a whole number from ``low`` to ``high``, or null if its type says so."""
    return field(default=default, metadata={"bound": _Number(low, high)})


def number(default: Any, low: float, *, above: bool = False) -> Any:
    """A field that holds a finite number from ``low`` on (``above``: without it)."""
    return field(default=default, metadata={"bound": _Number(low, above=above, whole=False)})


def choice(default: Any, valid: Iterable[str] | Callable[[], Iterable[str]]) -> Any:
    """A field that holds one of some texts; those that lie in files are asked for when they are needed."""
    return field(default=default, metadata={"bound": _Choice(valid if callable(valid) else lambda: valid)})


def folder(default: Any) -> Any:
    """A field that holds the path of a folder."""
    return field(default=default, metadata={"bound": _Folder()})


def mistakes(spec: type, given: Mapping[str, Any], where: str = "") -> list[str]:
    """One line for each value that cannot be read (an interpolation of nothing), is missing or out of its bounds.

    ``spec``: the dataclass with the fields. ``where``: the option that holds them, with a dot behind it.
    """
    lines: list[str] = []
    for one, hint in typed_fields(spec):
        name = where + one.name
        if one.name not in given:
            lines += [f"{name}: is missing"] if isinstance(given, DictConfig) else []
            continue
        try:
            value = given[one.name]
            if isinstance(value, ListConfig) and not all(isinstance(item, str) for item in value):
                lines.append(f"{name}={shown(value)}: expected a list of texts")
        except OmegaConfBaseException as error:
            raw = given._get_node(one.name) if isinstance(given, DictConfig) else None
            lines.append(f"{name}={shown(raw)}: {shown(first_line(error))}")
            continue
        if is_dataclass(hint):
            lines += mistakes(typing.cast("type", hint), value, f"{name}.")
        elif value is not None:
            lines += _mistake(name, value, one.metadata.get("bound"))
    return lines


def _mistake(name: str, value: Any, bound: Any) -> list[str]:
    if isinstance(bound, _Choice):
        valid = tuple(bound.valid())
        return [] if value in valid else [unknown(name, value, valid)]
    wanted = bound.mistake(value) if bound else ""
    return [f"{name}={shown(value)}: {wanted}"] if wanted else []


def typed_fields(spec: Any) -> Iterator[tuple[Field[Any], Any]]:
    """The fields of a dataclass with their types, ``Any`` left out: what is chosen of a group has its own checks."""
    hints = typing.get_type_hints(spec)
    for one in fields(spec):
        if hints[one.name] is not Any:
            yield one, hints[one.name]


def is_text(spec: type, key: str) -> bool:
    """Whether the dotted ``key`` is a typed field that holds a text."""
    return str in _kinds(spec, key)


def is_whole(spec: type, key: str) -> bool:
    """Whether the dotted ``key`` is a typed field that holds a whole number."""
    return int in _kinds(spec, key)


def _kinds(spec: type, key: str) -> tuple[Any, ...]:
    """The types of which the value of a typed field may be; none of what is no typed field, or holds a list."""
    hint: Any = spec
    for part in key.split("."):
        hint = {one.name: kind for one, kind in typed_fields(hint)}.get(part) if is_dataclass(hint) else None
    return () if typing.get_origin(hint) is list else typing.get_args(hint) or (hint,)


def first_line(error: Exception) -> str:
    """The cause in one line; Hydra wraps the message that says what is wrong."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")

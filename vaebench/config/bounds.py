"""Whether the typed fields of a configuration hold what their hints allow: types, ranges, choices (`signatures`).

What is given is a configuration (`DictConfig`) or plain data, of which a part may be absent.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import Field, fields, is_dataclass
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vaebench.config import signatures
from vaebench.errors import shown

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def _no_folder(path: str) -> str:
    """What is wrong with the path of a folder, empty if nothing is."""
    if not path.strip():
        return "names no folder; leave it out, or give a folder"
    return "is an address; a folder of this machine is wanted" if _ADDRESS.match(path) else ""


Folder = Annotated[str, signatures.Sound(_no_folder)]


def mistakes(spec: type, given: Mapping[str, Any], where: str = "") -> list[str]:
    """One line for each value that cannot be read (an interpolation of nothing), is missing or out of its bounds.

    ``spec``: the dataclass with the fields. ``where``: the option that holds them, with a dot after it.
    """
    lines: list[str | None] = []
    ranges = typing.get_type_hints(spec, include_extras=True)
    for one, hint in typed_fields(spec):
        name = where + one.name
        if one.name not in given:
            lines += [f"{name}: is missing"] if isinstance(given, DictConfig) else []
            continue
        try:
            value = given[one.name]
            if is_dataclass(hint):
                lines += mistakes(typing.cast("type", hint), value, f"{name}.")
                continue
            value = OmegaConf.to_object(value) if OmegaConf.is_config(value) else value
        except OmegaConfBaseException as error:
            raw = given._get_node(one.name) if isinstance(given, DictConfig) else None
            lines.append(f"{name}={shown(raw)}: {shown(first_line(error))}")
        else:
            lines.append(signatures.mistake(name, value, ranges[one.name]))
    return [line for line in lines if line is not None]


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
    """The types of which the value of a typed field may be; none of what is no typed field, or holds several."""
    hint: Any = spec
    for part in key.split("."):
        if typing.get_origin(hint) is dict:  # named by the user: chain.NAME.run
            hint = typing.get_args(hint)[1]
        else:
            hint = {one.name: kind for one, kind in typed_fields(hint)}.get(part) if is_dataclass(hint) else None
    return () if typing.get_origin(hint) in (list, dict) else typing.get_args(hint) or (hint,)


def first_line(error: Exception) -> str:
    """The cause in one line; Hydra wraps the message that says what is wrong."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")

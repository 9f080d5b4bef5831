"""The shape of a paper's file: where mappings, lists and texts must stand before anything can be made of them.

What each value may be say the hints of the records (`of_field`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from vaebench.config.signatures import mistake
from vaebench.errors import shown, unknown
from vaebench.papers.changes import Change, scales

# A dict stands for a mapping, a list for a list, a tuple for one of several; anything else is a type.
EACH = "*"  # all names of a mapping; where there is none, names that are not in the shape are left alone
_NAMES = (str, [str])
_GRID = {EACH: [str | float | bool]}
_ENTRY = {"grid": _GRID, "protocol": {}, "reading": {}, "set": {}, "on_stand_in": {}, "options": {}}
_ENTRIES = {EACH: (str, _ENTRY)}
_CLAIM = {"pairs": {EACH: _NAMES}, "grid": _GRID, "than_column": str, "text": str, "factor": float}
_CLAIM |= dict.fromkeys(("row", "than", "lower", "higher", "within"), _NAMES)
_CLAIMS: list[Any] = []
_CLAIMS.append((_CLAIM, _CLAIMS))
_TABLE = {"dataset": (str, {EACH: _NAMES}), "takes": _NAMES, "reported": str, "claims": _CLAIMS}
_TABLE |= {"every_row": _ENTRY, "rows": _ENTRIES, "every_column": _ENTRY, "columns": (_ENTRIES, [str])}
_TABLE |= {"protocol": {}, "reading": {}, "set": {}, "stages": {}, "options": {EACH: {}}}
_TABLE |= {"axes": {EACH: {EACH: {}}}, "of": [{"table": str, "row": str, "axes": [str], "columns": [str]}]}
PAPER = {"every_table": _TABLE, "quantities": {EACH: _ENTRY}, "parts": {EACH: _TABLE}, "tables": {EACH: _TABLE}}
_CALLED = {dict: "a mapping", list: "a list", str: "a text"}


def mistakes(where: str, value: Any, shape: Any, *, needed: bool = False) -> Iterator[str]:
    """One line for each place in plain data that has another shape; in mappings what is null counts as absent."""
    options = shape if isinstance(shape, tuple) else (shape,)
    kinds = {type(one) if isinstance(one, dict | list) else one: one for one in options}
    here = next((one for kind, one in kinds.items() if kind in _CALLED and isinstance(value, kind)), None)
    if isinstance(here, list):
        for number, item in enumerate(value):
            yield from mistakes(f"{where}[{number}]", item, here[0], needed=True)
    elif isinstance(here, dict):
        yield from (f"{where}: the name {name!r} is no text" for name in value if not isinstance(name, str))
        for name in value.keys() & here.keys() if EACH not in here else value:
            yield from mistakes(f"{where}.{name}", value[name], here.get(name, here.get(EACH)))
    elif (value is None and not needed) or here is str:
        return
    elif not kinds.keys() <= _CALLED.keys():
        yield from filter(None, [mistake(where, value, shape)])
    else:
        yield f"{where}={shown(repr(value))}: expected {' or '.join(_CALLED[kind] for kind in kinds)}"


def of_field(record: type, name: str, value: Any) -> Iterator[str]:
    """One line for each part of a value that is not as the hint of the record's field says."""
    return _of_hint(name, value, _hints(record)[name])


def _of_hint(name: str, value: Any, hint: Any) -> Iterator[str]:
    """Mappings and lists are looked into, so that the line names the place."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Mapping and isinstance(value, Mapping):
        for key, item in value.items():
            yield from _of_hint(name, key, inner[0])
            yield from _of_hint(f"{name}.{key}", item, inner[1])
    elif origin is Mapping:
        yield f"{name}={shown(repr(value))}: expected a mapping"
    elif origin is tuple and inner[-1] is ... and isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _of_hint(name, item, inner[0])
    elif line := mistake(name, value, hint):
        yield line


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def of_change(change: Change) -> Iterator[str]:
    """One line for each mapping in a change that is no change of another run and does not go by scale."""
    for name, value in change.items():
        if name in ("parent", "links", *scales()):
            changes = {name: value}
            if name == "links" and isinstance(value, Mapping):
                changes = {f"links.{link}": inner for link, inner in value.items()}
            for where, inner in changes.items():
                if isinstance(inner, Mapping):
                    yield from of_change(inner)
                elif inner is not None:
                    yield f"{where}={inner!r}: expected a mapping"
        elif isinstance(value, Mapping):
            wrong = value.keys() - scales() if scales() & value.keys() or "." in name else [name]
            yield from (unknown("scale", str(one), scales()) for one in sorted(map(str, wrong)))

"""Changes of a configuration: as a paper's YAML writes them, and as the words that the composer takes.

A change maps options to values (``train.max_steps: 150``, ``reference: ssl``). Two names hold changes of other runs:
``parent`` of the run that a model builds on, ``links`` of the runs of its chain, by name. Anywhere in a change, what
stands under the name of a scale holds at that scale: ``train.max_steps: {smoke: 150, small: 800}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from vaebench.config.choices import choices

Change = Mapping[str, Any]


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """The mappings as one, mappings inside them too; of everything else the last counts."""
    found: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            both = isinstance(value, Mapping) and isinstance(found.get(name), Mapping)
            found[name] = merged(found[name], value) if both else value
    return found


@cache
def scales() -> frozenset[str]:
    """The names of the scales."""
    return frozenset(choices("scale"))


def at_scale(change: Change, scale: str) -> dict[str, Any]:
    """What a change is at a scale: what it says of this one comes last, what it says of others goes."""
    if not change:
        return {}
    found = {}
    for name, value in change.items():
        if name in scales():
            continue
        if not isinstance(value, Mapping) or not value:
            found[name] = value
        elif scales().issuperset(value) and not isinstance(value.get(scale, {}), Mapping):
            found[name] = value[scale]
        elif here := at_scale(value, scale):
            found[name] = here
    inside = change.get(scale)
    return merged(found, at_scale(inside, scale)) if isinstance(inside, Mapping) else found


def words(change: Change, *, within: str = "") -> tuple[str, ...]:
    """A change as overrides. ``within``: the part of the configuration whose options it holds (``suite``)."""
    change = dict(change)
    others = {"parent": change.pop("parent", {})}
    others |= {f"chain.{name}": options for name, options in change.pop("links", {}).items()}
    prefix = f"{within}." if within else ""
    own = (f"{prefix}{name}={_written(value)}" for name, value in change.items())
    behind = (f"{name}.overrides={_written(words(options))}" for name, options in others.items() if options)
    return (*own, *behind)


def _written(value: Any, *, inside: bool = False) -> str:
    """A value as the command line takes it; a text inside a list is quoted."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(_written(item, inside=True) for item in value)}]"
    return repr(value) if inside and isinstance(value, str) else str(value)

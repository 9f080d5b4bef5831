"""Rows and columns that are written once and stand for several: ``grid: {K: [256, 1024]}``.

Such an entry is repeated for each value. In its texts ``{K}`` is the value; a mapping with values of ``K`` as its keys
stands for the one of its entries that belongs to the value, or for nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Axes = Mapping[str, Sequence[Any]]
Point = Mapping[str, Any]
_JOINTS = {"row": "_", "column": "@"}


def spread(kind: str, entries: Mapping[str, Mapping[str, Any]], mistakes: list[str]) -> dict[str, dict[str, Any]]:
    """Rows or columns (``kind``) by their final names: a row ``fsq`` becomes ``fsq_256`` and ``fsq_1024``.

    A name with a gap is filled instead; rows whose names begin with it, as ``{m}_greedy``, follow one another by its
    value. Each that was repeated knows its ``point`` of the grid and the name it is ``written`` under; a label without
    the values gets them at its end. A name that stands twice is noted in ``mistakes``.
    """
    found: dict[str, dict[str, Any]] = {}
    for _, group in itertools.groupby(
        entries.items(), lambda one: one[1].get("grid") if one[0][0:1] == "{" else one[0]
    ):
        together = list(group)
        axes = together[0][1].get("grid") or {}
        for point, (name, entry) in itertools.product(points(axes), together):
            template = {key: value for key, value in entry.items() if key != "grid"}
            if not axes:
                _add(found, kind, name, template, mistakes)
                continue
            values = [str(value) for value in point.values()]
            here = at(template, point, axes)
            label = str(here.get("label", ""))
            if template.get("label") == label:
                here = {"short": label, **here, "label": ", ".join([label, *values])}
            own = str(at(name, point, axes)) if "{" in name else _JOINTS[kind].join([name, *values])
            _add(found, kind, own, {**here, "point": point, "written": name}, mistakes)
    return found


def _add(found: dict[str, dict[str, Any]], kind: str, name: str, entry: dict[str, Any], mistakes: list[str]) -> None:
    if name in found:
        mistakes.append(f"{kind} {name} stands twice")
    found[name] = entry


def points(axes: Axes) -> Iterator[dict[str, Any]]:
    """All combinations of the values, the last axis fastest."""
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def at(value: Any, point: Point, axes: Axes) -> Any:
    """What a template is at a point of its grid."""
    if isinstance(value, str):
        for name, number in point.items():
            if value == f"{{{name}}}":
                return number
            value = value.replace(f"{{{name}}}", str(number))
        return value
    if isinstance(value, list | tuple):
        return [at(item, point, axes) for item in value]
    if not isinstance(value, Mapping):
        return value
    inner = {key: _chosen(item, point, axes) for key, item in value.items()}
    return {key: at(item, point, axes) for key, item in inner.items() if item is not _NOTHING}


_NOTHING = object()


def _chosen(value: Any, point: Point, axes: Axes) -> Any:
    """Of a mapping by values of an axis the one that belongs to the point; any other value as it is."""
    if isinstance(value, Mapping) and value:
        for name, number in point.items():
            if set(value) <= set(axes[name]):
                return _chosen(value.get(number, _NOTHING), point, axes)
    return value

"""Plain data against the signature of what is built from it: every unknown, missing or wrong argument at once.

A signature says of what type an argument is and, by `Within`, from where to where it goes: ``batch_size: Count``.
"""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from vaebench.errors import shown, unknown

_MOST = 2**63 - 1  # what PyTorch and NumPy take as a whole number

_LARGEST = 2**31 - 1  # of what is counted: items, steps, neighbours


@dataclass(frozen=True)
class Within:
    """The range of a number: finite, from ``low`` to ``high``, without ``low`` itself if ``above``."""

    low: float
    high: float = math.inf
    above: bool = False

    def holds(self, value: float) -> bool:
        """Whether ``value`` lies in it; NaN lies in none."""
        return self.low <= value <= self.high and math.isfinite(value) and not (self.above and value == self.low)

    def __str__(self) -> str:
        """The range in words, behind "expected a number"."""
        if self.high < math.inf:
            return f"{self.low} to {self.high}"
        return f"finite and above {self.low}" if self.above else f"finite and {self.low} or more"


Count = Annotated[int, Within(1, _LARGEST)]
CountOrNone = Annotated[int, Within(0, _LARGEST)]
AtLeast2 = Annotated[int, Within(2, _LARGEST)]
AtLeast10 = Annotated[int, Within(10, _LARGEST)]
Seed = Annotated[int, Within(0, 2**32 - 1)]  # what all generators in use take
Positive = Annotated[float, Within(0, above=True)]
NonNegative = Annotated[float, Within(0)]
Share = Annotated[float, Within(0, 1)]


def mistakes(
    name: str, given: Mapping[str, Any], callee: Callable[..., Any], *, needed_by: str, provided: Collection[str]
) -> list[str]:
    """One line for each argument in ``given`` that ``callee`` does not take or lacks, of another type or out of range.

    ``name``: where the arguments stand (``model``); ``needed_by``: what to call the callee; ``provided``: arguments
    that come from elsewhere. What is absent counts as null where null is allowed (`nulls`).
    """
    parameters = {key: p for key, p in inspect.signature(callee).parameters.items() if key not in provided}
    hints = _hints(callee)
    valid = [f"{name}.{key}" for key in parameters]
    lines = [unknown("option", f"{name}.{key}", valid) for key in given if key not in parameters]
    lines += [
        f"{name}.{key}: missing; {needed_by} needs it"
        for key, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty and key not in given and not fits(None, hints.get(key, int))
    ]
    lines += [
        f"{name}.{key}={shown(repr(given[key]))}: expected {_type_name(hints[key])}"
        for key in parameters
        if key in given and key in hints and not fits(given[key], hints[key])
    ]
    ranges = _hints(callee, include_extras=True)
    for key in parameters:
        if key in given and key in hints and fits(given[key], hints[key]):
            lines += dict.fromkeys(
                f"{name}.{key}={given[key]!r}: expected {_type_name(hints[key])}, {wanted}"
                for wanted in _missed(given[key], ranges[key])
            )
    return lines


def nulls(given: Mapping[str, Any], callee: Callable[..., Any]) -> dict[str, None]:
    """The arguments that ``callee`` needs, that may be null and are not ``given``: a request from before there were."""
    hints, parameters = _hints(callee), inspect.signature(callee).parameters
    return {
        key: None
        for key, parameter in parameters.items()
        if key not in given and parameter.default is inspect.Parameter.empty and fits(None, hints.get(key, int))
    }


def _missed(value: Any, hint: Any) -> Iterator[Within]:
    """The ranges in ``hint`` that ``value``, which fits its type, or an item of it lies outside of."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        yield from (range_ for range_ in arguments[1:] if isinstance(range_, Within) and not range_.holds(value))
    elif origin in (typing.Union, types.UnionType):
        yield from (missed for option in arguments if value is not None for missed in _missed(value, option))
    elif isinstance(value, list | tuple) and arguments:
        yield from (missed for item in value for missed in _missed(item, arguments[0]))


def _hints(callee: Callable[..., Any], *, include_extras: bool = False) -> dict[str, Any]:
    function = callee.__init__ if inspect.isclass(callee) else callee
    try:
        return typing.get_type_hints(function, include_extras=include_extras)
    except (NameError, TypeError):  # torch.optim's hints name types that exist only while type checking
        return {}


def fits(value: Any, hint: Any) -> bool:
    """Whether plain data (numbers, text, lists, mappings) can be passed where ``hint`` is asked for; True if unsure."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, option) for option in arguments)
    if origin is typing.Literal:
        return value in arguments
    if hint in (None, type(None)):
        return value is None
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and -_MOST <= value <= _MOST
    if hint is float:
        return fits(value, int) or (isinstance(value, float) and math.isfinite(value))
    if hint is str or hint is Path:
        return isinstance(value, str)
    if origin in (list, tuple) or (inspect.isclass(origin) and issubclass(origin, typing.Sequence)):
        return isinstance(value, list | tuple) and all(fits(item, arguments[0]) for item in value if arguments)
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    return True


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "null"}
    arguments = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_type_name, arguments))
    if inspect.isclass(origin) and issubclass(origin, typing.Sequence):
        several = {int: "whole numbers", float: "numbers", str: "texts"}.get(arguments[0])
        return f"a list of {several}" if several else f"a list, each {_type_name(arguments[0])}"
    return names.get(hint, hint.__name__ if inspect.isclass(hint) and not arguments else str(hint))

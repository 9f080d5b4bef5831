"""Plain data against the signature of what is built from it: every unknown, missing or ill-typed argument at once."""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from vaebench.errors import shown, unknown

_MOST = 2**63 - 1  # what PyTorch and NumPy take as a whole number


def mistakes(
    name: str, given: Mapping[str, Any], callee: Callable[..., Any], *, needed_by: str, provided: Collection[str]
) -> list[str]:
    """One line for each argument in ``given`` that ``callee`` does not take, that it lacks, or of another type.

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
        if parameter.default is inspect.Parameter.empty and key not in given and not _fits(None, hints.get(key, int))
    ]
    lines += [
        f"{name}.{key}={shown(repr(given[key]))}: expected {_type_name(hints[key])}"
        for key in parameters
        if key in given and key in hints and not _fits(given[key], hints[key])
    ]
    return lines


def nulls(given: Mapping[str, Any], callee: Callable[..., Any]) -> dict[str, None]:
    """The arguments that ``callee`` needs, that may be null and are not ``given``: a request from before there were."""
    hints, parameters = _hints(callee), inspect.signature(callee).parameters
    return {
        key: None
        for key, parameter in parameters.items()
        if key not in given and parameter.default is inspect.Parameter.empty and _fits(None, hints.get(key, int))
    }


def _hints(callee: Callable[..., Any]) -> dict[str, Any]:
    function = callee.__init__ if inspect.isclass(callee) else callee
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):  # torch.optim's hints name types that exist only while type checking
        return {}


def _fits(value: Any, hint: Any) -> bool:
    """Whether plain data (numbers, text, lists, mappings) can be passed where ``hint`` is asked for; True if unsure."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in arguments)
    if origin is typing.Literal:
        return value in arguments
    if hint in (None, type(None)):
        return value is None
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and -_MOST <= value <= _MOST
    if hint is float:
        return _fits(value, int) or (isinstance(value, float) and math.isfinite(value))
    if hint is str or hint is Path:
        return isinstance(value, str)
    if origin in (list, tuple) or (inspect.isclass(origin) and issubclass(origin, typing.Sequence)):
        return isinstance(value, list | tuple) and all(_fits(item, arguments[0]) for item in value if arguments)
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

"""What an option may be, read from the signature that takes it: its type, its range, its choices.

``beta: NonNegative``, ``network: Literal["mlp", "conv"]``, ``hidden: Annotated[Sequence[Count], Len(1)] | None``; the
marks are those of annotated_types. All that is wrong with plain data is found at once, one line for each option.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Ge, GroupedMetadata, Gt, Interval, Le, Lt, MaxLen, MinLen

from vaebench.config.choices import find
from vaebench.errors import UserError, shown, unknown

LARGEST = 2**31 - 1  # of what is counted: items, steps, neighbours
_WHOLE_NAME = re.compile(r"\w+(\.\w+)+")  # of a class: mine.nets.Halves
_MOST = 2**63 - 1  # what PyTorch and NumPy take as a whole number
_Function = TypeVar("_Function", bound=Callable[..., Any])

Count = Annotated[int, Interval(ge=1, le=LARGEST)]
CountOrNone = Annotated[int, Interval(ge=0, le=LARGEST)]
AtLeast2 = Annotated[int, Interval(ge=2, le=LARGEST)]
AtLeast10 = Annotated[int, Interval(ge=10, le=LARGEST)]
Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]  # what all generators in use take
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Interval(ge=0, le=1)]
Fraction = Annotated[float, Interval(ge=0, lt=1)]


@dataclass(frozen=True)
class OneOf:
    """A mark of a text: one of ``choices``; those that lie in files are asked for when they are needed."""

    choices: tuple[str, ...] | Callable[[], Iterable[str]]

    def valid(self) -> Iterable[str]:
        """The choices."""
        return self.choices() if callable(self.choices) else self.choices


@dataclass(frozen=True)
class Sound:
    """A mark of a text: ``mistake`` says what is wrong with one, nothing if nothing is."""

    mistake: Callable[[str], str]


def require(*mistakes: str | None) -> None:
    """Raise `UserError` with every line that is not None; for what no signature can say, of two options together."""
    lines = [line for line in mistakes if line is not None]
    if lines:
        raise UserError(*lines)


def whole(name: str, value: int, low: int, high: float = math.inf, bound: str = "") -> str | None:
    """One line if ``value`` is not from ``low`` to ``high``, of which one is another option's; ``bound`` says whose."""
    if low <= value <= high:
        return None
    wanted = f"at least {low}" if high == math.inf else f"{low} to {high}"
    return f"{name}={value}: expected a whole number, {wanted}{bound and f' ({bound})'}"


def multiple_of(name: str, value: int, divisor: int, of: str) -> str | None:
    """One line if ``value`` is no multiple of ``divisor``, the option ``of``."""
    return None if value % divisor == 0 else f"{name}={value}: expected a multiple of {of}={divisor}"


def checked(where: str) -> Callable[[_Function], _Function]:
    """Lets a function, a constructor or a dataclass refuse, by `UserError`, what its own signature excludes.

    ``where``: what is written in front of the options, ``model`` for ``model.beta``.
    """

    def decorate(function: _Function) -> _Function:
        made: Any = function
        checks = made.__init__ if inspect.isclass(made) else made
        signature = inspect.signature(checks)

        @functools.wraps(checks)
        def call(*args: Any, **given: Any) -> Any:
            found, bound = hints(made), signature.bind(*args, **given).arguments
            require(*(mistake(f"{where}.{key}", value, found[key]) for key, value in bound.items() if key in found))
            return checks(*args, **given)

        if not inspect.isclass(made):
            return typing.cast("_Function", call)
        made.__init__ = call  # type: ignore[method-assign]
        return function

    return decorate


def chosen(
    where: str,
    options: Mapping[str, Any],
    kinds: Mapping[str, Callable[..., Any]],
    needed: Iterable[str] = (),
    /,
    **provided: Any,
) -> Any:
    """What ``options.kind`` names among ``kinds``, made from the other options and from what is ``provided``.

    Or the class of a plug-in that its file names by its whole name, ``mine.nets.Halves``: it is given of what is
    provided what it asks for, and has to have what is ``needed``.

    ``where``: the option that holds them, ``model.network``. Raises `UserError` for an unknown kind, and for unknown,
    missing, ill-typed and impossible options.
    """
    kind = str(options.get("kind"))
    foreign = _WHOLE_NAME.fullmatch(kind) is not None
    if not foreign and kind not in kinds:
        raise UserError(unknown(f"{where}.kind", kind, kinds))
    callee = find(where, kind, key="kind") if foreign else kinds[kind]
    if foreign:
        provided = {name: value for name, value in provided.items() if name in inspect.signature(callee).parameters}
    given = {name: value for name, value in options.items() if name not in ("kind", "version")}
    require(*mistakes(where, given, callee, needed_by=kind, provided=provided))
    made = callee(**given, **provided)
    if lacking := [name for name in needed if not hasattr(made, name)]:
        raise UserError(f"{where}.kind={kind}: has no {', '.join(lacking)}, which the model needs of it")
    return made


def mistakes(
    name: str, given: Mapping[str, Any], callee: Callable[..., Any], *, needed_by: str, provided: Collection[str]
) -> list[str]:
    """One line for each argument in ``given`` that ``callee`` does not take, lacks or refuses by its signature.

    ``name``: where the arguments stand (``model``); ``needed_by``: what to call the callee; ``provided``: arguments
    that come from elsewhere. What is absent counts as null where null is allowed (`nulls`).
    """
    parameters, asked = [key for key in inspect.signature(callee).parameters if key not in provided], hints(callee)
    valid = [f"{name}.{key}" for key in parameters]
    lines = [unknown("option", f"{name}.{key}", valid) for key in given if key not in parameters]
    lines += [
        f"{name}.{key}: missing; {needed_by} needs it"
        for key, nullable in _lacking(given, callee).items()
        if key in parameters and not nullable
    ]
    found = [mistake(f"{name}.{key}", given[key], asked[key]) for key in parameters if key in given and key in asked]
    return lines + [line for line in found if line is not None]


def nulls(given: Mapping[str, Any], callee: Callable[..., Any]) -> dict[str, None]:
    """The arguments that ``callee`` needs, that may be null and are not ``given``: a request from before there were."""
    return {key: None for key, nullable in _lacking(given, callee).items() if nullable}


def _lacking(given: Mapping[str, Any], callee: Callable[..., Any]) -> dict[str, bool]:
    """The arguments that ``callee`` needs and that are not ``given``, each with whether it may be null."""
    parameters = inspect.signature(callee).parameters.items()
    needed = [key for key, one in parameters if one.default is inspect.Parameter.empty and key not in given]
    return {key: fits(None, hints(callee).get(key, int)) for key in needed}


def mistake(name: str, value: Any, hint: Any) -> str | None:
    """What is wrong with an option's ``value``: one line with the valid ones, or None."""
    if fits(value, hint):
        return None
    if isinstance(value, str):
        for mark in (mark for option in _options(hint) for mark in _marks(option)):
            if isinstance(mark, Sound):
                return f"{name}={shown(value)}: {mark.mistake(value)}"
        choices = [text for option in _options(hint) for text in _choices(option)]
        if choices:
            return unknown(name, value, [*choices, "null"] if fits(None, hint) else choices)
    return f"{name}={shown(value if value is None else repr(value))}: expected {described(hint, value)}"


def fits(value: Any, hint: Any) -> bool:
    """Whether plain data (numbers, text, lists, mappings) can be passed where ``hint`` is asked for; True if unsure."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return fits(value, arguments[0]) and all(_holds(mark, value) for mark in _marks(hint))
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, option) for option in arguments)
    if origin is Literal:
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
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        return isinstance(value, list | tuple) and all(fits(item, arguments[0]) for item in value if arguments)
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    return True


@functools.cache
def hints(callee: Callable[..., Any]) -> dict[str, Any]:
    """What each argument may be, marks and all; empty where the hints cannot be read."""
    # A dataclass has each field's hint from the module of the class that has the field.
    described = callee.__init__ if inspect.isclass(callee) and not is_dataclass(callee) else callee
    try:
        found = typing.get_type_hints(described, include_extras=True)
        return {name: hint.type if isinstance(hint, InitVar) else hint for name, hint in found.items()}
    except (NameError, TypeError):  # torch.optim's hints name types that exist only while type checking
        return {}


def _options(hint: Any) -> Sequence[Any]:
    """The types of a union, or the one."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else [hint]


def _marks(hint: Any) -> list[Any]:
    """What follows the type in ``Annotated``."""
    marks = typing.get_args(hint)[1:] if typing.get_origin(hint) is Annotated else ()
    return [one for mark in marks for one in (mark if isinstance(mark, GroupedMetadata) else [mark])]


def _choices(option: Any) -> list[str]:
    """The texts that one type of a union allows, if it names them."""
    if typing.get_origin(option) is Literal:
        return [str(value) for value in typing.get_args(option)]
    return [text for mark in _marks(option) if isinstance(mark, OneOf) for text in mark.valid()]


def _holds(mark: Any, value: Any) -> bool:
    match mark:
        case Ge(low):
            return bool(value >= low)
        case Gt(low):
            return bool(value > low)
        case Le(high):
            return bool(value <= high)
        case Lt(high):
            return bool(value < high)
        case MinLen(low):
            return len(value) >= low
        case MaxLen(high):
            return len(value) <= high
        case OneOf():
            return value in mark.valid()
        case Sound():
            return not mark.mistake(value)
    return True


def described(hint: Any, value: Any) -> str:
    """What ``hint`` asks for, in words; the largest of what is counted is named only to a ``value`` above it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        words = [described(one, value) for one in arguments]
        return (", or " if any("," in word for word in words) else " or ").join(words)
    if choices := _choices(hint):
        return f"one of {', '.join(choices)}"
    plain = arguments[0] if origin is Annotated else hint
    if plain in (int, float):
        return _range(plain, _marks(hint), value)
    if inspect.isclass(typing.get_origin(plain)) and issubclass(typing.get_origin(plain), Sequence):
        return _list(plain, _marks(hint), value)
    names = {str: "a text", bool: "true or false", type(None): "null"}
    return names.get(plain, plain.__name__ if inspect.isclass(plain) else str(plain))


def _range(kind: type, marks: Sequence[Any], value: Any) -> str:
    """A number, from where to where."""
    low = next((mark for mark in marks if isinstance(mark, Ge | Gt)), None)
    high = next((mark for mark in marks if isinstance(mark, Le | Lt)), None)
    if isinstance(high, Le) and _peak(value) <= high.le >= LARGEST:  # type: ignore[operator]
        high = None
    what = "a whole number" if kind is int else "a finite number" if low and not high else "a number"
    if isinstance(low, Ge) and isinstance(high, Le):
        return f"{what}, {low.ge} to {high.le}"
    if low is not None:
        what += f", at least {low.ge}" if isinstance(low, Ge) else f" above {low.gt}"
    if high is not None:
        what += f" and at most {high.le}" if isinstance(high, Le) else f" and below {high.lt}"
    return what


def _peak(value: Any) -> float:
    """The largest number in nested lists."""
    if isinstance(value, list | tuple):
        return max(map(_peak, value), default=-math.inf)
    return value if isinstance(value, int | float) else -math.inf


def _list(hint: Any, marks: Sequence[Any], value: Any) -> str:
    """A list of what, of how many."""
    low = next((mark.min_length for mark in marks if isinstance(mark, MinLen)), 0)
    high = next((mark.max_length for mark in marks if isinstance(mark, MaxLen)), math.inf)
    count = f"{low} " if low == high else f"{'one' if low == 1 else low} or more " if low else ""
    item = described(typing.get_args(hint)[0], value)
    plain = re.match("a (whole number|finite number|number|text)(, )?", item)
    if plain is None:
        return f"a list{count and f' of {count}'.rstrip()}, each {item}"
    return f"a list of {count}{plain[1]}s{', each ' if plain[2] else ''}{item[plain.end() :]}"

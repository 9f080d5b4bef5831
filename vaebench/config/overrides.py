"""The words of a command as overrides of Hydra: a path or another text is taken as it is, a sweep is spelled out."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, Quote, QuotedString, RangeSweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from vaebench.config.choices import DESCRIPTION
from vaebench.config.spine import first_line, is_text, is_whole, shorthand
from vaebench.errors import UserError, shown, unknown

MOST_POINTS = 10_000  # of a sweep
_LONGEST = 65_536  # characters of a word; reading longer ones takes minutes
_DEEPEST = 50  # brackets inside brackets
_UNSAID = DESCRIPTION | {"_target_"}  # of a leaf, what is no option
# Options of leaves that hold a path, or several: a file, or a model that is a folder or has a name on a hub.
_PATHS = re.compile(r".+\.(path|reference_file|model|splits\.\w+)")
_CALL = re.compile(r"(choice|range|interval|glob|sort|shuffle|tag)\(.*\)", re.DOTALL)
_QUOTED = re.compile(r"""'(\\.|[^'\\])*'|"(\\.|[^"\\])*\"""", re.DOTALL)
# 1e3 and 8.0 are whole numbers; in a list too, if no text is in it.
_WHOLE_FLOAT = re.compile(r"(?<![^\[,=:\s])[+-]?(\d+\.\d*|\d+(\.\d*)?[eE]\+?\d{1,2})(?![^\],\s])")


def axes_of(words: Iterable[str], spec: type, mistakes: list[str], *, sweep: bool) -> Iterator[list[str]]:
    """Of each word the overrides it stands for; one that cannot be read is noted in ``mistakes``."""
    for word in words:
        try:
            yield spelled(word, spec, sweep=sweep)
        except UserError as error:
            mistakes += error.lines


def points(words: Iterable[str], spec: type) -> list[dict[str, Any]]:
    """The values in which the points of a sweep differ, by option, in the order of their configurations."""
    axes = [spelled(word, spec, sweep=True) for word in words]
    values = [[(text.partition("=")[0], parse(text).value()) for text in axis] for axis in axes if len(axis) > 1]
    return [dict(point) for point in itertools.product(*values)]


def spelled(word: str, spec: type, *, sweep: bool) -> list[str]:
    """What a word of the command line (``key=value``) stands for: one override, or one for each value of a sweep.

    ``spec``: the dataclass of the configuration, whose texts are no lists, numbers or calls, whatever they look like.
    Raises `UserError` with one line for what is no override, or lists values without ``sweep``.
    """
    if len(word) > _LONGEST:
        raise UserError(f"{shown(word)}: is too long; at most {_LONGEST:,} characters are read")
    key, _, value = word.partition("=")
    if key == "executor.kind":  # as it was written when there were two
        return spelled(f"executor={value}", spec, sweep=sweep)
    if short := shorthand(spec, key):
        return spelled(f"{key}.{short(value)}", spec, sweep=sweep)
    if _is_text(spec, key, value, sweep):
        texts = [text.strip() for text in value.split(",")] if sweep else [value]
        return [f"{key}={_quoted(text)}" for text in texts]
    override = parse(word)
    if override.is_sweep_override() and not sweep:
        raise UserError(f"{shown(word)}: lists several values; add -m to sweep")
    found = [f"{key}={text}" for text in _values(override, word)] if override.is_sweep_override() else [word]
    return list(map(whole, found)) if is_whole(spec, key.lstrip("+")) else found


def parse(word: str) -> Override:
    """The override as Hydra reads it. Raises `UserError` with one line."""
    if _depth(word) > _DEEPEST:
        raise UserError(f"{shown(word)}: more than {_DEEPEST} brackets inside each other")
    try:
        override = OverridesParser.create().parse_override(word)
    except (HydraException, ValueError) as error:  # ValueError: a number of thousands of digits
        raise UserError(f"{shown(word)}: {shown(first_line(error))}{_quoting(word)}") from error
    if GlobalHydra.instance().is_initialized():  # glob() looks at the choices of a group
        override.config_loader = GlobalHydra.instance().config_loader()
    return override


def misnamed(base: DictConfig, text: str) -> list[str]:
    """One line if there is no such option in ``base``, naming the level at which the dotted name leaves it.

    Names can be added (``+``) to and taken out (``~``) of a mapping that is an option's value, and of the arguments of
    an optimiser of PyTorch, whose YAML has some of them.
    """
    key = text.partition("=")[0]
    sign, names = key[: len(key) - len(key.lstrip("+~"))], key.lstrip("+~").split(".")
    node: object = base
    for number, part in enumerate(names):
        walked = ".".join(names[:number])
        if not isinstance(node, DictConfig):
            return [f"{shown(text)}: {walked} holds no options but one value; write {walked}=VALUE (a list: [1,2])"]
        if part in DESCRIPTION and "_target_" in node:
            return [f"{shown(text)}: {part} is what the code says of itself, no option; leave it out"]
        if sign and number == len(names) - 1 and _is_open(node, number):
            return []
        if part not in node:
            valid = [".".join([*names[:number], str(name)]) for name in node if name not in _UNSAID]
            if not valid and "_target_" in node:
                return [f"{shown(text)}: {walked} has no options as it is chosen; leave it out"]
            return [unknown("option", ".".join(names[: number + 1]), valid)]
        node = node._get_node(part)
    if sign == "~":
        return [f"{shown(text)}: nothing is taken out here; give {'.'.join(names)} another value, null where it may be"]
    return []


def whole(word: str) -> str:
    """The override with its whole numbers written as such: 1000 for 1e3, 8 for 8.0."""
    key, equals, value = word.partition("=")
    if not equals or any(mark in value for mark in "'\"{"):
        return word
    return f"{key}={_WHOLE_FLOAT.sub(lambda found: _digits(found.group()), value)}"


def _values(override: Override, word: str) -> list[str]:
    if isinstance(override.value(), ChoiceSweep | RangeSweep):  # every point is run, and an endless range is not listed
        override.value().shuffle = False  # type: ignore[union-attr]
    try:
        found = list(itertools.islice(override.sweep_string_iterator(), MOST_POINTS + 1))
    except (HydraException, ValueError, ArithmeticError) as error:
        raise UserError(f"{shown(word)}: {shown(first_line(error))}; write the values, separated by commas") from error
    if not found:
        raise UserError(f"{shown(word)}: lists no value")
    if len(found) > MOST_POINTS:
        raise UserError(f"{shown(word)}: lists more than {MOST_POINTS:,} values")
    return found


def _is_text(spec: type, key: str, value: str, sweep: bool) -> bool:
    """Whether the value is a text that Hydra's grammar is not to look at."""
    name = key.lstrip("+")
    typed = is_text(spec, name)
    if value == "null" or not (typed or _PATHS.fullmatch(name)) or _QUOTED.fullmatch(value):
        return False
    if sweep and (_CALL.fullmatch(value) or ("," in value and re.search("['\"]", value))):
        return False
    return typed or not _is_list(f"{key}={value}")


def _is_list(word: str) -> bool:
    try:
        return isinstance(parse(word).value(), list)
    except UserError:
        return False


def _quoted(text: str) -> str:
    return text if text == "null" or _QUOTED.fullmatch(text) else QuotedString(text, Quote.single).with_quotes()


def _digits(number: str) -> str:
    found = float(number)
    return str(int(found)) if found.is_integer() and abs(found) < 2**53 else number


def _depth(word: str) -> int:
    deepest = depth = 0
    for character in word:
        depth += (character in "[({") - (character in "])}")
        deepest = max(deepest, depth)
    return deepest


def _quoting(word: str) -> str:
    """What to do where a list holds overrides themselves, which Hydra reads only in quotes."""
    key, _, value = word.partition("=")
    if not (value.startswith("[") and "=" in value) or len(word) > 1000:
        return ""
    quoted = ",".join('"' + item.strip(" '\"") + '"' for item in value.strip("[]").split(","))
    return f"; overrides in a list are quoted: '{key}=[{quoted}]'"


def _is_open(node: DictConfig, depth: int) -> bool:
    """Whether a mapping in the configuration, so many names deep, takes names that it does not have yet."""
    typed = OmegaConf.get_type(node) not in (dict, None)
    target = str(node.get("_target_") or "")
    return target.startswith("torch.") if target or depth < 2 else not typed

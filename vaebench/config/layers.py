"""Hydra's composition of what the files of ``conf/`` usually are: one choice of each group, and parts inside it.

A file is a layer over those before it. For each configuration Hydra composes its own settings too and reads every file
anew, which takes ten times as long, and a plan asks for a hundred of them. So what is plain is laid here, of files that
are read once, and whatever is more than that (several choices of a group, another package,
a mistake) is left to Hydra: `laid` gives None. ``tests/test_layers.py`` compares the two for every choice there is.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from vaebench.config import origins
from vaebench.config.spine import TrainConfig

_SPINE, _SELF = "spine_train", "_self_"  # in a defaults list: the typed fields, and the file itself
_EXPERIMENT = "experiment"
_HEAD = "# @package _global_\n"  # of an experiment: its content stands at the top, not under the group's name
_HEADER = re.compile(r"^\s*#\s*@", re.MULTILINE)
_WORD = re.compile(r"([a-z_]+(?:@[a-z_.]+)?)=([A-Za-z_][\w/]*)")
_VALUES = frozenset({"null", "true", "false", "nan", "inf"})  # which are no texts to Hydra
_AT_TOP = re.compile(r"([a-z_]+)(?:@([a-z_]+))?")
_INSIDE = re.compile(r"/([a-z_]+)@([a-z_]+)")
_BASE = re.compile(r"(\w+)")
_OVERRIDE = re.compile(r"override /([a-z_]+(?:@[a-z_.]+)?)")
_WRONG = (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException, ValueError, TypeError)


class _BeyondError(Exception):
    """There is more in a file, or in a word, than one choice of a group."""


@dataclass
class _Chosen:
    """What is chosen in place of defaults, by ``GROUP`` or ``GROUP@PACKAGE``, and the defaults that were met."""

    by_words: Mapping[str, str]
    by_experiment: Mapping[str, str]
    met: set[str] = field(default_factory=set)

    def of(self, key: str, default: Any, name: str) -> str | None:
        """The choice for a default of the file ``name``; an experiment changes those of train.yaml, which holds it."""
        if key in self.met:
            raise _BeyondError
        self.met.add(key)
        found = {**(self.by_experiment if name == "train" else {}), **self.by_words}.get(key, default)
        if not (found is None or isinstance(found, str)):
            raise _BeyondError
        return found


def laid(name: str, words: Iterable[str]) -> DictConfig | None:
    """The configuration ``name`` with choices ``GROUP=NAME``, as Hydra composes it; None if that is left to Hydra."""
    try:
        by_words = dict(map(_choice, words))
        chosen = _Chosen(by_words, _overrides(by_words.get(_EXPERIMENT)))
        found: dict[str, Any] = {}
        for package, content in _layers(name, chosen):
            for part in reversed(package.split(".") if package else ()):
                content = {part: content}
            _lay(found, content)
        if not by_words.keys() | chosen.by_experiment.keys() <= chosen.met:
            return None  # of no default
        cfg = OmegaConf.unsafe_merge(copy.deepcopy(_spine()), found)  # of nodes that nobody else has
    except (_BeyondError, *_WRONG):
        return None
    OmegaConf.set_struct(cfg, True)
    return cfg  # type: ignore[return-value]


@cache
def _spine() -> Any:
    return OmegaConf.structured(TrainConfig)


def forget() -> None:
    """Read the files anew."""
    _read.cache_clear()


def _choice(word: str) -> tuple[str, str]:
    key, choice = _matched(_WORD, word)
    if choice.lower() in _VALUES:
        raise _BeyondError
    return key, choice


def _layers(name: str, chosen: _Chosen) -> Iterator[tuple[str, dict[str, Any]]]:
    """The contents of all files that a configuration is made of, the lowest first, and the package each stands in."""
    entries, content = _read(origins.conf_dir() / f"{name}.yaml")
    for entry in entries:
        if entry == _SELF:
            yield "", content
        elif isinstance(entry, str):
            yield from () if entry == _SPINE else _layers(entry, chosen)
        else:
            key, default = _only(entry)
            group, package = _matched(_AT_TOP, key)
            yield from _group(group, chosen.of(key, default, name), package or group, chosen, name)


def _group(
    group: str, choice: str | None, package: str, chosen: _Chosen, name: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The layers of a group's choice: the file, and those of its parts below or above it."""
    if choice is None:
        return
    entries, content = _of_choice(group, choice)
    for entry in entries:
        if entry == _SELF:
            yield "" if group == _EXPERIMENT else package, content
        elif group == _EXPERIMENT:
            continue  # what it overrides is chosen already
        elif isinstance(entry, str):  # a choice of the group that this is a variant of
            yield from _group(group, _matched(_BASE, entry)[0], package, chosen, name)
        else:
            key, default = _only(entry)
            part, place = _matched(_INSIDE, key)
            inside = f"{package}.{place}"
            yield from _group(part, chosen.of(f"{part}@{inside}", default, name), inside, chosen, name)


def _overrides(experiment: str | None) -> dict[str, str]:
    """What an experiment chooses in place of defaults."""
    entries, _ = _of_choice(_EXPERIMENT, experiment) if experiment else ((), {})
    pairs = (_only(entry) for entry in entries if entry != _SELF)
    return {_matched(_OVERRIDE, key)[0]: choice for key, choice in pairs}


def _of_choice(group: str, choice: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    origin = origins.of(group, choice)
    if origin is None:
        raise _BeyondError
    return _read(origin.file(group, choice), _HEAD if group == _EXPERIMENT else "")


@cache
def _read(path: Path, head: str = "") -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The defaults list of a file that begins with ``head``, its own place in it always said, and what else it holds.

    With Hydra's reader: 1e-3 is a number to it.
    """
    text = path.read_text(encoding="utf-8")
    if not text.startswith(head) or _HEADER.search(text, len(head)) or "???" in text:
        raise _BeyondError
    found = OmegaConf.to_container(OmegaConf.load(path))
    if not isinstance(found, dict):
        raise _BeyondError
    entries = found.pop("defaults", [])
    if not isinstance(entries, list):
        raise _BeyondError
    return (tuple(entries) if _SELF in entries else (*entries, _SELF)), found  # type: ignore[return-value]


def _lay(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    """Merge as OmegaConf does: mappings into each other, all else is replaced."""
    for key, value in above.items():
        there = below.get(key)
        if (_is_held(value) and _refers(there)) or (_is_held(there) and _refers(value)):
            raise _BeyondError  # what is behind it counts
        if not isinstance(value, dict):
            below[key] = value
        elif isinstance(there, dict):
            _lay(there, value)
        else:
            below[key] = {}
            _lay(below[key], value)


def _is_held(value: Any) -> bool:
    return isinstance(value, dict | list)


def _refers(value: Any) -> bool:
    return isinstance(value, str) and "${" in value


def _only(entry: Any) -> tuple[str, Any]:
    """Key and value of an entry that has one, as ``GROUP: CHOICE``."""
    if not isinstance(entry, dict) or len(entry) != 1:
        raise _BeyondError
    return next(iter(entry.items()))


def _matched(pattern: re.Pattern[str], text: Any) -> tuple[Any, ...]:
    found = pattern.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise _BeyondError
    return found.groups()

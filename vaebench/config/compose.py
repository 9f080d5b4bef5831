"""Composition of configurations with Hydra, after every override of a command has been checked at once.

Hydra's own entry point is not used: it stops at the first mistake, prints it in its own words and exits with 1.
What leaves here is plain: the records of `spine`, whose leaves are dicts and lists with every reference looked up.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from functools import cache
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vaebench.config import search, spine
from vaebench.config.choices import called, choices, experiment_choices, kind_of, kinds, settings, usual
from vaebench.config.layers import forget, laid
from vaebench.config.origins import conf_dir, groups
from vaebench.config.overrides import MOST_POINTS, axes_of, misnamed, parse, whole
from vaebench.config.spine import ReproduceConfig, ScaleSpec, TrainConfig, first_line
from vaebench.errors import UserError, shown, unknown

_IMAGES = "mnist"
_OF_TABLES = ("tracker", "executor")  # groups of which commands for whole tables choose, too
_OF_EVALUATIONS = ("suite", "snapshot", "test_on")
# Groups whose choices go inside another group's choice.
_INSIDE = {"answers": "dataset", "problems": "dataset"}
_INSIDE |= dict.fromkeys(("autoencoder", "network", "encoder", "decoder"), "model")
# What Hydra raises of overrides: the last three for a choice that is no text, or an option in what refers elsewhere.
_WRONG = (HydraException, OmegaConfBaseException, ValueError, TypeError, AssertionError)
_OPTION = re.compile(r"[A-Za-z_][\w.]*=")  # neither added, taken out, nor of another package
_PARENTS = ("parent.experiment", "parent.run", "parent.link")  # of which a command names one


@contextmanager
def session() -> Iterator[None]:
    """Inside it configurations can be composed."""
    for function in (_composed, _resolved, _behind, _dataset):
        function.cache_clear()
    forget()
    store = ConfigStore.instance()
    store.store(name="spine_train", node=TrainConfig)
    search.extend()
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        yield


def compose(name: str, overrides: Iterable[str] = ()) -> TrainConfig:
    """One configuration of train or eval. Raises `UserError` with a line for each mistake, as a command does."""
    return copy.deepcopy(_resolved(name, tuple(overrides)))


@cache
def _resolved(name: str, overrides: tuple[str, ...]) -> TrainConfig:
    """A plan asks for the same ones again and again, and composing takes thirty times as long as copying."""
    try:
        cfg = _within_bounds([_composed(name, overrides)], TrainConfig)[0]
    except UserError:  # only now is each word looked at by itself, which takes as long again
        _refuse(_looked_up(name, [], overrides)[1])
        raise
    chosen = any(word.startswith("dataset=") for word in overrides)  # else it is composed for its model alone
    found: TrainConfig = _plain(_of_one_kind(cfg) if chosen else cfg)
    return found


@cache
def _composed(name: str, overrides: tuple[str, ...]) -> DictConfig:
    options = [word for word in overrides if _OPTION.match(word) and not _is_choice(word)]
    chosen = tuple(word for word in overrides if word not in options)
    if options and all(map(_is_choice, chosen)):
        with suppress(UserError, *_WRONG):  # Hydra says it in its own words
            return _changed(_composed(name, chosen), options)
    if (cfg := laid(name, overrides)) is not None:
        return cfg
    try:
        return hydra_compose(name, list(overrides))
    except _WRONG as error:
        raise UserError(shown(first_line(error))) from error


# Hydra reads and merges a dozen files, then sets the options one by one on what came of them. A command asks for the
# same choices with other options several times, a plan hundreds of times; so what they compose to is kept and copied.
def _changed(chosen: DictConfig, options: Iterable[str]) -> DictConfig:
    """A copy of a configuration with these options set, as Hydra sets them."""
    found = copy.deepcopy(chosen)
    for override in map(parse, options):
        OmegaConf.update(found, override.key_or_group, override.value(), merge=True)
    return found


# Here every `${dataset.shape}` is looked up, once, and nothing behind this function knows that there was one. A
# DictConfig that travels on is looked up anew at each reading, in a tree that others may have changed; it is slow to
# copy, and its errors appear far from their cause. And what leaves here ends in requests, on disk: data in which
# `${...}` still means something is code when it is read back. So a `${...}` that comes from a file again is a text like
# any other.
def _plain(cfg: DictConfig) -> Any:
    """A configuration as records and plain data. Raises `UserError` if a value refers to nothing or is missing."""
    try:
        return OmegaConf.to_object(cfg)
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key or 'configuration'}: {shown(first_line(error))}") from error


def dataset(name: str) -> dict[str, Any]:
    """A dataset's leaf, whatever model goes with it."""
    return copy.deepcopy(_dataset(name))


@cache
def _dataset(name: str) -> dict[str, Any]:
    found: dict[str, Any] = _plain(_composed("train", (f"dataset={name}",)).dataset)
    return found


def as_yaml(cfg: TrainConfig | ReproduceConfig) -> str:
    """A configuration as it is shown."""
    return OmegaConf.to_yaml(OmegaConf.create(asdict(cfg)))


def configurations(
    name: str, words: Sequence[str], *, sweep: bool, images: Callable[[], str] = lambda: _IMAGES
) -> list[Any]:
    """The configurations a command line asks for: one, or with ``sweep`` one per combination of the listed values.

    ``images``: says which set of images is taken where none is chosen. Raises `UserError` with a line for every
    mistake: syntax, unknown group choice, unknown option, wrong type.
    """
    images = cache(images)  # one answer for all choices of a sweep
    mistakes: list[str] = []
    axes = list(axes_of(words, ReproduceConfig if name == "reproduce" else TrainConfig, mistakes, sweep=sweep))
    if name == "reproduce":
        mistakes += ["-m: sweeps are for train, eval, answers and prompt"] if sweep else []
        return [_of_reproduce([option for axis in axes for option in axis], mistakes)]
    points = math.prod(map(len, axes))
    if points > MOST_POINTS:
        raise UserError(*mistakes, f"-m: {points:,} combinations; at most {MOST_POINTS:,} are run")
    # What is usual, and which options there are, follows from what is chosen: for each choice of a sweep by itself.
    options = [option for axis in axes for option in axis if not _is_choice(option)]
    bases: dict[tuple[str, ...], DictConfig] = {}
    for chosen in itertools.product(*(axis for axis in axes if _is_choice(axis[0]))):
        base, wrong = _looked_up(name, usual(name, [*chosen, *options]), [*chosen, *options])
        mistakes += wrong
        if base is not None:
            bases[chosen] = base
    _refuse(mistakes)
    settled = {chosen: usual(name, [*chosen, *options], images) for chosen in bases}
    found = []
    for point in itertools.product(*axes):
        chosen = tuple(filter(_is_choice, point))
        base, words = bases[chosen], [*settled[chosen], *_without_nulls(point)]
        found.append(_composed(name, tuple(whole(word) if _is_counted(base, word) else word for word in words)))
    return [_plain(_of_one_kind(cfg)) for cfg in _within_bounds(found, TrainConfig)]


def behind(
    experiment: str, words: Sequence[str], where: str, scale: ScaleSpec, dataset: Mapping[str, Any] | None
) -> TrainConfig:
    """The configuration of an experiment that another one builds on, for its ``scale`` and ``dataset``.

    ``words``: overrides that stand in the option ``where``, which every mistake names; those of ``dataset`` are of the
    given one. ``dataset``: None for the experiment's own.
    """
    found = _behind(experiment, tuple(map(str, words)), where, json.dumps([asdict(scale), dataset]))
    return copy.deepcopy(found)


@cache
def _behind(experiment: str, words: tuple[str, ...], where: str, other: str) -> TrainConfig:
    """The rows and seeds of a plan build on the same runs."""
    scale, dataset = json.loads(other)
    try:
        mistakes: list[str] = []
        options = [option for axis in axes_of(words, TrainConfig, mistakes, sweep=False) for option in axis]
        _refuse([*mistakes, *_looked_up("train", [f"experiment={experiment}"], options)[1]])
        composed = _composed("train", (f"experiment={experiment}", *options))
        cfg = copy.deepcopy(_within_bounds([composed], TrainConfig)[0])
        cfg.scale = ScaleSpec(**scale)
        if dataset is not None:
            cfg.dataset = dataset
            # The same set, perhaps in another size: dataset.shape=[3,128,128].
            cfg.merge_with_dotlist([word for word in words if word.startswith("dataset.")])
        found: TrainConfig = _plain(_of_one_kind(cfg))
    except UserError as error:
        raise UserError(*(f"{where}: {line}" for line in error.lines)) from error
    return found


def _of_reproduce(options: Iterable[str], mistakes: list[str]) -> ReproduceConfig:
    """The configuration of reproduce, plan and report: typed fields, a tracker, an executor; else nothing is chosen."""
    cfg, words = OmegaConf.structured(ReproduceConfig), list(options)
    of_leaves = [text for text in words if re.split("[=.]", text.lstrip("+~"))[0] in _OF_TABLES]
    mistakes += _looked_up("train", [], of_leaves)[1] if of_leaves else []
    for text in (one for one in words if one not in of_leaves):
        if wrong := misnamed(cfg, text):
            mistakes += wrong
            continue
        try:
            OmegaConf.update(cfg, text.partition("=")[0].lstrip("+"), parse(text).value(), merge=True)
        except (OmegaConfBaseException, ValueError) as error:
            mistakes.append(f"{shown(text)}: {shown(first_line(error))}")
    _refuse(mistakes)
    for name in _OF_TABLES if of_leaves else ():
        cfg[name] = _composed("train", tuple(map(whole, of_leaves)))[name]
    found: ReproduceConfig = _plain(_within_bounds([cfg], ReproduceConfig)[0])
    return found


def _refuse(mistakes: Iterable[str]) -> None:
    """Raise `UserError` with each mistake once, if there are any."""
    if lines := dict.fromkeys(mistakes):
        raise UserError(*lines)


def _within_bounds(found: list[DictConfig], spec: type) -> list[DictConfig]:
    """The configurations, if no typed field is out of its bounds and nothing stands beside the fields."""
    valid = [one.name for one in fields(spec)]
    mistakes = [line for cfg in found for line in spine.mistakes(spec, cfg)]
    _refuse([*mistakes, *(unknown("option", str(name), valid) for cfg in found for name in cfg if name not in valid)])
    return found


def _of_one_kind(cfg: DictConfig) -> DictConfig:
    """The configuration. Raises `UserError` if its model works on another kind of data than its dataset holds."""
    held = "text" if "answers" in cfg.dataset else str(OmegaConf.select(cfg, "dataset.data", default="images"))
    wanted = kinds(OmegaConf.select(cfg, "model.data"))
    if held not in wanted:
        fitting = [name for name in choices("dataset") if kind_of(name) in wanted]
        raise UserError(
            f"model {called(cfg.model)} works on {' and '.join(wanted)} and dataset={cfg.dataset.name} holds {held}; "
            f"datasets for it: {', '.join(fitting)}"
        )
    return cfg


def _without_nulls(point: Sequence[str]) -> list[str]:
    """Hydra has no null for a group: it is left out, and taken out where the experiment has chosen of it."""
    given = dict(text.partition("=")[::2] for text in point)
    nulls = [text.removesuffix("=null") for text in point if text in _null_choices()]
    by_experiment = experiment_choices(given.get("experiment"))
    kept = [text for text in point if text not in _null_choices()]
    return kept + [f"~{group}" for group in nulls if group in by_experiment]


@cache
def _null_choices() -> frozenset[str]:
    """``GROUP=null`` for each group of which nothing may be chosen: those that are null in conf/train.yaml."""
    groups = (one for entry in settings("train")["defaults"] if isinstance(entry, dict) for one in entry.items())
    return frozenset(f"{group}=null" for group, choice in groups if choice is None)


def _is_choice(option: str) -> bool:
    """Whether an override chooses of a group: ``model=ae``, or ``answers@dataset.answers=llama`` inside a choice."""
    return option.partition("=")[0].lstrip("+").partition("@")[0] in _groups()


@cache
def _groups() -> frozenset[str]:
    """The folders of conf/, without the papers, which are reproduce's own."""
    return frozenset(groups()) - {"paper"}


def _is_counted(base: DictConfig, option: str) -> bool:
    """Whether the option holds a whole number, or a list of them."""
    try:
        value = OmegaConf.select(base, option.partition("=")[0].lstrip("+"))
    except OmegaConfBaseException:  # a group, a name that is added
        return False
    return all(type(item) is int for item in (value if isinstance(value, ListConfig) else [value]))


def _looked_up(name: str, defaults: list[str], words: Sequence[str]) -> tuple[DictConfig | None, list[str]]:
    """The configuration that is chosen, and the mistakes of each override by itself.

    Choices of groups come first, so that options are looked up in the chosen leaf.
    """
    chosen, options, mistakes = dict[str, str](), [], []
    for text in words:
        key, _, value = text.partition("=")
        group = key.lstrip("+").partition("@")[0]
        part = key.rpartition(".")[2]
        of = key.lstrip("+~").rpartition("@")[2].partition(".")[0]
        if name != "eval" and of in _OF_EVALUATIONS and value != "null":
            mistakes.append(f"{shown(text)}: is for `vaebench eval`; leave it out")
        elif key == "test_on":
            mistakes.append(f"{shown(text)}: another set to test on is chosen as dataset@test_on=NAME")
        elif _is_inside(key, value):
            mistakes.append(f"{shown(text)}: is chosen as {part}@{_INSIDE[part]}.{part}=NAME")
        elif not _is_choice(text):
            options.append(text)
        elif value in choices(group):
            chosen[key] = text
        elif text not in _null_choices():
            mistakes.append(unknown(key, value, choices(group)))
    given = {key for key, _, value in (text.partition("=") for text in options) if value != "null"}
    if len(named := [key for key in _PARENTS if key in given]) > 1:
        mistakes.append(f"{', '.join(named)}: a model builds on one of them; leave the others out")
    fixed = (*defaults, *chosen.values())
    try:
        base = _composed(name, fixed)
    except UserError as error:  # a part that what is chosen does not have
        return None, [*mistakes, *(f"{line}: {', '.join(fixed)}" for line in error.lines)]
    wrong = {text: misnamed(base, text) for text in options}
    known = [text for text, lines in wrong.items() if not lines]
    return base, [*mistakes, *itertools.chain(*wrong.values()), *_refused(name, fixed, known)]


def _is_inside(key: str, value: str) -> bool:
    """Whether this chooses of a group inside another's choice, written as if it were a group or an option."""
    part = key.rpartition(".")[2]
    if "@" in key or part not in _INSIDE:
        return False
    # Some models have a plain option of the group's name (network=mlp).
    return key == part or (key == f"{_INSIDE[part]}.{part}" and (part != "network" or value in choices(part)))


def _refused(name: str, chosen: tuple[str, ...], options: list[str]) -> list[str]:
    """One line for each option that Hydra refuses; one by one they are tried only if it refuses them together."""

    def refusal(*some: str) -> str:
        try:
            _composed(name, (*chosen, *some))
        except UserError as error:
            return error.lines[0]
        return ""

    reasons = {text: refusal(text) for text in options} if refusal(*options) else {}
    return [f"{shown(text)}: {reason}" for text, reason in reasons.items() if reason]

"""Composition of configurations with Hydra, after every override of a command has been checked at once.

Hydra's own entry point is not used: it stops at the first mistake, prints it in its own words and exits with 1.
What leaves here is plain: the records of `spine`, whose leaves are dicts and lists with every reference looked up.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from functools import cache
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vaebench.config import bounds
from vaebench.config.bounds import first_line
from vaebench.config.choices import choices, conf_dir, kind_of, kinds
from vaebench.config.overrides import MOST_POINTS, parse, spelled, whole
from vaebench.config.spine import ReproduceConfig, ScaleSpec, TrainConfig
from vaebench.config.targets import called
from vaebench.config.usual import default_dataset, experiment_choices, usual
from vaebench.errors import UserError, shown, unknown

_IMAGES = "mnist"
# Groups whose choices go inside another group's choice.
_INSIDE = {"answers": "dataset", "problems": "dataset"}
_INSIDE |= dict.fromkeys(("autoencoder", "network", "encoder", "decoder"), "model")


@contextmanager
def session() -> Iterator[None]:
    """Inside it configurations can be composed."""
    for function in (_composed, _resolved, _behind):
        function.cache_clear()
    store = ConfigStore.instance()
    store.store(name="spine_train", node=TrainConfig)
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        yield


def compose(name: str, overrides: Iterable[str] = ()) -> TrainConfig:
    """One configuration of train or eval. Raises `UserError` in one line where Hydra raises in several."""
    return copy.deepcopy(_resolved(name, tuple(overrides)))


def dataset(name: str) -> dict[str, Any]:
    """A dataset's leaf, whatever model goes with it."""
    found: dict[str, Any] = _plain(_composed("train", (f"dataset={name}",)).dataset)
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


@cache
def _resolved(name: str, overrides: tuple[str, ...]) -> TrainConfig:
    """A plan asks for the same ones again and again, and composing takes thirty times as long as copying."""
    found: TrainConfig = _plain(_composed(name, overrides))
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


@cache
def _composed(name: str, overrides: tuple[str, ...]) -> DictConfig:
    try:
        return hydra_compose(name, list(overrides))
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # ValueError: a choice that is no text
        raise UserError(shown(first_line(error))) from error


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
    spec: type = ReproduceConfig if name == "reproduce" else TrainConfig
    mistakes: list[str] = []
    axes: list[list[str]] = []
    for word in words:
        try:
            axes.append(spelled(word, spec, sweep=sweep))
        except UserError as error:
            mistakes += error.lines
    if name == "reproduce":
        mistakes += ["-m: sweeps are for train, eval, answers and prompt"] if sweep else []
        return [_spine([option for axis in axes for option in axis], mistakes)]
    defaults = usual(name, words)
    base, refused = _looked_up(name, defaults, [option for axis in axes for option in axis])
    mistakes += refused
    points = math.prod(map(len, axes))
    mistakes += [f"-m: {points:,} combinations; at most {MOST_POINTS:,} are run"] if points > MOST_POINTS else []
    if mistakes or base is None:
        raise UserError(*dict.fromkeys(mistakes))
    defaults += default_dataset(words, images)
    axes = [[whole(option) if _is_counted(base, option) else option for option in axis] for axis in axes]
    found = [_composed(name, (*defaults, *_without_nulls(point))) for point in itertools.product(*axes)]
    return [_plain(_of_one_kind(cfg)) for cfg in _within_bounds(found, spec)]


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
        options = [option for word in words for option in spelled(word, TrainConfig, sweep=False)]
        cfg, refused = _looked_up("train", [f"experiment={experiment}"], options)
        if refused or cfg is None:
            raise UserError(*refused)
        cfg = copy.deepcopy(
            _within_bounds([_composed("train", (f"experiment={experiment}", *options))], TrainConfig)[0]
        )
        cfg.scale = ScaleSpec(**scale)
        if dataset is not None:
            cfg.dataset = dataset
            # The same set, perhaps in another size: dataset.shape=[3,128,128].
            cfg.merge_with_dotlist([word for word in words if word.startswith("dataset.")])
        found: TrainConfig = _plain(_of_one_kind(cfg))
    except UserError as error:
        raise UserError(*(f"{where}: {line}" for line in error.lines)) from error
    return found


def points(words: Iterable[str]) -> list[str]:
    """What to call the points of a sweep, in the order of their `configurations`: the values that differ."""
    axes = [spelled(word, TrainConfig, sweep=True) for word in words]
    return [" ".join(point) for point in itertools.product(*(axis for axis in axes if len(axis) > 1))]


def _spine(options: Iterable[str], mistakes: list[str]) -> ReproduceConfig:
    """The configuration of reproduce, plan and report: typed fields only, nothing is chosen from a group."""
    spine = OmegaConf.structured(ReproduceConfig)
    for text in options:
        found = _misnamed(spine, text)
        if not found:
            key, value = text.partition("=")[0].lstrip("+"), parse(text).value()
            try:
                OmegaConf.update(spine, key, value, merge=True)
            except (OmegaConfBaseException, ValueError) as error:
                found = [f"{shown(text)}: {shown(first_line(error))}"]
        mistakes += found
    if mistakes:
        raise UserError(*dict.fromkeys(mistakes))
    cfg: ReproduceConfig = _plain(_within_bounds([spine], ReproduceConfig)[0])
    return cfg


def _within_bounds(found: list[DictConfig], spec: type) -> list[DictConfig]:
    """The configurations, if no typed field is out of its bounds and nothing stands beside the fields."""
    mistakes = [line for cfg in found for line in bounds.mistakes(spec, cfg)]
    valid = [one.name for one in fields(spec)]
    mistakes += [unknown("option", str(name), valid) for cfg in found for name in cfg if name not in valid]
    if mistakes:
        raise UserError(*dict.fromkeys(mistakes))
    return found


def _without_nulls(point: Sequence[str]) -> list[str]:
    """Hydra has no null for a group: it is left out, and taken out where the experiment has chosen of it."""
    given = dict(text.partition("=")[::2] for text in point)
    by_experiment = experiment_choices(given.get("experiment"))
    kept = [text for text in point if not _is_null_choice(text)]
    return kept + [
        f"~{text.removesuffix('=null')}"
        for text in point
        if text.partition("=")[0] in by_experiment and _is_null_choice(text)
    ]


def _is_null_choice(text: str) -> bool:
    return text in {f"{group}=null" for group in _optional_groups()}


@cache
def _optional_groups() -> frozenset[str]:
    """The groups of which nothing may be chosen: those that are null in conf/train.yaml."""
    entries = yaml.safe_load((conf_dir() / "train.yaml").read_text(encoding="utf-8"))["defaults"]
    return frozenset(
        group for entry in entries if isinstance(entry, dict) for group, choice in entry.items() if choice is None
    )


def _is_counted(base: DictConfig, option: str) -> bool:
    """Whether the option holds a whole number, or a list of them."""
    try:
        value = OmegaConf.select(base, option.partition("=")[0].lstrip("+"))
    except OmegaConfBaseException:  # a group, a name that is added
        return False
    return all(type(item) is int for item in (value if isinstance(value, ListConfig) else [value]))


def _looked_up(name: str, defaults: list[str], options_and_choices: list[str]) -> tuple[DictConfig | None, list[str]]:
    """The configuration that is chosen, and the mistakes of each override by itself.

    Choices of groups come first, so that options are looked up in the chosen leaf.
    """
    groups = {path.name for path in conf_dir().iterdir() if path.is_dir()} - {"paper"}  # that is reproduce's own
    chosen, options, mistakes = [], [], []
    for text in options_and_choices:
        key, _, value = text.partition("=")
        group = key.lstrip("+").partition("@")[0]  # answers@dataset.answers=llama: a group inside another's choice
        part = key.rpartition(".")[2]
        if key == "test_on":
            mistakes.append(f"{shown(text)}: another set to test on is chosen as dataset@test_on=NAME")
        elif _is_inside(key, value):
            mistakes.append(f"{shown(text)}: is chosen as {part}@{_INSIDE[part]}.{part}=NAME")
        elif group not in groups:
            options.append(text)
        elif value in choices(group):
            chosen.append(text)
        elif not _is_null_choice(text):
            mistakes.append(unknown(key, value, choices(group)))
    by_group = {text.partition("=")[0]: text for text in chosen}  # one choice of a sweep stands for the others
    fixed = [*defaults, *by_group.values()]
    try:
        base = _composed(name, tuple(fixed))
    except UserError as error:  # a part that what is chosen does not have
        return None, [*mistakes, *(f"{line}: {', '.join(fixed)}" for line in error.lines)]
    known = []
    for text in options:
        found = _misnamed(base, text)
        mistakes += found
        known += [] if found else [text]
    return base, mistakes + _refused(name, fixed, known)


def _is_inside(key: str, value: str) -> bool:
    """Whether this chooses of a group inside another's choice, written as if it were a group or an option."""
    part = key.rpartition(".")[2]
    if "@" in key or part not in _INSIDE:
        return False
    # Some models have a plain option of the group's name (network=mlp).
    return key == part or (key == f"{_INSIDE[part]}.{part}" and (part != "network" or value in choices(part)))


def _refused(name: str, chosen: list[str], options: list[str]) -> list[str]:
    """One line for each option that Hydra refuses; one by one they are tried only if it refuses them together."""
    if _refusal(name, (*chosen, *options)) is None:
        return []
    reasons = {text: _refusal(name, (*chosen, text)) for text in options}
    return [f"{shown(text)}: {reason}" for text, reason in reasons.items() if reason is not None]


def _refusal(name: str, overrides: tuple[str, ...]) -> str | None:
    try:
        _composed(name, overrides)
    except UserError as error:
        return error.lines[0]
    return None


def _misnamed(base: DictConfig, text: str) -> list[str]:
    """One line if there is no such option in ``base``, naming the level at which the dotted name leaves it.

    Names can be added (``+``) to and taken out (``~``) of a mapping that is an option's value, and of the arguments of
    an optimiser of PyTorch, whose YAML has some of them.
    """
    key = text.partition("=")[0]
    sign, names = key[: len(key) - len(key.lstrip("+~"))], key.lstrip("+~").split(".")
    node: object = base
    for number, part in enumerate(names):
        last = number == len(names) - 1
        walked = ".".join(names[:number])
        if not isinstance(node, DictConfig):
            return [f"{shown(text)}: {walked} holds no options but one value; write {walked}=VALUE (a list: [1,2])"]
        if last and sign and _is_open(node, number):
            return []
        if part not in node:
            return [
                unknown(
                    "option", ".".join(names[: number + 1]), [".".join([*names[:number], str(name)]) for name in node]
                )
            ]
        node = node._get_node(part)
    if sign == "~":
        return [f"{shown(text)}: nothing is taken out here; give {'.'.join(names)} another value, null where it may be"]
    return []


def _is_open(node: DictConfig, depth: int) -> bool:
    """Whether a mapping in the configuration, so many names deep, takes names that it does not have yet."""
    typed = OmegaConf.get_type(node) not in (dict, None)
    target = str(node.get("_target_") or "")
    return target.startswith("torch.") if target or depth < 2 else not typed

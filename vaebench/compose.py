"""Composition of configurations with Hydra, after every override of a command has been checked at once.

Hydra's own entry point is not used: it stops at the first mistake, prints it in its own words and exits with 1.
"""

from __future__ import annotations

import copy
import itertools
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vaebench.config import (
    LATENTS,
    ReproduceConfig,
    TrainConfig,
    choices,
    conf_dir,
    kind_of,
    kinds_of_model,
    leaf,
)
from vaebench.errors import UserError, unknown

# Groups whose choices go inside another group's choice.
_INSIDE = {"answers": "dataset", "problems": "dataset"}
_INSIDE |= dict.fromkeys(("autoencoder", "network", "encoder", "decoder"), "model")
# The dataset a model of this kind takes where none is chosen.
_EMBEDDED = {"text": "tiny", "tokens": "arithmetic", "audio": "tones", "points": "s_curve"}
# What is chosen for a kind of data where the command is silent; images have the defaults of conf/train.yaml.
_AUTOENCODER = "autoencoder@model.autoencoder"
_USUAL = {
    "text": {"model": "rcvae", "suite": "selection"},
    "tokens": {"model": "tiny_lm"},
    "points": {"model": "points", "suite": "points"},
    "audio": {"model": "vp_vae", "suite": "tokens", _AUTOENCODER: "mel"},
}


@contextmanager
def session() -> Iterator[None]:
    """Inside it configurations can be composed."""
    _composed.cache_clear()
    store = ConfigStore.instance()
    store.store(name="spine_train", node=TrainConfig)
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        yield


def compose(name: str, overrides: Iterable[str] = ()) -> DictConfig:
    """One configuration. Raises `UserError` in one line where Hydra raises in several."""
    return copy.deepcopy(_composed(name, tuple(overrides)))


@cache
def _composed(name: str, overrides: tuple[str, ...]) -> DictConfig:
    """A plan asks for the same ones again and again, and composing takes thirty times as long as copying."""
    try:
        return hydra_compose(name, list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_first_line(error)) from error


def configurations(name: str, overrides: list[str], *, sweep: bool) -> list[DictConfig]:
    """The configurations a command line asks for: one, or with ``sweep`` one per combination of the listed values.

    Raises `UserError` with a line for every mistake: syntax, unknown group choice, unknown option, wrong type.
    """
    if name == "reproduce":
        return [_spine(overrides)]
    parsed, mistakes = _parse(overrides)
    mistakes += [
        f"{o.input_line}: lists several values; add -m to sweep" for o in parsed if o.is_sweep_override() and not sweep
    ]
    axes = [list(_spellings(override)) for override in parsed]
    defaults = _usual(name, parsed)
    mistakes += _mistakes(name, defaults, [option for axis in axes for option in axis])
    if mistakes:
        raise UserError(*dict.fromkeys(mistakes))
    defaults += _default_dataset(parsed)
    return [compose(name, [*defaults, *combination]) for combination in itertools.product(*axes)]


def _spine(overrides: list[str]) -> DictConfig:
    """The configuration of reproduce, plan and report: typed fields only, nothing is chosen from a group."""
    spine, mistakes = OmegaConf.structured(ReproduceConfig), []
    for text in overrides:
        found = _unknown_option(spine, text.partition("=")[0])
        try:
            if not found:
                spine.merge_with_dotlist([text])
        except OmegaConfBaseException as error:
            found = [f"{text}: {_first_line(error)}"]
        mistakes += found
    if mistakes:
        raise UserError(*mistakes)
    return spine


def _parse(overrides: list[str]) -> tuple[list[Override], list[str]]:
    parser, parsed, mistakes = OverridesParser.create(), [], []
    for text in overrides:
        try:
            parsed.append(parser.parse_override(text))
        except HydraException as error:
            mistakes.append(f"{text}: {_first_line(error)}{_quoting(text)}")
    return parsed, mistakes


def _quoting(text: str) -> str:
    """What to do where a list holds overrides themselves, which Hydra reads only in quotes."""
    key, _, value = text.partition("=")
    if not (value.startswith("[") and "=" in value):
        return ""
    quoted = ",".join('"' + item.strip(" '\"") + '"' for item in value.strip("[]").split(","))
    return f"; overrides in a list are quoted: '{key}=[{quoted}]'"


def _spellings(override: Override) -> Iterator[str]:
    """The override itself, or one override for each value it lists."""
    if not override.is_sweep_override():
        yield str(override.input_line)
        return
    for value in override.sweep_string_iterator():
        yield f"{override.get_key_element()}={value}"


def _mistakes(name: str, defaults: list[str], overrides: list[str]) -> list[str]:
    """Mistakes of each override by itself: group choices first, so that options are looked up in the chosen leaf."""
    groups = {path.name for path in conf_dir().iterdir() if path.is_dir()}
    chosen, options, mistakes = [], [], []
    for text in overrides:
        key, _, value = text.partition("=")
        group = key.lstrip("+~").partition("@")[0]  # answers@dataset.answers=llama: a group inside another's choice
        part = key.rpartition(".")[2]
        if key == "test_on":
            mistakes.append(f"{text}: another set to test on is chosen as dataset@test_on=NAME")
        elif _is_inside(key, value):
            mistakes.append(f"{text}: is chosen as {part}@{_INSIDE[part]}.{part}=NAME")
        elif group not in groups:
            options.append(text)
        elif value in choices(group) or value == "null":
            chosen.append(text)
        else:
            mistakes.append(unknown(key, value, choices(group)))
    by_group = {text.partition("=")[0]: text for text in chosen}  # one choice of a sweep stands for the others
    fixed = [*defaults, *by_group.values()]
    try:
        base = compose(name, fixed)
    except UserError as error:  # a part that what is chosen does not have
        return [*mistakes, *(f"{line}: {', '.join(fixed)}" for line in error.lines)]
    for text in options:
        mistakes += _option_mistakes(name, base, fixed, text)
    return mistakes


def _is_inside(key: str, value: str) -> bool:
    """Whether this chooses of a group inside another's choice, written as if it were a group or an option."""
    part = key.rpartition(".")[2]
    if "@" in key or part not in _INSIDE:
        return False
    # Some models have a plain option of the group's name (network=mlp).
    return key == part or (key == f"{_INSIDE[part]}.{part}" and (part != "network" or value in choices(part)))


def _option_mistakes(name: str, base: DictConfig, chosen: list[str], text: str) -> list[str]:
    key = text.partition("=")[0]
    mistakes = [] if key.startswith(("+", "~")) else _unknown_option(base, key)
    if mistakes:
        return mistakes
    try:
        hydra_compose(name, [*chosen, text])
    except (HydraException, OmegaConfBaseException) as error:
        return [f"{text}: {_first_line(error)}"]
    return []


def _unknown_option(base: DictConfig, key: str) -> list[str]:
    """One line if the dotted ``key`` is not in ``base``, naming the level at which it leaves it."""
    node: object = base
    walked: list[str] = []
    for part in key.split("."):
        if not isinstance(node, DictConfig) or part not in node:
            names = [str(name) for name in node] if isinstance(node, DictConfig) else []
            return [unknown("option", ".".join([*walked, part]), [".".join([*walked, name]) for name in names])]
        walked.append(part)
        node = node._get_node(part)
    return []


def _usual(name: str, parsed: list[Override]) -> list[str]:
    """What goes with the kind of data (R-CVAE with texts), unless the command or its experiment says otherwise."""
    chosen = _chosen(parsed)
    model, dataset = (chosen[g] if chosen.get(g) in choices(g) else "" for g in ("model", "dataset"))
    kinds = kinds_of_model(model) if model else ()
    kind = kind_of(dataset) if dataset else (*kinds, "images")[0]
    usual = _USUAL.get(kind, {})
    if kind == "images" and "audio" in kinds:  # a tokenizer, on images too
        usual = {"suite": "tokens"}
    if model and leaf("model", model).get("data") == LATENTS:
        usual = {"suite": "latent_diffusion"}
    unfit = {"suite"} if name != "eval" else set()
    if "model" in chosen and kind not in kinds:  # no tokenizer: it has no autoencoder to choose
        unfit.add(_AUTOENCODER)
    return [f"{group}={choice}" for group, choice in usual.items() if group not in {*chosen, *unfit}]


def _default_dataset(parsed: list[Override]) -> list[str]:
    """The model's default kind of data, unless the command or its experiment chooses a dataset.

    Images: MNIST if it is at hand or can be downloaded, else the embedded digits. Texts: the embedded ``tiny``.
    """
    chosen = _chosen(parsed)
    if "dataset" in chosen:
        return []
    model = chosen.get("model")
    kind = kinds_of_model(str(model))[0] if model in choices("model") else "images"
    if kind != "images":
        return [f"dataset={_EMBEDDED[kind]}"]
    from vaebench.data.fetch import available

    if available("mnist") != "unavailable":
        return ["dataset=mnist"]
    sys.stderr.write(
        "note: dataset=digits, the embedded stand-in: MNIST is neither here nor downloadable (set VAEBENCH_DATA)\n"
    )
    return ["dataset=digits"]


def _chosen(parsed: list[Override]) -> dict[str, str]:
    """What the command chooses, and what its experiment does where the command is silent."""
    given = {o.get_key_element().lstrip("+~"): str(o.input_line).partition("=")[2] for o in parsed}
    return {**_experiment_choices(given.get("experiment")), **given}


def _experiment_choices(name: str | None) -> dict[str, str]:
    """What an experiment chooses of each group."""
    if name not in choices("experiment"):
        return {}
    defaults = leaf("experiment", str(name)).get("defaults", ())
    return {key.removeprefix("override /"): value for entry in defaults for key, value in entry.items()}


def _first_line(error: Exception) -> str:
    """The cause in one line; Hydra wraps the message that says what is wrong."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    return str(cause).strip().splitlines()[0].rstrip(".")

"""What a command takes where it is silent: what goes with a kind of data (``conf/usual.yaml``) or with a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import yaml

from vaebench.config.choices import LATENTS, choices, conf_dir, kind_of, kinds_of_model, leaf


def usual(name: str, words: Sequence[str]) -> list[str]:
    """What goes with the kind of data or with the model, unless the command or its experiment says otherwise."""
    chosen = _chosen(words)
    model, dataset = (chosen[g] if chosen.get(g) in choices(g) else "" for g in ("model", "dataset"))
    about = leaf("model", model) if model else {}
    kinds = kinds_of_model(model) if model else ()
    kind = kind_of(dataset) if dataset else (*kinds, "images")[0]
    usual = {group: choice for group, choice in _of_kind(kind).items() if group != "dataset"}
    if kind == "images" and "audio" in kinds:
        usual = {"suite": _of_kind("audio")["suite"]}
    if about.get("data") == LATENTS:
        usual = _of_kind(LATENTS)
    if "builds_on" in about and "chain" not in chosen:
        usual |= dict(zip(("chain", "link"), about["builds_on"].split("/"), strict=True))
    unfit = {"suite"} if name != "eval" else set()
    if "model" in chosen and kind not in kinds:  # it does not have the part that would be chosen
        unfit |= {group for group in usual if "@model." in group}
    return [f"{group}={choice}" for group, choice in usual.items() if group not in {*chosen, *unfit}]


@cache
def _usual_choices() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = yaml.safe_load((conf_dir() / "usual.yaml").read_text(encoding="utf-8"))
    return found


def _of_kind(kind: str) -> dict[str, str]:
    """What is usually chosen for a kind of data."""
    return dict(_usual_choices().get(kind, {}))


def default_dataset(words: Sequence[str], images: Callable[[], str]) -> list[str]:
    """The usual set of the model's kind of data, unless the command or its experiment chooses one."""
    chosen = _chosen(words)
    if "dataset" in chosen:
        return []
    model = chosen.get("model")
    kind = kinds_of_model(str(model))[0] if model in choices("model") else "images"
    return [f"dataset={images() if kind == 'images' else _of_kind(kind)['dataset']}"]


def _chosen(words: Sequence[str]) -> dict[str, str]:
    """What the command chooses, and what its experiment does where the command is silent."""
    given = {key.lstrip("+~"): value for key, _, value in (word.partition("=") for word in words)}
    return {**experiment_choices(given.get("experiment")), **given}


def experiment_choices(name: str | None) -> dict[str, str]:
    """What an experiment chooses of each group."""
    if name not in choices("experiment"):
        return {}
    defaults = leaf("experiment", str(name)).get("defaults", ())
    return {key.removeprefix("override /"): value for entry in defaults for key, value in entry.items()}

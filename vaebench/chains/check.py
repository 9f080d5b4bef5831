"""What a chain's runs must agree on, and every part of them built once, before anything is made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from typing import Any

from vaebench.config.choices import LATENTS, called, choices, leaf
from vaebench.config.request import Request
from vaebench.config.spine import LinkSpec, TrainConfig
from vaebench.data.leaves import highest_label
from vaebench.errors import UserError, shown
from vaebench.runs import build, kinds
from vaebench.runs.kinds import reference, title

_NUMBERS = {"images": 3, "audio": 2}  # in the shape of an item


def leaves(cfg: TrainConfig) -> None:
    """Bind every leaf that a command names to its signature. Raises all mistakes at once."""
    if not cfg.on_texts and (numbers := _NUMBERS.get(cfg.dataset.get("data") or "images")):
        _check_shape(cfg.dataset["shape"], numbers)
        shape = cfg.model.get("input_shape", cfg.dataset["shape"])
        if shape != cfg.dataset["shape"]:
            advice = "leave it out; dataset.shape changes both"
            raise UserError(f"model.input_shape={shown(shape)}: that of the data is {cfg.dataset['shape']}; {advice}")
    found = {"model": cfg.model, "optim": cfg.optim, "suite": cfg.suite, "test_on": cfg.test_on}
    if cfg.on_texts:
        found |= {"embedder": cfg.embedder}
        found |= {f"dataset.{part}": cfg.dataset[part] for part in ("problems", "answers")}
        _check_width(cfg.model, cfg.embedder)
    else:
        found["dataset"] = cfg.dataset
    if cfg.reference is not None:
        found["reference"] = reference.leaf(cfg)
    if cfg.test_on is not None:
        _check_fits(cfg.dataset, cfg.test_on)
    given = {name: one for name, one in found.items() if one is not None or name in ("model", "optim")}
    given |= {"tracker": cfg.tracker} if cfg.tracker else {}
    build.check(given, remote_code=cfg.runtime.trust_remote_code)
    if cfg.tracker:
        build.tracker(cfg.tracker)  # whose package may be missing


def try_out(requests: Iterable[Request], *, remote_code: bool = False) -> dict[str, Any]:
    """Build what each request names, once, before anything is made; parents come before their children.

    ``remote_code``: whether the command allows code that comes with a model.

    Returns the models by the request's key. Raises `UserError` with the mistakes of all requests at once.
    """
    models: dict[str, Any] = {}
    lines: list[str] = []
    for request in requests:
        try:
            with inside(request.where):
                built = kinds.of(request["verb"]).check(request, models, remote_code=remote_code)
        except UserError as error:
            lines += error.lines
            continue
        if built is not None:
            models[request.key] = built
    if lines:
        raise UserError(*dict.fromkeys(lines))
    return models


@contextmanager
def inside(where: str) -> Iterator[None]:
    """Within it mistakes say in which run of a chain they are."""
    try:
        yield
    except UserError as error:
        raise UserError(*(f"{where}: {line}" if where else line for line in error.lines)) from error


def autoencoder(cfg: TrainConfig, parent: Request | None) -> None:
    """Raise `UserError` if a model of latents has no autoencoder, or none of the same dataset."""
    if parent is None:
        raise UserError(
            f"model {called(cfg.model)} is trained on an autoencoder's latents: name one, parent.experiment=NAME "
            "(vaebench list experiments), or a finished run, parent.run=KEY (vaebench list runs)"
        )
    where, trained = parent.where or "parent", parent["dataset"]["name"]
    if parent["model"].get("data") == LATENTS:
        raise UserError(f"{where}: is a diffusion model itself ({title(parent)}); name an autoencoder's run")
    if trained != cfg.dataset["name"]:
        raise UserError(
            f"{where}: was trained on {trained}, and dataset={cfg.dataset['name']}; a diffusion model is trained on "
            f"the latents of its autoencoder's own set (dataset={trained})"
        )


def classes(model: Mapping[str, Any], dataset: Mapping[str, Any]) -> None:
    """Raise `UserError` if a model of latents is to know other classes than there are folders of images to train on.

    Before its autoencoder is trained: the model itself sees the labels only then.
    """
    highest = highest_label(dataset) if model.get("classes") else None
    if highest is not None and model["classes"] != highest + 1:
        raise UserError(
            f"model.classes={model['classes']}: the training items of {dataset['name']} have labels up to {highest}; "
            "give their number, or put the folders of the other classes there"
        )


def by_itself(cfg: TrainConfig) -> None:
    """Raise `UserError` for a run that a training on texts would have to build on: it builds on none."""
    named = {f"parent.{name}": value for name, value in asdict(cfg.parent).items()}
    named |= {"chain": cfg.chain or None, "link": cfg.link}
    given = [name for name, value in named.items() if value not in (None, [])]
    if given:
        raise UserError(f"{', '.join(given)}: a model of texts builds on no other run; leave this out")


def unchanged(name: str, link: LinkSpec, where: str) -> None:
    """Raise `UserError` if a link has an experiment of its own beside a finished run in its place."""
    usual = (leaf("chain", chain).get(name, {}) for chain in choices("chain"))
    if link.experiment not in (None, *(one.get("experiment") for one in usual)):
        option = f"{where.rpartition('.run=')[0]}.experiment={link.experiment}"
        raise UserError(f"{where}: is trained already, so {option} cannot apply")


def kept(options: Mapping[str, Any], completed: Mapping[str, Any]) -> None:
    """Raise `UserError` for options of a model that what it builds on overrules, unless they are a choice's own."""
    lost = [name for name, value in options.items() if value is not None and completed.get(name) != value]
    given = [name for name in lost if options[name] not in _usual(options["_target_"], name)]
    if given:
        advice = "follows from what the model builds on; leave it out"
        raise UserError(
            *(f"model.{name}={options[name]}: is {completed.get(name)} here, it {advice}" for name in given)
        )


@cache
def _usual(target: str, option: str) -> list[Any]:
    """The values of an option in the choices of conf/model that make the same model."""
    leaves = (leaf("model", name) for name in choices("model"))
    return [one.get(option) for one in leaves if one["_target_"] == target]


def same_shape(cfg: TrainConfig, other: TrainConfig, where: str) -> None:
    """Raise `UserError` if a link works on items of another shape than its chain."""
    wanted = cfg.dataset.get("shape")
    shapes = {"dataset.shape": other.dataset.get("shape"), "model.input_shape": other.model.get("input_shape", wanted)}
    for option, shape in shapes.items():
        if shape != wanted:
            raise UserError(
                f"{where}.overrides: {option}={shape}: those of all runs of a chain are {wanted}; give "
                "dataset.shape to the command itself"
            )


def same_dataset(run: Request, wanted: Mapping[str, Any], where: str) -> None:
    """Raise `UserError` if a finished run was made on another dataset, or on items of another shape."""
    trained = run.data.get("dataset", wanted["name"])
    found = trained if isinstance(trained, Mapping) else {"name": trained, "shape": wanted["shape"]}
    advice = f"or if this is meant, add '{where.rpartition('.run=')[0]}.overrides=[\"dataset={found['name']}\"]'"
    for option, name in (("dataset", "name"), ("dataset.shape", "shape")):
        if found.get(name) != wanted[name]:
            line = f"was trained on {option}={found.get(name)}, and {option}={wanted[name]} here; choose another run"
            raise UserError(f"{where}: {line}{f', {advice}' if name == 'name' else ''}")


def same_reference(drawn: Request, wanted: Request, where: str) -> None:
    """Raise `UserError` if a finished run was made for another reference than the configuration's."""
    one, other = (
        {"reference": run["name"], **{f"reference.{name}": value for name, value in run["reference"].items()}}
        | {name: run.data.get(name) for name in ("dataset", "embedder")}
        for run in (drawn, wanted)
    )
    differing = [name for name in {**one, **other} if one.get(name) != other.get(name) and name != "reference.path"]
    if differing:
        name = differing[0]
        raise UserError(
            f"{where}: was made for {name}={shown(one.get(name))}, and {name}={shown(other.get(name))} here; choose "
            f"{name}={shown(one.get(name))}, or another run"
        )


def _check_shape(shape: Any, numbers: int) -> None:
    """Raise `UserError` if the shape of an item is not so many whole numbers."""
    if not (isinstance(shape, list) and len(shape) == numbers and all(type(n) is int and n > 0 for n in shape)):
        form = {3: "channels, height and width of an image, [1,28,28]", 2: "channel and samples of a clip, [1,8000]"}
        raise UserError(f"dataset.shape={shown(shape)}: expected {form[numbers]}")


def _check_fits(trained: Mapping[str, Any], tested: Mapping[str, Any]) -> None:
    """Raise `UserError` if what a model is tested on has not the form of what it was trained on."""
    for what in ("shape", "sample_rate"):
        one, other = trained.get(what), tested.get(what)
        if one != other and not (what == "shape" and "sample_rate" in trained):  # clips have any length
            raise UserError(
                f"dataset@test_on={tested.get('name')}: its {what} is {other}, and {trained.get('name')}'s is {one}; "
                "a model is tested on data of the form it was trained on"
            )


def _check_width(model: Mapping[str, Any], embedder: Mapping[str, Any]) -> None:
    """Raise `UserError` if the model takes vectors of another width than the embedder's."""
    wanted, given = model.get("embedding_dim", embedder["dim"]), embedder["dim"]
    if wanted != given:
        raise UserError(
            f"model.embedding_dim={wanted}: the embedder gives {given} dimensions ({build.embedder_name(embedder)}); "
            "leave model.embedding_dim out, or choose another embedder"
        )

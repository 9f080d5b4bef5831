"""Requests that belong together: a run and all it builds on, parents before children.

Images: training -> evaluation, judged by the dataset's classifier. A diffusion model: autoencoder -> its latents ->
training -> evaluation. Latents matched with a reference: `matching_requests`. Texts: `text_requests`. A changed option
renames what depends on it and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vaebench import build
from vaebench import matching_requests as matching
from vaebench import text_requests as texts
from vaebench.choices import choices
from vaebench.compose import compose
from vaebench.config import (
    LATENTS,
    Request,
    dataset_leaf,
    freeze,
    freeze_design,
    freeze_eval,
    kind_of,
    kinds,
    plain,
)
from vaebench.contracts import Suite
from vaebench.errors import UserError, shown, unknown
from vaebench.store import Store, store_root
from vaebench.targets import called
from vaebench.text_requests import is_text
from vaebench.titles import title

# The seed of the classifier whose layers stand in for LPIPS in a loss; the one that judges has seed 0.
_PERCEIVING_SEED = 1


def checked(cfg: DictConfig) -> list[Request]:
    """The training request of a configuration behind its parents, every leaf bound to its signature.

    Raises all mistakes at once.
    """
    _check_kinds(cfg)
    leaves = {name: plain(cfg[name]) for name in ("model", "dataset", "optim")}
    if is_text(cfg):
        dataset = leaves.pop("dataset")
        leaves |= {"embedder": plain(cfg.embedder)}
        leaves |= {f"dataset.{part}": dataset[part] for part in ("problems", "answers")}
        texts.check_width(leaves["model"], leaves["embedder"])
    if cfg.suite is not None:
        leaves["suite"] = plain(cfg.suite)
    if cfg.reference is not None:
        leaves["reference"] = matching.leaf(cfg)
    if cfg.test_on is not None:
        leaves["test_on"] = plain(cfg.test_on)
        _check_fits(plain(cfg.dataset), leaves["test_on"])
    build.check(leaves, remote_code=bool(cfg.runtime.trust_remote_code))
    return training(cfg)


def training(cfg: DictConfig) -> list[Request]:
    """The training, behind what it needs."""
    if is_text(cfg):
        return texts.training(cfg)
    if on_latents(cfg):
        if cfg.model.latent_shape is not None:
            raise UserError(
                f"model.latent_shape={list(cfg.model.latent_shape)}: leave it out, it is filled in from the autoencoder"
            )
        if cfg.parent.stage == matching.REFERENCE:
            return matching.teacher(cfg, _stage)
        return diffusion(cfg, _parent(cfg))
    chain, parents = _begun_with(cfg)
    cfg = matching.with_network(cfg, parents)
    if matching.is_matched(cfg):
        chain += _stage(cfg, "teacher")
        parents["teacher"] = chain[-1]
        cfg = matching.matched(cfg, chain[-1])
    if _perceives(cfg):
        parents["perceptual"] = classifier(cfg, _PERCEIVING_SEED)
        chain.append(parents["perceptual"])
    return [*chain, freeze(cfg, parents)]


def _begun_with(cfg: DictConfig) -> tuple[list[Request], dict[str, Request]]:
    """The runs whose weights a training begins with, and which of them by role."""
    if matching.needs_encoder(cfg):
        chain = _stage(cfg, "encoder")
        return chain, {"encoder": chain[-1]}
    if not matching.has_parent(cfg) and not matching.is_matched(cfg):
        return [], {}
    chain = _parent(cfg) if matching.has_parent(cfg) else _stage(cfg, "tokenizer")
    return chain, {"start": chain[-1]}


def _stage(cfg: DictConfig, name: str) -> list[Request]:
    """The training of one of the configuration's stages behind what it needs, or a finished run in its place."""
    key = cfg.stages[name].run
    if key:
        return [_stored(cfg, str(key), f"stages.{name}.run={key}", cfg.stages[name].overrides)]
    return training(matching.stage(cfg, name))


def _perceives(cfg: DictConfig) -> bool:
    """Whether the layers of a trained classifier are a part of the loss."""
    return bool(OmegaConf.select(cfg, "model.perceptual") == "classifier" and cfg.model.perceptual_weight)


def on_latents(cfg: DictConfig) -> bool:
    """Whether the model is trained on what an autoencoder makes of images."""
    return bool(OmegaConf.select(cfg, "model.data") == LATENTS)


def diffusion(cfg: DictConfig, autoencoder: list[Request]) -> list[Request]:
    """A training on the latents of an autoencoder: the chain that ends with its training, latents, training."""
    stored = matching.latents(cfg, autoencoder[-1])
    return [*autoencoder, stored, freeze(cfg, {"latents": stored, "autoencoder": autoencoder[-1]})]


def _parent(cfg: DictConfig) -> list[Request]:
    """The run a model builds on, behind what it needs itself. Raises `UserError` if there is none that fits."""
    spec = cfg.parent
    if spec.run:
        return [_stored_parent(cfg)]
    if spec.stage:
        if spec.stage not in matching.stages():
            raise UserError(unknown("parent.stage", spec.stage, matching.stages()))
        return _stage(cfg, spec.stage)
    if not spec.experiment:
        name = called(cfg.model)
        raise UserError(
            f"model {name} is trained on an autoencoder's latents: name one, parent.experiment=ldmae/vmae, or a "
            "finished run, parent.run=KEY (vaebench list runs)"
        )
    other = matching.behind(cfg, "parent", spec.experiment, spec.overrides)
    if on_latents(other):
        raise UserError(f"parent.experiment={spec.experiment}: is a diffusion model itself; name an autoencoder's")
    return training(other)


def _stored_parent(cfg: DictConfig) -> Request:
    """The request of a finished autoencoder's run on the same dataset."""
    key = str(cfg.parent.run)
    name = f"parent.run={key}"
    request = _stored(cfg, key, name, cfg.parent.overrides)
    if request["model"].get("data") == LATENTS:
        raise UserError(f"{name}: is a diffusion model itself ({title(request)}); name an autoencoder's run")
    trained = request["dataset"]["name"]
    if trained != cfg.dataset.name and on_latents(cfg):
        raise UserError(
            f"{name}: was trained on {trained}, and dataset={cfg.dataset.name}; a diffusion model is trained on the "
            f"latents of its autoencoder's own set (dataset={trained})"
        )
    return request


def _stored(cfg: DictConfig, key: str, name: str, overrides: Iterable[str]) -> Request:
    """The request of a finished training; ``name``: how it was named."""
    store = Store(store_root(cfg.store))
    run = store.run(key)
    if run is None:
        raise UserError(f"{name}: there is no such run in {store.root}; `vaebench list runs` shows them")
    request = run.request()
    if request["verb"] != "train":
        raise UserError(f"{name}: is no training but {title(request)}; `vaebench list runs` shows which are")
    if not run.done:
        raise UserError(f"{name}: is {run.state()}, not finished; the command that started it goes on")
    if list(overrides):
        option = name.partition("=")[0].removesuffix("run")
        raise UserError(f"{name}: is trained already, so {option}overrides={list(overrides)} cannot apply")
    # A set of problems has no dataset of its own to build.
    build.check({part: request[part] for part in ("model", "dataset") if "_target_" in request[part]})
    return request


def classifier(cfg: DictConfig, seed: int = 0) -> Request:
    """A classifier of the configuration's dataset: trained once, the same for every model and scale."""
    return freeze(_classifier(cfg, seed))


def _classifier(cfg: DictConfig, seed: int) -> DictConfig:
    other = compose("train", ["experiment=classifier"])
    other.dataset, other.seed = cfg.dataset, seed
    return other


def design(cfg: DictConfig, suite: Mapping[str, Any]) -> Request:
    """The evaluation of a training's design alone."""
    judge = plain(_classifier(cfg, _PERCEIVING_SEED).model) if _perceives(cfg) else None
    return freeze_design(suite, cfg, judge)


def evaluation(cfg: DictConfig, seeds: Iterable[int] | None = None) -> tuple[list[Request], Suite]:
    """The evaluation of ``cfg.suite``, behind what it needs, and the suite itself.

    ``seeds``: a suite on texts looks at these seeds' trainings together (by default at the configuration's own).
    """
    leaf = plain(cfg.suite)
    suite = build.suite(Request({"suite": leaf}))
    if is_text(cfg):
        return texts.selection(cfg, leaf, suite, [int(cfg.seed)] if seeds is None else list(seeds)), suite
    if getattr(suite, "of_design", False):
        return [design(cfg, leaf)], suite
    *before, run = training(cfg)
    _check_snapshot(cfg)
    other = dataset_leaf(cfg.test_on) if cfg.test_on is not None else None
    if other and suite.needs_classifier:
        raise UserError(
            f"dataset@test_on={other['name']}: this suite's judge is a classifier of the training set; "
            "use suite=tokens or suite=reconstruction"
        )
    judge = classifier(cfg) if suite.needs_classifier else None
    chain = [*before, run, *([judge] if judge else [])]
    return [*chain, freeze_eval(leaf, run, judge, other, cfg.snapshot)], suite


def _check_snapshot(cfg: DictConfig) -> None:
    """Raise `UserError` if the training keeps no such snapshot."""
    kept = cfg.train.snapshots or 0
    if cfg.snapshot is not None and not 1 <= cfg.snapshot <= kept:
        raise UserError(
            f"snapshot={cfg.snapshot}: train.snapshots={cfg.train.snapshots} keeps "
            f"{f'1 to {kept}' if kept else 'none'}; leave snapshot out for the last weights, or train with "
            f"train.snapshots={max(4, cfg.snapshot)}"
        )


def _check_kinds(cfg: DictConfig) -> None:
    """Raise `UserError` if the model works on another kind of data than the dataset holds."""
    held = "text" if is_text(cfg) else str(OmegaConf.select(cfg, "dataset.data", default="images"))
    wanted = kinds(OmegaConf.select(cfg, "model.data"))
    if held not in wanted:
        fitting = [name for name in choices("dataset") if kind_of(name) in wanted]
        name = called(cfg.model)
        raise UserError(
            f"model {name} works on {' and '.join(wanted)} and dataset={cfg.dataset.name} holds {held}; "
            f"datasets for it: {', '.join(fitting)}"
        )
    if held in ("images", "audio"):
        _check_shape(plain(cfg.dataset.shape), 3 if held == "images" else 2)


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

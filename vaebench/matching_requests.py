"""Requests of latents that are matched with a reference distribution (DMVAE, arXiv 2512.07778).

encoder -> tokenizer -> reference -> teacher -> joint training. Each is a run that a configuration names in one place
(`StagesSpec`), so that a changed option renames what depends on it and nothing else.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from vaebench import compose
from vaebench.choices import choices
from vaebench.config import LATENTS, Request, StagesSpec, freeze, plain
from vaebench.data.download import sha256_of
from vaebench.errors import UserError, unknown
from vaebench.targets import called

REFERENCE = "reference"  # the stage that is no training
# What the runs of a long chain have in common.
_SHARED = ("scale", "seed", "reference", "stages", "embedder", "store")
# What a reference says of itself and no constructor takes.
_ABOUT = frozenset({"name", "of", "labelled", "dm_weight", "law"})
# What a model that begins with another run's network has of it.
_FEATURE_NETWORK = ("encoder", "head_width", "latent_channels", "decoder")
# Of a diffusion model's options, those of its network.
_NETWORK = ("classes", "width", "depth", "heads", "mlp_ratio", "qk_norm", "positions", "time_scale")

# A stage of a configuration behind what it needs, or the finished run in its place.
Chain = Callable[[DictConfig, str], list[Request]]


def stages() -> list[str]:
    """What ``parent.stage`` can be."""
    return [*StagesSpec.__dataclass_fields__, REFERENCE]


def is_matched(cfg: DictConfig) -> bool:
    """Whether the training's latents follow a teacher."""
    return bool(OmegaConf.select(cfg, "model.builds_on") == "teacher")


def needs_encoder(cfg: DictConfig) -> bool:
    """Whether the model begins with the trained encoder of another run."""
    builds_on = OmegaConf.select(cfg, "model.builds_on") == "encoder"
    return builds_on and cfg.model.encoder is None and not has_parent(cfg)


def has_parent(cfg: DictConfig) -> bool:
    """Whether a run is named that the training begins with."""
    return bool(cfg.parent.experiment or cfg.parent.run or cfg.parent.stage)


def leaf(cfg: DictConfig) -> dict[str, Any]:
    """The reference's own options, without what it says of itself. Raises `UserError` if none is chosen."""
    if cfg.reference is None:
        raise UserError(f"reference=null: choose what latents are matched with: {', '.join(choices('reference'))}")
    return {name: value for name, value in plain(cfg.reference).items() if name not in _ABOUT}


def behind(
    cfg: DictConfig, where: str, experiment: str, overrides: Sequence[str], shared: Sequence[str] = ("scale", "seed")
) -> DictConfig:
    """An experiment that a configuration builds on, for its scale, seed and data unless ``overrides`` name another set.

    ``where``: the option that holds ``experiment`` and ``overrides``. ``shared``: what both configurations have in
    common. Raises `UserError` if there is no such experiment, and for overrides of what is shared: they would do
    nothing.
    """
    if experiment not in choices("experiment"):
        raise UserError(unknown(f"{where}.experiment", experiment, choices("experiment")))
    idle = [text for text in overrides if text.lstrip("+~").partition("=")[0].partition(".")[0] in shared]
    if idle:
        advice = "is the same for all runs of a chain; give it to the command itself"
        raise UserError(*(f"{where}.overrides: {text}: {advice}" for text in idle))
    other = compose.behind(experiment, overrides, f"{where}.overrides")
    other.scale, other.seed = cfg.scale, cfg.seed
    if not any(text.startswith("dataset=") for text in overrides):  # a tuning may be at another resolution
        other.dataset = cfg.dataset
    # The same set, perhaps in another size: dataset.shape=[3,128,128].
    other.merge_with_dotlist([text for text in overrides if text.startswith("dataset.")])
    return other


def stage(cfg: DictConfig, name: str) -> DictConfig:
    """The configuration of a stage: for the same data, scale, seed, reference and with the same other stages."""
    spec = cfg.stages[name]
    other = behind(cfg, f"stages.{name}", spec.experiment, spec.overrides, _SHARED)
    other.stages, other.embedder, other.store = copy.deepcopy(cfg.stages), cfg.embedder, cfg.store
    other.reference = cfg.reference if name in ("teacher", "joint") else None
    if name == "features":
        other.stages.encoder = cfg.stages.features_encoder
    return other


def with_network(cfg: DictConfig, parents: Mapping[str, Request]) -> DictConfig:
    """The configuration with the network that its parent has; what is given is left alone."""
    parent = parents.get("encoder") or parents.get("start")
    wanted = [name for name in _FEATURE_NETWORK if cfg.model.get(name, "") is None]
    if parent is None or not wanted:
        return cfg
    options = {name: parent["model"][name] for name in wanted if name in parent["model"]}
    if "encoder" in wanted and "encoder" not in options:
        name = called(parent["model"])
        raise UserError(f"parent: {name} has no encoder to begin with; name a run of ssl, supervised or feature_ae")
    return _with(cfg, **options)


def matched(cfg: DictConfig, teacher: Request) -> DictConfig:
    """The configuration of a joint training with what follows from its teacher and reference.

    Raises `UserError` for class-conditional matching without classes, and for what has its place elsewhere.
    """
    model, about = teacher["model"], {} if cfg.reference is None else plain(cfg.reference)
    elsewhere = {"score": "model options in stages.teacher.overrides", "law": "options of reference"}
    given = [name for name in elsewhere if cfg.model.get(name) is not None]
    if given:
        raise UserError(*(f"model.{name}: leave it out, it is filled in; set the {elsewhere[name]}" for name in given))
    missing = [name for name in _NETWORK if name not in model]
    if missing:
        name = called(model)
        raise UserError(f"stages.teacher: {name} is no latent diffusion model; name one (experiment=dmvae/teacher)")
    if cfg.model.conditioning == "class" and not model["classes"]:
        name = about.get("name", "the teacher's")
        raise UserError(
            f"model.conditioning=class: reference {name} has no labels, so its teacher knows no classes; "
            "set model.conditioning=none"
        )
    law = about.get("law")
    if cfg.model.closed_form and law is None:
        raise UserError("model.closed_form=true: only reference=gaussian and reference=gmm have a closed form")
    found: dict[str, Any] = {
        "score": {**{name: model[name] for name in _NETWORK}, "null": model["label_dropout"] > 0},
        "conditioning": cfg.model.conditioning or ("class" if model["classes"] else "none"),
        "closed_form": law is not None if cfg.model.closed_form is None else cfg.model.closed_form,
    }
    found["law"] = law if found["closed_form"] else None
    if cfg.model.dm_weight is None:
        found["dm_weight"] = float(about.get("dm_weight", 10.0))
    return _with(cfg, **found)


def reference(cfg: DictConfig, chain_of: Chain) -> tuple[list[Request], Request]:
    """The stage that draws from the reference, behind what it needs, and the tokenizer in whose units it is."""
    options = leaf(cfg)
    chain = chain_of(cfg, "tokenizer")
    tokenizer = chain[-1]
    parents = {"autoencoder": tokenizer.key}
    of = cfg.reference.get("of")
    if of == "tokenizer":
        chain.append(latents(cfg, tokenizer))
        parents["features"] = chain[-1].key
    elif of == "features":
        chain += chain_of(cfg, "features")
        parents["features_autoencoder"] = chain[-1].key
        chain.append(latents(cfg, chain[-1]))
        parents["features"] = chain[-1].key
    elif of == "diffusion":
        chain += chain_of(cfg, "diffusion")
        flow = chain[-1]
        if "latents" not in flow.data.get("parents", {}):
            raise UserError(f"stages.diffusion: run {flow.key} is no latent diffusion model; name one")
        parents |= {"flow": flow.key, "features": flow["parents"]["latents"]}
    about = {name: cfg.reference[name] for name in ("name", "labelled")}
    request = {
        "verb": REFERENCE,
        "reference": options,
        **about,
        "dataset": str(cfg.dataset.name),
        "seed": int(cfg.seed),
    }
    if of == "text":
        request["embedder"] = plain(cfg.embedder)
    if options.get("path"):
        request["reference"] = {**options, **_fingerprinted(options)}
    return [*chain, Request({**request, "parents": parents})], tokenizer


def _fingerprinted(options: Mapping[str, Any]) -> dict[str, str]:
    """A file is known by what it holds, not by where it lies."""
    path = Path(options["path"]).expanduser()
    if not path.is_file():
        raise UserError(f"reference.path={options['path']}: there is no such file")
    return {"path": str(path.absolute()), "sha256": options.get("sha256") or sha256_of(path)}


def teacher(cfg: DictConfig, chain_of: Chain) -> list[Request]:
    """The teacher: a diffusion model on samples of the reference, in the tokenizer's normalisation."""
    chain, tokenizer = reference(cfg, chain_of)
    if not cfg.reference.labelled:
        cfg = _with(cfg, classes=0)
    return [*chain, freeze(cfg, {"latents": chain[-1], "autoencoder": tokenizer})]


def latents(cfg: DictConfig, autoencoder: Request) -> Request:
    """The stage that stores what a trained autoencoder makes of its training images."""
    return Request({"verb": LATENTS, "latents": plain(cfg.latents), "parents": {"autoencoder": autoencoder.key}})


def _with(cfg: DictConfig, **options: Any) -> DictConfig:
    """A copy with other options of the model.

    Raises `UserError` for a value that would become another one by being composed again: it comes from a stored run.
    """
    wrong = [name for name, value in options.items() if "${" in json.dumps(value, default=str)]
    if wrong:
        raise UserError(*(f"parent: its {name} holds '${{': nothing is looked up for a stored run" for name in wrong))
    other = copy.deepcopy(cfg)
    with open_dict(other):
        other.model.update(options)
    return other

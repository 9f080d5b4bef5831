"""Runs that need each other, as requests: parents before children.

What a training builds on stands in data: the links of its configuration's chain (``conf/chain``), each with the roles
of its parents, or the one run that ``parent`` names. A changed option renames what depends on it and nothing else.
Texts, whose evaluation looks at several trainings together: `texts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vaebench.chains import texts
from vaebench.config import compose
from vaebench.config.choices import LATENTS, choices
from vaebench.config.request import Request
from vaebench.config.spine import LinkSpec, TrainConfig
from vaebench.config.targets import called
from vaebench.contracts import Suite
from vaebench.errors import UserError, shown, unknown
from vaebench.runs import build, kinds
from vaebench.runs.kinds import eval as evaluations
from vaebench.runs.kinds import latents, reference, title, train
from vaebench.runs.store import Store, store_root

# The seed of the classifier whose layers stand in for LPIPS in a loss; the one that judges has seed 0.
_PERCEIVING_SEED = 1
_NUMBERS = {"images": 3, "audio": 2}  # in the shape of an item
_DATA = ("latents", "features")  # roles that are filled by what is stored, not by a model
# What the runs of a chain have in common.
_SHARED = ("scale", "seed", "reference", "chain", "link", "embedder", "store")


def checked(cfg: TrainConfig) -> list[Request]:
    """The requests of a training, its parents first, with every leaf bound to its signature.

    Raises all mistakes at once.
    """
    if not cfg.on_texts and (numbers := _NUMBERS.get(cfg.dataset.get("data") or "images")):
        _check_shape(cfg.dataset["shape"], numbers)
    leaves = {"model": cfg.model, "dataset": cfg.dataset, "optim": cfg.optim}
    if cfg.on_texts:
        del leaves["dataset"]
        leaves |= {"embedder": cfg.embedder}
        leaves |= {f"dataset.{part}": cfg.dataset[part] for part in ("problems", "answers")}
        texts.check_width(cfg.model, cfg.embedder)
    if cfg.suite is not None:
        leaves["suite"] = cfg.suite
    if cfg.reference is not None:
        leaves["reference"] = reference.leaf(cfg)
    if cfg.test_on is not None:
        leaves["test_on"] = cfg.test_on
        _check_fits(cfg.dataset, cfg.test_on)
    build.check(leaves, remote_code=cfg.runtime.trust_remote_code)
    if cfg.link and (idle := _link(cfg, cfg.link, "link")) and (idle.overrides or idle.run):
        option = f"chain.{cfg.link}.{'overrides' if idle.overrides else 'run'}"
        raise UserError(f"{option}: {cfg.link} is the run that is made; give its options to the command itself")
    return training(cfg)


def training(cfg: TrainConfig) -> list[Request]:
    """The training, after what it needs."""
    if cfg.on_texts:
        return texts.training(cfg)
    before, parents = _parents(cfg)
    return [*before, *_ended(cfg, parents)]


def on(cfg: TrainConfig, parent: list[Request]) -> list[Request]:
    """A training on the latents of the run that ``parent`` ends with, after all of that."""
    return [*parent, *_ended(cfg, {"autoencoder": parent[-1]})]


def _ended(cfg: TrainConfig, parents: Mapping[str, Request]) -> list[Request]:
    """The training on its parents, after what is made of these for it alone."""
    parents, before = dict(parents), []
    if cfg.model.get("latent_shape") is not None:
        raise UserError(
            f"model.latent_shape={cfg.model['latent_shape']}: leave it out, it is filled in from the autoencoder"
        )
    if on_latents(cfg) and "latents" not in parents:
        before.append(latents.request(cfg, parents))
        parents = {"latents": before[-1], **parents}
    if _perceives(cfg):
        before.append(classifier(cfg, _PERCEIVING_SEED))
        parents["perceptual"] = before[-1]
    model = build.completed(cfg.model, parents, cfg.reference)
    return [*before, train.request(replace(cfg, model=model), parents)]


def _parents(cfg: TrainConfig) -> tuple[list[Request], dict[str, Request]]:
    """All runs that a configuration builds on, those first that others need; and its own parents by role."""
    links = _link(cfg, cfg.link, "link").parents if cfg.link else {}
    chain: dict[str, Request] = {}
    parents: dict[str, Request] = {}
    if cfg.parent.experiment or cfg.parent.run or cfg.parent.link:
        # A run that is named takes the place of the first one of the chain, if the model begins with one at all.
        if on_latents(cfg):
            own, links = "autoencoder", {}
        else:
            first = next(iter(links), "start")
            own = "start" if build.adopts(cfg.model, "start") else first
            links = {role: link for role, link in links.items() if role != first}
        parents[own] = _training_as(own, "parent", _add(chain, _parent(cfg)))
    for role, link in links.items():
        if cfg.model.get(role) is None:  # a part of its own (a pretrained encoder) needs no parent
            where = f"chain.{cfg.link}.parents.{role}"
            parents[role] = _training_as(role, where, _add(chain, linked(cfg, link, where)))
    if on_latents(cfg) and "autoencoder" not in parents:
        raise UserError(
            f"model {called(cfg.model)} is trained on an autoencoder's latents: name one, parent.experiment=NAME "
            "(vaebench list experiments), or a finished run, parent.run=KEY (vaebench list runs)"
        )
    return list(chain.values()), parents


def _training_as(role: str, where: str, run: Request) -> Request:
    """The run that fills a role. Raises `UserError` if it is no training, where a model is asked for."""
    if role not in _DATA and run["verb"] != train.VERB:
        raise UserError(f"{where}: {title(run)} is no training, and a model's {role} is one; name another link")
    return run


def _add(chain: dict[str, Request], more: Iterable[Request]) -> Request:
    """Add further runs to the end of a chain, each once; returns the last."""
    found = list(more)
    for request in found:
        chain.setdefault(request.key, request)
    return found[-1]


def linked(cfg: TrainConfig, name: str, where: str) -> list[Request]:
    """A link of the configuration's chain, after what it needs; or the finished run in its place.

    ``name``: ``LINK``, or ``LINK.ROLE`` for what that link builds on in that role. ``where``: the option that says so.
    """
    name, _, role = name.partition(".")
    if role:
        return _part(cfg, linked(cfg, name, where), name, role)
    link = _link(cfg, name, where)
    if link.run:
        return [_stored(cfg, link.run, f"chain.{name}.run={link.run}", link.overrides)]
    if link.kind == train.VERB and link.experiment is None:
        raise UserError(f"chain.{name}.experiment=null: name one, or a finished run (chain.{name}.run=KEY)")
    if link.kind == train.VERB:
        return training(_configured(cfg, name, link))
    if link.kind == reference.VERB:
        reference.leaf(cfg)  # one is chosen, or this says so
    chain: dict[str, Request] = {}
    parents = {}
    for role, parent in _roles(cfg, link).items():
        where = f"chain.{name}.parents.{role}"
        parents[role] = _training_as(role, where, _add(chain, linked(cfg, parent, where)))
    try:
        return [*chain.values(), kinds.of(link.kind).request(cfg, parents)]
    except KeyError as error:
        lacking = f"needs {error.args[0]!r}, which neither its parents nor this configuration have"
        raise UserError(f"chain.{name}.kind={link.kind}: {lacking}") from error


def _part(cfg: TrainConfig, chain: list[Request], name: str, role: str) -> list[Request]:
    """Of a chain that ends with a link: what that builds on in a role."""
    run = chain[-1]
    key = run.data.get("parents", {}).get(role)
    if key is None:
        raise UserError(f"chain.{name}: run {run.key} is trained on no {role}; name one that is")
    found = next((request for request in chain if request.key == key), None)
    return [*chain, found or _stored_request(cfg, key, f"chain.{name}")]


def _link(cfg: TrainConfig, name: str, where: str) -> LinkSpec:
    if not cfg.chain:
        raise UserError(f"{where}={name}: there is no chain; choose one: {', '.join(choices('chain'))} (chain=NAME)")
    if name not in cfg.chain:
        raise UserError(unknown(where, name, cfg.chain))
    _check_no_circle(cfg, name, ())
    return cfg.chain[name]


def _roles(cfg: TrainConfig, link: LinkSpec) -> dict[str, str]:
    """The links that one builds on, by role; a reference has its own besides."""
    own = (cfg.reference or {}).get("parents") if link.kind == reference.VERB else None
    return {**link.parents, **(own or {})}


def _check_no_circle(cfg: TrainConfig, name: str, way: tuple[str, ...]) -> None:
    """Raise `UserError` if a link of the chain needs itself; ``way``: the links that lead to it."""
    if name in way:
        circle = " -> ".join((*way[way.index(name) :], name))
        raise UserError(f"chain: {name} needs itself ({circle}); change the parents of one of them")
    if name in cfg.chain and not cfg.chain[name].run:
        for parent in _roles(cfg, cfg.chain[name]).values():
            _check_no_circle(cfg, parent.partition(".")[0], (*way, name))


def _configured(cfg: TrainConfig, name: str, link: LinkSpec) -> TrainConfig:
    """The configuration of a link: for the same data, scale, seed and reference, and with the same other links."""
    other = _behind(cfg, f"chain.{name}", str(link.experiment), link.overrides, _SHARED)
    return replace(other, chain=cfg.chain, link=name, reference=cfg.reference, embedder=cfg.embedder, store=cfg.store)


def _behind(
    cfg: TrainConfig, where: str, experiment: str, overrides: Sequence[str], shared: Sequence[str] = ("scale", "seed")
) -> TrainConfig:
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
    other_set = any(text.startswith("dataset=") for text in overrides)  # a tuning may be at another resolution
    dataset = None if other_set else cfg.dataset
    return replace(compose.behind(experiment, overrides, f"{where}.overrides", cfg.scale, dataset), seed=cfg.seed)


def _parent(cfg: TrainConfig) -> list[Request]:
    """The run that ``parent`` names, after what it needs itself. Raises `UserError` if there is none that fits."""
    spec = cfg.parent
    if spec.run:
        return [_stored_parent(cfg, spec.run)]
    if spec.link:
        return linked(cfg, spec.link, "parent.link")
    other = _behind(cfg, "parent", str(spec.experiment), spec.overrides)
    if on_latents(other):
        raise UserError(f"parent.experiment={spec.experiment}: is a diffusion model itself; name an autoencoder's")
    return training(other)


def _stored_parent(cfg: TrainConfig, key: str) -> Request:
    """The request of a finished run, an autoencoder's on the same dataset for a model of its latents."""
    name = f"parent.run={key}"
    request = _stored(cfg, key, name, cfg.parent.overrides)
    if request["model"].get("data") == LATENTS:
        raise UserError(f"{name}: is a diffusion model itself ({title(request)}); name an autoencoder's run")
    trained = request["dataset"]["name"]
    if trained != cfg.dataset["name"] and on_latents(cfg):
        raise UserError(
            f"{name}: was trained on {trained}, and dataset={cfg.dataset['name']}; a diffusion model is trained on the "
            f"latents of its autoencoder's own set (dataset={trained})"
        )
    return request


def _stored(cfg: TrainConfig, key: str, name: str, overrides: Iterable[str]) -> Request:
    """The request of a finished training; ``name``: how it was named."""
    request = _stored_request(cfg, key, name)
    if request["verb"] != train.VERB:
        raise UserError(f"{name}: is not a training but {title(request)}; `vaebench list runs` shows the trainings")
    run = Store(store_root(cfg.store)).find(request)
    if not run.done:
        raise UserError(f"{name}: is {run.state()}, not finished; the command that started it goes on")
    if list(overrides):
        option = name.partition("=")[0].removesuffix("run")
        raise UserError(f"{name}: is trained already, so {option}overrides={list(overrides)} cannot apply")
    # A set of problems has no dataset of its own to build.
    build.check({part: request[part] for part in ("model", "dataset") if "_target_" in request[part]})
    return request


def _stored_request(cfg: TrainConfig, key: str, name: str) -> Request:
    store = Store(store_root(cfg.store))
    run = store.run(key)
    if run is None:
        raise UserError(f"{name}: there is no such run in {store.root}; `vaebench list runs` shows them")
    return run.request()


def _perceives(cfg: TrainConfig) -> bool:
    """Whether the layers of a trained classifier are a part of the loss."""
    return cfg.model.get("perceptual") == "classifier" and bool(cfg.model["perceptual_weight"])


def on_latents(cfg: TrainConfig) -> bool:
    """Whether the model is trained on what an autoencoder makes of images."""
    return bool(cfg.model.get("data") == LATENTS)


def classifier(cfg: TrainConfig, seed: int = 0) -> Request:
    """A classifier of the configuration's dataset: trained once, the same for every model and scale."""
    return train.request(_classifier(cfg, seed), {})


def _classifier(cfg: TrainConfig, seed: int) -> TrainConfig:
    scale = compose.compose("train", ["experiment=classifier"]).scale
    return replace(compose.behind("classifier", (), "experiment", scale, cfg.dataset), seed=seed)


def design(cfg: TrainConfig, suite: Mapping[str, Any]) -> Request:
    """The evaluation of a training's design alone."""
    judge = _classifier(cfg, _PERCEIVING_SEED).model if _perceives(cfg) else None
    return evaluations.of_design(suite, cfg, judge)


def evaluation(cfg: TrainConfig, seeds: Iterable[int] | None = None) -> tuple[list[Request], Suite]:
    """The evaluation of ``cfg.suite``, after what it needs, and the suite itself.

    ``seeds``: a suite on texts looks at these seeds' trainings together (by default at the configuration's own).
    """
    suite = build.suite(Request({"suite": cfg.suite}))
    if cfg.on_texts:
        return texts.evaluation(cfg, suite, [cfg.seed] if seeds is None else list(seeds)), suite
    if getattr(suite, "of_design", False):
        return [design(cfg, cfg.suite)], suite
    *before, run = training(cfg)
    _check_snapshot(cfg)
    if cfg.test_on is not None and suite.needs_classifier:
        raise UserError(
            f"dataset@test_on={cfg.test_on['name']}: this suite's judge is a classifier of the training set; "
            "use suite=tokens or suite=reconstruction"
        )
    looked_at = {"run": run} | ({"classifier": classifier(cfg)} if suite.needs_classifier else {})
    return [*before, *looked_at.values(), evaluations.request(cfg, looked_at)], suite


def _check_snapshot(cfg: TrainConfig) -> None:
    """Raise `UserError` if the training keeps no such snapshot."""
    kept = cfg.train.snapshots or 0
    if cfg.snapshot is not None and not 1 <= cfg.snapshot <= kept:
        raise UserError(
            f"snapshot={cfg.snapshot}: train.snapshots={cfg.train.snapshots} keeps "
            f"{f'1 to {kept}' if kept else 'none'}; leave snapshot out for the last weights, or train with "
            f"train.snapshots={max(4, cfg.snapshot)}"
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

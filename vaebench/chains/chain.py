"""Runs that need each other, as requests: parents before children.

What a training builds on stands in data: the links of its configuration's chain (``conf/chain``), each with the roles
of its parents, or the one run that ``parent`` names. A changed option renames what depends on it and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

from vaebench.chains import check
from vaebench.config import compose
from vaebench.config.choices import LATENTS, choices
from vaebench.config.request import Request
from vaebench.config.spine import Common, LinkSpec, ParentSpec, TrainConfig
from vaebench.contracts import Suite
from vaebench.data.contents import one_look
from vaebench.data.leaves import require_classes
from vaebench.errors import UserError, unknown
from vaebench.runs import build, kinds
from vaebench.runs.kinds import embed, latents, reference, title, train
from vaebench.runs.store import Store, store_root

# The seed of the classifier whose layers stand in for LPIPS in a loss; the one that judges has seed 0.
PERCEIVING_SEED = 1
_DATA = ("latents", "features")  # roles that are filled by what is stored, not by a model
# What would do nothing among the overrides of a run behind the command.
_SHARED = dict.fromkeys(("scale", "seed", *(one.name for one in fields(Common))), "is the same for all runs of a chain")
_SHARED |= dict.fromkeys(("suite", "snapshot", "test_on"), "is for an evaluation, and this run is only trained")
_IN_CHAIN = _SHARED | dict.fromkeys(("reference", "chain", "link", "embedder"), _SHARED["seed"])


def checked(cfg: TrainConfig) -> list[Request]:
    """The requests of a training, its parents first, with every leaf bound to its signature.

    Raises all mistakes at once.
    """
    check.leaves(cfg)
    own = _Chain(cfg).link(cfg.link, "link") if cfg.link else None
    if own and (own.overrides or own.run is not None):
        option = f"chain.{cfg.link}.{'overrides' if own.overrides else 'run'}"
        raise UserError(f"{option}: {cfg.link} is the run that is made; give its options to the command itself")
    return training(cfg)


@one_look()
def training(cfg: TrainConfig) -> list[Request]:
    """The training, after what it needs."""
    if cfg.on_texts:
        check.by_itself(cfg)
        pairs = embed.request(cfg, {})
        return [pairs, train.request(cfg, {"pairs": pairs})]
    return _Chain(cfg).all()


def needed(cfg: TrainConfig) -> set[str]:
    """The links of its chain that a training needs; options of the others do nothing."""
    chain = _Chain(cfg)
    chain.all()
    return set(chain.links)


def on(cfg: TrainConfig, parent: list[Request]) -> list[Request]:
    """A training on the latents of the run that ``parent`` ends with, after all of that."""
    chain = _Chain(cfg)
    chain.requests = {request.key: request for request in parent}
    chain.on_parents(cfg, {"autoencoder": parent[-1]}, "")
    return list(chain.requests.values())


def _named(*where: str) -> str:
    """How mistakes name a run: by the options that lead to it."""
    return ": ".join(filter(None, where))


class _Chain:
    """All that a training needs. A link of its chain is the same run wherever it is needed.

    ``where``: the option that names this training, if another one builds on it.
    """

    def __init__(self, cfg: TrainConfig, where: str = "") -> None:
        self.cfg = cfg
        self.where = where
        self.store = Store(store_root(cfg.store))
        self.requests: dict[str, Request] = {}  # by key, parents before children
        self.links: dict[str, Request] = {}

    def all(self) -> list[Request]:
        """The training, after what it needs."""
        self.training(self.cfg, ())
        needed = set(self.links)
        for name, request in self.links.items():
            if key := self.cfg.chain[name].run:
                needed |= self.check_parents(name, request, _named(self.where, f"chain.{name}.run={key}"))
        for name, link in self.cfg.chain.items():
            if link.run is not None and name not in needed:
                line = f"{name} is not needed for {self.cfg.link or 'this run'}; leave it out"
                raise UserError(_named(self.where, f"chain.{name}.run={link.run}", line))
        return list(self.requests.values())

    def add(self, request: Request, where: str) -> Request:
        return self.requests.setdefault(request.key, replace(request, where=where))

    def training(self, cfg: TrainConfig, way: tuple[str, ...]) -> Request:
        """A training after what it needs; ``way``: the links that lead to it, its own the last."""
        where = _named(self.where, f"chain.{way[-1]}") if way else self.where
        links = self.link(cfg.link, "link").parents if cfg.link else {}
        parents: dict[str, Request] = {}
        if cfg.parent != ParentSpec():
            # A run that is named takes the place of the first one of the chain, if the model begins with one at all.
            first = next(iter(links), "start")
            own = "autoencoder" if on_latents(cfg) else "start" if build.adopts(cfg.model, "start") else first
            links = {role: link for role, link in links.items() if role != first and not on_latents(cfg)}
            parents[own] = self.parent(cfg, own, way, where)
        for role, link in links.items():
            if cfg.model.get(role) is None:  # a part of its own (a pretrained encoder) needs no parent
                option = f"chain.{cfg.link}.parents.{role}"
                parents[role] = self.linked(cfg, link, role, option, way or (str(cfg.link),))
        return self.on_parents(cfg, parents, where)

    def on_parents(self, cfg: TrainConfig, parents: Mapping[str, Request], where: str) -> Request:
        """A training on its parents, by role, after what is made of these for it alone."""
        parents = dict(parents)
        with check.inside(where):
            if cfg.model.get("latent_shape") is not None:
                shape = cfg.model["latent_shape"]
                raise UserError(f"model.latent_shape={shape}: leave it out, it is filled in from the autoencoder")
            if on_latents(cfg):
                check.autoencoder(cfg, parents.get("autoencoder"))
                if "latents" not in parents:
                    parents = {"latents": self.add(latents.request(cfg, parents), where), **parents}
            if perceives(cfg):
                parents["perceptual"] = self.add(classifier(cfg, PERCEIVING_SEED), where)
            model = build.completed(cfg.model, parents, cfg.reference)
            check.kept(cfg.model, model)
            if "latents" in parents and parents["latents"]["verb"] == latents.VERB:
                check.classes(model, cfg.dataset)
            return self.add(train.request(replace(cfg, model=model), parents), where)

    def parent(self, cfg: TrainConfig, role: str, way: tuple[str, ...], where: str) -> Request:
        """The run that ``parent`` names. Raises `UserError` if there is none that fits."""
        spec = cfg.parent
        if spec.run is not None:
            return self.stored(spec.run, _named(where, f"parent.run={spec.run}"), spec.overrides)
        if spec.overrides and (spec.link or spec.experiment is None):
            advice = f"give them to chain.{spec.link}" if spec.link else "there is no parent; name parent.experiment"
            raise UserError(_named(where, f"parent.overrides={spec.overrides}: {advice}"))
        if spec.link is not None:
            return self.linked(cfg, spec.link, role, _named(where, "parent.link"), way)
        other = _behind(cfg, _named(where, "parent"), str(spec.experiment), spec.overrides, _SHARED)
        *before, found = _Chain(other, _named(where, f"parent.experiment={spec.experiment}")).all()
        self.requests = {one.key: one for one in before} | self.requests
        return self.add(found, found.where)

    def linked(self, cfg: TrainConfig, text: str, role: str, where: str, way: tuple[str, ...]) -> Request:
        """A link of the chain in a role, after what it needs; or the finished run in its place.

        ``cfg``: of the run that needs it; ``text``: ``LINK``, or ``LINK.ROLE`` for what that link builds on in that
        role; ``where``: the option that says so; ``way``: the links that lead to it.
        """
        name, _, part = text.partition(".")
        link = self.link(name, where)
        if name in way:
            circle = " -> ".join((*way[way.index(name) :], name))
            raise UserError(f"chain: {name} needs itself ({circle}); change the parents of one of them")
        if name not in self.links or link.kind != train.VERB:  # how latents are stored is up to who needs them
            self.links[name] = self.made(cfg, name, link, (*way, name))
        found = self.links[name]
        if part:
            key = found.data.get("parents", {}).get(part)
            if key is None:
                raise UserError(f"chain.{name}: run {found.key} is trained on no {part}; name one that is")
            found = self.requests.get(key) or self.add(self.stored_request(key, f"chain.{name}"), f"chain.{name}")
        if role not in _DATA and found["verb"] != train.VERB:
            raise UserError(f"{where}: {title(found)} is no training, and a model's {role} is one; name another link")
        return found

    def link(self, name: str, where: str) -> LinkSpec:
        if not self.cfg.chain:
            raise UserError(
                f"{where}={name}: there is no chain; choose one: {', '.join(choices('chain'))} (chain=NAME)"
            )
        if name not in self.cfg.chain:
            raise UserError(unknown(where, name, self.cfg.chain))
        return self.cfg.chain[name]

    def made(self, cfg: TrainConfig, name: str, link: LinkSpec, way: tuple[str, ...]) -> Request:
        """The run of a link, which the last of ``way`` is."""
        own, where = self.cfg, _named(self.where, f"chain.{name}")
        if link.kind not in kinds.verbs():
            raise UserError(unknown(f"{where}.kind", link.kind, kinds.verbs()))
        if link.run is not None:
            return self.in_place(name, link)
        if link.kind == train.VERB and link.experiment is None:
            raise UserError(f"{where}.experiment=null: name one, or a finished run (chain.{name}.run=KEY)")
        if link.kind == train.VERB:
            other = _behind(own, where, str(link.experiment), link.overrides, _IN_CHAIN)
            check.same_shape(own, other, where)
            shared = {option: getattr(own, option) for option in ("chain", "reference", "embedder")}
            return self.training(replace(other, link=name, **shared), way)
        for option in ("experiment", "overrides"):
            if given := getattr(link, option):
                line = f"{name} is of the kind {link.kind}, no training; its options are the command's"
                raise UserError(f"{where}.{option}={given}: {line}")
        if link.kind == reference.VERB:
            reference.leaf(cfg)  # one is chosen, or this says so
        roles = self.roles(link).items()
        parents = {role: self.linked(cfg, one, role, f"chain.{name}.parents.{role}", way) for role, one in roles}
        try:
            return self.add(kinds.of(link.kind).request(cfg, parents), where)
        except KeyError as error:
            lacking = f"needs {error.args[0]!r}, which neither its parents nor this configuration have"
            raise UserError(f"{where}.kind={link.kind}: {lacking}") from error

    def roles(self, link: LinkSpec) -> dict[str, str]:
        """The links that one builds on, by role; a reference has its own besides."""
        own = (self.cfg.reference or {}).get("parents") if link.kind == reference.VERB else None
        return {**link.parents, **(own or {})}

    def in_place(self, name: str, link: LinkSpec) -> Request:
        """The finished run in a link's place. Raises `UserError` if it is of another kind, dataset or reference."""
        where = _named(self.where, f"chain.{name}.run={link.run}")
        check.unchanged(name, link, where)
        named = [text for text in link.overrides if text.startswith("dataset=")]
        request = self.stored(str(link.run), where, [text for text in link.overrides if text not in named], link.kind)
        sets, chosen = choices("dataset"), [text.partition("=")[2] for text in named]
        if wrong := [one for one in chosen if one not in sets]:
            raise UserError(unknown(_named(self.where, f"chain.{name}.overrides: dataset"), wrong[0], sets))
        dataset = compose.dataset(chosen[-1]) if chosen else self.cfg.dataset
        check.same_dataset(request, {**dataset, "shape": self.cfg.dataset.get("shape")}, where)
        drawn = self.reference_behind(request)
        if drawn is not None and self.cfg.reference is not None:
            check.same_reference(drawn, reference.request(replace(self.cfg, dataset=dataset), {}), where)
        return request

    def reference_behind(self, request: Request) -> Request | None:
        """The samples of a reference that a finished run was made for, if it was."""
        if request["verb"] == reference.VERB:
            return request
        runs = map(self.store.run, request.data.get("parents", {}).values())
        found = (self.reference_behind(run.request()) for run in runs if run is not None)
        return next((one for one in found if one is not None), None)

    def check_parents(self, name: str, run: Request, where: str) -> set[str]:
        """The links behind a finished run in a link's place; `UserError` if the chain has another run there.

        ``where``: the option that names the run.
        """
        behind, parents = {name}, run.data.get("parents", {})
        for role, parent in self.roles(self.cfg.chain[name]).items():
            link, key = self.cfg.chain.get(parent, LinkSpec()), parents.get(role)
            there = self.links[parent].key if parent in self.links else link.run
            if there and key not in (None, there):
                line = f"its {role} is run {key}, and the chain's {parent} is run {there}"
                advice = f"choose chain.{parent}.run={key}, or another run for {name}"
                raise UserError(f"{where}: {line}; {advice}")
            found = self.store.run(key) if key and parent in self.cfg.chain else None
            if found is not None:
                behind |= self.check_parents(parent, found.request(), where)
        return behind

    def stored(self, key: str, where: str, overrides: Sequence[str], kind: str = train.VERB) -> Request:
        """The request of a finished run; ``where``: the option that names it, ``OPTION.run=KEY``."""
        request = self.stored_request(key, where)
        if request["verb"] != kind:
            wanted = "a training" if kind == train.VERB else f"of the kind {kind}"
            raise UserError(f"{where}: is not {wanted} but {title(request)}; `vaebench list runs` shows the runs")
        run = self.store.find(request)
        run.check_done(where)
        if overrides:
            option = f"{where.rpartition('.run=')[0]}.overrides"
            raise UserError(f"{where}: is trained already, so {option}={list(overrides)} cannot apply")
        # A set of problems has no dataset of its own to build.
        leaves = {part: request.data.get(part) for part in ("model", "dataset")}
        build.check({part: one for part, one in leaves.items() if isinstance(one, Mapping) and "_target_" in one})
        return self.add(request, where)

    def stored_request(self, key: str, where: str) -> Request:
        if not key:
            raise UserError(f"{where}: names no run; leave it out, or take a key of `vaebench list runs`")
        run = self.store.run(key)
        if run is None:
            raise UserError(f"{where}: there is no such run in {self.store.root}; `vaebench list runs` shows them")
        return run.request()


def _behind(
    cfg: TrainConfig, where: str, experiment: str, overrides: Sequence[str], idle: Mapping[str, str]
) -> TrainConfig:
    """An experiment that a configuration builds on, for its scale, seed and data unless ``overrides`` name another set.

    ``where``: the option that holds ``experiment`` and ``overrides``. ``idle``: options that would do nothing among
    these, and why; `UserError` is raised for them, and if there is no such experiment.
    """
    if experiment not in choices("experiment"):
        raise UserError(unknown(f"{where}.experiment", experiment, choices("experiment")))
    keys = {text: text.lstrip("+~").partition("=")[0] for text in overrides}
    groups = {text: key.rpartition("@")[2].partition(".")[0] for text, key in keys.items()}
    lines = [f"{text}: {idle[group]}; give it to the command itself" for text, group in groups.items() if group in idle]
    other_set = "dataset" in keys.values()  # a tuning may be at another resolution
    if not lines:
        dataset = None if other_set else cfg.dataset
        other = compose.behind(experiment, overrides, f"{where}.overrides", cfg.scale, dataset)
        if on_latents(other) or "latents" not in groups.values():
            return replace(other, seed=cfg.seed, store=cfg.store)
        lines = [f"{text}: the run stores no latents" for text, group in groups.items() if group == "latents"]
    raise UserError(*(f"{where}.overrides: {line}" for line in lines))


def on_latents(cfg: TrainConfig) -> bool:
    """Whether the model is trained on what an autoencoder makes of images."""
    return bool(cfg.model.get("data") == LATENTS)


def perceives(cfg: TrainConfig) -> bool:
    """Whether the layers of a trained classifier are a part of the loss."""
    return cfg.model.get("perceptual") == "classifier" and bool(cfg.model["perceptual_weight"])


def classifier(cfg: TrainConfig, seed: int = 0) -> Request:
    """A classifier of the configuration's dataset: trained once, the same for every model and scale."""
    require_classes(cfg.dataset)
    return train.request(judging(cfg, seed), {})


def judge(cfg: TrainConfig, suite: Suite, run: Request, snapshot: int | None) -> Request | None:
    """The classifier that ``suite`` looks at ``run`` with, if it needs one: the dataset's, or the run's own.

    Raises `UserError` for a ``snapshot`` and a classifier of the run's own, which knows the last weights only.
    """
    if not suite.needs_classifier:
        return None
    if not getattr(suite, "own_classifier", False):
        return classifier(cfg)
    if snapshot is not None:
        line = "a classifier of its own is trained on what the last weights make; leave one of the two out"
        raise UserError(f"snapshot={snapshot}: {line}")
    return train.request(judging(cfg, 0, "classifier_of_reconstructions"), {"seen_through": run})


def judging(cfg: TrainConfig, seed: int, experiment: str = "classifier") -> TrainConfig:
    """The configuration of a classifier."""
    scale = compose.compose("train", [f"experiment={experiment}"]).scale
    return replace(compose.behind(experiment, (), "experiment", scale, cfg.dataset), seed=seed)

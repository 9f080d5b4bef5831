"""The spine of the configuration and the request it freezes into.

Leaves (model, dataset, optim, suite) are plain YAML with a ``_target_``; the spine is typed by the dataclasses below,
which are also the only place where its defaults stand. Hydra ends here: everything behind `freeze` takes a `Request`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import yaml
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vaebench import bounds
from vaebench.errors import UserError, shown

KEY_LENGTH = 12
PRECISIONS = ("float32", "bf16")
SCHEDULES = ("constant", "linear", "onecycle", "cosine")
KEEPS = ("last", "best")
EXECUTORS = ("inline", "local")
FEATURES = ("inception", "classifier", "cifar10_resnet")  # the networks through which samples are judged
_MOST_SEED = 2**63 - 1  # PyTorch's generators take no more
_MOST_AT_ONCE = 1024  # threads, or processes; far more than that and the operating system ends the process
LATENTS = "latents"  # the ``data`` of a model that is trained on what an autoencoder makes of images
# Where a file is fetched from does not change what it holds (its sha256 stands beside it), so it is no part of the key.
# ``needs``, ``data`` and ``about`` describe a leaf: which packages it takes, which kind of data it is for, what to call
# it. A ``path`` has its sha256 beside it too.
_NOT_IN_KEY = frozenset({"mirrors", "needs", "extra", "data", "path", "builds_on", "about"})


@dataclass
class ScaleSpec:
    """How much of a protocol is run: ``seeds`` repetitions 0, 1, ... of ``epochs``, cut at ``max_steps``."""

    name: str = MISSING
    seeds: int = bounds.count(MISSING)
    epochs: int = bounds.count(MISSING)
    max_steps: int | None = bounds.count(None)


@dataclass
class TrainSpec:
    """The training loop. A step is one batch; the last, incomplete batch of an epoch is dropped.

    It ends after ``epochs`` or ``max_steps``, whichever comes first; either can be null, not both.
    ``schedule``: the learning rate stays (``constant``), falls to zero over the training (``linear``), falls along half
    a cosine (``cosine``), or rises for a tenth of it and falls along a cosine (``onecycle``). ``warmup_steps``: over
    which a ``constant`` or ``cosine`` rate rises first. ``watch_every``: steps between two looks at a model's own
    numbers (codebook usage).
    ``keep``: the weights after the ``last`` step, or those with the ``best`` loss on a held-out tenth of the data.
    ``snapshots``: how many times the weights are kept, evenly along the training; an evaluation can take one.
    """

    epochs: int | None = bounds.count(MISSING)
    max_steps: int | None = bounds.count(None)
    batch_size: int = bounds.count(128)
    schedule: str = bounds.choice("constant", SCHEDULES)
    clip_norm: float | None = bounds.number(None, 0, above=True)
    log_every: int = bounds.count(100)
    precision: str = bounds.choice("float32", PRECISIONS)
    keep: str | None = bounds.choice(None, KEEPS)
    watch_every: int | None = bounds.count(None)
    warmup_steps: int | None = bounds.count(None)
    snapshots: int | None = bounds.count(None)


@dataclass
class ParentSpec:
    """The run that a model builds on: an autoencoder under a diffusion model, the run that a tuning starts from.

    ``experiment``: composed for the same dataset, scale and seed, with ``overrides``; or ``run``: the key of a finished
    run in the store; or ``stage``: one of `StagesSpec`, or ``reference``.
    """

    experiment: str | None = None
    run: str | None = None
    stage: str | None = None
    overrides: list[str] = field(default_factory=list)


@dataclass
class StageSpec:
    """A run in a long chain: an ``experiment`` with ``overrides``, or the key of a finished ``run``."""

    experiment: str = MISSING
    run: str | None = None
    overrides: list[str] = field(default_factory=list)


@dataclass
class StagesSpec:
    """The runs that latents matched with a reference distribution build on (DMVAE), each in one place.

    ``encoder`` -> ``tokenizer`` -> (with the reference) ``teacher`` -> ``joint``. Of some references:
    ``features_encoder`` -> ``features``, another tokenizer; ``autoencoder`` -> ``diffusion``, a latent diffusion model.
    """

    encoder: StageSpec = field(default_factory=partial(StageSpec, "dmvae/ssl"))
    tokenizer: StageSpec = field(default_factory=partial(StageSpec, "dmvae/tokenizer"))
    teacher: StageSpec = field(default_factory=partial(StageSpec, "dmvae/teacher"))
    joint: StageSpec = field(default_factory=partial(StageSpec, "dmvae/joint"))
    features_encoder: StageSpec = field(default_factory=partial(StageSpec, "dmvae/supervised"))
    features: StageSpec = field(default_factory=partial(StageSpec, "dmvae/tokenizer"))
    autoencoder: StageSpec = field(default_factory=partial(StageSpec, "dmvae/kl"))
    diffusion: StageSpec = field(default_factory=partial(StageSpec, "dmvae/diffusion"))


@dataclass
class LatentsSpec:
    """How an autoencoder's latents are stored for a diffusion model: ``float32`` or ``float16``.

    ``flip``: those of the mirrored image too, one of the two is drawn at each reading.
    """

    flip: bool = False
    dtype: str = "float32"


@dataclass
class RuntimeSpec:
    """The machine: nothing here is part of a request's key.

    One thread by default: results stay equal bit for bit on any machine, and two threads on a busy machine are slower.
    ``trust_remote_code``: whether code that comes with a language model may run; asked anew of every command, whatever
    a stored request says.
    """

    device: str = "auto"
    threads: int = bounds.count(1, high=_MOST_AT_ONCE)
    checkpoint_seconds: float = bounds.number(30.0, 0)
    trust_remote_code: bool = False


@dataclass
class ExecutorSpec:
    """Where jobs run: ``inline`` in this process, ``local`` in ``workers`` processes (null: one per free core)."""

    kind: str = bounds.choice("local", EXECUTORS)
    workers: int | None = bounds.count(None, high=_MOST_AT_ONCE)


@dataclass
class Common:
    """What every command has. ``store``: the folder of the runs (null: $VAEBENCH_HOME, else ./runs)."""

    runtime: RuntimeSpec = field(default_factory=RuntimeSpec)
    store: str | None = bounds.folder(None)
    quiet: bool = False


@dataclass
class TrainConfig(Common):
    """``vaebench train`` and ``vaebench eval``. ``test_on``: another dataset to evaluate on (out of domain).

    ``reference``: the distribution that latents are matched with, ``stages`` the runs behind that.

    ``snapshot``: evaluate the model as it was after so many of the parts that `TrainSpec.snapshots` cuts its training
    into.
    """

    model: Any = MISSING
    dataset: Any = MISSING
    optim: Any = MISSING
    suite: Any = None
    test_on: Any = None
    embedder: Any = None
    reference: Any = None
    scale: ScaleSpec = field(default_factory=ScaleSpec)
    train: TrainSpec = field(default_factory=TrainSpec)
    parent: ParentSpec = field(default_factory=ParentSpec)
    stages: StagesSpec = field(default_factory=StagesSpec)
    latents: LatentsSpec = field(default_factory=LatentsSpec)
    snapshot: int | None = bounds.count(None)
    seed: int = bounds.count(0, 0, _MOST_SEED)


@dataclass
class ReproduceConfig(Common):
    """``vaebench reproduce``, ``plan`` and ``report``. ``seeds`` overrides the scale's number of seeds.

    ``row``: only these rows of the tables, to give some of them more seeds. ``measure``: `plan` at ``scale=paper`` runs
    a few steps of each training on random tensors; without, it counts only.
    """

    paper: str = "all"
    table: str = "all"
    row: str = "all"
    scale: str | None = bounds.choice(None, lambda: choices("scale"))
    dataset: str | None = bounds.choice(None, lambda: choices("dataset"))
    features: str | None = bounds.choice(None, FEATURES)
    seeds: int | None = bounds.count(None)
    results: str = bounds.folder("results")
    measure: bool = True
    executor: ExecutorSpec = field(default_factory=ExecutorSpec)


def conf_dir() -> Path:
    """The folder of the YAML files: inside an installed package, beside it in a checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "conf", here.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise UserError(f"the configuration folder is missing: neither {here / 'conf'} nor {here.parent / 'conf'} exists")


def choices(group: str) -> list[str]:
    """What can be chosen of a group: its YAML files, subfolders with a slash."""
    folder = conf_dir() / group
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))


def leaf(group: str, name: str) -> dict[str, Any]:
    """A choice's YAML as it is written, before composition."""
    return dict(yaml.safe_load((conf_dir() / group / f"{name}.yaml").read_text(encoding="utf-8")) or {})


@cache
def about(dataset: str) -> Mapping[str, Any]:
    """What a dataset's YAML tells readers; nothing of it reaches a request or the code that reads the data.

    ``title``; ``embedded``: what comes without a file; ``items``: how many it trains on; ``classes``: what to call
    them, each with its article, or the dataset that has the same. Empty for what is no dataset.
    """
    return leaf("dataset", dataset).get("about", {}) if dataset in choices("dataset") else {}


def kind_of(name: str) -> str:
    """Which kind of data a dataset holds: ``images``, ``audio``, ``text`` or ``tokens``."""
    found = leaf("dataset", name)
    composed = any("/answers@answers" in entry for entry in found.get("defaults", ()))
    return "text" if composed else str(found.get("data", "images"))


def kinds_of_model(name: str) -> tuple[str, ...]:
    """Which kinds of data a model works on, its usual one first."""
    return kinds(leaf("model", name).get("data"))


def kinds(data: Any) -> tuple[str, ...]:
    """A model's ``data`` field: nothing (images), one kind, or several. Latents are made of images."""
    if data in (None, LATENTS):
        return ("images",)
    return (data,) if isinstance(data, str) else tuple(data)


@dataclass(frozen=True)
class Request:
    """The resolved configuration of one training or one evaluation, as plain data; its `key` names its folder."""

    data: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """The first 12 hex digits of the sha256 over the canonical form of the data."""
        text = json.dumps(_canonical(self.data), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]

    def __getitem__(self, name: str) -> Any:
        return self.data[name]


def _canonical(value: Any) -> Any:
    """``None`` is absence (a new optional field must not rename every run) and 1.0 is 1."""
    if isinstance(value, Mapping):
        items = {str(k): v for k, v in value.items() if v is not None and k not in _NOT_IN_KEY}
        return {k: _canonical(v) for k, v in items.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def plain(node: Any) -> Any:
    """An OmegaConf node as dicts and lists, interpolations resolved; any other value as it is."""
    if not OmegaConf.is_config(node):
        return node
    try:
        return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key or 'configuration'}: {shown(bounds.first_line(error))}") from error


def dataset_leaf(node: Any) -> dict[str, Any]:
    """A dataset as plain data; of ordinary folders with their ``contents``: changed files make another request.

    Raises `UserError` for a name or a shape that cannot be one.
    """
    from vaebench.data.contents import contents
    from vaebench.data.files import check_fields, split_names

    found: dict[str, Any] = {key: value for key, value in plain(node).items() if key != "about"}
    check_fields(found)
    if "splits" not in found:
        return found

    name = str(found["name"])
    return {**found, "contents": contents(name, split_names(name, found["splits"]), kinds(found.get("data"))[0])}


def freeze(cfg: DictConfig, parents: Mapping[str, Request] | None = None) -> Request:
    """The request of a training: all that decides its numbers, and nothing of the machine. ``parents``: by role."""
    parts = {name: plain(cfg[name]) for name in ("model", "optim", "train")}
    data = {"verb": "train", **parts, "dataset": dataset_leaf(cfg.dataset), "seed": int(cfg.seed)}
    keys = {role: parent.key for role, parent in (parents or {}).items()}
    return Request(data | ({"parents": keys} if keys else {}))


def freeze_eval(
    suite: Mapping[str, Any],
    run: Request,
    classifier: Request | None = None,
    dataset: Mapping[str, Any] | None = None,
    snapshot: int | None = None,
) -> Request:
    """The request of an evaluation: the suite and the runs it looks at, by key.

    ``dataset``: what is tested on, if that is not the set the run was trained on. ``snapshot``: which one of the run is
    looked at, if not its last weights.
    """
    parents = {"run": run.key} | ({"classifier": classifier.key} if classifier else {})
    other: dict[str, Any] = {} if dataset is None else {"dataset": dict(dataset)}
    other |= {} if snapshot is None else {"snapshot": int(snapshot)}
    if suite.get("reference_file"):
        from vaebench.data.download import sha256_of

        path = Path(suite["reference_file"]).expanduser()
        if not path.is_file():
            raise UserError(f"suite.reference_file={suite['reference_file']}: there is no such file")
        other["reference_sha256"] = sha256_of(path)
    return Request({"verb": "eval", "suite": dict(suite), **other, "parents": parents})


def freeze_design(suite: Mapping[str, Any], cfg: DictConfig, judge: Mapping[str, Any] | None = None) -> Request:
    """The request of an evaluation of a training's design alone: nothing is trained, no data is read.

    ``judge``: the classifier (a model's leaf) that the loss perceives with, if it does.
    """
    design: dict[str, Any] = {name: plain(cfg[name]) for name in ("model", "optim")}
    design["train"] = {name: cfg.train[name] for name in ("batch_size", "precision")}
    design |= {} if judge is None else {"judge": dict(judge)}
    shape = list(cfg.dataset.shape)
    return Request({"verb": "eval", "suite": dict(suite), **design, "shape": shape, "parents": {}})

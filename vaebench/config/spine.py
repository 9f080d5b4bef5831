"""The typed spine of the configuration: what every command has, and the only place where its defaults stand.

Leaves (model, dataset, optim, suite) are plain YAML with a ``_target_``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

from annotated_types import Interval
from omegaconf import MISSING

from vaebench.config.bounds import Folder
from vaebench.config.choices import choices
from vaebench.config.signatures import Count, NonNegative, OneOf, Positive

PRECISIONS = ("float32", "bf16")
SCHEDULES = ("constant", "linear", "onecycle", "cosine")
KEEPS = ("last", "best")
EXECUTORS = ("inline", "local")
FEATURES = ("inception", "classifier", "cifar10_resnet")  # the networks through which samples are judged
_Seed = Annotated[int, Interval(ge=0, le=2**63 - 1)]  # PyTorch's generators take no more
# Threads, or processes; far more than that and the operating system ends the process.
_AtOnce = Annotated[int, Interval(ge=1, le=1024)]


@dataclass
class ScaleSpec:
    """How much of a protocol is run: ``seeds`` repetitions 0, 1, ... of ``epochs``, cut at ``max_steps``."""

    name: str = MISSING
    seeds: Count = MISSING
    epochs: Count = MISSING
    max_steps: Count | None = None


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

    epochs: Count | None = None
    max_steps: Count | None = None
    batch_size: Count = 128
    schedule: Annotated[str, OneOf(SCHEDULES)] = "constant"
    clip_norm: Positive | None = None
    log_every: Count = 100
    precision: Annotated[str, OneOf(PRECISIONS)] = "float32"
    keep: Annotated[str, OneOf(KEEPS)] | None = None
    watch_every: Count | None = None
    warmup_steps: Count | None = None
    snapshots: Count | None = None


@dataclass
class ParentSpec:
    """The run that a model builds on: an autoencoder under a diffusion model, the run that a tuning starts from.

    ``experiment``: composed for the same dataset, scale and seed, with ``overrides``; or ``run``: the key of a finished
    run in the store; or ``link``: one of the configuration's ``chain``.
    """

    experiment: str | None = None
    run: str | None = None
    link: str | None = None
    overrides: list[str] = field(default_factory=list)


@dataclass
class LinkSpec:
    """A run of a chain: an ``experiment`` with ``overrides``, or the key of a finished ``run`` in its place.

    ``parents``: by role, the links it builds on; ``LINK.ROLE`` is what that link builds on in that role.
    ``kind``: of the run, where it is no training.
    """

    experiment: str | None = None
    kind: str = "train"
    parents: dict[str, str] = field(default_factory=dict)
    run: str | None = None
    overrides: list[str] = field(default_factory=list)


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
    threads: _AtOnce = 1
    checkpoint_seconds: NonNegative = 30.0
    trust_remote_code: bool = False


@dataclass
class ExecutorSpec:
    """Where jobs run: ``inline`` in this process, ``local`` in ``workers`` processes (null: one per free core)."""

    kind: Annotated[str, OneOf(EXECUTORS)] = "local"
    workers: _AtOnce | None = None


@dataclass
class Common:
    """What every command has. ``store``: the folder of the runs (null: $VAEBENCH_HOME, else ./runs)."""

    runtime: RuntimeSpec = field(default_factory=RuntimeSpec)
    store: Folder | None = None
    quiet: bool = False


@dataclass
class TrainConfig(Common):
    """``vaebench train`` and ``vaebench eval``. ``test_on``: another dataset to evaluate on (out of domain).

    ``reference``: the distribution that latents are matched with. ``chain``: the runs that need each other, of which
    this one is ``link``.

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
    chain: dict[str, LinkSpec] = field(default_factory=dict)
    link: str | None = None
    latents: LatentsSpec = field(default_factory=LatentsSpec)
    snapshot: Count | None = None
    seed: _Seed = 0

    @property
    def on_texts(self) -> bool:
        """Whether the dataset is a set of problems and who answered them."""
        return "answers" in self.dataset


@dataclass
class ReproduceConfig(Common):
    """``vaebench reproduce``, ``plan`` and ``report``. ``seeds`` overrides the scale's number of seeds.

    ``row``: only these rows of the tables, to give some of them more seeds. ``measure``: `plan` at ``scale=paper`` runs
    a few steps of each training on random tensors; without, it counts only.
    """

    paper: str = "all"
    table: str = "all"
    row: str = "all"
    scale: Annotated[str, OneOf(partial(choices, "scale"))] | None = None
    dataset: Annotated[str, OneOf(partial(choices, "dataset"))] | None = None
    features: Annotated[str, OneOf(FEATURES)] | None = None
    seeds: Count | None = None
    results: Folder = "results"
    measure: bool = True
    executor: ExecutorSpec = field(default_factory=ExecutorSpec)

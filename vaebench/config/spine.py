"""The typed spine of the configuration: what every command has, the only place of its defaults, and their ranges.

Leaves (model, dataset, optim, suite) are plain YAML with a ``_target_``.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from functools import cache, partial
from typing import Annotated, Any

from annotated_types import Interval
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vaebench.config.choices import choices
from vaebench.config.signatures import Count, NonNegative, OneOf, Positive, Sound, mistake
from vaebench.errors import shown

COMPILES = ("default", "reduce-overhead")
PRECISIONS = ("float32", "bf16")
SCHEDULES = ("constant", "linear", "onecycle", "cosine")
KEEPS = ("last", "best")
FEATURES = ("inception", "classifier", "cifar10_resnet")  # the networks through which samples are judged
_Seed = Annotated[int, Interval(ge=0, le=2**63 - 1)]  # PyTorch's generators take no more
# Threads, or processes; far more than that and the operating system ends the process.
AtOnce = Annotated[int, Interval(ge=1, le=1024)]

_COPIED = " (`vaebench runs push URL` and `runs pull URL` copy finished runs)"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def _no_folder(path: str) -> str:
    """What is wrong with the path of a folder, empty if nothing is."""
    if not path.strip():
        return "names no folder; leave it out, or give a folder"
    return f"is an address; a folder of this machine is wanted{_COPIED}" if _ADDRESS.match(path) else ""


Folder = Annotated[str, Sound(_no_folder)]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)")


def _no_duration(text: str) -> str:
    return "" if _DURATION.fullmatch(text) else "is no duration; write 90s, 45m or 2h"


def duration(text: str) -> float:
    """``90s``, ``45m`` or ``1.5h`` in seconds."""
    number, unit = _DURATION.fullmatch(text).groups()  # type: ignore[union-attr]
    return float(number) * {"s": 1, "m": 60, "h": 3600}[unit]


Duration = Annotated[str, Sound(_no_duration)]


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
    ``accumulate``: the parts into which a batch is cut, whose gradients are added up: less memory, and the same step
    where a loss is a mean over items; what a method takes over a batch it takes over each part.
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
    accumulate: Count | None = None


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
    ``processes``: that make a training together, each a part of its batches, or latents, each some shards. ``shard``:
    each holds a part of a training's weights too, of their gradients and of the optimiser's state, where they are
    transformers'. ``recompute``: activations of transformers are computed a second time in place of being kept.
    ``compile``: how PyTorch compiles a step's loss, on one process; ``reduce-overhead`` replays it as one CUDA graph,
    where a training has one phase. ``trust_remote_code``: whether code that comes with a language model may run; asked
    anew of every command, whatever a stored request says.
    """

    device: str = "auto"
    threads: AtOnce = 1
    processes: AtOnce = 1
    shard: bool = False
    recompute: bool = False
    compile: Annotated[str, OneOf(COMPILES)] | None = None
    checkpoint_seconds: NonNegative = 30.0
    trust_remote_code: bool = False


@dataclass
class Common:
    """What every command has. ``store``: the folder of the runs (null: $VAEBENCH_HOME, else ./runs).

    ``tracker``: who shows runs while they are made; like the machine, no part of a request. ``executor``: where the
    runs of commands are made that make several at a time, sweeps among them (null: in worker processes here).
    """

    runtime: RuntimeSpec = field(default_factory=RuntimeSpec)
    executor: Any = None
    tracker: Any = None
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
class SeedsSpec:
    """How many seeds: ``seeds=5`` (null: the scale's number); or ``seeds=auto``: until decided, at most ``max``."""

    count: Count | None = None
    auto: bool = False
    max: Count = 20

    @staticmethod
    def short(value: str) -> str:
        """What ``seeds=VALUE`` stands for."""
        return "auto=true" if value == "auto" else f"count={value}"


@dataclass
class ReproduceConfig(Common):
    """``vaebench reproduce``, ``plan`` and ``report``.

    ``budget``: with ``seeds=auto``, how long the command may take (``2h``); it begins nothing that would take longer.

    ``row``: only these rows of the tables, to give some of them more seeds. ``measure``: `plan` at ``scale=paper`` runs
    a few steps of each training on random tensors; without, it counts only. ``full`` (``--full``): `reproduce`
    prints all tables, not a summary. ``open`` (``--open``): `report` shows its pages in a browser.
    """

    paper: str = "all"
    table: str = "all"
    row: str = "all"
    scale: Annotated[str, OneOf(partial(choices, "scale"))] | None = None
    dataset: Annotated[str, OneOf(partial(choices, "dataset"))] | None = None
    features: Annotated[str, OneOf(FEATURES)] | None = None
    seeds: SeedsSpec = field(default_factory=SeedsSpec)
    budget: Duration | None = None
    results: Folder = "results"
    measure: bool = True
    full: bool = False
    open: bool = False


def mistakes(spec: type, given: Mapping[str, Any], where: str = "") -> list[str]:
    """One line for each value that cannot be read (an interpolation of nothing), is missing or out of its bounds.

    ``spec``: the dataclass with the fields. ``where``: the option that holds them, with a dot after it.
    """
    lines: list[str | None] = []
    ranges = _hints(spec, extras=True)
    for one, hint in typed_fields(spec):
        name = where + one.name
        if one.name not in given:
            lines += [f"{name}: is missing"] if isinstance(given, DictConfig) else []
            continue
        try:
            value = given[one.name]
            if is_dataclass(hint):
                lines += mistakes(typing.cast("type", hint), value, f"{name}.")
                continue
            value = OmegaConf.to_object(value) if OmegaConf.is_config(value) else value
        except OmegaConfBaseException as error:
            raw = given._get_node(one.name) if isinstance(given, DictConfig) else None
            lines.append(f"{name}={shown(raw)}: {shown(first_line(error))}")
        else:
            lines.append(mistake(name, value, ranges[one.name]))
    return [line for line in lines if line is not None]


def typed_fields(spec: Any) -> Iterator[tuple[Field[Any], Any]]:
    """The fields of a dataclass with their types, ``Any`` left out: what is chosen of a group has its own checks."""
    hints = _hints(spec)
    for one in fields(spec):
        if hints[one.name] is not Any:
            yield one, hints[one.name]


@cache
def _hints(spec: Any, *, extras: bool = False) -> Mapping[str, Any]:
    """The types of a dataclass's fields; ``extras``: with their ranges."""
    return typing.get_type_hints(spec, include_extras=extras)


def options(spec: Any, inside: str = "") -> Iterator[tuple[str, Field[Any]]]:
    """The typed fields of a dataclass and of those in it by their dotted names; what has a short form counts as one."""
    for one, hint in typed_fields(spec):
        if is_dataclass(hint) and not hasattr(hint, "short"):
            yield from options(hint, f"{inside}{one.name}.")
        else:
            yield f"{inside}{one.name}", one


def is_text(spec: type, key: str) -> bool:
    """Whether the dotted ``key`` is a typed field that holds a text."""
    return str in _kinds(spec, key)


def is_whole(spec: type, key: str) -> bool:
    """Whether the dotted ``key`` is a typed field that holds a whole number."""
    return int in _kinds(spec, key)


def _kinds(spec: type, key: str) -> tuple[Any, ...]:
    """The types of which the value of a typed field may be; none of what is no typed field, or holds several."""
    hint: Any = spec
    for part in key.split("."):
        if typing.get_origin(hint) is dict:  # named by the user: chain.NAME.run
            hint = typing.get_args(hint)[1]
        else:
            hint = {one.name: kind for one, kind in typed_fields(hint)}.get(part) if is_dataclass(hint) else None
    return () if typing.get_origin(hint) in (list, dict) else typing.get_args(hint) or (hint,)


def shorthand(spec: type, key: str) -> Callable[[str], str] | None:
    """What turns the value of ``key``, which holds several options, into one of them; None where nothing does."""
    return getattr({one.name: kind for one, kind in typed_fields(spec)}.get(key), "short", None)


def first_line(error: Exception) -> str:
    """The cause in one line; Hydra wraps the message that says what is wrong."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")

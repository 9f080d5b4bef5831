"""What the GPU kit measures: one step on a GPU against the same on a CPU, and steps per second of a training."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from benchmarks.prepared import prepared
from vaebench.config.spine import TrainSpec
from vaebench.contracts import Averages, Batch
from vaebench.engine import runtime
from vaebench.engine.loop import Hooks, fit
from vaebench.engine.ranks import Ranks
from vaebench.metrics.cost import Design, alone, random_batch

ITEMS = 16  # of a step that is compared
_SET = 10_000  # batches that a training set seems to have


def differences(experiment: str, device: torch.device) -> dict[str, float]:
    """How far a step of an experiment is from the same elsewhere: largest relative difference of a loss or gradient.

    ``device``: on it in single precision against a CPU. ``bf16``: on it against single precision. ``compiled``: on it
    against what is not compiled. Of gradients the norm of the difference over the norm. All draw the same numbers.
    Nothing for a model that is not trained by steps.
    """
    model: Any
    model, data, _ = prepared(experiment, "train.max_steps=1")
    if not model.phases:
        return {}
    if hasattr(model, "look"):
        model.look(data)
    batch = data.batch(torch.arange(ITEMS))
    with _exact_products():
        elsewhere = _step(model, batch, torch.device("cpu"))
        here = _step(model, batch, device)
        return {
            "device": _apart(here, elsewhere),
            "bf16": _apart(_step(model, batch, device, precision="bf16"), here),
            "compiled": _apart(_step(model, batch, device, compiled=True), here),
        }


def _step(
    model: nn.Module, batch: Batch, device: torch.device, *, precision: str = "float32", compiled: bool = False
) -> dict[str, Tensor]:
    """Loss and gradient of each phase of a copy of ``model``, on the CPU."""
    own: Any = copy.deepcopy(model).to(device).train()
    given = Batch(batch.x.to(device), batch.y.to(device))
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
    found: dict[str, Tensor] = {}
    torch.manual_seed(1)
    for phase in own.phases:
        loss = runtime.compiled(phase.loss, "default") if compiled else phase.loss
        with _DrawnOnCpu(), autocast:
            total = loss(given, 0).total
        gradients = torch.autograd.grad(total, phase.parameters, allow_unused=True)
        found[f"{phase.name} loss"] = total.detach().double().cpu()
        found[f"{phase.name} gradient"] = torch.cat(
            [grad.double().flatten().cpu() for grad in gradients if grad is not None] or [torch.zeros(1)]
        )
    return found


def _apart(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    return max(float((ours[name] - theirs[name]).norm() / theirs[name].norm().clamp(min=1e-12)) for name in theirs)


class _DrawnOnCpu(TorchFunctionMode):
    """Random numbers of the CPU's generator on every device: those of a GPU's are others."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func in (torch.randn_like, torch.rand_like):
            draw = torch.randn if func is torch.randn_like else torch.rand
            return draw(args[0].shape, dtype=args[0].dtype).to(args[0].device)
        if func in (torch.randn, torch.rand, torch.randint) and given.get("generator") is None:
            device = given.pop("device", None)
            return func(*args, **given).to(device or "cpu")
        if func is F.dropout and (args[2] if len(args) > 2 else given.get("training", True)):
            share = args[1] if len(args) > 1 else given.get("p", 0.5)
            return args[0] * F.dropout(torch.ones(args[0].shape), share).to(args[0])
        return func(*args, **given)


@contextmanager
def _exact_products() -> Iterator[None]:
    """Convolutions in single precision, where a GPU would round their inputs to 10 bits (TF32)."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@dataclass(frozen=True)
class Speed:
    """Steps per second of a training, and the most bytes that its tensors took (0 where that cannot be told)."""

    steps: float
    peak_bytes: int


@dataclass(frozen=True)
class Way:
    """How a training is done: in the bench's own loop or a ``lean`` one, compiled or not (`RuntimeSpec.compile`)."""

    lean: bool = False
    compile: str | None = None
    precision: str | None = None


def speed(design: Design, way: Way, *, batch_size: int, steps: int) -> Speed:
    """Of the second ``steps`` steps, in a process of its own. Raises `UserError` where memory runs out."""
    return alone(_speed, design, way, batch_size, steps, torch.get_num_threads())


def _speed(design: Design, way: Way, batch_size: int, steps: int, threads: int) -> Speed:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = design.build().to(design.device).train()
    data = _Repeated(design, min(batch_size, 256), getattr(model, "classes", 0) or 1)
    seconds = (_lean if way.lean else _ours)(model, design, data, way, batch_size, steps)
    peak = torch.cuda.max_memory_allocated(design.device) if design.device.type == "cuda" else 0
    return Speed(steps / seconds, peak)


class _DoneError(Exception):
    """Enough steps."""


def _ours(model: Any, design: Design, data: _Repeated, way: Way, batch_size: int, steps: int) -> float:
    """Seconds of the second ``steps`` steps of the bench's loop: the first ones compile, and allocate."""
    stamps: list[float] = []

    def log(record: Mapping[str, Any]) -> None:
        stamps.append(time.perf_counter())  # its numbers have been computed: nothing is left in the queue
        if len(stamps) == 2:
            raise _DoneError

    precision = way.precision or design.precision
    spec = TrainSpec(max_steps=2 * steps + 1, batch_size=batch_size, log_every=steps, precision=precision)
    given: Any = data
    how: dict[str, Any] = {"spec": spec, "seed": 0, "hooks": Hooks(log=log), "ranks": Ranks(compile=way.compile)}
    try:
        fit(model, given, optimizers=design.optimizers(model), **how)
    except _DoneError:
        pass
    return stamps[1] - stamps[0]


def _lean(model: Any, design: Design, data: _Repeated, way: Way, batch_size: int, steps: int) -> float:
    """Seconds of as many steps as one would write them: loss, gradients, optimiser, and nothing else."""
    if hasattr(model, "look"):
        model.look(data)
    optimizers = design.optimizers(model)
    losses = [runtime.compiled(phase.loss, way.compile) if way.compile else phase.loss for phase in model.phases]
    precision = way.precision or design.precision
    autocast = torch.autocast(design.device.type, torch.bfloat16, enabled=precision == "bf16")
    batch = data.batch(torch.arange(batch_size, device=design.device))

    def take(count: int) -> None:
        for step in range(count):
            for phase, loss in zip(model.phases, losses, strict=True):
                optimizer = optimizers[phase.name]
                optimizer.zero_grad(set_to_none=True)
                with autocast:
                    total = loss(batch, step).total
                total.backward(inputs=None if len(losses) == 1 else phase.parameters)
                optimizer.step()
            if isinstance(model, Averages):
                model.average()
        if design.device.type == "cuda":
            torch.cuda.synchronize(design.device)

    take(steps)
    start = time.perf_counter()
    take(steps)
    return time.perf_counter() - start


class _Repeated:
    """A large training set of a few random items, on the device."""

    name = "random items"

    def __init__(self, design: Design, items: int, classes: int) -> None:
        self.device = design.device
        self.items = random_batch(design.shape, items, latents=design.latents, device=design.device).x
        self.classes = classes
        self.count = _SET * design.batch_size

    def __len__(self) -> int:
        return self.count

    def batch(self, rows: Tensor) -> Batch:
        """Its items in turn; labels too."""
        return Batch(self.items[rows % len(self.items)], rows % self.classes)

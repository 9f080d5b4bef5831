"""What a design costs: operations counted without values, training steps measured in a process of their own."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_hook
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from vaebench.contracts import Averages, Batch, HasEncoder, Phase
from vaebench.errors import UserError
from vaebench.nn.pretrained import lpips
from vaebench.stopping import end_with_parent

T = TypeVar("T")

RULE = "multiply-adds of convolutions and linear layers, 4 per LayerNorm element, none in the products of attention"
# A step at which every part of a loss is on: one that begins late (adversarial) is most of a training.
LATE = 10**9
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_PER_NORMED = 4  # operations
CPU = torch.device("cpu")
_STATE_BYTES = 16  # per trained number, float32: weight, gradient and Adam's two moments


@dataclass(frozen=True, kw_only=True)
class Design:
    """A model as it would be built and trained, before it is; picklable.

    ``build``: makes it with fresh weights on the current default device. ``optimizers``: one per phase of it.
    ``shape``: (c, h, w) of an item, of a latent with ``latents``. ``precision``: ``float32`` or ``bf16``.
    ``about``: as plain data, all of it that decides what a step costs.
    """

    build: Callable[[], Any]
    optimizers: Callable[[Any], Mapping[str, torch.optim.Optimizer]]
    shape: tuple[int, ...]
    batch_size: int
    precision: str
    latents: bool = False
    device: torch.device = CPU
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Count:
    """Of a model: its ``parameters``, those that are ``trained``, and the floats that are ``stored`` of it.

    Of a training step: ``flops`` forward and backward, a multiply-add is two; ``state_bytes`` of weights, gradients and
    moments; ``kept_bytes`` for the backward pass.
    """

    parameters: int
    trained: int
    stored: int
    state_bytes: int
    flops: float
    kept_bytes: int


@dataclass(frozen=True)
class Macs:
    """Multiply-adds of a pass: by `RULE`, and all of them (products of attention, no norms)."""

    layers: float
    full: float


@dataclass(frozen=True)
class Measured:
    """``seconds`` of the median step; ``peak_bytes``: on a GPU what tensors took, else the whole resident process."""

    seconds: float
    peak_bytes: int


@contextmanager
def weightless() -> Iterator[None]:
    """Tensors made inside it have a shape and no values (meta): the largest network takes no memory and no time."""
    with torch.device("meta"), _FusedAttention():
        yield


class _FusedAttention(TorchFunctionMode):
    """Attention as a CPU and a GPU do it; the meta device would keep every product of queries and keys."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is F.scaled_dot_product_attention:
            return _Attention.apply(*args[:3])
        return function(*args, **(kwargs or {}))


class _Attention(torch.autograd.Function):
    """The products of attention by their shapes: two forward, four backward."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        found = (query @ key.mT @ value).transpose(1, 2).contiguous().transpose(1, 2)  # as the kernels lay it out
        ctx.save_for_backward(query, key, value, found)
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, _ = ctx.saved_tensors
        products = gradient @ value.mT
        return products @ key, products.mT @ query, products.mT @ gradient


class Vgg16(nn.Module):
    """The layers that LPIPS compares, with fresh weights: a judge that costs what LPIPS does without a file."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = lpips.LPIPS().stages

    def layers(self, x: Tensor) -> tuple[Tensor, ...]:
        """Grey or colour images ``[b c h w]`` -> activations of the five stages."""
        found = [x.expand(-1, 3, -1, -1)]
        for stage in self.stages:
            found.append(stage(found[-1]))
        return tuple(found[1:])


def random_batch(shape: Sequence[int], count: int, *, latents: bool, device: torch.device | None = None) -> Batch:
    """``count`` items of ``shape``, uniform in [0, 1] or (``latents``) normal; every label is 0.

    ``device``: None is the current default.
    """
    draw = torch.randn if latents else torch.rand
    return Batch(draw(count, *shape, device=device), torch.zeros(count, dtype=torch.int64, device=device))


def encoder_macs(model: HasEncoder, shape: Sequence[int]) -> Macs:
    """Count ``encoder_pass`` of a `weightless` model for images of ``shape`` (b, c, h, w).

    `RULE` is how the thop package counts, and what the efficiency table of arXiv 2507.09984 calls GFLOPs.
    """
    layers = 0

    def add(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal layers
        if isinstance(module, nn.LayerNorm):
            layers += _PER_NORMED * output.numel()
        elif isinstance(module, _LAYERS):
            layers += output.numel() * module.weight[0].numel()

    with torch.no_grad(), register_module_forward_hook(add), FlopCounterMode(display=False) as counter:
        model.encoder_pass(torch.empty(*shape))
    return Macs(layers, counter.get_total_flops() / 2)


def count(design: Design) -> Count:
    """Count a design; it takes neither memory nor time. Raises what its model raises if it cannot be built."""
    with weightless():
        model: Any = design.build()
        flops, kept_bytes = count_step(
            model.phases, random_batch(design.shape, design.batch_size, latents=design.latents)
        )
    trained = {parameter for phase in model.phases for parameter in phase.parameters}
    numbers = sum(parameter.numel() for parameter in trained)
    fixed = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()) if tensor not in trained)
    return Count(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        trained=numbers,
        stored=stored_numbers(model),
        state_bytes=_STATE_BYTES * numbers + fixed,
        flops=flops,
        kept_bytes=kept_bytes,
    )


def stored_numbers(model: nn.Module) -> int:
    """How many floats the state dict holds, without the modules that only another phase than the first trains."""
    others = {parameter for phase in model.phases[1:] for parameter in phase.parameters}  # type: ignore[index]
    aside = {
        f"{path}.{name}".removeprefix(".")
        for path, module in model.named_modules()
        if others.intersection(module.parameters(recurse=False))
        for name in module.state_dict()
        if "." not in name  # its own
    }
    kept = (value for name, value in model.state_dict().items() if name not in aside)
    return sum(value.numel() for value in kept if value.is_floating_point())


def count_step(phases: Iterable[Phase], batch: Batch) -> tuple[float, int]:
    """Flops and kept bytes (`Count`) of a step of a `weightless` model.

    A phase that takes its turn less often counts in part. What is kept is that of the phase that keeps most; of weights
    only those of a judge are among it.
    """
    flops, kept_bytes = 0.0, 0
    for phase in phases:
        kept: dict[int, torch.UntypedStorage] = {}

        def keep(saved: Tensor, kept: dict[int, torch.UntypedStorage] = kept) -> Tensor:
            storage = saved.untyped_storage()
            kept[storage._cdata] = storage  # held, so that no other takes its place
            return saved

        both = saved_tensors_hooks(keep, lambda saved: saved)
        with torch.enable_grad(), both, FlopCounterMode(display=False) as counter:
            phase.loss(batch, LATE).total.backward(inputs=phase.parameters)
        flops += counter.get_total_flops() / phase.every
        for parameter in phase.parameters:
            kept.pop(parameter.untyped_storage()._cdata, None)
        kept_bytes = max(kept_bytes, sum(storage.nbytes() for storage in kept.values()))
    return flops, kept_bytes


def measure(design: Design, *, batch_size: int, steps: int, seconds: float = math.inf) -> Measured:
    """Measure ``steps`` on random items in another process, which is the one that goes if memory runs out.

    None begins after ``seconds``.

    Raises `UserError` if it died, or could not make a step (too little memory on a GPU).
    """
    return alone(_measure, design, batch_size, steps, seconds, torch.get_num_threads())


def alone(measure: Callable[..., T], *given: Any) -> T:
    """What ``measure`` finds in a process of its own. Raises `UserError` if that died, or a step could not be made."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=end_with_parent) as pool:
        try:
            return pool.submit(measure, *given).result()
        except BrokenProcessPool as error:
            raise UserError("not measured: the process was killed (out of memory?)") from error
        except RuntimeError as error:
            raise UserError(f"not measured: {str(error).splitlines()[0]}") from error


def _measure(design: Design, batch_size: int, steps: int, seconds: float, threads: int) -> Measured:
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    device = design.device
    model = design.build().to(device).train()
    batch = random_batch(design.shape, batch_size, latents=design.latents, device=device)
    optimizers = design.optimizers(model)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=design.precision == "bf16")

    def update(phase: Phase) -> None:
        optimizers[phase.name].zero_grad(set_to_none=True)
        with autocast:
            output = phase.loss(batch, LATE)
        output.total.backward(inputs=phase.parameters)
        optimizers[phase.name].step()

    turns: list[tuple[Callable[[], None], int]] = [(partial(update, phase), phase.every) for phase in model.phases]
    if isinstance(model, Averages):
        turns.append((model.average, 1))
    times: list[list[float]] = [[] for _ in turns]
    began = time.perf_counter()
    for _ in range(1 + steps):  # the first one allocates, and does not count where there is another
        for (turn, _), found in zip(turns, times, strict=True):
            start = time.perf_counter()
            turn()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            found.append(time.perf_counter() - start)
        if time.perf_counter() - began > seconds:
            break
    step = sum(median(found[1:] or found) / every for (_, every), found in zip(turns, times, strict=True))
    return Measured(step, _peak(device))


def _peak(device: torch.device) -> int:
    """The most memory this process has held; on a GPU that of its tensors."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.is_file():  # ru_maxrss begins at what the parent process held
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

"""What trainings cost before they are run: counted from their requests, and a few real steps measured in a process.

No data is read: images are uniform random numbers, latents normal ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.table import Table as Grid

from vaebench import __version__
from vaebench.config.choices import LATENTS, called
from vaebench.config.request import Request
from vaebench.data.latents import DTYPES
from vaebench.disk import write_json
from vaebench.engine import runtime
from vaebench.engine.schedules import total_steps
from vaebench.errors import UserError
from vaebench.metrics import cost
from vaebench.metrics.cost import Design
from vaebench.runs import build
from vaebench.runs.kinds.train import items

_STEPS = 3  # measured, and none begins after so many seconds
_SECONDS = 60.0
_PROCESS_BYTES = 1 << 30  # the interpreter, its libraries, and what a step needs for a moment
_USABLE = 0.9  # of the free memory
_SHOWN = 4  # labels of a line
_CPU_FLOPS = 5e11  # of a measured step there, some ten seconds: an image takes no less among more of them


@dataclass(frozen=True)
class Cost:
    """A training's cost; trainings that cost the same by count are one, with all their ``labels``.

    ``what``: the model and the shape of its items. ``latent_bytes``: at most, of the stored latents of each autoencoder
    under it. ``measured``: a step of ``micro_batch`` items; it and ``count`` are None where ``note`` says why.
    """

    labels: tuple[str, ...]
    what: str
    steps: int
    batch_size: int
    count: cost.Count | None = None
    latent_bytes: int = 0
    micro_batch: int = 0
    measured: cost.Measured | None = None
    note: str = ""
    design: Design | None = field(default=None, compare=False, repr=False)

    @property
    def hours(self) -> float | None:
        """Of the whole training on the device that was measured."""
        if self.measured is None:
            return None
        return self.steps * self.batch_size / self.micro_batch * self.measured.seconds / 3600


def of(
    trainings: Iterable[tuple[str, Request]],
    requests: Mapping[str, Request],
    *,
    device: torch.device,
    cache: Path | None,
) -> list[Cost]:
    """The costs of trainings (what to call each, its request) on images or latents; others are left out.

    ``requests``: all that they build on, by key. ``cache``: the folder for what was measured on ``device``; None
    counts only. A training that cannot be counted or measured has a note; nothing is raised.
    """
    alike: dict[Cost, list[str]] = {}
    labels: dict[str, list[str]] = {}
    different: dict[str, Request] = {}
    for label, request in trainings:
        if "shape" in request["dataset"] and "sample_rate" not in request["dataset"]:
            key = Request({**request.data, "seed": None, "parents": _under(request, requests)}).key
            different.setdefault(key, request)
            labels.setdefault(key, []).append(label)
    for key, request in different.items():
        found = _counted(request, requests, device)
        if found is not None:
            alike.setdefault(found, []).extend(labels[key])
    costs = [replace(one, labels=tuple(dict.fromkeys(known))) for one, known in alike.items()]
    return costs if cache is None else [_measured(one, cache) for one in costs]


def _under(request: Request, requests: Mapping[str, Request]) -> dict[str, Any] | None:
    """What the latents cost that a model is trained on: autoencoders that share a network are alike."""
    if request["model"].get("data") != LATENTS:
        return None
    autoencoder, stored = (requests[request["parents"][role]] for role in ("autoencoder", "latents"))
    model = autoencoder["model"]
    return {"network": model.get("network", model), "shape": autoencoder["dataset"]["shape"], **_stored(stored)}


def _stored(latents: Request) -> Mapping[str, Any]:
    """How latents are kept; a reference's samples are kept as they are drawn."""
    return latents.data.get("latents", {"flip": False, "dtype": "float32"})


def _counted(request: Request, requests: Mapping[str, Request], device: torch.device) -> Cost | None:
    """Counted, without labels, with its design if it could be; None for a model that is not trained by steps."""
    spec, name = request["train"], called(request["model"])
    steps = total_steps(items(request), spec["batch_size"], spec["epochs"], spec["max_steps"])
    bare = Cost((), f"{name} on {_of(request, request['dataset']['shape'])}", steps, spec["batch_size"])
    try:
        found, latent_bytes = design(request, requests, device)
        count = cost.count(found)
    except Exception as error:  # a mistake in its options, an operation that depends on values: a plan goes on
        return replace(bare, note=f"not counted: {_line(error)}")
    if not count.trained:
        return None
    what = f"{name} on {_of(request, found.shape)}"
    return replace(bare, what=what, count=count, latent_bytes=latent_bytes, design=found)


def design(request: Request, requests: Mapping[str, Request], device: torch.device | None = None) -> tuple[Design, int]:
    """A training's design, and how many bytes the latents take that it is trained on.

    ``requests``: all that it builds on, by key.
    """
    parents = request.data.get("parents", {})
    shape = tuple(request["dataset"]["shape"])
    if request["model"].get("data") != LATENTS:
        # What it begins with costs no step.
        looked_at = {role: requests[key] for role, key in parents.items() if role not in ("start", "encoder")}
        return build.design(request, shape, parents=looked_at, device=device), 0
    with cost.weightless():
        autoencoder: Any = build.design(requests[parents["autoencoder"]], shape).build()
        moments = 1 if _without_variance(autoencoder, shape) else 2
    latent = tuple(autoencoder.latent_shape)
    stored = _stored(requests[parents["latents"]])
    numbers = math.prod(latent) * moments * (2 if stored["flip"] else 1)
    size = numbers * DTYPES[stored["dtype"]].itemsize * items(request)
    return build.design(request, latent, latents=True, device=device), size


def _without_variance(autoencoder: Any, shape: tuple[int, ...]) -> bool:
    """Whether it is sure that an autoencoder of images of ``shape`` gives means alone; a weight may decide it."""
    try:
        return autoencoder.latent_moments(torch.zeros(1, *shape))[1] is None
    except RuntimeError:  # that weight has no value here
        return False


def _measured(counted: Cost, cache: Path) -> Cost:
    """With a step measured, or read from the cache; else a note."""
    design, count = counted.design, counted.count
    if design is None or count is None:
        return counted
    where = [runtime.device_name(design.device), torch.get_num_threads(), torch.__version__, __version__]
    path = cache / f"costs-{Request({**design.about, 'where': where}).key}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):  # not there, or damaged: measured again
        known = json.loads(path.read_bytes())
        return replace(counted, micro_batch=known["micro_batch"], measured=cost.Measured(**known["measured"]))
    free = runtime.free_bytes(design.device)
    items = fitting_items(count, counted.batch_size, free, design.device)
    if not items:
        needed = count.state_bytes + count.kept_bytes / counted.batch_size + _PROCESS_BYTES
        return replace(counted, note=f"not measured: needs about {_gb(needed)}, {_gb(free)} are free")
    try:
        found = cost.measure(design, batch_size=items, steps=_STEPS, seconds=_SECONDS)
    except UserError as error:
        return replace(counted, note=_line(error))
    write_json(path, {"micro_batch": items, "measured": asdict(found)})
    return replace(counted, micro_batch=items, measured=found)


def fitting_items(count: cost.Count, batch_size: int, free: float, device: torch.device) -> int:
    """How many items are taken to measure: the whole batch, or the largest power of two that fits; 0 if not even 1."""
    room = _USABLE * free - count.state_bytes - _PROCESS_BYTES
    most = math.floor(room / max(1, count.kept_bytes) * batch_size)
    if device.type == "cpu" and count.flops:
        most = min(most, max(1, math.floor(_CPU_FLOPS / count.flops * batch_size)))
    if most < 1:
        return 0
    return batch_size if most >= batch_size else 1 << (most.bit_length() - 1)


def grid(costs: Iterable[Cost], device: torch.device) -> Grid:
    """A table of costs; what was not counted or measured says why."""
    table = Grid("training", "by count", f"on {runtime.device_name(device)}", title="cost of each training")
    for one in costs:
        counted = [f"{one.steps:,} steps of {one.batch_size:,}"]
        if count := one.count:
            step = f"{count.flops / 1e12:,.3g} TFLOP, {_gb(count.state_bytes + count.kept_bytes)} a step"
            counted = [f"{count.parameters / 1e6:.2f} M parameters", *counted, step]
        if one.latent_bytes:
            counted.append(f"{_gb(one.latent_bytes)} of latents, each")
        table.add_row(f"{one.what}\n{_some(one.labels)}", "\n".join(counted), _here(one), end_section=True)
    return table


def _of(request: Request, shape: Iterable[int]) -> str:
    return f"{request['dataset']['name']}, {'x'.join(map(str, shape))}"


def _some(labels: tuple[str, ...]) -> str:
    rest = len(labels) - _SHOWN
    return ", ".join(labels[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _here(one: Cost) -> str:
    """What was measured, or why nothing was."""
    if one.measured is None or one.hours is None:
        return one.note or "not measured"
    hours = f"{one.hours:,.0f}" if one.hours >= 10 else f"{one.hours:.2g}"
    return f"{hours} hours\n{one.measured.seconds:.3g} s and {_gb(one.measured.peak_bytes)} for {one.micro_batch}"


def _gb(size: float) -> str:
    return f"{size / 1e9:,.0f} GB" if size >= 1e10 else f"{size / 1e9:.2g} GB"


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

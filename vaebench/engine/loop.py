"""The training loop, read top to bottom: batch -> due phases -> loss -> gradients -> step -> log -> checkpoint."""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vaebench.config.spine import TrainSpec
from vaebench.contracts import (
    Averages,
    Batch,
    Finishes,
    FitsInClosedForm,
    Floors,
    LooksAtData,
    LossOutput,
    Phase,
    TrainingData,
    Validates,
    Watches,
)
from vaebench.data.images import ImageData
from vaebench.engine.schedules import rate_factor, snapshot_steps, total_steps, training_count
from vaebench.errors import Interrupted, UserError

Window = dict[str, list[Tensor]]


@dataclass(frozen=True)
class Hooks:
    """What the loop tells the outside. ``log(record)``: means over the last steps; ``save(state)``: a checkpoint.

    ``due()`` is asked once a step whether a checkpoint is due; ``stop()`` whether to save and stop; ``snapshot(k)``
    keeps the weights after part k of the training.
    """

    log: Callable[[dict[str, Any]], None] = lambda record: None
    track: Callable[[int, int], None] = lambda done, total: None
    save: Callable[[dict[str, Any]], None] = lambda state: None
    due: Callable[[], bool] = lambda: False
    stop: Callable[[], bool] = lambda: False
    snapshot: Callable[[int], None] = lambda number: None


def fit(
    model: nn.Module,
    data: TrainingData,
    *,
    optimizers: Mapping[str, torch.optim.Optimizer],
    spec: TrainSpec,
    seed: int,
    state: dict[str, Any] | None = None,
    hooks: Hooks = Hooks(),
) -> int:
    """Train ``model`` in place and return the number of steps.

    ``optimizers``: one per phase, by name. ``data``: on the training device. ``spec``: one-cycle is
    Smith & Topin's (arXiv 1708.07120).
    ``state``: what a checkpoint held; the training goes on to the same numbers, bit for bit on a CPU.

    Raises `UserError` for too little data, a loss that is not finite, a term below its `Floors`; `Interrupted` after
    saving at ``hooks.stop()``.
    """
    _begin(model, data)
    phases: tuple[Phase, ...] = model.phases  # type: ignore[assignment]
    best = _Best(model, data, seed) if spec.keep == "best" else None
    count = len(data) if best is None else best.training
    if count < spec.batch_size:
        raise UserError(f"train.batch_size={spec.batch_size}: {data.name} has only {count} training items")
    per_epoch = count // spec.batch_size
    total = total_steps(count, spec.batch_size, spec.epochs, spec.max_steps) if phases else 0
    rates = {name: [group["lr"] for group in optimizer.param_groups] for name, optimizer in optimizers.items()}
    first, window = _restore(model, optimizers, best, state, total)
    autocast = torch.autocast(data.device.type, torch.bfloat16, enabled=spec.precision == "bf16")
    average = model.average if isinstance(model, Averages) else None
    kept = snapshot_steps(total, spec.snapshots)
    model.train()
    for step, picked in _batches(count, spec.batch_size, seed, first, total, data.device):
        batch = data.batch(picked if best is None else best.rows[picked])
        for phase in phases:
            if step % phase.every:
                continue
            optimizer = optimizers[phase.name]
            if spec.schedule != "constant" or spec.warmup_steps:
                _set_rates(
                    optimizer, rates[phase.name], rate_factor(spec.schedule, step, total, spec.warmup_steps or 0)
                )
            output = _update(phase, optimizer, batch, step, autocast, spec.clip_norm, alone=len(phases) == 1)
            _remember(window, phase.name, output.total.detach(), output.terms)
        if average is not None:
            average()
        done = step + 1
        if done in kept:
            hooks.snapshot(kept[done])
        if done % spec.log_every == 0 or done == total:
            means = _means(window, model, done)
            hooks.log({"step": done, "epoch": round(done / per_epoch, 4), **means})
            window.clear()
            hooks.track(done, total)
        if best is not None and (done % per_epoch == 0 or done == total):
            hooks.log({"step": done, "epoch": round(done / per_epoch, 4), "validation/loss": best.look(done)})
        if spec.watch_every and (done % spec.watch_every == 0 or done == total):
            hooks.log({"step": done, "epoch": round(done / per_epoch, 4), **_watched(model, data)})
        stop = hooks.stop()
        if stop or (hooks.due() and done < total):
            hooks.save(_state(model, optimizers, best, done, window))
        if stop:
            raise Interrupted(f"stopped after step {done} of {total}; the same command goes on from there")
    if best is not None:
        best.restore()
    _end(model, data, lambda: hooks.save(_state(model, optimizers, best, total, window)))
    return total


def _update(
    phase: Phase,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    step: int,
    autocast: torch.autocast,
    clip_norm: float | None,
    *,
    alone: bool,
) -> LossOutput:
    """One phase's turn: loss, gradients, optimiser step."""
    optimizer.zero_grad(set_to_none=True)
    with autocast:
        output = phase.loss(batch, step)
    # With one phase every gradient is the phase's own; naming the parameters would cost a percent or two.
    output.total.backward(inputs=None if alone else phase.parameters)
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(phase.parameters, clip_norm)
    optimizer.step()
    return output


def _begin(model: nn.Module, data: TrainingData) -> None:
    """What is done once before the first step. Raises `UserError` if there is nothing to train on."""
    if not len(data):
        raise UserError(f"{data.name} has no training items; it is there to be tested on (dataset@test_on={data.name})")
    if isinstance(model, FitsInClosedForm) and isinstance(data, ImageData):
        model.fit(data.train_x)
    if isinstance(model, LooksAtData):
        model.look(data)


def _end(model: nn.Module, data: TrainingData, save: Callable[[], None]) -> None:
    """What is done once after the last step; it can take minutes, so all that led to it is saved before."""
    model.eval()
    if isinstance(model, Finishes):
        save()
        model.finish(data)


def _watched(model: nn.Module, data: TrainingData) -> dict[str, float]:
    """What a model that can be watched has to say, as terms of the log."""
    return {f"watch/{name}": value for name, value in model.watch(data).items()} if isinstance(model, Watches) else {}


class _Best:
    """Holds a tenth of the data out and remembers the weights with the lowest loss on it."""

    def __init__(self, model: nn.Module, data: TrainingData, seed: int) -> None:
        if not isinstance(model, Validates):
            raise UserError(f"train.keep=best: {type(model).__name__} has no validation loss; use train.keep=last")
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed)).to(data.device)
        self.model = model
        self.training = training_count(len(data), "best")
        self.rows, held_out = order[: self.training], order[self.training :]
        self.batch = data.batch(held_out)
        self.state: dict[str, Any] = {"loss": math.inf, "step": 0, "weights": {}}

    def look(self, step: int) -> float:
        """The validation loss now; the weights are kept if it is the lowest yet."""
        self.model.eval()
        with torch.no_grad():
            loss = float(self.model.validation_loss(self.batch))
        self.model.train()
        if loss < self.state["loss"]:
            weights = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
            self.state = {"loss": loss, "step": step, "weights": weights}
        return loss

    def restore(self) -> None:
        """Put the best weights back."""
        if self.state["weights"]:
            self.model.load_state_dict(self.state["weights"])


def _batches(
    count: int, batch_size: int, seed: int, first: int, total: int, device: torch.device
) -> Iterator[tuple[int, Tensor]]:
    """Steps and the rows of their batches; an epoch's order depends on (seed, epoch) alone, so any step can resume."""
    per_epoch = count // batch_size
    for epoch in range(first // per_epoch, math.ceil(total / per_epoch)):
        shuffle = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
        order = torch.randperm(count, generator=shuffle).to(device)
        for step in range(max(first, epoch * per_epoch), min(total, (epoch + 1) * per_epoch)):
            start = (step - epoch * per_epoch) * batch_size
            yield step, order[start : start + batch_size]


def _set_rates(optimizer: torch.optim.Optimizer, rates: list[float], factor: float) -> None:
    """A rate is a function of the step, so a resumed training needs no scheduler's state."""
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate * factor


def _remember(window: Window, phase: str, total: Tensor, terms: Mapping[str, Tensor]) -> None:
    """Keep the step's numbers on the device; nothing is copied to the host before the next log."""
    for name, value in {"loss": total, **terms}.items():
        window.setdefault(f"{phase}/{name}", []).append(value)


def _means(window: Window, model: nn.Module, done: int) -> dict[str, float]:
    """Means over the window.

    Raises `UserError` naming step and phase of the first loss that is not finite, or else of a term below its floor.
    """
    stacked = {name: torch.stack(values).double() for name, values in window.items()}
    every = {phase.name: phase.every for phase in model.phases}  # type: ignore[union-attr]

    def first(name: str, wrong: Tensor) -> list[tuple[int, str]]:
        """The step, counted from 1, at which a term is wrong first."""
        steps = [step for step in range(done) if step % every[name.split("/", 1)[0]] == 0][-len(wrong) :]
        return [(steps[int(where)] + 1, name) for where in wrong.nonzero()[:1]]

    losses = {name: values for name, values in stacked.items() if name.split("/", 1)[1] == "loss"}
    infinite = [found for name, values in losses.items() for found in first(name, ~values.isfinite())]
    if infinite:
        step, name = min(infinite)
        raise UserError(
            f"phase {name.split('/', 1)[0]!r}: the loss is not finite at step {step}; "
            "try a smaller optim.lr, train.clip_norm, or train.precision=float32"
        )
    for name, (floor, meaning) in model.floors.items() if isinstance(model, Floors) else ():
        for step, _ in first(name, stacked[name] < floor) if name in stacked else ():
            raise UserError(f"{name} is below {floor:g} at step {step}: {meaning}")
    return {name: float(values.mean()) for name, values in stacked.items()}


def _state(
    model: nn.Module,
    optimizers: Mapping[str, torch.optim.Optimizer],
    best: _Best | None,
    step: int,
    window: Window,
) -> dict[str, Any]:
    """All that the rest of the training depends on."""
    return {
        "step": step,
        "model": model.state_dict(),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
        "window": {name: torch.stack(values) for name, values in window.items()},
        "best": None if best is None else best.state,
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _restore(
    model: nn.Module,
    optimizers: Mapping[str, torch.optim.Optimizer],
    best: _Best | None,
    state: dict[str, Any] | None,
    total: int,
) -> tuple[int, Window]:
    """Put a checkpoint's state back; returns the first step still to do and the log window.

    Raises `UserError` if it is of another model, or says what a training of ``total`` steps cannot have come to.
    """
    if state is None:
        return 0, {}
    try:
        if not 0 <= state["step"] <= total:
            raise ValueError(f"step {state['step']} of {total}")
        model.load_state_dict(state["model"], strict=True)
        for name, optimizer in optimizers.items():
            _restore_optimizer(optimizer, state["optimizers"][name]["state"])
        if best is not None:
            best.state = _fitting(model, state["best"])
        window = {name: list(values.unbind()) for name, values in state["window"].items()}
        if any(name.partition("/")[0] not in optimizers or part[0].ndim for name, part in window.items()):
            raise ValueError("a log window of other phases")
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"]:
            torch.cuda.set_rng_state_all(state["cuda_rng"])
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"checkpoint.pt: is of another model or training ({reason}); remove it to start over"
        ) from error
    return state["step"], window


def _restore_optimizer(optimizer: torch.optim.Optimizer, states: Mapping[int, Mapping[str, Any]]) -> None:
    """Put an optimiser's moments back; its rates and other options are the request's, not the checkpoint's.

    Raises `ValueError` for moments that are not those of its parameters, with which it would read beyond them.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    wanted = _state_names(optimizer)
    for number, state in states.items():
        shape = parameters[number].shape
        if set(state) != wanted or any(part.shape not in (shape, ()) for part in state.values()):
            raise ValueError(f"moments of another shape for parameter {number}, {list(shape)}")
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})


def _state_names(optimizer: torch.optim.Optimizer) -> set[str]:
    """What such an optimiser remembers of a parameter."""
    twin = copy.copy(optimizer)
    one = nn.Parameter(torch.zeros(1))
    one.grad = torch.zeros(1)
    twin.state, twin.param_groups = defaultdict(dict), [{**optimizer.param_groups[0], "params": [one]}]
    twin.step()
    return set(twin.state[one])


def _fitting(model: nn.Module, best: dict[str, Any]) -> dict[str, Any]:
    """The best weights so far with their step and loss, if they are this model's. Raises `ValueError` if not."""
    own = {name: value.shape for name, value in model.state_dict().items()}
    if best["weights"] and {name: value.shape for name, value in best["weights"].items()} != own:
        raise ValueError("best weights of another model")
    return {"loss": float(best["loss"]), "step": int(best["step"]), "weights": best["weights"]}

"""The training loop, read top to bottom: batch -> due phases -> loss -> gradients -> step -> log -> checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    parts,
)
from vaebench.data.images import ImageData
from vaebench.engine.checkpoint import fitting, restore_optimizer
from vaebench.engine.feed import Feed, Lap, Part
from vaebench.engine.ranks import ALONE, Ranks, SharedError
from vaebench.engine.runtime import compiled
from vaebench.engine.schedules import rate_factor, snapshot_steps, total_steps, training_count
from vaebench.errors import Interrupted, UserError


@dataclass(frozen=True)
class Hooks:
    """What the loop tells the outside. ``log(record)``: means over the last steps; ``save(state)``: a checkpoint.

    ``due()`` is asked once a step whether a checkpoint is due; ``stop()`` whether to save and stop; ``snapshot(k, w)``
    keeps the weights w after part k of the training. ``look(step)`` is called every ``look_every`` steps, and leaves
    model and random state as they are. ``lap(step, lap)``: how fast the last steps were, as often as they are logged.
    """

    log: Callable[[dict[str, Any]], None] = lambda record: None
    track: Callable[[int, int], None] = lambda done, total: None
    save: Callable[[dict[str, Any]], None] = lambda state: None
    due: Callable[[], bool] = lambda: False
    stop: Callable[[], bool] = lambda: False
    snapshot: Callable[[int, Mapping[str, Tensor]], None] = lambda number, weights: None
    look: Callable[[int], None] = lambda step: None
    lap: Callable[[int, Lap], None] = lambda step, lap: None
    look_every: int | None = None


def fit(
    model: nn.Module,
    data: TrainingData,
    *,
    optimizers: Mapping[str, torch.optim.Optimizer],
    spec: TrainSpec,
    seed: int,
    state: dict[str, Any] | None = None,
    hooks: Hooks = Hooks(),
    ranks: Ranks = ALONE,
) -> int:
    """Train ``model`` in place and return the number of steps.

    ``optimizers``: one per phase, by name. ``data``: on the training device. ``spec``: one-cycle is Smith & Topin's
    (arXiv 1708.07120). ``state``: what a checkpoint held; the training goes on to the same numbers, bit for bit on a
    CPU. ``ranks``: the processes that train it together.

    Raises `UserError` for too little data, a loss that is not finite, a term below its `Floors`; `Interrupted` after
    saving at ``hooks.stop()``.
    """
    _begin(model, data)
    training = _Training(model, data, optimizers, spec, seed, ranks)
    best, total, first = training.best, training.total, training.restore(state)
    average = model.average if isinstance(model, Averages) else None
    kept = snapshot_steps(total, spec.snapshots)

    def log(terms: Mapping[str, float]) -> None:
        hooks.log({"step": done, "epoch": round(done / training.per_epoch, 4), **terms})

    model.train()
    for step, pieces in training.feed.steps(training.batches(first)):
        training.take(step, pieces)
        if average is not None:
            average()
        done = step + 1
        if done in kept:
            hooks.snapshot(kept[done], ranks.whole(model.state_dict()))
        if done % spec.log_every == 0 or done == total:
            log(training.means(done))
            hooks.track(done, total)
            hooks.lap(done, training.feed.lap())
        if best is not None and (done % training.per_epoch == 0 or done == total):
            log({"validation/loss": best.look(done)})
        if spec.watch_every and (done % spec.watch_every == 0 or done == total):
            log(_watched(model, data))
        if hooks.look_every and done % hooks.look_every == 0 and done < total:
            hooks.look(done)
        stop, due = ranks.first_says(hooks.stop(), hooks.due() and done < total)
        if stop or due:
            hooks.save(training.state(done))
        if stop:
            raise Interrupted(f"stopped after step {done} of {total}; the same command goes on from there")
    if best is not None:
        best.restore()
    model.eval()
    if isinstance(model, Finishes):
        hooks.save(training.state(total))  # what follows can take minutes
        if ranks.rank == 0:
            model.finish(data)
    return total


def _begin(model: nn.Module, data: TrainingData) -> None:
    """What is done once before the first step. Raises `UserError` if there is nothing to train on."""
    if not len(data):
        raise UserError(f"{data.name} has no training items; it is there to be tested on (dataset@test_on={data.name})")
    if isinstance(model, FitsInClosedForm) and isinstance(data, ImageData):
        model.fit(data.train_x)
    if isinstance(model, LooksAtData):
        model.look(data)


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


class _Training:
    """Steps on batches, and all that the rest of them depends on."""

    def __init__(
        self,
        model: nn.Module,
        data: TrainingData,
        optimizers: Mapping[str, torch.optim.Optimizer],
        spec: TrainSpec,
        seed: int,
        ranks: Ranks,
    ) -> None:
        self.model, self.optimizers, self.spec, self.seed, self.ranks = model, optimizers, spec, seed, ranks
        self.phases: tuple[Phase, ...] = model.phases  # type: ignore[assignment]
        self.losses = {phase.name: self._compiled(phase.loss) for phase in self.phases}
        self.device = data.device
        self.best = _Best(model, data, seed) if spec.keep == "best" else None
        self.count = len(data) if self.best is None else self.best.training
        if self.count < spec.batch_size:
            raise UserError(
                f"train.batch_size={spec.batch_size}: {data.name} has only {self.count} training items; "
                f"at most {self.count}"
            )
        self.feed = Feed(data, spec, ranks)
        self.per_epoch = self.count // spec.batch_size
        self.total = total_steps(self.count, spec.batch_size, spec.epochs, spec.max_steps) if self.phases else 0
        self.rates = {name: [group["lr"] for group in one.param_groups] for name, one in optimizers.items()}
        self.autocast = torch.autocast(data.device.type, torch.bfloat16, enabled=spec.precision == "bf16")
        self.window: dict[str, list[Tensor]] = {}  # the terms of the steps since the last log
        ranks.share(model)

    def batches(self, first: int) -> Iterator[tuple[int, Tensor]]:
        """Steps and the rows of their batches; an epoch's order depends on (seed, epoch) alone, so any can resume."""
        for epoch in range(first // self.per_epoch, math.ceil(self.total / self.per_epoch)):
            shuffle = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
            order = torch.randperm(self.count, generator=shuffle).to(self.feed.device)
            begun = epoch * self.per_epoch
            for step in range(max(first, begun), min(self.total, begun + self.per_epoch)):
                picked = order[(step - begun) * self.spec.batch_size :][: self.spec.batch_size]
                yield step, picked if self.best is None else self.best.rows[picked]

    def take(self, step: int, parts: Sequence[Part]) -> None:
        """One step on a batch: of each phase that is due the loss, its gradients, and the optimiser's step."""
        with self.ranks.at_work(), self.ranks.drawing(len(parts[0][1])):
            self._take(step, self.feed.batches(parts))

    def _take(self, step: int, batches: Sequence[Batch]) -> None:
        factor = rate_factor(self.spec.schedule, step, self.total, self.spec.warmup_steps or 0)
        for phase in self.phases:
            if step % phase.every:
                continue
            optimizer = self.optimizers[phase.name]
            for group, rate in zip(optimizer.param_groups, self.rates[phase.name], strict=True):
                group["lr"] = rate * factor  # a function of the step: a resumed training needs no scheduler's state
            optimizer.zero_grad(set_to_none=True)
            terms = self._differentiated(phase, batches, step)
            self.ranks.average(phase.parameters)
            if self.spec.clip_norm is not None:
                nn.utils.clip_grad_norm_(phase.parameters, self.spec.clip_norm)
            optimizer.step()
            # They stay on the device: nothing is copied to the host before the next log.
            for name, value in terms.items():
                self.window.setdefault(f"{phase.name}/{name}", []).append(value)

    def _differentiated(self, phase: Phase, batches: Sequence[Batch], step: int) -> dict[str, Tensor]:
        """Add the gradients of a phase's loss, a mean over the parts of the batch; the loss and its terms, detached."""
        found: dict[str, list[Tensor]] = {}
        for batch in batches:
            with self.autocast:
                output = self.losses[phase.name](batch, step)
            total = output.total if len(batches) == 1 else output.total / len(batches)
            # With one phase every gradient is the phase's own; naming the parameters would cost a percent or two. Of
            # parts the gradients reach the whole layer first, which has no name here.
            named = len(self.phases) > 1 and not parts.is_part(phase.parameters[0])
            total.backward(inputs=phase.parameters if named else None)
            for name, value in {"loss": output.total.detach(), **output.terms}.items():
                found.setdefault(name, []).append(value if self.ranks.compile is None else value.clone())
        return {name: one[0] if len(one) == 1 else torch.stack(one).mean() for name, one in found.items()}

    def _compiled(self, loss: Callable[[Batch, int], LossOutput]) -> Callable[[Batch, int], LossOutput]:
        """The loss as PyTorch compiles it, if it is to.

        A graph's results are overwritten when it is replayed: only one phase may, which keeps none of them.
        """
        if self.ranks.compile is None:
            return loss
        return compiled(loss, self.ranks.compile if len(self.phases) == 1 else "default")

    def means(self, done: int) -> dict[str, float]:
        """Means over the window, which is emptied.

        Raises `UserError` naming step and phase of the first loss that is not finite, or else of a term below its
        floor.
        """
        stacked = self.ranks.means({name: torch.stack(values).double() for name, values in self.window.items()})
        self.window.clear()
        every = {phase.name: phase.every for phase in self.phases}

        def first(name: str, wrong: Tensor) -> list[tuple[int, str]]:
            """The step, counted from 1, at which a term is wrong first."""
            steps = [step for step in range(done) if step % every[name.split("/", 1)[0]] == 0][-len(wrong) :]
            return [(steps[int(where)] + 1, name) for where in wrong.nonzero()[:1]]

        losses = {name: values for name, values in stacked.items() if name.split("/", 1)[1] == "loss"}
        infinite = [found for name, values in losses.items() for found in first(name, ~values.isfinite())]
        if infinite:
            step, name = min(infinite)
            raise SharedError(
                f"phase {name.split('/', 1)[0]!r}: the loss is not finite at step {step}; "
                "try a smaller optim.lr, train.clip_norm, or train.precision=float32"
            )
        for name, (floor, meaning) in self.model.floors.items() if isinstance(self.model, Floors) else ():
            for step, _ in first(name, stacked[name] < floor) if name in stacked else ():
                raise SharedError(f"{name} is below {floor:g} at step {step}: {meaning}")
        return {name: float(values.mean()) for name, values in stacked.items()}

    def state(self, step: int) -> dict[str, Any]:
        """What a checkpoint holds after so many steps, the same in all processes."""
        window = self.ranks.means({name: torch.stack(values) for name, values in self.window.items()})
        self.window = {name: list(values.unbind()) for name, values in window.items()}
        return {
            "step": step,
            "model": self.ranks.whole(self.model.state_dict()),
            "optimizers": self.ranks.whole({name: one.state_dict() for name, one in self.optimizers.items()}),
            "window": window,
            "best": None if self.best is None else self.best.state,
            "rng": torch.get_rng_state(),
            "cuda_rng": [torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else [],
        }

    def restore(self, state: dict[str, Any] | None) -> int:
        """Put a checkpoint's state back; returns the first step still to do.

        Raises `UserError` if it is of another model, or says what this training cannot have come to.
        """
        if state is None:
            return 0
        try:
            if not 0 <= state["step"] <= self.total:
                raise ValueError(f"step {state['step']} of {self.total}")
            self.model.load_state_dict(parts.like(state["model"], self.model.state_dict()), strict=True)
            for name, optimizer in self.optimizers.items():
                restore_optimizer(optimizer, state["optimizers"][name]["state"])
            if self.best is not None:
                self.best.state = fitting(self.model, state["best"])
            self.window = {name: list(values.to(self.device).unbind()) for name, values in state["window"].items()}
            if any(name.partition("/")[0] not in self.optimizers or part[0].ndim for name, part in self.window.items()):
                raise ValueError("a log window of other phases")
            torch.set_rng_state(state["rng"])
            if (
                state["cuda_rng"] and self.device.type == "cuda"
            ):  # before 0.6 of all devices, of which the first trained
                torch.cuda.set_rng_state(state["cuda_rng"][0], self.device)
        except (RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"checkpoint.pt: is of another model or training ({reason}); remove it to start over"
            ) from error
        return int(state["step"])

"""The loop: phases, order of batches, resume, and what stops it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from chains import MACHINE, frozen, work
from vaebench.config.spine import TrainSpec
from vaebench.contracts import Batch, LossOutput, Phase
from vaebench.data.images import ImageData
from vaebench.engine.loop import Hooks, Interrupted, fit
from vaebench.engine.schedules import rate_factor, total_steps
from vaebench.errors import UserError
from vaebench.runs import build
from vaebench.runs.store import Store


def data(count: int = 50) -> ImageData:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 4, 4), generator=random, dtype=torch.uint8)
    labels = torch.arange(count) % 3
    return ImageData(
        name="toy",
        train_x=images,
        train_y=labels,
        test_x=images,
        test_y=labels,
        source="",
        digest="",
        note="",
        stand_in=True,
    )


class TwoPhases(nn.Module):
    """Two linear maps, the second updated every second step; the loss draws from the global generator."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 4), nn.Linear(16, 4)

    @property
    def phases(self) -> tuple[Phase, ...]:
        return (
            Phase("first", tuple(self.first.parameters()), self.loss_of(self.first)),
            Phase("second", tuple(self.second.parameters()), self.loss_of(self.second), every=2),
        )

    def loss_of(self, map_: nn.Module) -> Callable[[Batch, int], LossOutput]:
        def loss(batch: Batch, step: int) -> LossOutput:
            both = self.first(batch.x.flatten(1)) + self.second(batch.x.flatten(1))
            target = torch.randn(len(batch.x), 4)
            value = (both - target).square().mean()
            return LossOutput(value, {"square": value.detach()})

        return loss


class Exploding(TwoPhases):
    """Not a number from the seventh step on."""

    def loss_of(self, map_: nn.Module) -> Callable[[Batch, int], LossOutput]:
        inner = super().loss_of(map_)

        def loss(batch: Batch, step: int) -> LossOutput:
            output = inner(batch, step)
            return LossOutput(output.total * (float("nan") if step == 6 else 1.0), output.terms)

        return loss


def optimizers(model: TwoPhases) -> dict[str, torch.optim.Optimizer]:
    return {phase.name: torch.optim.Adam(phase.parameters, lr=0.01) for phase in model.phases}


def trained(
    hooks: Hooks, *, state: dict[str, Any] | None = None, model: TwoPhases | None = None, **options: Any
) -> TwoPhases:
    torch.manual_seed(5)
    model = model or TwoPhases()
    spec = TrainSpec(**({"epochs": 3, "batch_size": 8, "log_every": 4} | options))
    fit(model, data(), optimizers=optimizers(model), spec=spec, seed=1, state=state, hooks=hooks)
    return model


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_step_draws_the_numbers_of_one_that_is_not(home):
    words = "model=batchtopk model.hidden=[16] dataset=digits train.max_steps=20 train.log_every=5".split()
    logs, facts = [], []
    for compiled in (None, "reduce-overhead"):
        run = Store(home / str(compiled)).open(frozen(*words))
        assert work(run, MACHINE | {"compile": compiled}).status == "done"
        logs.append([json.loads(line) for line in run.path("metrics.jsonl").read_text().splitlines()])
        facts.append(json.loads(run.path("provenance.json").read_text()).get("compile"))
    assert facts == [None, "reduce-overhead"]
    for plain, entry in zip(*logs, strict=True):
        assert entry == pytest.approx(plain, rel=1e-4)


def test_a_missing_compiler_is_said_in_a_line(home, monkeypatch):
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    words = "model=batchtopk model.hidden=[16] dataset=digits train.max_steps=2".split()
    assert work(Store(home).open(frozen(*words)), MACHINE | {"compile": "default"}).reason == (
        "runtime.compile=default: no C++ compiler is installed; install g++ or clang++, name one in CXX, or leave "
        "runtime.compile out"
    )


def test_loop_equals_a_slow_one():
    """Each phase moves its own parameters only, the second every other step; batches index a seeded permutation."""
    ours = trained(Hooks())
    torch.manual_seed(5)
    slow = TwoPhases()
    first = torch.optim.Adam(slow.first.parameters(), lr=0.01)
    second = torch.optim.Adam(slow.second.parameters(), lr=0.01)
    step = 0
    images = data().train_x
    for epoch in range(3):
        order = torch.randperm(50, generator=torch.Generator().manual_seed(1_000_003 + epoch)).tolist()
        for batch_index in range(6):
            rows = order[batch_index * 8 : batch_index * 8 + 8]
            x = torch.stack([images[row] for row in rows]).float() / 255
            for optimizer, every in ((first, 1), (second, 2)):
                if step % every == 0:
                    slow.zero_grad()
                    ((slow.first(x.flatten(1)) + slow.second(x.flatten(1)) - torch.randn(8, 4)) ** 2).mean().backward()
                    optimizer.step()
            step += 1
    for name, value in slow.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("schedule", ["constant", "linear", "onecycle"])
@pytest.mark.parametrize("stop_after", [1, 3, 4, 6, 11, 17])
def test_resume_is_bit_exact(stop_after, schedule):
    """Weights and logged numbers of an interrupted and resumed training are those of an uninterrupted one."""
    whole_log: list[dict[str, Any]] = []
    whole = trained(Hooks(log=whole_log.append), schedule=schedule)
    log: list[dict[str, Any]] = []
    saved: list[dict[str, Any]] = []
    calls = iter(range(1, 100))
    hooks = Hooks(log=log.append, save=saved.append, stop=lambda: next(calls) == stop_after)
    with pytest.raises(Interrupted, match=f"after step {stop_after} of 18"):
        trained(hooks, schedule=schedule)
    torch.manual_seed(99)  # what a new process would have
    resumed = TwoPhases()
    fit(
        resumed,
        data(),
        optimizers=optimizers(resumed),
        state=saved[-1],
        hooks=Hooks(log=log.append),
        seed=1,
        spec=TrainSpec(epochs=3, batch_size=8, log_every=4, schedule=schedule),
    )
    assert log == whole_log
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in resumed.state_dict().items())


def test_loss_that_is_not_finite_names_step_and_phase():
    with pytest.raises(UserError, match="phase 'first': the loss is not finite at step 7"):
        trained(Hooks(), model=Exploding())


def test_not_finite_step_of_a_rarer_phase_is_counted_in_steps():
    class OnlySecond(Exploding):
        @property
        def phases(self) -> tuple[Phase, ...]:
            first, second = TwoPhases.phases.fget(self)  # type: ignore[attr-defined]
            return (Phase("first", first.parameters, TwoPhases.loss_of(self, self.first)), second)

    with pytest.raises(UserError, match="phase 'second': the loss is not finite at step 7"):
        trained(Hooks(), model=OnlySecond())


def test_a_term_below_its_floor_names_the_step_and_what_it_means():
    class Shrinking(TwoPhases):
        """The term of the second phase, whose turns are the odd steps counted from 1, falls below 0.5 at step 7."""

        floors: ClassVar = {"second/size": (0.5, "it has collapsed; try less")}

        def loss_of(self, map_: nn.Module) -> Callable[[Batch, int], LossOutput]:
            def loss(batch: Batch, step: int) -> LossOutput:
                value = map_(batch.x.flatten(1)).square().mean()
                return LossOutput(value, {"size": torch.tensor(0.4 if step >= 6 else 0.6)})

            return loss

    with pytest.raises(UserError, match=r"second/size is below 0\.5 at step 7: it has collapsed; try less"):
        trained(Hooks(), model=Shrinking())
    Shrinking.floors = {"second/size": (0.3, "")}
    trained(Hooks(), model=Shrinking())


def test_batch_larger_than_the_data_is_an_error():
    with pytest.raises(UserError, match="batch_size=64: toy has only 50 training items"):
        trained(Hooks(), batch_size=64)


def test_checkpoint_of_another_model_is_an_error():
    saved: list[dict[str, Any]] = []
    with pytest.raises(Interrupted):
        trained(Hooks(save=saved.append, stop=lambda: True))
    saved[-1]["model"] = nn.Linear(2, 2).state_dict()
    with pytest.raises(UserError, match="of another model"):
        trained(Hooks(), state=saved[-1])


def test_means_are_over_the_window():
    values: list[float] = []
    log: list[dict[str, Any]] = []

    class Watched(TwoPhases):
        def loss_of(self, map_: nn.Module) -> Callable[[Batch, int], LossOutput]:
            inner = super().loss_of(map_)

            def loss(batch: Batch, step: int) -> LossOutput:
                output = inner(batch, step)
                if map_ is self.first:
                    values.append(float(output.total.detach()))
                return output

            return loss

    trained(Hooks(log=log.append), model=Watched())
    assert [record["step"] for record in log] == [4, 8, 12, 16, 18]
    for record, low in zip(log, (0, 4, 8, 12, 16), strict=True):
        assert record["first/loss"] == pytest.approx(
            sum(values[low : record["step"]]) / (record["step"] - low), rel=1e-6
        )


def test_clipping_bounds_the_step():
    def moved(clip: float | None) -> Tensor:
        torch.manual_seed(5)
        model = TwoPhases()
        before = model.first.weight.detach().clone()
        plain = {phase.name: torch.optim.SGD(phase.parameters, lr=1.0) for phase in model.phases}
        fit(
            model, data(), optimizers=plain, seed=1, spec=TrainSpec(epochs=1, max_steps=1, batch_size=8, clip_norm=clip)
        )
        return (model.first.weight - before).norm()

    assert moved(1e-3) <= 1e-3 + 1e-6 < moved(None)


def test_a_batch_in_parts_has_the_gradients_of_the_whole():
    """Of a loss that is a mean over items; the log has the batch's means."""

    def trained_in(parts: int | None) -> tuple[nn.Module, list[dict[str, float]]]:
        torch.manual_seed(5)
        request = frozen("model=ae", "model.hidden=[16]", "dataset=digits", "train.batch_size=16")
        model, log = build.model(request), list[dict[str, float]]()
        fit(
            model,
            build.dataset(request),
            optimizers={phase.name: torch.optim.SGD(phase.parameters, lr=1e-3) for phase in model.phases},
            spec=TrainSpec(max_steps=5, batch_size=16, log_every=1, accumulate=parts),
            seed=1,
            hooks=Hooks(log=log.append),
        )
        return model, log

    (whole, log), (parts, other) = trained_in(None), trained_in(4)
    for one, two in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(two, one)
    assert [list(entry) for entry in other] == [list(entry) for entry in log]
    for entry, one in zip(other, log, strict=True):
        assert entry == pytest.approx(one, rel=1e-5)


def test_a_batch_that_cannot_be_cut_is_one_line(run):
    assert "train.accumulate=3: train.batch_size=128 cannot be cut into so many equal parts" in run.refused(
        "train", "model=ae", "dataset=digits", "train.accumulate=3"
    )


def test_linear_schedule_falls_to_zero():
    """Plain descent of a constant slope moves by the sum of the rates: lr (1 + ... + 1/n) = lr (n + 1) / 2."""

    class Slope(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.level = nn.Parameter(torch.zeros(1))

        @property
        def phases(self) -> tuple[Phase, ...]:
            return (Phase("slope", (self.level,), lambda batch, step: LossOutput(self.level.sum())),)

    moved = {}
    for schedule in ("constant", "linear"):
        model = Slope()
        plain = {"slope": torch.optim.SGD(model.parameters(), lr=0.5)}
        fit(model, data(), optimizers=plain, seed=0, spec=TrainSpec(epochs=2, batch_size=5, schedule=schedule))
        moved[schedule] = float(-model.level.detach())
    assert moved == pytest.approx({"constant": 0.5 * 20, "linear": 0.5 * 21 / 2})


def test_total_steps():
    assert total_steps(1437, 128, 60, None) == 60 * 11
    assert total_steps(60_000, 128, 60, 600) == 600
    assert total_steps(200, 128, None, 600) == 600, "steps alone: more than one pass if need be"


class Validated(TwoPhases):
    """Its validation loss is a number of its own choice at each look."""

    losses = (5.0, 3.0, 4.0, 6.0)

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.seen: list[dict[str, Tensor]] = []

    def validation_loss(self, batch: Batch) -> Tensor:
        assert len(batch.x) == 5
        self.seen.append({name: value.clone() for name, value in self.state_dict().items()})
        self.looks += 1
        return torch.tensor(self.losses[self.looks - 1])


BEST: dict[str, Any] = {"epochs": 4, "batch_size": 15, "keep": "best"}


def test_the_weights_of_the_best_epoch_are_kept():
    records: list[dict[str, Any]] = []
    model = Validated()
    trained(Hooks(log=records.append), model=model, **BEST)
    assert model.looks == 4
    assert all(torch.equal(model.state_dict()[name], value) for name, value in model.seen[1].items())
    assert [r["validation/loss"] for r in records if "validation/loss" in r] == list(Validated.losses)


@pytest.mark.parametrize("stop_after", [2, 7, 9])
def test_a_resumed_training_keeps_the_same_best_weights(stop_after):
    torch.manual_seed(3)
    start = Validated().state_dict()
    whole, stopped, again = Validated(), Validated(), Validated()
    whole.load_state_dict(start)
    stopped.load_state_dict(start)
    trained(Hooks(), model=whole, **BEST)
    saved: list[dict[str, Any]] = []
    calls = iter(range(1, 100))
    with pytest.raises(Interrupted):
        trained(Hooks(save=saved.append, stop=lambda: next(calls) == stop_after), model=stopped, **BEST)
    again.looks = stopped.looks
    trained(Hooks(), model=again, state=saved[-1], **BEST)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())


def test_keeping_the_best_needs_a_validation_loss():
    with pytest.raises(UserError, match="TwoPhases has no validation loss"):
        trained(Hooks(), keep="best")


class Watched(TwoPhases):
    """Says what it is trained on, and remembers that it was finished."""

    def __init__(self) -> None:
        super().__init__()
        self.finished = 0

    def watch(self, data: ImageData) -> dict[str, float]:
        return {"items": float(len(data))}

    def finish(self, data: ImageData) -> None:
        assert not self.training
        self.finished += len(data)


def test_a_model_is_watched_now_and_then_and_finished_once():
    records: list[dict[str, Any]] = []
    model = trained(Hooks(log=records.append), model=Watched(), watch_every=4, epochs=1)
    assert [record["step"] for record in records if "watch/items" in record] == [4, 6]
    assert model.finished == 50


@pytest.mark.parametrize(("step", "factor"), [(0, 0.1), (4, 0.5), (9, 1.0), (10, 1.0), (55, 0.5), (99, 0.0007)])
def test_one_cycle_rises_for_a_tenth_and_falls_along_a_cosine(step, factor):
    assert rate_factor("onecycle", step, 100, 0) == pytest.approx(factor, abs=1e-3)

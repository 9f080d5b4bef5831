"""Points moved by two flows, and their teacher: who moves whom, what is kept, and that stopping changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vaebench.config.spine import TrainSpec
from vaebench.contracts import Adopts, Averages, Finishes, MovesPoints
from vaebench.data.points import PointData, s_curve
from vaebench.engine.loop import Hooks, fit
from vaebench.errors import Interrupted, UserError
from vaebench.models.point_flow import PointFlow
from vaebench.models.points import Points

NETWORK = {"width": 16, "depth": 2, "time_scale": 1000.0}
DATA = s_curve(name="s", count=256, seed=0)
LEVELS = [0.2, 0.6]


def optimizers(model: Any, lr: float = 1e-2) -> dict[str, torch.optim.Optimizer]:
    return {phase.name: torch.optim.AdamW(phase.parameters, lr=lr, weight_decay=0.0) for phase in model.phases}


def train(model: Any, steps: int, data: PointData = DATA, **options: Any) -> Any:
    given = {name: options.pop(name) for name in ("hooks", "state") if name in options}
    spec = TrainSpec(epochs=10_000, max_steps=steps, batch_size=64, **options)
    fit(model, data, optimizers=optimizers(model), spec=spec, seed=0, **given)
    return model


@pytest.fixture(scope="module")
def teacher() -> PointFlow:
    torch.manual_seed(0)
    return train(PointFlow(**NETWORK, ema_decay=0.99), 300)


def points(teacher: PointFlow | None = None, **options: Any) -> Points:
    defaults = {"objective": "dmd", "count": 40, "spread": 1.5, "every": 5, "moments": [0, 4], "levels": LEVELS}
    torch.manual_seed(1)
    model = Points(**{**defaults, **NETWORK, **options})
    if teacher is not None:
        model.adopt("start", teacher)
    return model


def test_the_teacher_learns_the_velocity():
    torch.manual_seed(0)
    model, logs = PointFlow(**NETWORK, ema_decay=0.9), []
    assert isinstance(model, Averages)
    torch.manual_seed(0)
    train(model, 200, log_every=50, hooks=Hooks(log=logs.append))
    assert logs[-1]["flow/loss"] < 0.8 * logs[0]["flow/loss"]
    network, averaged = model.network.state_dict(), model.averaged.network.state_dict()
    assert all(not torch.equal(network[name], averaged[name]) for name in network)


def test_the_teachers_loss_is_flow_matchings():
    torch.manual_seed(0)
    model, batch = PointFlow(**NETWORK, ema_decay=0.9), DATA.batch(torch.arange(8))
    torch.manual_seed(5)
    found = float(model.loss(batch, 0).total.detach())
    torch.manual_seed(5)
    t, noise = torch.rand(8), torch.randn(8, 2)
    total = 0.0
    for z, eps, time in zip(batch.x, noise, t, strict=True):
        velocity = model.network((time * z + (1 - time) * eps)[None], time[None])[0]
        total += float((velocity - (z - eps)).square().sum().detach())
    assert found == pytest.approx(total / 16, rel=1e-5)


def test_points_begin_in_the_square_and_start_from_the_teacher(teacher):
    model = points(teacher, count=4000)
    assert isinstance(model, MovesPoints)
    assert isinstance(model, Adopts)
    assert isinstance(model, Finishes)
    start = model.points.detach()
    assert float(start.abs().max()) <= 1.5
    assert float(start.std()) == pytest.approx(1.5 / 3**0.5, abs=0.02)
    for name, weight in teacher.averaged.network.state_dict().items():
        assert torch.equal(model.student.state_dict()[name], weight)
        assert torch.equal(model.teacher.network.state_dict()[name], weight)


def test_each_phase_moves_its_own_parameters_and_the_teacher_stays(teacher):
    model = points(teacher)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    phases = {phase.name: phase for phase in model.phases}
    assert list(phases) == ["points", "student"]
    assert (phases["student"].every, phases["points"].every) == (1, 5)
    assert {id(p) for phase in model.phases for p in phase.parameters} == {id(p) for p in model.parameters()}
    train(model, 6)  # the first move comes to nothing: both flows are one
    changed = {
        name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, weights[name])
    }
    assert changed == {"points", "student", "path", "arrows", "steps", "done"}


def test_points_move_every_fifth_step(teacher):
    model = points(teacher, objective="teacher2", moments=list(range(12)))
    train(model, 12)
    moved = [not torch.equal(a, b) for a, b in zip(model.path[:-1], model.path[1:], strict=True)]
    assert [step for step, there in enumerate(moved) if there] == [0, 5, 10]
    assert model.steps.tolist() == list(range(13))
    assert torch.equal(model.path[-1], model.points.detach())


def test_the_student_learns_where_the_points_have_moved_to(teacher):
    model, seen = points(teacher, objective="teacher2", moments=[0, 2]), []
    learn = model.student_loss

    def student_loss(batch: Any, step: int) -> Any:
        seen.append(model.points.detach().clone())
        return learn(batch, step)

    model.student_loss = student_loss
    start = model.points.detach().clone()
    train(model, 3)
    assert not torch.equal(seen[0], start)
    assert torch.equal(model.path[0], start)  # a moment is what was there before its step
    assert torch.equal(model.path[1], seen[1])


def test_moments_that_are_not_reached_stay_empty(teacher):
    model = train(points(teacher, moments=[0, 4, 100]), 6)
    assert model.steps.tolist() == [0, 4, -1, 6]
    assert model.path[2].isnan().all()
    kept = model.kept()
    assert kept["steps"].tolist() == [0, 4, 6]
    assert torch.equal(kept["path"], model.path[[0, 1, 3]])
    assert torch.equal(kept["arrows"], model.arrows[[0, 1, 3]])
    assert not any(found.isnan().any() for found in kept.values())


def test_arrows_are_the_mean_difference_of_the_clean_points(teacher):
    model = train(points(teacher), 30)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        noise = torch.randn(16 * 40, 2).unflatten(0, (16, 40))
    for number, level in enumerate(LEVELS):
        t = torch.full((40,), level)
        total = torch.zeros(40, 2)
        for eps in noise:
            x = level * model.points + (1 - level) * eps
            total += ((1 - level) * (model.teacher(x, t) - model.student(x, t))).detach()
        torch.testing.assert_close(model.arrows[-1, number], total / 16, atol=1e-6, rtol=1e-4)
    assert not model.arrows[0].any()  # both flows were one
    assert model.arrows[-1].any()


def test_distribution_matching_comes_nearer_to_the_law(teacher):
    def distance(positions: torch.Tensor) -> float:
        return float(torch.cdist(positions, DATA.train_x).min(1).values.mean())

    model = train(points(teacher, count=200), 600, clip_norm=1.0)
    assert distance(model.path[-1]) < 0.5 * distance(model.path[0])


def test_keeping_positions_draws_from_no_global_generator(teacher):
    often, seldom = (train(points(teacher, moments=moments), 12) for moments in ([0, 2, 4, 6, 8], [0]))
    assert torch.equal(often.points, seldom.points)


def test_a_stopped_training_goes_on_to_the_same_bits(teacher):
    whole = train(points(teacher, moments=[0, 4, 8]), 12)
    stopped, states = points(teacher, moments=[0, 4, 8]), []
    with pytest.raises(Interrupted):
        train(stopped, 12, hooks=Hooks(save=states.append, stop=lambda: int(stopped.done) == 7))
    resumed = train(points(teacher, moments=[0, 4, 8]), 12, state=states[0])
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_it_needs_a_teacher_that_fits(teacher):
    with pytest.raises(UserError, match=r"needs a teacher: parent\.experiment=dmvae/toy_teacher"):
        train(points(), 1)
    with pytest.raises(UserError, match=r"'width': 8.*'width': 16.*make them equal"):
        points(teacher, width=8)
    with pytest.raises(UserError, match="starts from a trained model point_flow, not from Linear"):
        points().adopt("start", torch.nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "dm"}, r"unknown model\.objective 'dm'; did you mean 'dmd'"),
        ({"count": 0}, r"model\.count=0: expected a whole number"),
        ({"spread": 0.0}, r"model\.spread=0\.0: expected a finite number above 0"),
        ({"every": 0}, r"model\.every=0: expected a whole number"),
        ({"moments": [4, 0]}, r"model\.moments=\[4, 0\]: expected ascending steps"),
        ({"moments": [-1]}, r"model\.moments=\[-1\]: expected a list of whole numbers, each at least 0"),
        ({"levels": [1.0]}, r"model\.levels=\[1\.0\]: expected a list of numbers, each at least 0 and below 1"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(UserError, match=message):
        points(**options)

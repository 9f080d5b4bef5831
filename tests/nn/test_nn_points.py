"""The objectives on points: gradients against closed forms, with flows whose Jacobians are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vaebench.errors import UserError
from vaebench.models.point_flow import PointFlow
from vaebench.nn.flows.points import OBJECTIVES, Draw, PointVelocity, gap
from vaebench.nn.transformers.dit import time_features

REAL = torch.tensor([[0.5, -0.2], [0.3, 0.8]], dtype=torch.float64)
FAKE = torch.tensor([[-0.4, 0.1], [0.6, 0.2]], dtype=torch.float64)


class Linear(nn.Module):
    """``v(x, t) = A x + t``: its Jacobian is A."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = nn.Parameter(matrix.clone())

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x @ self.matrix.T + t[:, None]


def drawn(count: int = 7) -> Draw:
    random = torch.Generator().manual_seed(0)
    z, noise = torch.randn(2, count, 2, generator=random, dtype=torch.float64)
    t = torch.rand(count, generator=random, dtype=torch.float64)
    return Draw(z.requires_grad_(), noise, t, Linear(REAL), Linear(FAKE))


def by_hand(objective: str, draw: Draw) -> Tensor:
    """The gradient by ``z``, point by point: the factors of the dossier's table, written out."""
    rows = []
    for z, noise, t in zip(draw.z.detach(), draw.noise, draw.t, strict=True):
        x = t * z + (1 - t) * noise
        target = z - noise
        real, fake = REAL @ x + t, FAKE @ x + t
        eye = torch.eye(2, dtype=torch.float64)
        jacobian = {"teacher": t * REAL, "student": t * FAKE}
        velocity = {"teacher": real, "student": fake}
        if objective == "dmd":
            rows.append((x + (1 - t) * fake) - (x + (1 - t) * real))
        elif objective == "loss_difference":
            rows.append(2 * jacobian["teacher"].T @ (real - target) - 2 * jacobian["student"].T @ (fake - target))
        elif objective.startswith("difference"):
            of_real, of_fake = {"1": (0, 1), "2": (1, 0), "3": (1, 1)}[objective[-1]]
            rows.append(2 * (of_real * jacobian["teacher"] - of_fake * jacobian["student"]).T @ (real - fake))
        elif objective[-1].isdigit():
            whose, kind = objective[:-1], objective[-1]
            of_net, of_target = {"1": (1, 0), "2": (0, 1), "3": (1, 1)}[kind]
            rows.append(2 * (of_net * jacobian[whose] - of_target * eye).T @ (velocity[whose] - target))
        else:
            sign, whose = objective.split("_")
            score = (t * velocity[whose] - x) / (1 - t)
            rows.append((-1 if sign == "ascend" else 1) * score)
    return torch.stack(rows) / draw.z.numel()


def test_there_are_fourteen():
    assert len(OBJECTIVES) == 14


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradients(objective):
    draw = drawn()
    (found,) = torch.autograd.grad(OBJECTIVES[objective](draw), draw.z)
    torch.testing.assert_close(found, by_hand(objective, draw))


@pytest.mark.parametrize("objective", ["dmd", "teacher2", "student2", "ascend_teacher", "descend_student"])
def test_without_a_jacobian_no_gradient_enters_a_flow(objective):
    draw = drawn()
    OBJECTIVES[objective](draw).backward()
    assert draw.z.grad is not None
    assert draw.real.matrix.grad is None
    assert draw.fake.matrix.grad is None


def test_equal_flows_have_no_gap():
    draw = drawn()
    same = Draw(draw.z, draw.noise, draw.t, draw.real, draw.real)
    assert not gap(same).any()
    assert float(OBJECTIVES["difference3"](same).detach()) == 0


def test_the_network_is_the_mlp_it_says():
    torch.manual_seed(0)
    network = PointVelocity(width=8, depth=2, time_scale=10.0)
    x, t = torch.randn(5, 2), torch.rand(5)
    hidden = torch.cat([x, time_features(10 * t, 32)], dim=1)
    first, second, last = (network.layers[place] for place in (0, 2, 4))
    for layer in (first, second):
        hidden = hidden @ layer.weight.T + layer.bias
        hidden = hidden * hidden.sigmoid()
    torch.testing.assert_close(network(x, t), hidden @ last.weight.T + last.bias)


def test_options_out_of_range_are_named_together():
    with pytest.raises(UserError) as raised:
        PointFlow(width=0, depth=0, time_scale=-1.0, ema_decay=0.9)
    assert [line.split("=")[0] for line in raised.value.lines] == ["model.width", "model.depth", "model.time_scale"]

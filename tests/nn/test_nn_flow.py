import math

import pytest
import torch
from scipy import stats

from toys import draw
from vaebench.nn.flows import flow


def test_the_path_is_the_loop():
    z, noise, t = draw(3, 2, 4, 5), draw(3, 2, 4, 5, seed=1), torch.tensor([0.0, 0.3, 1.0])
    for item in range(3):
        expected = float(t[item]) * z[item] + (1 - float(t[item])) * noise[item]
        torch.testing.assert_close(flow.on_path(z, noise, t)[item], expected)


def test_velocity_is_the_paths_derivative():
    z, noise, t = draw(4, 6).double(), draw(4, 6, seed=1).double(), torch.rand(4).double()
    h = 1e-6
    slope = (flow.on_path(z, noise, t + h) - flow.on_path(z, noise, t - h)) / (2 * h)
    torch.testing.assert_close(flow.velocity(z, noise), slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("t", [0.0, 0.4, 0.99])
def test_score_of_a_gaussian(t):
    """Data N(m, s^2): z_t is N(t m, t^2 s^2 + (1 - t)^2), with a velocity in closed form."""
    m, s, z = 0.7, 0.4, draw(50).double()
    variance = t**2 * s**2 + (1 - t) ** 2
    v = m + (t * s**2 - (1 - t)) / variance * (z - t * m)
    torch.testing.assert_close(flow.score(v, z, t), -(z - t * m) / variance, rtol=1e-9, atol=1e-9)


def test_training_times_have_their_density():
    torch.manual_seed(0)
    uniform = flow.draw_times(4000, "uniform", torch.device("cpu"))
    normal = flow.draw_times(4000, "logit_normal", torch.device("cpu"))
    assert stats.kstest(uniform.numpy(), "uniform").pvalue > 0.01
    assert stats.kstest(torch.logit(normal.double()).numpy(), "norm").pvalue > 0.01
    assert 0 < float(normal.min()) < float(normal.max()) < 1
    # Half of the logit-normal draws lie where two thirds of the uniform ones do not.
    middle = ((normal > 1 / 3) & (normal < 2 / 3)).float().mean()
    assert math.isclose(float(middle), 2 * stats.norm.cdf(math.log(2)) - 1, abs_tol=0.03)


def test_other_times_are_unknown():
    with pytest.raises(KeyError):
        flow.draw_times(3, "cosine", torch.device("cpu"))

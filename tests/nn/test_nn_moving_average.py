import pytest
import torch

from vaebench.errors import UserError
from vaebench.nn.latents import MovingAverage

VALUES = torch.rand(30, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.99])
def test_first_start_is_the_loop(decay):
    average = MovingAverage(4, decay=decay, start="first")
    expected = None
    for value in VALUES:
        average.update(value)
        if expected is None:
            expected = value.double()
        else:
            expected = decay * expected + (1 - decay) * value.double()
        torch.testing.assert_close(average.read(), expected.float())


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.99])
def test_debiased_start_is_the_weighted_mean_of_all_values(decay):
    average = MovingAverage(4, decay=decay, start="debiased")
    for step, value in enumerate(VALUES, start=1):
        average.update(value)
        weights = torch.tensor([decay ** (step - i) for i in range(1, step + 1)], dtype=torch.float64)
        expected = (weights[:, None] * VALUES[:step].double()).sum(0) / weights.sum()
        torch.testing.assert_close(average.read(), expected.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("start", ["first", "debiased"])
def test_a_constant_averages_to_itself(start):
    average = MovingAverage(decay=0.99, start=start)
    for _ in range(5):
        average.update(torch.tensor(0.3))
        assert float(average.read()) == pytest.approx(0.3, rel=1e-5)


@pytest.mark.parametrize("start", ["first", "debiased"])
def test_state_dict_round_trip(start):
    one, other = (MovingAverage(4, decay=0.9, start=start) for _ in range(2))
    for value in VALUES[:7]:
        one.update(value)
    other.load_state_dict(one.state_dict())
    assert int(other.steps) == 7
    for average in (one, other):
        average.update(VALUES[7])
    assert torch.equal(one.read(), other.read())


def test_no_graph_is_kept():
    average = MovingAverage(4, decay=0.9, start="first")
    average.update(torch.rand(4, requires_grad=True) * 2)
    assert not average.read().requires_grad


def test_an_empty_average_cannot_be_read():
    with pytest.raises(UserError, match="no training step"):
        MovingAverage(4, decay=0.9, start="first").read()

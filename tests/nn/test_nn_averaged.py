import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vaebench.nn.averaged import Averaged


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def disturb(network):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))


def test_is_the_loop(network):
    averaged, slow = Averaged(network, decay=0.5), {name: p.clone() for name, p in network.named_parameters()}
    for n in range(12):
        disturb(network)
        averaged.update(network, n)
        decay = min(0.5, (1 + n) / (10 + n))
        for name, parameter in network.named_parameters():
            slow[name] = decay * slow[name] + (1 - decay) * parameter
    kept = averaged.network.state_dict()
    assert set(slow) < set(kept)
    for name, value in slow.items():
        torch.testing.assert_close(kept[name], value.detach())


def test_is_torchs_average_once_the_decay_is_reached(network):
    """Its first update is a copy, which this one never makes."""
    averaged, peer = Averaged(network, decay=0.9), AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    peer.update_parameters(network)
    for n in range(1000, 1010):
        disturb(network)
        averaged.update(network, n)
        peer.update_parameters(network)
    network.eval(), averaged.eval(), peer.eval()
    x = torch.randn(5, 3)
    torch.testing.assert_close(averaged(x), peer(x))


def test_a_short_training_leaves_little_of_the_beginning(network):
    averaged = Averaged(network, decay=0.9999)
    with torch.no_grad():
        network[0].weight.fill_(1.0)
        averaged.network[0].weight.zero_()
    for n in range(100):
        averaged.update(network, n)
    assert float(averaged.network[0].weight.min()) > 0.999


def test_its_weights_are_no_parameters(network):
    averaged = Averaged(network, decay=0.9)
    assert not list(averaged.parameters())
    assert averaged.state_dict().keys() == {f"network.{name}" for name in network.state_dict()}
    assert not averaged(torch.randn(5, 3)).requires_grad
    network(torch.randn(5, 3)).sum().backward()  # the network that is copied still learns
    assert network[0].weight.grad is not None


def test_does_not_move_with_the_network(network):
    averaged = Averaged(network, decay=0.9)
    before = copy.deepcopy(averaged.state_dict())
    disturb(network)
    assert all(torch.equal(value, before[name]) for name, value in averaged.state_dict().items())

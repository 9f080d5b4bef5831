import pytest
import torch
from torch.nn import functional as F

from toys import draw
from vaebench.nn.transformers.dit import unit_rms


@pytest.mark.parametrize("shape", [(4, 7), (3, 5, 24), (2, 3, 2, 4, 6)])
def test_is_torchs_rms_norm(shape):
    x, g = 3 * draw(*shape), draw(*shape, seed=1)
    results = []
    for function in (unit_rms, lambda x: F.rms_norm(x, shape[-1:], None, 1e-6)):
        leaf = x.clone().requires_grad_(True)
        y = function(leaf)
        y.backward(g)
        results.append((y.detach(), leaf.grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_zeros_stay_zeros_with_a_finite_gradient():
    x = torch.zeros(2, 8, requires_grad=True)
    unit_rms(x).sum().backward()
    assert torch.equal(unit_rms(x), torch.zeros(2, 8))
    assert x.grad.isfinite().all()


def test_works_in_float32_and_leaves_its_input():
    x = draw(3, 8).bfloat16()
    before = x.clone()
    assert unit_rms(x).dtype == torch.float32
    assert torch.equal(x, before)


def test_a_second_derivative_is_refused():
    x = draw(3, 8).requires_grad_(True)
    (first,) = torch.autograd.grad(unit_rms(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()

import pytest
import torch
from torch import nn

from vaebench.nn.losses.adversary import PatchDiscriminator, adaptive_weight, hinge_loss, too_deep


def discriminator(layers=2, channels=4, colours=3):
    torch.manual_seed(0)
    return PatchDiscriminator(colours=colours, layers=layers, channels=channels)


@pytest.mark.parametrize(("layers", "patch"), [(1, 16), (2, 34), (3, 70)])
def test_each_number_judges_one_patch(layers, patch):
    model = discriminator(layers, colours=1).eval()
    x = torch.rand(1, 1, 128, 128, requires_grad=True)
    scores = model(x)
    middle = scores.shape[2] // 2
    (gradient,) = torch.autograd.grad(scores[0, 0, middle, middle], x)
    touched = gradient[0, 0].nonzero()
    assert (touched.amax(0) - touched.amin(0) + 1).tolist() == [patch, patch]


def test_the_networks_layers():
    model = discriminator(4, channels=2)
    convolutions = [layer for layer in model.body if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [2, 4, 8, 16, 16, 1]
    assert [layer.stride[0] for layer in convolutions] == [2, 2, 2, 2, 1, 1]
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in model.body) == 4


@pytest.mark.parametrize("side", range(4, 70))
def test_as_many_layers_as_fit(side):
    def fits(layers):
        try:
            discriminator(layers, 1, 1).eval()(torch.zeros(1, 1, side, side + 3))
        except RuntimeError:
            return False
        return True

    for layers in range(1, 6):
        allowed = too_deep(layers, (1, side, side + 3)) is None
        assert allowed == fits(layers)


def test_too_many_layers_are_named():
    assert (
        too_deep(4, (3, 32, 40))
        == "model.discriminator_layers=4: expected a whole number, 1 to 3 (for images with a side of 32)"
    )


def test_hinge_loss_number_by_number():
    random = torch.Generator().manual_seed(0)
    real, fake = 3 * torch.randn(2, 1, 3, 3, generator=random), 3 * torch.randn(2, 1, 3, 3, generator=random)
    of_real = [max(0.0, 1 - value) for value in real.flatten().tolist()]
    of_fake = [max(0.0, 1 + value) for value in fake.flatten().tolist()]
    expected = (sum(of_real) / 18 + sum(of_fake) / 18) / 2
    assert float(hinge_loss(real, fake)) == pytest.approx(expected)


def test_adaptive_weight_is_the_ratio_of_the_gradients():
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(5, 3, generator=random), torch.randn(5, 2, generator=random)
    weight = nn.Parameter(torch.randn(2, 3, generator=random))
    made = x @ weight.T
    reconstruction, adversarial = (made - y).square().mean(), -(made.tanh() * 3).mean()
    # By hand: d/dW of each.
    by_reconstruction = (2 * (made - y) / 10).T @ x
    by_adversary = (-3 * (1 - made.tanh().square()) / 10).T @ x
    expected = by_reconstruction.norm() / (by_adversary.norm() + 1e-4)
    found = adaptive_weight(reconstruction, adversarial, weight)
    torch.testing.assert_close(found, expected.detach())
    assert not found.requires_grad
    assert weight.grad is None
    (reconstruction + found * adversarial).backward()  # the graphs are still there
    torch.testing.assert_close(weight.grad, by_reconstruction + found * by_adversary)


def test_adaptive_weight_is_bounded():
    weight = nn.Parameter(torch.ones(1))
    assert float(adaptive_weight(1e6 * weight.sum(), 1e-9 * weight.sum(), weight)) == 1e4
    assert float(adaptive_weight(0 * weight.sum(), weight.sum(), weight)) == 0

import itertools

import pytest
import torch

from toys import draw
from vaebench.errors import UserError
from vaebench.nn.tokenizers import quantise


class TestLevels:
    @pytest.mark.parametrize(
        ("nominal", "real", "width"), [(64, 64, 3), (256, 240, 3), (1024, 1000, 4), (4096, 4375, 5), (16384, 15360, 5)]
    )
    def test_nominal_and_real_sizes(self, nominal, real, width):
        levels = quantise.levels_for(nominal, None)
        assert quantise.real_size(levels) == real
        assert len(levels) == quantise.width_for(nominal, None) == width

    def test_given_levels_and_width_serve_any_size(self):
        assert quantise.levels_for(300, [10, 30]) == (10, 30)
        assert quantise.width_for(300, 7) == 7

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: quantise.levels_for(300, None), r"model\.codebook_size=300: no levels are known.*model\.levels"),
            (lambda: quantise.width_for(300, None), r"model\.codebook_size=300: no width is known.*model\.dim"),
        ],
    )
    def test_mistakes(self, call, message):
        with pytest.raises(UserError, match=message):
            call()


class TestIndex:
    @pytest.mark.parametrize("sizes", [(4, 4, 4), (8, 6, 5), (3, 2), (5,)])
    def test_counts_through_all_levels_the_first_fastest(self, sizes):
        every = [list(reversed(row)) for row in itertools.product(*(range(size) for size in reversed(sizes)))]
        levels = torch.tensor(every)
        indices = torch.arange(len(every))
        assert torch.equal(quantise.to_index(levels, sizes), indices)
        assert torch.equal(quantise.from_index(indices, sizes), levels)


class TestParts:
    @pytest.mark.parametrize("over", ["sum", "mean"])
    def test_moment_loss_is_the_loop(self, over):
        z = draw(50, 3).mul(1.7).add(0.4).requires_grad_()
        norm = quantise.MomentNorm(norm_weight=2.0, mean_weight=0.1, variance_weight=0.07, norm_over=over)
        total, terms = norm.norm(z, variance=0.8)
        means, variances = [], []
        for column in z.detach().double().T.tolist():
            mean = sum(column) / len(column)
            means.append(mean**2)
            variances.append((sum((value - mean) ** 2 for value in column) / (len(column) - 1) - 0.8) ** 2)
        scale = 1 if over == "sum" else 3
        assert float(terms["norm_mean"]) == pytest.approx(sum(means) / scale, rel=1e-5)
        assert float(terms["norm_variance"]) == pytest.approx(sum(variances) / scale, rel=1e-5)
        assert float(total.detach()) == pytest.approx(2 * (0.1 * sum(means) + 0.07 * sum(variances)) / scale, rel=1e-5)
        assert total.requires_grad
        assert not terms["norm_mean"].requires_grad

    def test_moment_loss_is_zero_at_the_target(self):
        z = draw(1000, 2)
        z = (z - z.mean(dim=0)) / z.std(dim=0)
        norm = quantise.MomentNorm(norm_weight=1.0, mean_weight=1.0, variance_weight=1.0, norm_over="sum")
        total, _ = norm.norm(z, variance=1.0)
        assert float(total) < 1e-9

    def test_straight_through(self):
        z = draw(5, 2).requires_grad_()
        values = quantise.straight_through(z, z.detach().round())
        torch.testing.assert_close(values, z.round())
        (gradient,) = torch.autograd.grad(values.sum(), z)
        assert gradient.eq(1).all()

    def test_perplexity(self):
        assert float(quantise.perplexity(torch.arange(10), 10)) == pytest.approx(10)
        assert float(quantise.perplexity(torch.zeros(10, dtype=torch.int64), 10)) == pytest.approx(1)
        uneven = torch.tensor([0, 0, 0, 3])
        assert float(quantise.perplexity(uneven, 5)) == pytest.approx(4 / 3**0.75)

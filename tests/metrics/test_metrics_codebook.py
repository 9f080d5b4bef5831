"""Counts of codes against a slow loop, closed forms and scipy."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from scipy.stats import entropy as scipy_entropy

from vaebench.metrics.codebook import code_counts, cvu, entropy, perplexity, usage


def uneven(size: int, tokens: int) -> torch.Tensor:
    """Indices of which the first codes are the most frequent, and the last never occur."""
    generator = torch.Generator().manual_seed(size)
    return (torch.rand(tokens, generator=generator).square() * 0.8 * size).long().view(-1, 5)


@pytest.mark.parametrize("size", [8, 240, 1024])
def test_counts_and_what_follows_are_those_of_a_loop(size):
    indices = uneven(size, 2000)
    counts = code_counts(indices, size)
    seen: Counter[int] = Counter(int(value) for row in indices for value in row)
    assert counts.dtype == torch.int64
    assert counts.tolist() == [seen[code] for code in range(size)]
    nats = -sum(n / 2000 * math.log(n / 2000) for n in seen.values())
    assert entropy(counts) == pytest.approx(nats, rel=1e-12)
    assert perplexity(counts) == pytest.approx(math.exp(nats), rel=1e-12)
    assert cvu(counts, size) == pytest.approx(math.exp(nats) / size, rel=1e-12)
    assert usage(counts) == len(seen) / size < 1
    assert entropy(counts) == pytest.approx(float(scipy_entropy(counts.numpy())), rel=1e-12)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_equally_frequent_codes_and_one_code_alone(size):
    even = torch.full((size,), 12)
    assert cvu(even, size) == pytest.approx(1.0, rel=1e-12)
    assert usage(even) == 1.0
    alone = code_counts(torch.full((3, 4, 4), size - 1), size)
    assert (entropy(alone), perplexity(alone)) == (0.0, 1.0)
    assert cvu(alone, size) == usage(alone) == pytest.approx(1 / size)


def test_the_denominator_may_be_the_nominal_size():
    even = torch.ones(4375, dtype=torch.int64)
    assert cvu(even, 4096) == pytest.approx(4375 / 4096)
    assert cvu(torch.ones(240, dtype=torch.int64), 256) == pytest.approx(240 / 256)


def test_one_histogram_over_all_batches_is_no_mean_over_batches():
    one, other = code_counts(torch.zeros(10, dtype=torch.int64), 2), code_counts(torch.ones(10, dtype=torch.int64), 2)
    assert cvu(one, 2) == cvu(other, 2) == 0.5
    assert cvu(one + other, 2) == pytest.approx(1.0)


def test_fewer_tokens_than_codes_bias_it_down():
    generator = torch.Generator().manual_seed(0)
    few, many = (code_counts(torch.randint(1024, (n,), generator=generator), 1024) for n in (512, 200_000))
    assert cvu(few, 1024) < 0.5
    assert cvu(many, 1024) > 0.99


def test_what_is_no_code_and_no_count_is_refused():
    with pytest.raises(ValueError, match=r"code indices 0 \.\.\. 8 lie outside a codebook of 8"):
        code_counts(torch.tensor([0, 8]), 8)
    with pytest.raises(ValueError, match=r"-1 \.\.\. 3 lie outside"):
        code_counts(torch.tensor([3, -1]), 8)
    assert code_counts(torch.zeros(0, dtype=torch.int64), 3).tolist() == [0, 0, 0]
    for wrong in (torch.zeros(4), torch.tensor([2, -1]), torch.zeros(0)):
        for measure in (entropy, usage):
            with pytest.raises(ValueError, match="at least one above 0"):
                measure(wrong)

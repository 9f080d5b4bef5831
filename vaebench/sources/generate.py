"""Answers by a language model of transformers: from the hub, a folder or an installed package, or trained here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vaebench.config.signatures import Count, checked
from vaebench.contracts import Work
from vaebench.data.answers import Answers, answers
from vaebench.data.problems import Problems
from vaebench.errors import UserError
from vaebench.nn.pretrained import hub
from vaebench.sources.checkpoints import load, packaged, where
from vaebench.sources.prompts import Asking

if TYPE_CHECKING:
    from transformers import GenerationConfig

Row = tuple[int, int, str, str, float, int, int]


@checked("dataset.answers")
@dataclass(kw_only=True, eq=False)
class Generate(Asking):
    """Answers generated with ``transformers``.

    The model is named (``model``), or comes with an installed ``distribution`` (``NAME==VERSION``), whose ``gguf_file``
    has this ``sha256``.

    The prompts of a shard are sorted by length, so that little is padded (on the left), and go through the model
    ``batch_size`` answers at a time. ``draws``: ``problem`` gives every problem random numbers of its own, from
    ``seed`` and its row, and decodes with `vaebench.sources.decoding`, several times as fast; None draws one sequence
    for a shard, from ``seed`` and its first problem, in the order of transformers' own ``generate``. ``loop``: an
    answer that repeats itself ends (`vaebench.sources.decoding.circles`); None: it goes on to ``max_new_tokens``.

    ``logprob`` of an answer is the mean over its tokens, the closing one included, of the log-probability that the
    model itself gives them: at temperature 1, nothing cut off. ``tokens`` counts the closing one, too.
    """

    batch_size: Count
    distribution: str | None
    gguf_file: str | None
    sha256: str | None
    draws: Literal["problem"] | None
    loop: Count | None

    def _clashes(self) -> Iterable[str | None]:
        yield from super()._clashes()
        packed = (self.distribution, self.gguf_file, self.sha256)
        if any(packed) and not (all(packed) and self.model is None):
            yield "dataset.answers.distribution, gguf_file and sha256 go together, and with dataset.answers.model=null"
        if self.loop and not self.draws:
            yield f"dataset.answers.loop={self.loop} is for dataset.answers.draws=problem; set it, or loop=null"

    def open(self, problems: Problems, work: Work) -> None:
        """Load the model and make the prompts.

        Raises `UserError` if there is no model, or it cannot be loaded, has no chat template, or takes too few tokens.
        """
        if self.distribution and self.gguf_file and self.sha256:
            found = packaged(self.distribution, self.gguf_file, self.sha256)
            place, self.source = str(found), found.stem
        else:
            place, self.source = where(self.model, self.revision, work)
        self._tokenizer, self._network = load(place, self.revision, self.dtype, self.trust_remote_code)
        self._network.to(work.device).eval()
        self._device = work.device
        self._prompts = self.asked(problems, self._tokenizer, self.source)
        self._check_length()
        stated = self._network.generation_config.eos_token_id
        ends = (*(stated if isinstance(stated, list) else [stated]), self._tokenizer.eos_token_id)
        self._ends = sorted({token for token in ends if token is not None})
        pad = self._tokenizer.pad_token_id
        self._pad = pad if pad is not None else (self._ends or [0])[0]
        if self.draws:
            from vaebench.sources.decoding import prepare

            prepare(self._network)
        # A field left open would be filled from the checkpoint's own generation settings: these are all there are.
        self._network.generation_config = self._generation()

    def answer(self, rows: range) -> Answers:
        """``k`` answers to each of these problems, in order; none beyond ``limit``."""
        wanted = sorted((row for row in rows if row < len(self._prompts)), key=lambda row: len(self._prompts[row]))
        together = max(1, self.batch_size // self.k)
        found: list[Row] = []
        cuda = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda), torch.inference_mode():
            torch.manual_seed((self.seed * 1_000_003 + rows.start) % 2**63)
            for start in range(0, len(wanted), together):
                found += self._answer(wanted[start : start + together])
        return answers(sorted(found))

    def _answer(self, rows: Sequence[int]) -> list[Row]:
        prompts = [torch.tensor(self._prompts[row], dtype=torch.int64) for row in rows]
        with hub.quiet():
            generated, logprobs = self._decoded(rows, prompts) if self.draws else self._generated(prompts)
        found = []
        for number, (tokens, picked) in enumerate(zip(generated, logprobs, strict=True)):
            closing = torch.isin(tokens, torch.tensor(self._ends, dtype=tokens.dtype)).nonzero()
            length = int(closing[0]) + 1 if len(closing) else int((~picked.isnan()).sum())
            text = self._tokenizer.decode(
                tokens[:length].tolist(), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
            row, candidate = rows[number // self.k], number % self.k
            mean = float(picked[:length].double().mean())
            found.append((row, candidate, self.source, text, mean, length, int(len(closing) > 0)))
        return found

    def _decoded(self, rows: Sequence[int], prompts: list[Tensor]) -> tuple[Tensor, Tensor]:
        """New tokens and their log-probabilities ``[n*k t]``; every problem has random numbers of its own."""
        from vaebench.sources.decoding import decode

        seeds = ((self.seed * 1_000_003 + row) % 2**63 for row in rows)
        drawn = [torch.rand(self.k, self.max_new_tokens, generator=torch.Generator().manual_seed(n)) for n in seeds]
        uniforms = torch.stack(drawn).to(self._device)
        tokens, logprobs = decode(self._network, prompts, uniforms, self.active(), self._ends, self.loop)
        return tokens.cpu(), logprobs.cpu()

    def _generated(self, prompts: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The same by the library, in the random order of the whole batch."""
        left_padded = partial(pad_sequence, batch_first=True, padding_side="left")
        ids, mask = (
            left_padded(prompts, padding_value=self._pad),
            left_padded([torch.ones_like(ids) for ids in prompts]),
        )
        recorder = _LogProbabilities()
        sequences: Tensor = self._network.generate(
            input_ids=ids.to(self._device),
            attention_mask=mask.to(self._device),
            generation_config=self._network.generation_config,
            logits_processor=[recorder],
        )
        generated = sequences[:, ids.shape[1] :].cpu()
        return generated, recorder.of(sequences, generated.shape[1]).cpu()

    def _generation(self) -> GenerationConfig:
        from transformers import GenerationConfig

        sampled = self.decoding != "greedy"
        active = self.active()
        return GenerationConfig(
            max_new_tokens=self.max_new_tokens,
            num_return_sequences=self.k,
            do_sample=sampled,
            # Greedy decoding looks at none of the three, and transformers warns of a top_k that is not its own 50.
            temperature=active.get("temperature", 1.0),
            top_k=active.get("top_k", 0 if sampled else 50),
            top_p=active.get("top_p", 1.0),
            typical_p=1.0,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            num_beams=1,
            use_cache=True,
            eos_token_id=self._ends or None,
            pad_token_id=self._pad,
        )

    def _check_length(self) -> None:
        most = getattr(self._network.config, "max_position_embeddings", None) or math.inf
        longest = max(map(len, self._prompts), default=0)
        if longest + self.max_new_tokens > most:
            raise UserError(
                f"dataset.answers.max_new_tokens={self.max_new_tokens}: the longest prompt has {longest} "
                f"tokens and {self.source} takes {most} in all; at most {most - longest}"
            )


class _LogProbabilities:
    """Watches a generation: the log-probability of every chosen token under the model's own distribution.

    It stands before temperature and truncation, changes nothing, and holds the scores of one step only.
    """

    def __init__(self) -> None:
        self.picked: list[Tensor] = []
        self.scores: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores ``[b v]`` of the next token, unchanged; ``input_ids`` ends with the token chosen before."""
        self._pick(input_ids)
        self.scores = scores
        return scores

    def of(self, sequences: Tensor, steps: int) -> Tensor:
        """Log-probabilities in nats, float32 ``[b steps]``, of the last ``steps`` tokens of ``sequences``."""
        if len(self.picked) < steps:
            self._pick(sequences)
        return torch.stack(self.picked[:steps], dim=1)

    def _pick(self, ids: Tensor) -> None:
        if self.scores is not None:
            chosen = self.scores.gather(1, ids[:, -1:]).squeeze(1)
            self.picked.append(chosen - self.scores.logsumexp(dim=1))

"""Answers by a language model through vLLM: the options of `Generate`, for a machine with a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vaebench.contracts import Work
from vaebench.data.answers import Answers, answers
from vaebench.data.problems import Problems
from vaebench.errors import UserError, unknown
from vaebench.sources import prompts
from vaebench.sources.checkpoints import cannot_load, where
from vaebench.sources.generate import DTYPES
from vaebench.sources.prompts import Prompting, Sampling

_OFF = -1  # of top_k


class Vllm:
    """Answers generated with ``vllm``, which orders and batches the requests itself.

    Every problem has a seed of its own, from ``seed`` and its row, so its draws do not depend on what runs beside it.
    ``logprob`` is vLLM's, of the model's own distribution before temperature and truncation, as in `Generate`.

    Args:
        model: a name on the hub or a folder; None for the language model that this run is a child of.
        revision: commit, tag or branch on the hub; None for the main branch.
        dtype: ``auto`` (as stored), ``float32`` or ``bfloat16``.
        decoding: ``greedy``, ``top_k`` or ``top_p``; see `Sampling` for it and the next five.
        temperature: above 0.
        top_k: 1 or more.
        top_p: above 0, at most 1.
        k: answers to a problem.
        max_new_tokens: where an answer is cut off.
        shots: training pairs before the question; see `Prompting` for it and the next four.
        system: the system message.
        instruction: what stands before a question.
        chat_template: Jinja, or None for the tokenizer's own.
        date_string: the date in the prompt, where the template has one.
        limit: only the first so many test problems are answered; None for all.
        tensor_parallel_size: how many GPUs share the model.
        seed: of the draws.
        shard: problems per shard.
        trust_remote_code: whether code that comes with the model may run.

    Raises:
        UserError: an option is out of range.
    """

    def __init__(
        self,
        *,
        model: str | None,
        revision: str | None,
        dtype: str,
        decoding: str,
        temperature: float,
        top_k: int,
        top_p: float,
        k: int,
        max_new_tokens: int,
        shots: int,
        system: str | None,
        instruction: str | None,
        chat_template: str | None,
        date_string: str | None,
        limit: int | None,
        tensor_parallel_size: int,
        seed: int,
        shard: int,
        trust_remote_code: bool,
    ) -> None:
        self.sampling = Sampling(decoding, temperature, top_k, top_p, k, max_new_tokens)
        self.prompting = Prompting(shots, system, instruction, chat_template, date_string)
        prompts.check(
            self.sampling, self.prompting, limit=limit, tensor_parallel_size=tensor_parallel_size, shard=shard
        )
        if dtype not in DTYPES:
            raise UserError(unknown("dataset.answers.dtype", dtype, DTYPES))
        self.model = model
        self.options = {
            "revision": revision,
            "dtype": dtype,
            "tensor_parallel_size": tensor_parallel_size,
            "seed": seed,
            "trust_remote_code": trust_remote_code,
            "logprobs_mode": "raw_logprobs",
        }
        self.limit = limit
        self.seed = seed
        self.shard = shard
        self.left_out: Sequence[str] = ()
        self.notes: Sequence[str] = ()

    def open(self, problems: Problems, work: Work) -> None:
        """Load the model and make the prompts.

        Raises:
            UserError: vLLM is not installed; there is no model, or it cannot be loaded or has no chat template.
        """
        try:
            import vllm
        except ImportError as error:
            raise UserError(f"answers=vllm needs vLLM ({error}); pip install 'vaebench[vllm]'") from error
        place, self.source = where(self.model, self.options["revision"], work)  # type: ignore[arg-type]
        try:
            self._engine: Any = vllm.LLM(model=place, **self.options)
        except (OSError, ValueError, RuntimeError) as error:
            raise cannot_load(place, error) from error
        self._parameters: Any = vllm.SamplingParams
        tokenizer = self._engine.get_tokenizer()
        texts = self.prompting.texts(problems, self.limit, tokenizer, self.source)
        self._prompts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        self.notes = prompts.limit_note(self.limit, len(problems.test))

    def answer(self, rows: range) -> Answers:
        """``k`` answers to each of these problems, in order; none beyond ``limit``."""
        wanted = [row for row in rows if row < len(self._prompts)]
        if not wanted:
            return answers(())
        outputs = self._engine.generate(
            [{"prompt_token_ids": self._prompts[row]} for row in wanted],
            [self._drawn(row) for row in wanted],
            use_tqdm=False,
        )
        return answers(
            (
                row,
                candidate,
                self.source,
                found.text,
                found.cumulative_logprob / max(1, len(found.token_ids)),
                len(found.token_ids),
                int(found.finish_reason == "stop"),
            )
            for row, output in zip(wanted, outputs, strict=True)
            for candidate, found in enumerate(output.outputs)
        )

    def _drawn(self, row: int) -> Any:
        """How the problem in this row is answered. vLLM counts the seed on from answer to answer."""
        active = self.sampling.active()
        return self._parameters(
            n=self.sampling.k,
            temperature=active.get("temperature", 0.0),
            top_k=active.get("top_k", _OFF),
            top_p=active.get("top_p", 1.0),
            max_tokens=self.sampling.max_new_tokens,
            seed=self.seed * 1_000_003 + row * self.sampling.k,
            logprobs=0,
        )

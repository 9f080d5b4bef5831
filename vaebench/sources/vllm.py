"""Answers by a language model through vLLM: the options of `Generate`, for a machine with a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vaebench.config.signatures import Count, checked
from vaebench.contracts import Work
from vaebench.data.answers import Answers, answers
from vaebench.data.problems import Problems
from vaebench.errors import UserError
from vaebench.sources.checkpoints import cannot_load, where
from vaebench.sources.prompts import Asking

_OFF = -1  # of top_k


@checked("dataset.answers")
@dataclass(kw_only=True, eq=False)
class Vllm(Asking):
    """Answers generated with ``vllm``, which orders and batches the requests itself, on ``tensor_parallel_size`` GPUs.

    Every problem has a seed of its own, from ``seed`` and its row, so its draws do not depend on what runs beside it.
    ``logprob`` is vLLM's, of the model's own distribution before temperature and truncation, as in `Generate`.
    """

    tensor_parallel_size: Count

    def open(self, problems: Problems, work: Work) -> None:
        """Load the model and make the prompts.

        Raises `UserError` if vLLM is not installed, or the model cannot be loaded or has no chat template.
        """
        try:
            import vllm
        except ImportError as error:
            raise UserError(f"answers=vllm needs vLLM ({error}); pip install 'vaebench[vllm]'") from error
        place, self.source = where(self.model, self.revision, work)
        try:
            self._engine: Any = vllm.LLM(
                model=place,
                revision=self.revision,
                dtype=self.dtype,
                tensor_parallel_size=self.tensor_parallel_size,
                seed=self.seed,
                trust_remote_code=self.trust_remote_code,
                logprobs_mode="raw_logprobs",
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise cannot_load(place, error) from error
        self._parameters: Any = vllm.SamplingParams
        self._prompts = self.asked(problems, self._engine.get_tokenizer(), self.source)

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
        active = self.active()
        return self._parameters(
            n=self.k,
            temperature=active.get("temperature", 0.0),
            top_k=active.get("top_k", _OFF),
            top_p=active.get("top_p", 1.0),
            max_tokens=self.max_new_tokens,
            seed=self.seed * 1_000_003 + row * self.k,
            logprobs=0,
        )

"""What a language model is asked, and how it answers: chat messages, the exact prompt, sampling parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Interval

from vaebench.config.signatures import Count, CountOrNone, checked
from vaebench.data.problems import Pair, Problems
from vaebench.errors import UserError
from vaebench.metrics.bounded import Bounded
from vaebench.sources import Source, checkpoints

Message = dict[str, str]
_WHERE = "dataset.answers"
_RULE = "-" * 40
_WORKER = Path(__file__).with_name("template_worker.py")  # it bounds itself; this is for what it cannot bound
_SECONDS = 60.0


@checked("dataset.answers")
@dataclass(kw_only=True, eq=False)
class Asking(Source):
    """What a language model is asked, and how its answers are drawn: what `Generate` and `Vllm` have in common.

    ``model``: a name on the hub or a folder; None for the language model that this run is a child of. ``revision``:
    commit, tag or branch on the hub; None for the main branch. ``dtype``: ``auto`` is as stored.
    ``trust_remote_code``: whether code that comes with the model may run.

    ``k`` answers to a problem are drawn, of at most ``max_new_tokens`` tokens each. ``decoding``: ``greedy`` takes the
    most likely token, so there is one answer; ``top_k`` draws from the ``top_k`` most likely tokens; ``top_p`` from the
    fewest tokens whose probabilities add up to ``top_p``; both at ``temperature``. Of ``top_k`` and ``top_p`` the one
    that ``decoding`` does not name is off (Na & Kim 2025: 0.7, 32 and 0.9).

    ``shots``: how many training pairs come before the question, as turns of the conversation. ``system``: the system
    message; None: the chat template's own, if it has one. ``instruction``: stands before every question, behind it an
    empty line. ``chat_template``: Jinja, None for that of the model's tokenizer. ``date_string``: the date that a
    template may ask for, fixed so that a prompt does not depend on the day.

    ``limit``: only the first so many test problems are answered; None for all. ``seed``: of the draws.
    """

    model: str | None
    revision: str | None
    dtype: Literal["auto", "float32", "bfloat16"]
    decoding: Literal["greedy", "top_k", "top_p"]
    temperature: float
    top_k: Count
    top_p: Annotated[float, Interval(gt=0, le=1)]
    k: Count
    max_new_tokens: Count
    shots: CountOrNone
    system: str | None
    instruction: str | None
    chat_template: str | None
    date_string: str | None
    limit: Count | None
    seed: int
    trust_remote_code: bool

    def _clashes(self) -> Iterable[str | None]:
        if self.temperature <= 0:
            yield f"{_WHERE}.temperature={self.temperature}: expected a number above 0 (0 is decoding=greedy)"
        if self.decoding == "greedy" and self.k > 1:
            yield f"{_WHERE}.k={self.k}: decoding=greedy gives one answer to a problem; set {_WHERE}.k=1"

    def active(self) -> dict[str, float]:
        """What takes effect of ``temperature``, ``top_k`` and ``top_p``."""
        if self.decoding == "greedy":
            return {}
        return {"temperature": self.temperature, self.decoding: getattr(self, self.decoding)}

    def asked(self, problems: Problems, tokenizer: Any, name: str) -> list[list[int]]:
        """The prompts as token ids, for the model called ``name``; errors of `texts`."""
        if self.limit is not None and self.limit < len(problems.test):
            self.notes = [_limit_note(self.limit, len(problems.test))]
        return [
            tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in self.texts(problems, self.limit, tokenizer, name)
        ]

    def messages(self, question: str, train: Sequence[Pair]) -> list[Message]:
        """The conversation that ends with the question. Raises `UserError` for fewer training pairs than shots."""
        if self.shots > len(train):
            raise UserError(f"{_WHERE}.shots={self.shots}: there are only {len(train)} training pairs")
        before = "" if self.instruction is None else f"{self.instruction}\n\n"
        found = [("system", self.system)] if self.system is not None else []
        for pair in train[: self.shots]:
            found += [("user", before + pair.question), ("assistant", pair.solution)]
        return [{"role": role, "content": text} for role, text in [*found, ("user", before + question)]]

    def texts(self, problems: Problems, limit: int | None, tokenizer: Any, name: str) -> list[str]:
        """The prompts of the first ``limit`` test problems (None: of all), as the model called ``name`` gets them.

        Raises `UserError` if there is no chat template, or if it does not work on these messages or come to an end.
        """
        conversations = [self.messages(problem.question, problems.train) for problem in problems.test[:limit]]
        if self.chat_template is not None:
            return rendered(self.chat_template, conversations, {"date_string": self.date_string}, of=None)
        if tokenizer.chat_template is None:
            raise UserError(f"{name} has no chat template; give one in {_WHERE}.chat_template")
        dated = {} if self.date_string is None else {"date_string": self.date_string}
        from transformers import PreTrainedTokenizerBase

        if type(tokenizer).apply_chat_template is not PreTrainedTokenizerBase.apply_chat_template:
            return [_by_tokenizer(tokenizer, messages, dated, name) for messages in conversations]
        variables = {**tokenizer.special_tokens_map, **dated}
        return rendered(tokenizer.get_chat_template(), conversations, variables, of=name)


def rendered(
    template: str, conversations: Sequence[Sequence[Message]], variables: Mapping[str, Any], *, of: str | None
) -> list[str]:
    """Prompts by a Jinja template, in a process that ends when one takes too much time or memory.

    ``of``: the model whose own template it is, rendered by transformers; None: one of the configuration, by the same
    sandbox with the same settings. Raises `UserError` for a template that is not valid Jinja, fails on the messages, or
    does not come to an end.
    """
    found = []
    with Bounded(_WORKER, seconds=_SECONDS) as worker:
        for messages in conversations:
            question = {"template": template, "messages": messages, "variables": variables, "library": of is not None}
            answer = worker.ask(question)
            text, reason = answer or ("", "does not come to an end, or takes all memory")
            if reason:
                raise _refused(reason, of)
            found.append(text)
    return found


def _refused(reason: str, of: str | None) -> UserError:
    if of is None:
        return UserError(f"{_WHERE}.chat_template: {reason}")
    return UserError(
        f"the chat template of {of} refuses the messages ({reason}); give another in {_WHERE}.chat_template"
    )


def _by_tokenizer(tokenizer: Any, messages: list[Message], dated: Mapping[str, str], name: str) -> str:
    """The prompt of one of the few tokenizers that have a method of their own and no Jinja."""
    try:
        text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **dated)
    except Exception as error:  # of a library of the model's author
        raise _refused(" ".join(str(error).split()), name) from error
    return text


def _limit_note(limit: int, count: int) -> str:
    return f"only the first {limit} of {count} test problems are answered ({_WHERE}.limit={limit})"


def describe(problems: Problems, leaf: Mapping[str, Any]) -> str:
    """What would be asked and how: every option of the leaf, and the exact prompt of the first test problem.

    No model is loaded. Without ``chat_template`` in the leaf the tokenizer's makes the prompt if the model is a folder;
    of a model on the hub the messages are shown, which the template of its tokenizer turns into the prompt.

    Raises:
        UserError: the answers are recorded, an option cannot be, the chat template is not valid or missing, or there is
            no tokenizer in the folder.
    """
    if "decoding" not in leaf:
        raise UserError("these answers are recorded: nobody is asked (vaebench answers shows them); try dataset=gsm8k")
    asking = Asking(**{field.name: leaf[field.name] for field in fields(Asking)})
    model, active, there = asking.model or leaf.get("distribution"), asking.active(), len(problems.test)
    count = there if asking.limit is None else min(asking.limit, there)
    drawn = ", ".join(f"{name}={value}" for name, value in active.items()) or "the most likely token"
    off = [name for name in ("top_k", "top_p") if name not in active]
    lines = [
        f"model: {model or 'the language model this run is a child of (trained here)'}",
        f"asked: {count} of {there} test problems of {problems.name}, {asking.k} answers each",
        f"decoding: {asking.decoding} ({drawn}; off: {', '.join(off)})",
        f"max_new_tokens={asking.max_new_tokens}, shots={asking.shots}, seed={asking.seed}",
        *([_limit_note(count, there)] if count < there else ()),
    ]
    prompt = _exact(asking, problems)
    if prompt is not None:
        return "\n".join([*lines, "prompt of the first problem, between the lines:", _RULE, prompt, _RULE])
    messages = asking.messages(problems.test[0].question, problems.train)
    turns = [f"[{message['role']}] {message['content']}" for message in messages]
    title = f"messages of the first problem (the chat template of {model or 'its tokenizer'} makes the prompt):"
    return "\n".join([*lines, title, _RULE, *turns, _RULE])


def _exact(asking: Asking, problems: Problems) -> str | None:
    """The prompt of the first test problem; None if its template is not at hand."""
    if asking.chat_template is not None:
        return asking.texts(problems, 1, None, "")[0]
    place = checkpoints.folder(asking.model) if asking.model is not None else None
    if place is None:
        return None
    tokenizer, _ = checkpoints.load(str(place), asking.revision, None, asking.trust_remote_code)
    return asking.texts(problems, 1, tokenizer, place.name)[0]

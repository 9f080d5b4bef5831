"""How recorded answers are written in files: one reader for each layout, each yielding a reading per line or item.

A reader uses what it can of a line and names the rest. What it reads is plain data; nothing in it is ever run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import nan
from pathlib import Path
from typing import Any

from vaebench.data.lines import Record, Unusable, kind, read, some, text, whole_text

OPENAI_SOURCES = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
SHOWN = 40  # characters of a name in a message
_LOWEST_LOGPROB = -1e30
_MOST_TOKENS = 2**31 - 1
_OWN = ("question", "problem", "id", "source", "logprob", "tokens", "finished")


@dataclass(frozen=True)
class Found:
    """An answer as a file has it. ``question``, ``id``: what it answers; one of them may be unknown.

    ``logprob``: mean log-probability per token in nats, NaN if unknown; ``tokens``, ``finished``: -1 if unknown.
    """

    question: str | None
    id: str | None
    source: str
    text: str
    logprob: float = nan
    tokens: int = -1
    finished: int = -1


@dataclass(frozen=True)
class Reading:
    """What a line, named by ``where``, gave: its answers, why others cannot be used, and fields that were not read."""

    where: str
    found: tuple[Found, ...]
    faults: tuple[str, ...] = ()
    unread: Mapping[str, Any] = field(default_factory=dict)


def published(layout: str, path: Path, role: str, sources: Collection[str]) -> Iterator[Reading]:
    """A published file in one of the ``LAYOUTS``. ``role``: which one it is; ``sources``: whose answers are wanted."""
    for record in read(path):
        yield _reading(record, partial(LAYOUTS[layout], role=role, sources=sources))


def own(path: Path, text_field: str | None, source: str) -> Iterator[Reading]:
    """The user's own answers: see `vaebench.sources.recorded.Own`.

    ``text_field``: what holds the model's text; None for ``answer``, in logs of lm-evaluation-harness for ``resps``.
    ``source``: who answered where a line does not say so.
    """
    first = None  # of the filters, whose lines all have the same responses
    for record in read(path):
        logged = "resps" in record.value and isinstance(record.value.get("doc"), Mapping)
        if logged:
            first = record.value.get("filter") if first is None else first
            if record.value.get("filter") != first:
                continue
        name = text_field or ("resps" if logged else "answer")
        reading = _reading(record, partial(_own, name=name, source=source))
        unread = {} if logged else {key: held for key, held in record.value.items() if key not in (*_OWN, name)}
        yield replace(reading, unread=unread)


def looks_like_answers(value: Any) -> bool:
    """Whether a field that was not read may hold what a model said: a list of texts, or a long one."""
    several = isinstance(value, list) and bool(value) and all(isinstance(one, str | list) for one in value)
    return several or (isinstance(value, str) and len(value) > SHOWN)


def _reading(record: Record, split: Callable[[Mapping[str, Any]], Sequence[Callable[[], Found]]]) -> Reading:
    """What ``split`` makes of a record: its answers one by one, so that one that is unusable spoils no other."""
    found, faults = [], [record.fault] if record.fault else []
    try:
        makers = [] if record.fault else split(record.value)
    except Unusable as reason:
        makers, faults = [], [str(reason)]
    for make in makers:
        try:
            found.append(make())
        except Unusable as reason:
            faults.append(str(reason))
    return Reading(record.where, tuple(found), tuple(dict.fromkeys(faults)))


def _openai_gsm8k(value: Mapping[str, Any], role: str, sources: Collection[str]) -> list[Callable[[], Found]]:
    """Lines with ``question`` and, by the name of who answered, ``{"solution": text}`` (openai/grade-school-math)."""
    del role
    return [partial(_solution, value, source) for source in OPENAI_SOURCES if source in sources]


def _solution(value: Mapping[str, Any], source: str) -> Found:
    question = text(value, "question")
    if source not in value:
        raise Unusable(f"no field {source}")
    if not isinstance(value[source], Mapping):
        raise Unusable(f"{source} is {kind(value[source])} and should be an object")
    if "solution" not in value[source]:
        raise Unusable(f"no field {source}.solution")
    return _said(question, source, value[source]["solution"], f"{source}.solution")


def _zeroeval(value: Mapping[str, Any], role: str, sources: Collection[str]) -> list[Callable[[], Found]]:
    """A JSON list of one model's answers: ``question`` or ``problem``, and ``output``, of which the first counts."""
    del sources
    question = text(value, "question", "problem")
    return [partial(_said, question, role, _list(value, "output")[0], "output[0]")]


def _qwen(value: Mapping[str, Any], role: str, sources: Collection[str]) -> list[Callable[[], Found]]:
    """Lines with ``question`` and the list ``response`` (or ``code``) of one model's answers (QwenLM/Qwen2.5-Math)."""
    del sources
    question, name = text(value, "question"), "response" if "response" in value else "code"
    return [partial(_said, question, role, item, f"{name}[{n}]") for n, item in enumerate(_list(value, name))]


LAYOUTS = {"openai_gsm8k": _openai_gsm8k, "zeroeval": _zeroeval, "qwen": _qwen}


def _said(question: str, source: str, value: Any, name: str) -> Found:
    return Found(question, None, source, whole_text(value, name))


def _list(value: Mapping[str, Any], name: str) -> list[Any]:
    if name not in value:
        raise Unusable(f"no field {name}")
    if not isinstance(value[name], list):
        raise Unusable(f"{name} is {kind(value[name])} and should be a list")
    if not value[name]:
        raise Unusable(f"{name} is an empty list")
    return list(value[name])


def _own(value: Mapping[str, Any], name: str, source: str) -> list[Callable[[], Found]]:
    """The answers of a line, in the field ``name``: a text, or a list of samples."""
    doc = value["doc"] if isinstance(value.get("doc"), Mapping) else {}
    asked = [(held, key) for held in (value, doc) for key in ("question", "problem") if held.get(key) is not None]
    question = text(*asked[0]) if asked else None
    if question is None and value.get("id") is None:
        raise Unusable(f"neither question nor id ({_fields(value)})")
    if name not in value:
        raise Unusable(f"no field {name} ({_fields(value)}); name the model's text by dataset.answers.field")
    who = source if value.get("source") is None else text(value, "source")
    texts, several = _flat(value[name], name), isinstance(value[name], list)
    if not texts:
        raise Unusable(f"{name} is an empty list")
    known = {key: value[key] for key in ("logprob", "tokens", "finished") if value.get(key) is not None}
    for key, held in known.items():
        if several and not (isinstance(held, list) and len(held) == len(texts)):
            raise Unusable(f"{key} should be a list, as long as {name}")
    beside = [{key: held[number] for key, held in known.items()} if several else known for number in range(len(texts))]
    return [
        partial(_sample, question, value.get("id"), who, *said, **facts)
        for said, facts in zip(texts, beside, strict=True)
    ]


def _flat(value: Any, name: str) -> list[tuple[str, Any]]:
    """What a field holds, each with its place: itself, or the items of its list and of the lists in that."""
    if not isinstance(value, list):
        return [(name, value)]
    found: list[tuple[str, Any]] = []
    for number, item in enumerate(value):
        where = f"{name}[{number}]"
        inner = [(f"{where}[{place}]", each) for place, each in enumerate(item)] if isinstance(item, list) else None
        found += [(where, item)] if inner is None else inner
    return found


def _sample(
    question: str | None,
    number: Any,
    source: str,
    where: str,
    said: Any,
    *,
    logprob: Any = None,
    tokens: Any = None,
    finished: Any = None,
) -> Found:
    """One answer of a line: ``said``, which stands at ``where``, with what is known of it beside."""
    if logprob is not None and not (_number(logprob, float) and _LOWEST_LOGPROB <= logprob <= 0):
        raise Unusable("logprob should be a number, 0 at most")
    if tokens is not None and not (_number(tokens) and 0 <= tokens <= _MOST_TOKENS):
        raise Unusable("tokens should be a whole number, 0 or more")
    if finished is not None and not isinstance(finished, bool):
        raise Unusable("finished should be true or false")
    if not (number is None or isinstance(number, str) or _number(number)):
        raise Unusable(f"id is {kind(number)} and should be text or a whole number")
    return Found(
        question,
        None if number is None else str(number),
        source,
        whole_text(said, where),
        nan if logprob is None else float(logprob),
        -1 if tokens is None else tokens,
        -1 if finished is None else int(finished),
    )


def _fields(value: Mapping[str, Any]) -> str:
    fields = some([repr(name[:SHOWN]) for name, held in value.items() if held is not None])
    return f"its fields: {fields}" if fields else "it has no fields"


def _number(value: Any, *kinds: type) -> bool:
    """Whether it is a whole number, or one of another of these kinds."""
    return isinstance(value, (int, *kinds)) and not isinstance(value, bool)

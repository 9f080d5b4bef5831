r"""What an answer comes to, and whether it is right: the scorers of final answers.

A scorer reads a text into its final answer, ``""`` if it has none, in a form in which answers that the scorer holds
equal are equal texts; so a majority vote counts texts. Nothing that a model wrote is ever run as code. The rules of
text take time linear in its length; ``math_verify`` compares expressions, in a process that is killed when one takes
long.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from vaebench.errors import UserError, unknown
from vaebench.metrics.bounded import Bounded
from vaebench.metrics.latex_answers import (
    as_number,
    last_box,
    last_field,
    last_match,
    marked,
    normalise,
    number_text,
    plain_signs,
    tidy,
)

Track = Callable[[int, int], None]
Graded = tuple[tuple[str, ...], np.ndarray, int]

_EVERY = 256  # answers between two reports of progress
_TAIL = 2_000  # characters at the end of an answer without a box in which math-verify looks for LaTeX


@dataclass(frozen=True)
class Scorer:
    """``version`` is raised when the rule changes. ``grade(texts, golds, seconds, track)`` as `grade` returns it."""

    version: int
    grade: Callable[[Sequence[str], Sequence[str], float, Track], Graded]


def grade(texts: Sequence[str], golds: Sequence[str], scorer: str, *, seconds: float, track: Track) -> Graded:
    """Read every answer and say whether it is right.

    Args:
        texts: n answers.
        golds: for each, the right final answer as the set of problems states it.
        scorer: one of `SCORERS`.
        seconds: how long one answer may take; one that takes longer is wrong and has no final answer. Only
            ``math_verify`` can take long.
        track: called with (done, n) now and then.

    Returns:
        The normalised final answers (``""`` where there is none), whether each is right (bool ``[n]``), and how many
        were given up on.

    Raises:
        UserError: there is no such scorer, or the package it needs is missing.
        ValueError: there are not as many golds as texts.
    """
    if scorer not in SCORERS:
        raise UserError(unknown("scorer", scorer, SCORERS))
    if len(texts) != len(golds):
        raise ValueError(f"{len(texts)} answers and {len(golds)} golds")
    return SCORERS[scorer].grade(texts, golds, seconds, track)


def check(scorers: Mapping[str, int]) -> None:
    """Raise `UserError` for all names that are no scorer and all versions that are not the code's."""
    wrong = []
    for name, version in scorers.items():
        if name not in SCORERS:
            wrong.append(unknown("scorer", name, SCORERS))
        elif version != SCORERS[name].version:
            wrong.append(
                f"scorer {name} has version {SCORERS[name].version} here, not {version}; write "
                f"{name}: {SCORERS[name].version} in dataset.problems.scorers, or use the vaebench that had the other"
            )
    if wrong:
        raise UserError(*wrong)


# GSM8K


_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_IGNORED = re.compile(r"[,$]")

# A minus that follows a word, a number or a bracket subtracts.
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_SIGNED = rf"(?P<minus>(?<![\w)\]}}%.])-)?(?:\\?[$€£]\s?)?(?P<digits>(?>{_DIGITS}))"
_NUMBER = re.compile(_SIGNED)
_MARK = re.compile(rf"####[ \t]*\**[ \t]*{_SIGNED}(?![.):]\s+\S)")  # "#### 3. Add them up" is a heading
_PHRASE = re.compile(
    rf"(?i:\banswer)[ \t]{{0,3}}(?:\bis\b|=|:)(?:[ \t:*($]|\\[(\[$]|about|approximately){{0,8}}{_SIGNED}"
)
_LINE = re.compile(r"^[ \t]*A:([^\n]*)$", re.MULTILINE)


def strict_answer(text: str) -> str:
    """The number after the first ``#### ``, cleaned as the harness does; ``""`` if there is none.

    ``gsm8k.yaml``, version 3, of EleutherAI/lm-evaluation-harness, filter ``strict-match``; the pattern is that of
    Cobbe et al. (arXiv 2110.14168).
    """
    found = _STRICT.search(text)
    return exact_match(found[1]) if found else ""


def flexible_answer(text: str) -> str:
    """The last thing that looks like a number, cleaned as the harness does; ``""`` if there is none.

    ``gsm8k.yaml``, version 3, of EleutherAI/lm-evaluation-harness, filter ``flexible-extract``: ``-`` may be the minus
    of a subtraction, and what it takes for a number may be dots alone.
    """
    found = last_match(_FLEXIBLE, text)
    return exact_match(found[0].strip()) if found else ""


def exact_match(text: str) -> str:
    """What the harness compares for GSM8K: without ``,`` and ``$``, all up to ``#### ``, a dot at the end, and case."""
    text = _IGNORED.sub("", text).rpartition("#### ")[2]
    return re.sub(r"\.$", "", text).lower()


def number_answer(text: str) -> str:
    r"""The final answer of a word problem, as a number in its shortest form; ``""`` if there is none.

    The first of these that the text has: the last ``#### N``; the last ``\boxed{}``; the last JSON field ``"answer"``;
    the last ``answer is N`` or ``answer: N``; the last line ``A: N``; the last number of the text. What is in a box or
    field is the answer, even if it is no number. Of several numbers there (``18 dollars per day for 7 days``) the first
    after the last ``=`` counts.
    """
    text = plain_signs(text)
    mark = _last(_MARK, text)
    if mark:
        return mark
    for held in (last_box(text), last_field(text)):
        if held is not None:
            return _value(held)
    lines = _LINE.findall(text)
    return _last(_PHRASE, text) or (_value(lines[-1]) if lines else "") or _last(_NUMBER, text)


def gold_number(gold: str) -> str:
    """The right answer of a word problem in the form of `number_answer`."""
    return _value(plain_signs(gold))


def _value(held: str) -> str:
    """The number that a few words state: all of them if they are one number, else the first after the last ``=``."""
    held = held.rpartition("=")[2]
    text = normalise(held)
    if as_number(text) is not None:
        return text
    found = _NUMBER.search(held)
    return _number(found) if found else ""


def _last(pattern: re.Pattern[str], text: str) -> str:
    found = last_match(pattern, text)
    return _number(found) if found else ""


def _number(found: re.Match[str]) -> str:
    value = as_number(found["digits"])
    minus = found["minus"] or ""
    return minus + found["digits"] if value is None else number_text(-value if minus else value)


# MATH


def boxed_answer(text: str) -> str:
    r"""What the last ``\boxed{}`` or, without one, the last JSON field ``"answer"`` holds, normalised; else ``""``.

    The rules are those of `vaebench.metrics.latex_answers.normalise`: Hendrycks et al. and numbers as numbers.
    """
    return normalise(marked(text) or "")


# Ways to grade


def _by_text(final: Callable[[str], str], reference: Callable[[str], str]) -> Scorer:
    """The scorer, of version 1, by which an answer is right if its final answer is the text of the reference."""

    def graded(texts: Sequence[str], golds: Sequence[str], seconds: float, track: Track) -> Graded:
        del seconds  # the rules take linear time
        wanted = {gold: reference(gold) for gold in set(golds)}
        finals = []
        for done, text in enumerate(texts):
            if done % _EVERY == 0:
                track(done, len(texts))
            finals.append(final(text))
        track(len(texts), len(texts))
        right = [bool(found) and found == wanted[gold] for found, gold in zip(finals, golds, strict=True)]
        return tuple(finals), np.array(right, dtype=bool), 0

    return Scorer(1, graded)


def _by_mathematics(texts: Sequence[str], golds: Sequence[str], seconds: float, track: Track) -> Graded:
    r"""Math-verify's verdict on the last box, else the JSON field ``"answer"``, else the end of the text.

    The final answer is what was looked at, by the rules of ``boxed``: math-verify may hold two such texts equal.
    """
    if importlib.util.find_spec("math_verify") is None:
        raise UserError(
            "scorer math_verify: the package math-verify is missing; pip install 'vaebench[reasoning]', or take "
            "math_verify out of dataset.problems.scorers"
        )
    verdicts: dict[tuple[str, str, bool], tuple[str, bool] | None] = {}
    finals, right, given_up = [], [], 0
    with Bounded(Path(__file__).with_name("math_verify_worker.py"), seconds=seconds) as worker:
        for done, (text, gold) in enumerate(zip(texts, golds, strict=True)):
            if done % _EVERY == 0:
                track(done, len(texts))
            held = marked(text)
            asked = (f"${tidy(gold)}$", text[-_TAIL:] if held is None else f"${tidy(held)}$", held is None)
            if asked not in verdicts:
                verdicts[asked] = worker.ask(asked)
            verdict = verdicts[asked]
            given_up += verdict is None
            written, same = verdict or ("", False)
            finals.append(normalise(written if held is None else held) if verdict else "")
            right.append(same)
    track(len(texts), len(texts))
    return tuple(finals), np.array(right, dtype=bool), given_up


SCORERS: Mapping[str, Scorer] = MappingProxyType(
    {
        "gsm8k_strict": _by_text(strict_answer, exact_match),
        "gsm8k_flexible": _by_text(flexible_answer, exact_match),
        "gsm8k_number": _by_text(number_answer, gold_number),
        "boxed": _by_text(boxed_answer, normalise),
        "math_verify": Scorer(1, _by_mathematics),
    }
)

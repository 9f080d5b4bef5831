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
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import numpy as np

from vaebench.errors import UserError, unknown
from vaebench.metrics.bounded import Bounded
from vaebench.metrics.latex_answers import normalise
from vaebench.metrics.marks import last_match, marked, said
from vaebench.metrics.number_answers import number_answer, stated

Track = Callable[[int, int], None]
Graded = tuple[tuple[str, ...], np.ndarray, int]

_EVERY = 256  # answers between two reports of progress
_TAIL = 2_000  # characters at the end of an answer without a box in which math-verify looks for LaTeX
_COMPARED = 400  # characters of the longest final answer that math-verify compares
_BOLD = re.compile(r"\*\*([^*\n]+)\*\*")


@dataclass(frozen=True)
class Scorer:
    """``version`` is raised when the rule changes. ``grade(texts, golds, seconds, track)`` as `grade` returns it."""

    version: int
    grade: Callable[[Sequence[str], Sequence[str], float, Track], Graded]


def grade(texts: Sequence[str], golds: Sequence[str], scorer: str, *, seconds: float, track: Track) -> Graded:
    """Read n answers and say whether they are right, by one of `SCORERS`.

    ``golds``: the right final answers as the set of problems states them. An answer that takes longer than ``seconds``
    is wrong and has no final answer; only ``math_verify`` can take long. ``track``: called with (done, n) now and then.

    Returns the normalised final answers (``""`` where there is none), whether each is right (bool ``[n]``), and how
    many were given up on. Raises `UserError` if there is no such scorer or the package it needs is missing,
    `ValueError` if there are not as many golds as texts.
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


# MATH


def boxed_answer(text: str) -> str:
    r"""What the last ``\boxed{}``, ``<answer>`` or JSON field ``"answer"`` holds, normalised; ``""`` without any.

    The rules are those of `vaebench.metrics.latex_answers.normalise`: Hendrycks et al. and numbers as numbers.
    """
    return normalise(marked(said(text)) or "")


# Ways to grade


def _by_text(version: int, final: Callable[[str], str], reference: Callable[[str], str]) -> Scorer:
    """The scorer by which an answer is right if its final answer is the text of the reference."""

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

    return Scorer(version, graded)


def _by_mathematics(texts: Sequence[str], golds: Sequence[str], seconds: float, track: Track) -> Graded:
    r"""Math-verify's verdict on the answer of ``boxed``, without one on what it finds at the end of the text.

    Equal normal forms are right. Else the forms themselves are compared, so the verdict depends on the final answer
    alone; one that is longer than a few hundred characters is wrong.
    """
    if importlib.util.find_spec("math_verify") is None:
        raise UserError(
            "scorer math_verify: the package math-verify is missing; pip install 'vaebench[reasoning]', or take "
            "math_verify out of dataset.problems.scorers"
        )
    wanted = {gold: normalise(gold) for gold in set(golds)}
    finals, right, given_up = [], [], 0
    with Bounded(Path(__file__).with_name("math_verify_worker.py"), seconds=seconds) as worker:
        ask = lru_cache(maxsize=None)(lambda *question: worker.ask(question))
        for done, (text, gold) in enumerate(zip(texts, golds, strict=True)):
            if done % _EVERY == 0:
                track(done, len(texts))
            answer = said(text)
            held = marked(answer)
            found = ask("find", _BOLD.sub(r"\1", answer[-_TAIL:])) if held is None else held
            final = normalise(found or "")
            same: bool | None = bool(final) and final == wanted[gold]
            if final and not same and len(final) <= _COMPARED:
                same = ask("compare", wanted[gold], final)
            gone = found is None or same is None
            given_up += gone
            finals.append("" if gone else final)
            right.append(bool(same))
    track(len(texts), len(texts))
    return tuple(finals), np.array(right, dtype=bool), given_up


SCORERS: Mapping[str, Scorer] = MappingProxyType(
    {
        "gsm8k_strict": _by_text(1, strict_answer, exact_match),
        "gsm8k_flexible": _by_text(1, flexible_answer, exact_match),
        "gsm8k_number": _by_text(2, number_answer, stated),
        "boxed": _by_text(2, boxed_answer, normalise),
        "math_verify": Scorer(2, _by_mathematics),
    }
)

"""Answers that are probably not what they are taken for: the reference solutions, or those of the problem before."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vaebench.data.problems import Problem, last_box
from vaebench.errors import UserError
from vaebench.sources.layouts import Found

_FEWEST = 20  # answers from which a share says something of ids
_MANY, _ALL = 200, 0.985  # answers of which no model has such a share right to the letter: sets have that many errors
_SOME, _MOST = 5, 0.95  # the same where other fields of the lines look like answers
_BEFORE = 0.2  # the share that hold the right final answer of the problem before
_TAIL = 300  # characters at the end of an answer in which its final answer is looked for
_MARK = re.compile(r"####[^\S\n]*(\S+)\s*$")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def check(
    label: str, answered: Sequence[tuple[int, Found]], test: Sequence[Problem], *, unread: str, samples: bool
) -> None:
    """Raise `UserError` if the answers of a source, called ``label``, are the reference.

    ``answered``: the answers, each with the row of its problem. ``unread``: the fields of the lines that were not read,
    for the message; ``samples``: whether one of them looks like answers.
    """
    by_source: dict[str, list[tuple[int, Found]]] = {}
    for row, found in answered:
        by_source.setdefault(found.source, []).append((row, found))
    for source, several in by_source.items():
        bare = sum(_plain(found.text) == _plain(test[row].gold) for row, found in several)
        worked = sum(_final(found.text) == _plain(test[row].gold) for row, found in several)
        fewest, share = (_SOME, _MOST) if samples else (_MANY, _ALL)
        if len(several) >= fewest and max(bare, worked) >= share * len(several):
            other = f" (not read: {unread})" if unread else ""
            who = f" of {source[:40]!r}" if source else ""
            raise UserError(
                f"answers {label}: {max(bare, worked):,} of {len(several):,} answers{who} are the right final answer "
                f"to the letter, so 'answer' seems to hold the reference and not what a model said{other}; name the "
                f"model's text by dataset.answers.field=NAME, or set dataset.answers.field=answer if it is"
            )


def check_ids(label: str, answered: Sequence[tuple[int, Found]], unknown: set[str], test: Sequence[Problem]) -> None:
    """Raise `UserError` if the answers that are known by an id alone are those of the problem before.

    ``unknown``: the ids that no problem has.
    """
    rows = {problem.id: row for row, problem in enumerate(test)}
    known = [(row, found) for row, found in answered if found.question is None and found.id and found.id.isdecimal()]
    own = sum(_holds(found.text, test[row].gold) for row, found in known)
    pairs = [(rows.get(str(int(found.id or 0) - 1)), found) for _, found in known]
    before = sum(_holds(found.text, test[row].gold) for row, found in pairs if row is not None)
    numbers = [int(problem.id) for problem in test if problem.id.isdecimal()]
    ends = (
        bool(numbers) and str(max(numbers) + 1) in unknown and all(found.id != str(min(numbers)) for _, found in known)
    )
    shifted = len(known) >= _FEWEST and before >= _BEFORE * len(known) and before > 2 * own
    if known and (ends or shifted):
        raise UserError(
            f"answers {label}: the ids seem to count from 1 ({before:,} of {len(known):,} answers hold the right final "
            f"answer of the problem before theirs, {own:,} that of their own); set dataset.answers.first_id=1, or "
            "first_id=0 if they are lines of the test file, counted from 0"
        )


def _plain(text: str) -> str:
    return text.strip().rstrip(".").replace(",", "").replace("$", "")


def _final(text: str) -> str | None:
    """What a worked solution of GSM8K or MATH ends in."""
    mark = _MARK.search(text[-_TAIL:])
    return _plain(mark[1] if mark else last_box(text) or "")


def _holds(text: str, gold: str) -> bool:
    end, wanted = text[-_TAIL:].replace(",", ""), _plain(gold)
    return wanted in _NUMBER.findall(end) if _NUMBER.fullmatch(wanted) else wanted in end

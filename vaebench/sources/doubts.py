"""Answers that are probably not what they are taken for: the reference solutions, or those of the problem before."""

from __future__ import annotations

import re

from vaebench.data.problems import last_box
from vaebench.errors import UserError
from vaebench.sources.collected import Collected
from vaebench.sources.layouts import Found

_FEWEST = 20  # answers from which a share says something of ids
_MANY, _ALL = 200, 0.985  # answers of which no model has such a share right to the letter: sets have that many errors
_SOME, _MOST = 5, 0.95  # the same where other fields of the lines look like answers
_BEFORE = 0.2  # the share that hold the right final answer of the problem before
_TAIL = 300  # characters at the end of an answer in which its final answer is looked for
_MARK = re.compile(r"####[^\S\n]*(\S+)\s*$")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def check(collected: Collected, label: str) -> None:
    """Raise `UserError` if the answers of a source, in files called ``label``, are the reference."""
    test, unread = collected.test, collected.unread()
    by_source: dict[str, list[tuple[int, Found]]] = {}
    for row, found in collected.by_row():
        by_source.setdefault(found.source, []).append((row, found))
    for source, several in by_source.items():
        bare = sum(_plain(found.text) == _plain(test[row].gold) for row, found in several)
        worked = sum(_final(found.text) == _plain(test[row].gold) for row, found in several)
        fewest, share = (_SOME, _MOST) if collected.samples_unread else (_MANY, _ALL)
        if len(several) >= fewest and max(bare, worked) >= share * len(several):
            other = f" (not read: {unread})" if unread else ""
            who = f" of {source[:40]!r}" if source else ""
            raise UserError(
                f"answers {label}: {max(bare, worked):,} of {len(several):,} answers{who} are the right final answer "
                f"to the letter, so 'answer' seems to hold the reference and not what a model said{other}; name the "
                f"model's text by dataset.answers.field=NAME, or set dataset.answers.field=answer if it is"
            )


def check_ids(collected: Collected, label: str) -> None:
    """Raise `UserError` if the answers that are known by an id alone are those of the problem before."""
    gold = {problem.id: problem.gold for problem in collected.test}
    numbers = [int(number) for number in gold if number.isdecimal()]
    known = [(found.text, found.id) for _, found in collected.by_row() if found.question is None and found.id]
    known = [(text, number) for text, number in known if number.isdecimal()]
    own = sum(_holds(text, gold[number]) for text, number in known)
    pairs = [(text, gold.get(str(int(number) - 1))) for text, number in known]
    before = sum(_holds(text, answer) for text, answer in pairs if answer is not None)
    first, behind = (str(min(numbers)), str(max(numbers) + 1)) if numbers else ("", "")
    ends = behind in collected.unknown_ids and all(number != first for _, number in known)
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

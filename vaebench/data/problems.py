"""Sets of word problems: training pairs (question, worked solution) and test problems with their final answers.

No question of the test problems is a training question: whatever a file says, a pair whose question is also asked in
the test (but for white space and case) is dropped.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from vaebench.config.signatures import Count, checked
from vaebench.data.batch import Facts
from vaebench.data.fetch import obtain
from vaebench.data.files import Files
from vaebench.data.lines import Record, Unusable, read, same, some, text
from vaebench.errors import UserError

Solution = Literal["clean", "no_answer", "raw"]
MAX_LEFT_OUT = 0.05  # of the lines of a file
_MARKS = re.compile(r"<<[^<>\n]*>>")
_FINAL = re.compile(r"^####[^\S\n]*(.*)$", re.MULTILINE)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")

_Kept = TypeVar("_Kept")


@dataclass(frozen=True)
class Problem:
    """A test problem. ``gold``: the final answer as the set states it (GSM8K: after ``####``; MATH: the last box).

    ``id``: which line of its file this is, from 0.
    """

    id: str
    question: str
    gold: str


@dataclass(frozen=True)
class Pair:
    """A training pair: the question and the text of its worked solution, as the embedder gets it."""

    question: str
    solution: str


@dataclass(frozen=True)
class Problems(Facts):
    """A set of problems in memory."""

    name: str
    train: tuple[Pair, ...]
    test: tuple[Problem, ...]


@dataclass(frozen=True)
class _Worked:
    """A problem with its solution, as a file has it. ``row``: its line, from 0."""

    row: int
    question: str
    solution: str
    gold: str


@checked("dataset.problems")
def gsm8k(
    *,
    name: str,
    folder: str,
    files: Files,
    solution: Solution,
    most_steps: Count | None,
    mirrors: Sequence[str] = (),
) -> Problems:
    """GSM8K (Cobbe et al., arXiv 2110.14168): lines with ``question`` and ``answer``, which ends in ``#### N``.

    ``files``: ``train`` and ``test``, each with ``file`` and ``sha256``, in ``folder`` under ``$VAEBENCH_DATA`` or the
    cache, or to download from the folders ``mirrors``. ``solution``: of a training pair: ``clean`` without the
    calculator marks ``<<...>>``, ``no_answer`` without the line ``#### N`` too, ``raw`` as it is. ``most_steps``: only
    test problems whose solution has at most so many marks; None for all. Raises `UserError` if a file is missing or
    corrupt, or over 5 % of its lines cannot be used.
    """
    located = obtain(name=name, folder=folder, files=files, mirrors=mirrors, roles=("train", "test"))
    notes: list[str] = []
    train, test = (_problems(located.paths[role], _gsm8k_problem, notes) for role in ("train", "test"))
    if most_steps is not None:
        there, test = len(test), [one for one in test if len(_MARKS.findall(one.solution)) <= most_steps]
        notes.append(f"{len(test):,} of {there:,} test problems are asked: those of at most {most_steps} steps")
    return _assemble(name, train, test, partial(_gsm8k_solution, kind=solution), located.source, notes)


@checked("dataset.problems")
def math(
    *, name: str, folder: str, files: Files, solution: Solution, train_size: int, mirrors: Sequence[str] = ()
) -> Problems:
    r"""MATH (Hendrycks et al., arXiv 2103.03874): lines with ``problem`` and ``solution``, which has a ``\boxed``.

    As `gsm8k`, but: with a file ``asked``, whose items name problems by their text (``problem`` or ``question``), these
    alone are test problems and the others of ``test`` become training pairs. ``solution``: of a training pair:
    ``clean`` and ``raw`` as it is, ``no_answer`` with the last box emptied. ``train_size``: how many problems the whole
    training split has; ``note`` says so where fewer are used.
    """
    roles = ("train", "test", *(["asked"] if "asked" in files else []))
    located = obtain(name=name, folder=folder, files=files, mirrors=mirrors, roles=roles)
    notes: list[str] = []
    train, test = (_problems(located.paths[role], _math_problem, notes) for role in ("train", "test"))
    spare: list[_Worked] = []
    if "asked" in located.paths:
        known = {same(worked.question) for worked in test}
        asked = set(_usable(located.paths["asked"], partial(_asked, known=known), notes))
        spare = [worked for worked in test if same(worked.question) not in asked]
        test = [worked for worked in test if same(worked.question) in asked]
    found = _assemble(name, [*train, *spare], test, partial(_math_solution, kind=solution), located.source, notes)
    own = len(found.train) - len(spare)
    if own >= train_size and not spare:
        return found
    note = f"trained on {own:,} of {train_size:,} training problems, those with solutions"
    if spare:
        note = f"{note}, and on the {len(spare):,} test problems that are not asked; {len(found.test):,} are asked"
    return replace(found, note="; ".join(filter(None, [note, found.note])))


def last_box(solution: str) -> str | None:
    r"""What the last ``\boxed{...}`` (or ``\fbox``) of a text holds; None without one or if its braces do not match."""
    span = _last_box(solution)
    return None if span is None else solution[slice(*span)].strip()


def _last_box(solution: str) -> tuple[int, int] | None:
    """Where the content of the last box begins and ends."""
    boxes = list(_BOX.finditer(solution))
    if not boxes:
        return None
    start, depth, place = boxes[-1].end(), 1, boxes[-1].end()
    while place < len(solution):
        if solution[place] == "\\":  # an escaped brace is a character
            place += 2
            continue
        depth += {"{": 1, "}": -1}.get(solution[place], 0)
        if not depth:
            return start, place
        place += 1
    return None


def _gsm8k_problem(record: Record) -> _Worked:
    answer = text(record.value, "answer")
    finals = _FINAL.findall(answer)
    gold = finals[-1].replace(",", "").strip() if finals else ""
    if not gold:
        raise Unusable("no final answer after ####")
    return _Worked(record.row, text(record.value, "question"), answer, gold)


def _gsm8k_solution(worked: _Worked, kind: str) -> str:
    if kind == "raw":
        return worked.solution
    clean = _MARKS.sub("", worked.solution)
    return clean if kind == "clean" else _FINAL.sub("", clean).strip()


def _math_problem(record: Record) -> _Worked:
    solution = text(record.value, "solution")
    gold = last_box(solution)
    if not gold:
        raise Unusable("no final answer in a \\boxed{}")
    return _Worked(record.row, text(record.value, "problem"), solution, gold)


def _math_solution(worked: _Worked, kind: str) -> str:
    span = _last_box(worked.solution) if kind == "no_answer" else None
    return worked.solution if span is None else worked.solution[: span[0]] + worked.solution[span[1] :]


def _asked(record: Record, known: set[str]) -> str:
    question = same(text(record.value, "problem", "question"))
    if question not in known:
        raise Unusable("not one of the test problems")
    return question


def _problems(path: Path, parse: Callable[[Record], _Worked], notes: list[str]) -> list[_Worked]:
    """The problems of a file; one that asks the same as another before it is left out."""
    seen: set[str] = set()

    def first(record: Record) -> _Worked:
        worked = parse(record)
        if not worked.question.strip():
            raise Unusable("the question is empty")
        if same(worked.question) in seen:
            raise Unusable("the same question as before")
        seen.add(same(worked.question))
        return worked

    return _usable(path, first, notes)


def _usable(path: Path, use: Callable[[Record], _Kept], notes: list[str]) -> list[_Kept]:
    """What ``use`` makes of each record; those it cannot use are named in ``notes``."""
    kept: list[_Kept] = []
    left: list[str] = []
    for record in read(path):
        try:
            if record.fault:
                raise Unusable(record.fault)
            kept.append(use(record))
        except Unusable as reason:
            left.append(f"{record.where} ({reason})")
    if len(left) > MAX_LEFT_OUT * (len(kept) + len(left)) or not kept:
        raise UserError(
            f"{path}: {len(left):,} of {len(kept) + len(left):,} problems cannot be used, more than "
            f"{MAX_LEFT_OUT:.0%}: {some(left) or 'it is empty'}; put a whole file there"
        )
    if left:
        notes.append(f"{len(left):,} of {len(kept) + len(left):,} lines left out: {some(left)}")
    return kept


def _assemble(
    name: str,
    train: Iterable[_Worked],
    test: Sequence[_Worked],
    solution: Callable[[_Worked], str],
    source: str,
    notes: list[str],
) -> Problems:
    """The set, with what it holds of the test dropped from the training pairs."""
    asked = {same(worked.question) for worked in test}
    kept: dict[str, _Worked] = {}
    for worked in train:
        kept.setdefault(same(worked.question), worked)
    shared = sorted(asked & kept.keys())
    pairs = tuple(Pair(worked.question, solution(worked)) for key, worked in kept.items() if key not in asked)
    problems = tuple(Problem(str(worked.row), worked.question, worked.gold) for worked in test)
    if shared:
        notes.append(f"{len(shared):,} training problem{'s' * (len(shared) > 1)} dropped that the test asks too")
    if not pairs:
        raise UserError(f"problems {name}: no training pair is left; put a whole training file there")
    content = json.dumps([[astuple(item) for item in part] for part in (pairs, problems)], ensure_ascii=True)
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return Problems(name, pairs, problems, source=source, digest=digest, note="; ".join(notes))

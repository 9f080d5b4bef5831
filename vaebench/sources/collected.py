"""Answers by the problem they answer: what a set's files hold, what of it cannot be used, and what is worth saying."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Len

from vaebench.config.signatures import Count, Share
from vaebench.data.answers import Answers, answers
from vaebench.data.lines import Unusable, same, some
from vaebench.data.problems import Problems
from vaebench.errors import UserError
from vaebench.sources import Source
from vaebench.sources.layouts import SHOWN, Found, Reading, looks_like_answers

LONGEST = 100_000  # characters of an answer; the rest is cut off


@dataclass(kw_only=True, eq=False)
class Recording(Source):
    """Answers from files, whoever wrote them.

    ``sources``: whose answers to use; None for all. ``k``: how many answers of each problem to use, the first ones;
    None for as many as most problems have. ``max_left_out``: the share of the lines that may be unusable;
    ``max_missing``: that of the problems that may have fewer than k answers, None for the same.
    """

    sources: Annotated[Sequence[str], Len(1)] | None
    k: Count | None
    max_left_out: Share
    max_missing: Share | None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._kept: dict[int, list[Found]] = {}

    def use(self, collected: Collected, label: str) -> None:
        """Take these answers, called ``label``; raises `UserError` if too much of them cannot be used."""
        self._kept = collected.choose(label, self)
        self.left_out, self.notes = collected.left_out, collected.notes

    def answer(self, rows: range) -> Answers:
        """The answers to these problems."""
        return answers(
            (row, candidate, found.source, found.text[:LONGEST], found.logprob, found.tokens, found.finished)
            for row in rows
            for candidate, found in enumerate(self._kept.get(row, ()))
        )


class Collected:
    """Answers by the row of their problem, what could not be used, and what is worth saying."""

    def __init__(self, problems: Problems) -> None:
        self.left_out: list[str] = []
        self.notes: list[str] = []
        self.test = problems.test
        self._ids = [problem.id for problem in problems.test]
        self._by_id = {problem.id: row for row, problem in enumerate(problems.test)}
        self._by_question = {same(problem.question): row for row, problem in enumerate(problems.test)}
        self._found: dict[int, list[tuple[str, Found]]] = defaultdict(list)  # with where it stands
        self._lines = 0
        self._faulty: set[str] = set()
        self._unread: Counter[str] = Counter()
        self.samples_unread = False  # whether a field that was not read looks like answers
        self.unknown_ids: set[str] = set()

    def take(self, readings: Iterable[Reading], *, once: bool) -> None:
        """Take what the files hold. ``once``: all that a source has to say of a problem stands in one line."""
        for reading in readings:
            self._lines += 1
            self._unread.update(reading.unread.keys())
            self.samples_unread |= any(map(looks_like_answers, reading.unread.values()))
            for fault in reading.faults:
                self._leave(reading.where, fault)
            for found in reading.found:
                try:
                    self._found[self._row(found)].append((reading.where, found))
                except Unusable as fault:
                    self._leave(reading.where, str(fault))
        self._drop_duplicates(once)

    def choose(self, label: str, rules: Recording) -> dict[int, list[Found]]:
        """The same number of answers for every problem that has so many; raises `UserError` if too much is left out."""
        self._check_lines(label, rules)
        counts = Counter({row: len(found) for row, found in self._found.items()})
        usual = Counter(counts.values())
        k = rules.k or max(usual, key=lambda count: (usual[count], count))
        self._check_problems(label, rules, k, counts)
        kept = {row: [found for _, found in self._found[row][:k]] for row in range(len(self._ids)) if counts[row] >= k}
        more = sum(counts[row] > k for row in kept)
        if more and rules.k is None:
            self.notes.append(f"{more:,} of {len(kept):,} problems have more than {k} answers; the first {k} are used")
        texts = [found.text for several in kept.values() for found in several]
        empty, long = sum(not text.strip() for text in texts), sum(len(text) > LONGEST for text in texts)
        if self._unread:
            self.notes.append(f"fields that were not read: {self.unread()}")
        if empty:
            self.notes.append(f"{empty:,} of {len(texts):,} answers are empty and count as wrong")
        if long:
            self.notes.append(f"{long:,} of {len(texts):,} answers are cut at {LONGEST:,} characters")
        return kept

    def unread(self) -> str:
        """The fields that no line was read for, those of most lines first; empty if there are none."""
        return some([f"{_short(name)} (in {count:,} lines)" for name, count in self._unread.most_common()])

    def by_row(self) -> Iterable[tuple[int, Found]]:
        """Every answer with the row of its problem."""
        return ((row, found) for row, several in self._found.items() for _, found in several)

    def _row(self, found: Found) -> int:
        """Which problem is answered. Raises `Unusable` with the reason why none is."""
        row, unknown = None, f"is not one of the {len(self._ids):,} problems"
        if found.question is not None:
            row = self._by_question.get(same(found.question))
            if row is None:
                raise Unusable(f"question {_short(found.question)} {unknown}")
        if found.id is None:
            return row or 0
        other = self._by_id.get(found.id)
        if other is None:
            self.unknown_ids.add(found.id)
            like = f" (like {self._ids[0]})" if self._ids else ""
            raise Unusable(f"id {_short(found.id)} {unknown}{like}")
        if row not in (None, other):
            raise Unusable(f"question {_short(str(found.question))} and id {_short(found.id)} are different problems")
        return other

    def _leave(self, where: str, fault: str) -> None:
        self._faulty.add(where)
        self.left_out.append(f"{where}: {fault}")

    def _drop_duplicates(self, once: bool) -> None:
        """Of a source that answers a problem in one line, only the first line stays.

        Where lines are samples (not ``once``), such a source is one that answers half of its problems or more once.
        """
        usual: dict[str, Counter[int]] = defaultdict(Counter)
        for several in self._found.values():
            for source, count in Counter(source for _, source in {(w, found.source) for w, found in several}).items():
                usual[source][count] += 1
        single = {source for source, counts in usual.items() if once or 2 * counts[1] >= counts.total()}
        for row, several in self._found.items():
            first: dict[str, str] = {}  # source -> where its answer stands
            kept = []
            for where, found in several:
                if first.setdefault(found.source, where) != where and found.source in single:
                    who = f"{_short(found.source)} has answered" if found.source else "there is an answer to"
                    self._leave(where, f"duplicate: {who} problem #{self._ids[row]} before")
                else:
                    kept.append((where, found))
            self._found[row] = kept

    def _check_lines(self, label: str, rules: Recording) -> None:
        if not self._lines:
            raise UserError(f"answers {label}: the file is empty; it should hold one answer or more")
        bad = len(self._faulty)
        if _too_many(bad, self._lines, rules.max_left_out) or not self._found:
            share = _share(bad, self._lines)
            remedy = f", or set dataset.answers.max_left_out={share} to use the rest" if bad < self._lines else ""
            raise UserError(
                f"answers {label}: {bad:,} of {self._lines:,} lines cannot be used, more than "
                f"dataset.answers.max_left_out={rules.max_left_out:g} allows: {some(self.left_out)}; "
                f"mend the file{remedy}"
            )

    def _check_problems(self, label: str, rules: Recording, k: int, counts: Counter[int]) -> None:
        """Note the problems with fewer than ``k`` answers; raise `UserError` if they are too many."""
        total, allowed = len(self._ids), rules.max_left_out if rules.max_missing is None else rules.max_missing
        short = [row for row in range(total) if counts[row] < k]
        names = some([f"#{self._ids[row]}" for row in short])
        if _too_many(len(short), total, allowed) or len(short) == total:
            fewer = [
                smaller
                for smaller in range(1, min(k, max(counts.values()) + 1))
                if not _too_many(sum(counts[row] < smaller for row in range(total)), total, allowed)
            ]
            ways = [f"set dataset.answers.k={fewer[-1]}"] if fewer else []
            if len(short) < total:
                ways.append(f"set dataset.answers.max_missing={_share(len(short), total)} to use the others")
            raise UserError(
                f"answers {label}: {len(short):,} of {total:,} problems have fewer than {k} answers, more than "
                f"dataset.answers.max_missing={allowed:g} allows: {names}; "
                f"{' or '.join(ways) or 'record more answers'}"
            )
        if short:
            self.notes.append(
                f"{len(short):,} of {total:,} problems have fewer than {k} answers and are left out: {names}"
            )


def _too_many(part: int, whole_count: int, share: float) -> bool:
    return part > share * whole_count + 1e-9  # 29 of 100 are no more than 0.29


def _share(part: int, whole_count: int) -> float:
    """The share in hundredths, rounded up."""
    return -(-100 * part // whole_count) / 100 if whole_count else 1.0


def _short(name: str) -> str:
    return repr(name if len(name) <= SHOWN else f"{name[:SHOWN]}...")

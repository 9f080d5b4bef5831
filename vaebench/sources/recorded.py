"""Recorded answers: published files of language models' answers, and the user's own.

A line that cannot be used is named and left out; more than a few stop the work. Every problem ends up with the same
number of answers: a problem with fewer is left out of the evaluation, and `notes` says so.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vaebench.contracts import Work
from vaebench.data.answers import Answers, answers
from vaebench.data.download import sha256_of
from vaebench.data.fetch import Files, obtain
from vaebench.data.lines import same, some
from vaebench.data.problems import Problems
from vaebench.errors import UserError, unknown
from vaebench.sources.layouts import OPENAI_SOURCES, READERS, SHOWN, Found, Reading, own

LONGEST = 100_000  # characters of an answer; the rest is cut off


@dataclass(frozen=True)
class _Rules:
    """The options that both kinds of source share, by the names in `Recorded`."""

    sources: Sequence[str] | None
    k: int | None
    max_left_out: float
    shard: int

    def check(self, *mistakes: str) -> None:
        """Raise `UserError` with these mistakes and those of the options."""
        wrong = list(mistakes)
        for name, value in (("k", self.k), ("shard", self.shard)):
            if value is not None and value < 1:
                wrong.append(f"dataset.answers.{name}={value}: expected a whole number, at least 1")
        if not 0 <= self.max_left_out <= 1:
            wrong.append(f"dataset.answers.max_left_out={self.max_left_out}: expected a number from 0 to 1")
        if self.sources is not None and not self.sources:
            wrong.append("dataset.answers.sources=[]: name at least one, or null for all")
        if wrong:
            raise UserError(*wrong)


class Recorded:
    """Answers in published files, as `vaebench.data.fetch` finds them.

    Args:
        name: what the set is called.
        folder: where its files are under ``$VAEBENCH_DATA`` or the cache.
        layout: ``openai_gsm8k`` (lines with four named solutions), ``zeroeval`` (a JSON list per model) or ``qwen``
            (lines with a list of responses).
        files: by who answered (``openai_gsm8k``: one file with any role), each with ``file`` and ``sha256``.
        sources: whose answers to use; None for all.
        k: how many answers of each problem to use, the first ones; None for as many as most problems have.
        max_left_out: the share of the lines, and of the problems, that may be unusable.
        shard: problems per shard.
        mirrors: addresses of folders to download from.

    Raises:
        UserError: an option is wrong.
    """

    def __init__(
        self,
        *,
        name: str,
        folder: str,
        layout: str,
        files: Files,
        sources: Sequence[str] | None,
        k: int | None,
        max_left_out: float,
        shard: int,
        mirrors: Sequence[str] = (),
    ) -> None:
        self._rules = _Rules(sources, k, max_left_out, shard)
        named = layout == "openai_gsm8k"  # the lines of one file name who answered; else the files do
        known = OPENAI_SOURCES if named else tuple(files)
        self._rules.check(
            *([] if layout in READERS else [unknown("dataset.answers.layout", layout, READERS)]),
            *(unknown("dataset.answers.sources", source, known) for source in sources or () if source not in known),
        )
        self.shard = shard
        self.left_out: Sequence[str] = ()
        self.notes: Sequence[str] = ()
        self._kept: dict[int, list[Found]] = {}
        self._name, self._folder, self._layout, self._mirrors = name, folder, layout, mirrors
        self._sources = [source for source in known if sources is None or source in sources]
        self._files = {role: entry for role, entry in files.items() if named or role in self._sources}

    def open(self, problems: Problems, work: Work) -> None:
        """Read the files. Raises `UserError` if one is missing or corrupt, or too much of it cannot be used."""
        del work
        located = obtain(name=self._name, folder=self._folder, files=self._files, mirrors=self._mirrors)
        read = READERS[self._layout]
        readings = (one for role, path in located.paths.items() for one in read(path, role, self._sources))
        collected = _Collected(problems)
        collected.take(readings, once=True)
        self._kept = collected.choose(self._name, self._rules)
        self.left_out, self.notes = collected.left_out, collected.notes

    def answer(self, rows: range) -> Answers:
        """The answers to these problems."""
        return _rows(self._kept, rows)


class Own:
    """The user's own answers: a file of JSON lines, or one JSON list if its name ends in ``.json``.

    Each line is an object::

        {"question": "Janet's ducks ...", "answer": "She sells 16 - 3 - 4 = 9 ... #### 18"}
        {"id": 0, "answer": "...", "source": "my-model", "logprob": -0.31, "tokens": 87, "finished": true}

    ``question`` (compared without white space and case) or ``id`` (the problem's line in its test file, from 0; if both
    stand there they must agree) says which problem is answered, ``answer`` is the text. Optional: ``source``, who
    answered; ``logprob``, the mean log-probability of its tokens in nats; ``tokens``, how many it has; ``finished``,
    false if it was cut off. Several answers of one source to one problem are samples; if a source answers most problems
    once, a second answer is a duplicate and left out.

    Args:
        path: the file.
        sha256: its hex digits, checked; None to take the file as it is.
        sources: whose answers to use; None for all.
        k: how many answers of each problem to use, the first ones; None for as many as most problems have.
        max_left_out: the share of the lines, and of the problems, that may be unusable.
        shard: problems per shard.

    Raises:
        UserError: an option is wrong.
    """

    def __init__(
        self,
        *,
        path: str | None,
        sha256: str | None,
        sources: Sequence[str] | None,
        k: int | None,
        max_left_out: float,
        shard: int,
    ) -> None:
        self._rules = _Rules(sources, k, max_left_out, shard)
        self._rules.check(*([] if path else ["dataset.answers.path=null: name the file with your answers"]))
        self.shard = shard
        self.left_out: Sequence[str] = ()
        self.notes: Sequence[str] = ()
        self._kept: dict[int, list[Found]] = {}
        self._path, self._sha256 = Path(path or "").expanduser(), sha256

    def open(self, problems: Problems, work: Work) -> None:
        """Read the file. Raises `UserError` if it is missing or changed, or too much of it cannot be used."""
        del work
        if self._path.is_dir():
            raise UserError(f"dataset.answers.path={self._path}: is a folder; name the file with your answers")
        if not self._path.is_file():
            raise UserError(f"dataset.answers.path={self._path}: there is no such file")
        found = sha256_of(self._path) if self._sha256 else None
        if found != self._sha256:
            raise UserError(
                f"{self._path}: its sha256 is {found} and dataset.answers.sha256 is {self._sha256}: the file has "
                "changed; put the right one there, or leave dataset.answers.sha256 out to use this one"
            )
        wanted = self._rules.sources
        collected = _Collected(problems)
        collected.take(_only(own(self._path), wanted), once=False)
        self._kept = collected.choose(self._path.name, self._rules)
        self.left_out, self.notes = collected.left_out, collected.notes

    def answer(self, rows: range) -> Answers:
        """The answers to these problems."""
        return _rows(self._kept, rows)


def _only(readings: Iterable[Reading], wanted: Sequence[str] | None) -> Iterable[Reading]:
    """The readings without the answers of other sources. Raises `UserError` if a wanted source has none."""
    seen: set[str] = set()
    for reading in readings:
        seen.update(found.source for found in reading.found)
        found = tuple(found for found in reading.found if wanted is None or found.source in wanted)
        yield Reading(reading.where, found, reading.faults)
    missing = [source for source in wanted or () if source not in seen]
    if missing:
        raise UserError(*(unknown("dataset.answers.sources", source, seen) for source in missing))


def _rows(kept: dict[int, list[Found]], rows: range) -> Answers:
    return answers(
        (row, candidate, found.source, found.text[:LONGEST], found.logprob, found.tokens, found.finished)
        for row in rows
        for candidate, found in enumerate(kept.get(row, ()))
    )


class _Collected:
    """Answers by the row of their problem, what could not be used, and what is worth saying."""

    def __init__(self, problems: Problems) -> None:
        self.left_out: list[str] = []
        self.notes: list[str] = []
        self._ids = [problem.id for problem in problems.test]
        self._by_id = {problem.id: row for row, problem in enumerate(problems.test)}
        self._by_question = {same(problem.question): row for row, problem in enumerate(problems.test)}
        self._found: dict[int, list[tuple[str, Found]]] = defaultdict(list)  # with where it stands
        self._lines = 0
        self._faulty: set[str] = set()

    def take(self, readings: Iterable[Reading], *, once: bool) -> None:
        """Take what the files hold. ``once``: all that a source has to say of a problem stands in one line."""
        for reading in readings:
            self._lines += 1
            for fault in reading.faults:
                self._leave(reading.where, fault)
            for found in reading.found:
                row, fault = self._row(found)
                if fault:
                    self._leave(reading.where, fault)
                else:
                    self._found[row].append((reading.where, found))
        self._drop_duplicates(once)

    def choose(self, label: str, rules: _Rules) -> dict[int, list[Found]]:
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
        if empty:
            self.notes.append(f"{empty:,} of {len(texts):,} answers are empty and count as wrong")
        if long:
            self.notes.append(f"{long:,} of {len(texts):,} answers are cut at {LONGEST:,} characters")
        return kept

    def _row(self, found: Found) -> tuple[int, str]:
        """Which problem is answered, or why none is."""
        rows = []
        if found.question is not None:
            rows.append((self._by_question.get(same(found.question)), f"question {_short(found.question)}"))
        if found.id is not None:
            rows.append((self._by_id.get(found.id), f"id {_short(found.id)}"))
        for row, name in rows:
            if row is None:
                like = f" (like {self._ids[0]})" if name.startswith("id") and self._ids else ""
                return -1, f"{name} is not one of the {len(self._ids):,} problems{like}"
        if len({row for row, _ in rows}) > 1:
            return -1, f"{rows[0][1]} and {rows[1][1]} are different problems"
        return rows[0][0] or 0, ""

    def _leave(self, where: str, fault: str) -> None:
        self._faulty.add(where)
        self.left_out.append(f"{where}: {fault}")

    def _drop_duplicates(self, once: bool) -> None:
        """Of a source that answers a problem in one line, only the first line stays.

        Where lines are samples (not ``once``), such a source is one that answers half of its problems or more once.
        """
        usual: dict[str, Counter[int]] = defaultdict(Counter)
        for several in self._found.values():
            for source, count in Counter(found.source for _, found in several).items():
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

    def _check_lines(self, label: str, rules: _Rules) -> None:
        if not self._lines:
            raise UserError(f"answers {label}: the file is empty; it should hold one answer or more")
        bad = len(self._faulty)
        if _too_many(bad, self._lines, rules) or not self._found:
            share = _share(bad, self._lines)
            remedy = f", or set dataset.answers.max_left_out={share} to use the rest" if bad < self._lines else ""
            raise UserError(
                f"answers {label}: {bad:,} of {self._lines:,} lines cannot be used, more than "
                f"dataset.answers.max_left_out={rules.max_left_out:g} allows: {some(self.left_out)}; "
                f"mend the file{remedy}"
            )

    def _check_problems(self, label: str, rules: _Rules, k: int, counts: Counter[int]) -> None:
        """Note the problems with fewer than ``k`` answers; raise `UserError` if they are too many."""
        total = len(self._ids)
        short = [row for row in range(total) if counts[row] < k]
        names = some([f"#{self._ids[row]}" for row in short])
        if _too_many(len(short), total, rules) or len(short) == total:
            fewer = [
                smaller
                for smaller in range(1, min(k, max(counts.values()) + 1))
                if not _too_many(sum(counts[row] < smaller for row in range(total)), total, rules)
            ]
            ways = [f"set dataset.answers.k={fewer[-1]}"] if fewer else []
            if len(short) < total:
                ways.append(f"set dataset.answers.max_left_out={_share(len(short), total)} to use the others")
            raise UserError(
                f"answers {label}: {len(short):,} of {total:,} problems have fewer than {k} answers, more than "
                f"dataset.answers.max_left_out={rules.max_left_out:g} allows: {names}; "
                f"{' or '.join(ways) or 'record more answers'}"
            )
        if short:
            self.notes.append(
                f"{len(short):,} of {total:,} problems have fewer than {k} answers and are left out: {names}"
            )


def _too_many(part: int, whole_count: int, rules: _Rules) -> bool:
    return part > rules.max_left_out * whole_count + 1e-9  # 29 of 100 are no more than 0.29


def _share(part: int, whole_count: int) -> float:
    """The share in hundredths, rounded up."""
    return -(-100 * part // whole_count) / 100 if whole_count else 1.0


def _short(name: str) -> str:
    return repr(name if len(name) <= SHOWN else f"{name[:SHOWN]}...")

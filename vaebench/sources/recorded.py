"""Recorded answers: published files of language models' answers, and the user's own.

A line that cannot be used is named and left out; more than a few stop the work. Every problem ends up with the same
number of answers: a problem with fewer is left out of the evaluation, and `notes` says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from vaebench.contracts import Work
from vaebench.data.answers import Answers, answers
from vaebench.data.download import sha256_of
from vaebench.data.fetch import Files, obtain
from vaebench.data.lines import paths
from vaebench.data.problems import Problems
from vaebench.errors import UserError, unknown
from vaebench.sources import doubts
from vaebench.sources.collected import LONGEST, Collected, Rules
from vaebench.sources.layouts import OPENAI_SOURCES, READERS, Found, Reading, own


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
        max_left_out: the share of the lines that may be unusable.
        max_missing: the share of the problems that may have fewer than k answers; None for the same.
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
        max_missing: float | None,
        shard: int,
        mirrors: Sequence[str] = (),
    ) -> None:
        self._rules = Rules(sources, k, max_left_out, max_missing, shard)
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
        collected = Collected(problems)
        collected.take(readings, once=True)
        self._kept = collected.choose(self._name, self._rules)
        self.left_out, self.notes = collected.left_out, collected.notes

    def answer(self, rows: range) -> Answers:
        """The answers to these problems."""
        return _rows(self._kept, rows)


class Own:
    """The user's own answers: files of JSON lines, or JSON lists where a name ends in ``.json``.

    Each line is an object::

        {"question": "Janet's ducks ...", "answer": "She sells 16 - 3 - 4 = 9 ... #### 18"}
        {"id": 0, "answer": "...", "source": "my-model", "logprob": -0.31, "tokens": 87, "finished": true}
        {"question": "Janet's ducks ...", "answer": ["first sample", "second sample"]}

    ``question`` or ``problem`` (compared without white space, case and kinds of quotes and dashes) or ``id`` (the
    problem's line in its test file; if both stand there they must agree) says which problem is answered, ``answer`` is
    the text, or a list of samples. Optional: ``source``, who answered; ``logprob``, the mean log-probability of its
    tokens in nats; ``tokens``, how many it has; ``finished``, false if it was cut off; of samples, lists. A sample log
    of lm-evaluation-harness is read as it is (``doc``, ``resps``), once where it has a line for every filter. Several
    answers of one source to one problem are samples; if a source answers most problems in one line, a second line is a
    duplicate and left out.

    Answers that are the reference, and ids that count from 1, are refused where they can be noticed.

    Args:
        path: the file, or several, whose names are the sources of lines that name none.
        sha256: the hex digits of each, checked; None to take the files as they are.
        field: what holds the model's text; None for ``answer``.
        first_id: the id of the first problem, 0 or 1; None for 0.
        sources: whose answers to use; None for all.
        k: how many answers of each problem to use, the first ones; None for as many as most problems have.
        max_left_out: the share of the lines that may be unusable.
        max_missing: the share of the problems that may have fewer than k answers; None for the same.
        shard: problems per shard.

    Raises:
        UserError: an option is wrong.
    """

    def __init__(
        self,
        *,
        path: str | Sequence[str] | None,
        sha256: str | Sequence[str] | None,
        field: str | None,
        first_id: int | None,
        sources: Sequence[str] | None,
        k: int | None,
        max_left_out: float,
        max_missing: float | None,
        shard: int,
    ) -> None:
        self._rules = Rules(sources, k, max_left_out, max_missing, shard)
        wrong = [] if path else ["dataset.answers.path=null: name the file with your answers"]
        if first_id not in (None, 0, 1):
            wrong.append(f"dataset.answers.first_id={first_id}: expected 0, 1 or null")
        self._rules.check(*wrong)
        self.shard = shard
        self.left_out: Sequence[str] = ()
        self.notes: Sequence[str] = ()
        self._kept: dict[int, list[Found]] = {}
        self._paths = paths(path, "dataset.answers.path") if path else []
        self._sha256: list[str | None] = [None] * len(self._paths)
        if sha256:
            self._sha256 = [sha256] if isinstance(sha256, str) else list(sha256)
        self._field, self._first_id = field, first_id

    def open(self, problems: Problems, work: Work) -> None:
        """Read the files. Raises `UserError` if one is missing or changed, or too much cannot be used or doubted."""
        del work
        if len(self._sha256) != len(self._paths):
            raise UserError(f"dataset.answers.sha256: {len(self._sha256)} for {len(self._paths)} files; one for each")
        for path, sha256 in zip(self._paths, self._sha256, strict=True):
            _check_file(path, sha256)
        collected = Collected(problems)
        names = _sources(self._paths)
        readings = (one for path, name in zip(self._paths, names, strict=True) for one in own(path, self._field, name))
        collected.take(_only(self._counted(readings), self._rules.sources), once=False)
        label = self._paths[0].name + (f" and {len(names) - 1} more" if len(names) > 1 else "")
        answered = list(collected.by_row())
        if self._field is None:
            doubts.check(label, answered, problems.test, unread=collected.unread(), samples=collected.samples_unread)
        if self._first_id is None:
            doubts.check_ids(label, answered, collected.unknown_ids, problems.test)
        self._kept = collected.choose(label, self._rules)
        self.left_out, self.notes = collected.left_out, collected.notes

    def answer(self, rows: range) -> Answers:
        """The answers to these problems."""
        return _rows(self._kept, rows)

    def _counted(self, readings: Iterable[Reading]) -> Iterable[Reading]:
        """The readings with ids that count from 0."""
        for reading in readings:
            found = reading.found
            if self._first_id:
                found = tuple(replace(one, id=_less(one.id, self._first_id)) for one in found)
            yield replace(reading, found=found)


def _less(number: str | None, first: int) -> str | None:
    return str(int(number) - first) if number and number.isdecimal() else number


def _sources(files: Sequence[Path]) -> list[str]:
    """Who answered by the names of several files; nobody's name if there is one."""
    if len(files) == 1:
        return [""]
    stems = [path.stem for path in files]
    return stems if len(set(stems)) == len(stems) else [f"{path.parent.name}/{path.stem}" for path in files]


def _check_file(path: Path, sha256: str | None) -> None:
    if path.is_dir():
        raise UserError(f"dataset.answers.path={path}: is a folder; name the file with your answers")
    if not path.is_file():
        raise UserError(f"dataset.answers.path={path}: there is no such file")
    found = sha256_of(path) if sha256 else None
    if found != sha256:
        raise UserError(
            f"{path}: its sha256 is {found} and dataset.answers.sha256 is {sha256}: the file has changed; put the "
            "right one there, or leave dataset.answers.sha256 out to use this one"
        )


def _only(readings: Iterable[Reading], wanted: Sequence[str] | None) -> Iterable[Reading]:
    """The readings without the answers of other sources. Raises `UserError` if a wanted source has none."""
    seen: set[str] = set()
    for reading in readings:
        seen.update(found.source for found in reading.found)
        found = tuple(found for found in reading.found if wanted is None or found.source in wanted)
        yield replace(reading, found=found)
    missing = [source for source in wanted or () if source not in seen]
    if missing:
        raise UserError(*(unknown("dataset.answers.sources", source, seen) for source in missing))


def _rows(kept: dict[int, list[Found]], rows: range) -> Answers:
    return answers(
        (row, candidate, found.source, found.text[:LONGEST], found.logprob, found.tokens, found.finished)
        for row in rows
        for candidate, found in enumerate(kept.get(row, ()))
    )

"""Recorded answers: published files of language models' answers, and the user's own.

A line that cannot be used is named and left out; more than a few stop the work. Every problem ends up with the same
number of answers: a problem with fewer is left out of the evaluation, and `notes` says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Literal

from vaebench.config.signatures import checked, require
from vaebench.contracts import Work
from vaebench.data.fetch import obtain, verified
from vaebench.data.files import Files
from vaebench.data.lines import paths
from vaebench.data.problems import Problems
from vaebench.errors import UserError, unknown
from vaebench.sources import doubts
from vaebench.sources.collected import Collected, Recording
from vaebench.sources.layouts import OPENAI_SOURCES, Found, Reading, own, published


@checked("dataset.answers")
@dataclass(kw_only=True, eq=False)
class Recorded(Recording):
    """Answers in published files, as `vaebench.data.fetch` finds them.

    ``name``: what the set is called; ``folder``: where its files are under ``$VAEBENCH_DATA`` or the cache. ``layout``:
    ``openai_gsm8k`` (lines with four named solutions), ``zeroeval`` (a JSON list per model) or ``qwen`` (lines with a
    list of responses). ``files``: by who answered (``openai_gsm8k``: one file with any role), each with ``file`` and
    ``sha256``. ``mirrors``: addresses of folders to download from.
    """

    name: str
    folder: str
    layout: Literal["openai_gsm8k", "zeroeval", "qwen"]
    files: Files
    mirrors: Sequence[str] = ()

    def _clashes(self) -> Iterable[str | None]:
        known = self._known()
        return (unknown("dataset.answers.sources", one, known) for one in self.sources or () if one not in known)

    def _known(self) -> Sequence[str]:
        """Who answered: the lines of the one file say so, or the names of the files."""
        return OPENAI_SOURCES if self.layout == "openai_gsm8k" else tuple(self.files)

    def open(self, problems: Problems, work: Work) -> None:
        """Read the files. Raises `UserError` if one is missing or corrupt, or too much of it cannot be used."""
        del work
        wanted = [source for source in self._known() if self.sources is None or source in self.sources]
        named = self.layout == "openai_gsm8k"
        files = {role: entry for role, entry in self.files.items() if named or role in wanted}
        located = obtain(name=self.name, folder=self.folder, files=files, mirrors=self.mirrors)
        collected = Collected(problems)
        files_read = (published(self.layout, path, role, wanted) for role, path in located.paths.items())
        collected.take(chain.from_iterable(files_read), once=True)
        self.use(collected, self.name)


@checked("dataset.answers")
@dataclass(kw_only=True, eq=False)
class Own(Recording):
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

    ``path``: the file, or several, whose names are the sources of lines that name none. ``sha256``: the hex digits of
    each, checked; None to take the files as they are. ``field``: what holds the model's text; None for ``answer``.
    ``first_id``: the id of the first problem; None for 0.
    """

    path: str | Sequence[str] | None
    sha256: str | Sequence[str] | None
    field: str | None
    first_id: Literal[0, 1] | None

    def _clashes(self) -> Iterable[str | None]:
        if self.path:
            paths(self.path, "dataset.answers.path")
        else:
            yield "dataset.answers.path=null: name the file with your answers"

    def open(self, problems: Problems, work: Work) -> None:
        """Read the files. Raises `UserError` if one is missing or changed, or too much cannot be used or doubted."""
        del work
        files = paths(self.path, "dataset.answers.path")
        given = self.sha256 or [""] * len(files)
        sums = [given] if isinstance(given, str) else given
        if len(sums) != len(files):
            raise UserError(f"dataset.answers.sha256: {len(sums)} for {len(files)} files; one for each")
        for path, sha256 in zip(files, sums, strict=True):
            verified(path, sha256, option="dataset.answers")
        collected = Collected(problems)
        named = zip(files, _names(files), strict=True)
        readings = chain.from_iterable(own(path, self.field, name) for path, name in named)
        collected.take(self._wanted(readings), once=False)
        label = files[0].name + (f" and {len(files) - 1} more" if len(files) > 1 else "")
        if self.field is None:
            doubts.check(collected, label)
        if self.first_id is None:
            doubts.check_ids(collected, label)
        self.use(collected, label)

    def _wanted(self, readings: Iterable[Reading]) -> Iterable[Reading]:
        """The readings with the answers of ``sources``, and with ids that count from 0.

        Raises `UserError` if a wanted source has none.
        """
        seen: set[str] = set()
        for reading in readings:
            seen.update(found.source for found in reading.found)
            wanted = (found for found in reading.found if self.sources is None or found.source in self.sources)
            yield replace(reading, found=tuple(_renumbered(found, self.first_id or 0) for found in wanted))
        require(*(unknown("dataset.answers.sources", one, seen) for one in self.sources or () if one not in seen))


def _renumbered(found: Found, first: int) -> Found:
    number = found.id
    return replace(found, id=str(int(number) - first)) if first and number and number.isdecimal() else found


def _names(files: Sequence[Path]) -> list[str]:
    """Who answered by the names of several files; nobody's name if there is one."""
    if len(files) == 1:
        return [""]
    stems = [path.stem for path in files]
    return stems if len(set(stems)) == len(stems) else [f"{path.parent.name}/{path.stem}" for path in files]

"""What came of a reproduction on one screen: a line per table with its numbers and claims, counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from vaebench.errors import printable
from vaebench.papers.tables import Paper
from vaebench.report import raced
from vaebench.report.summary import Score, Section, score, total

_MOST = 28  # lines of tables; of more, a line per paper
_NAMED = 6  # tables of which nothing is to be said; of more, their number
_PLACES = 4
_NARROW = 96  # columns below which headings are broken
_HEADS = ("comparable", "reproduced", "outside", "hold", "reversed", "undecided")
_BROKEN = (
    ("com-", "repro-", "out-", "", "re-", "un-"),
    ("parable", "duced", "side", "hold", "versed", "decided"),
)


@dataclass(frozen=True)
class Line:
    """A name with six counts: three of numbers and three of claims; without, a heading."""

    name: str
    counts: tuple[int, ...] = ()


def show(found: Sequence[tuple[Paper, Sequence[Section]]], console: Console) -> None:
    """Print how many of the numbers and claims of each table came out how, and the nearest reading of a study.

    ``found``: papers with the sections to tell of. At most some thirty lines, each within the console's width.
    """
    judged = {paper.name: _scores(paper, sections) for paper, sections in found}
    lines = _lines({name: scores for name, scores in judged.items() if scores})
    for line in _laid_out(lines, console.width) if lines else ():
        console.print(_text(line, console))
    for line in (*_others(found, judged), *_places([one for _, sections in found for one in sections])):
        console.print(_text(line, console))


def _scores(paper: Paper, sections: Sequence[Section]) -> dict[str, Score]:
    """By table with printed numbers or claims, how much of it is decided on all sets together."""
    of_tables: dict[str, list[Section]] = {}
    for section in sections:
        of_tables.setdefault(section.key, []).append(section)
    scores = {key: score(paper, its) for key, its in of_tables.items()}
    return {key: one for key, one in scores.items() if one.claims or _has_numbers(of_tables[key])}


def _has_numbers(sections: Sequence[Section]) -> bool:
    return any(cell.reported is not None for one in sections if not one.table.study for cell in one.cells.values())


def _counts(one: Score) -> tuple[int, ...]:
    return one.comparable, one.reproduced, one.outside, one.hold, one.reversed, one.undecided


def _lines(judged: Mapping[str, Mapping[str, Score]]) -> list[Line]:
    """A line per table, under its paper if there are several; where that is too long, one per paper."""
    if len(judged) == 1:
        ((paper, scores),) = judged.items()
        return [Line(f"{paper} {key}", _counts(one)) for key, one in scores.items()]
    every = [Line(paper, _counts(total(scores.values()))) for paper, scores in judged.items()]
    if sum(len(scores) + 1 for scores in judged.values()) > _MOST + len(judged):
        return every
    return [
        line
        for paper, scores in judged.items()
        for line in (Line(paper), *(Line(f"  {key}", _counts(one)) for key, one in scores.items()))
    ]


def _laid_out(lines: Sequence[Line], width: int) -> Iterator[str]:
    heads = ((*("",) * 6,), _HEADS) if width >= _NARROW else _BROKEN
    sizes = [max(map(len, column)) for column in zip(*heads, strict=True)]
    room = width - sum(sizes) - len(sizes) - 2
    wide = min(room, max(len(line.name) for line in lines))
    yield f"{'':{wide}} {'numbers':<{sum(sizes[:3]) + 2}}   {'claims'}"
    for head in heads if width < _NARROW else heads[1:]:
        yield _row("", head, sizes, wide)
    for line in lines:
        name = line.name if len(line.name) <= wide else f"{line.name[: wide - 3]}..."
        yield _row(name, [str(count or "-") for count in line.counts], sizes, wide)


def _row(name: str, cells: Sequence[str], sizes: Sequence[int], wide: int) -> str:
    padded = [f"{cell:>{size}}" for cell, size in zip(cells, sizes, strict=False)]
    return f"{name:{wide}} {' '.join(padded[:3])}   {' '.join(padded[3:])}".rstrip()


def _others(
    found: Sequence[tuple[Paper, Sequence[Section]]], judged: Mapping[str, Mapping[str, Score]]
) -> Iterator[str]:
    """What has no counts: studies with their nearest reading, and tables of which a paper says nothing."""
    silent: dict[str, None] = {}
    for paper, sections in found:
        for section in sections:
            if section.ranking is not None:
                yield f"{paper.name} {section.key}: {_nearest(section)}"
            elif section.key not in judged[paper.name]:
                silent[f"{paper.name} {section.key}"] = None
    if silent:
        named = ", ".join(silent) if len(silent) <= _NAMED else f"{len(silent)} tables"
        yield f"{named}: no printed numbers and no claims of the paper"


def _places(sections: Sequence[Section]) -> Iterator[str]:
    """At which scale and on which sets all of it was measured; stand-ins are named, or counted if they are many."""
    places = list(dict.fromkeys(one.place for one in sections))
    if len(places) <= _PLACES:
        yield from (f"measured: {place}" for place in places)
        return
    scales = ", ".join(dict.fromkeys(f"scale={one.scale}" for one in sections))
    sets, stands = (
        {one.dataset for one in sections},
        {one.dataset for one in sections if one.dataset not in one.table.own},
    )
    yield f"measured: {scales}, on {len(sets)} sets; {len(stands)} of them stand in for a paper's own"


def _nearest(section: Section) -> str:
    """The nearest reading of a study, and how it does where it was not fitted."""
    lines = raced.findings(section) if section.rungs else []
    return " ".join(lines[:2]) or "no reading has been measured yet."


def _text(line: str, console: Console) -> Text:
    return console.render_str(printable(line), markup=False, emoji=False, highlight=False)

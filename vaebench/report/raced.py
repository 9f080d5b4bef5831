"""What a race of readings came to, in words and tables: the same in every format."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vaebench.papers.readings import DISTANCE, REACHED, Look, Number, Ranking, looks, main_effects, numbers
from vaebench.papers.study import STEPS, drawn, of_report, of_runs
from vaebench.report import words
from vaebench.report.summary import Section


@dataclass(frozen=True)
class Grid:
    """A table of texts under a title."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def reading(section: Section, line: Mapping[str, Any]) -> str:
    """A reading by its answers that are not the plain one's, and its length."""
    study = section.table.study
    assert study is not None
    other = [f"{axis} {line[axis]}" for axis, answers in study.axes.items() if line[axis] != next(iter(answers))]
    return f"{', '.join(other) or 'the plain reading'}; {int(line[STEPS]):,} steps"


def count(section: Section) -> str:
    """How many readings were measured, and what they are."""
    study, ranking = section.table.study, section.ranking
    assert study is not None
    assert ranking is not None
    started = len(drawn(study, section.scale))
    most = math.prod(len(study.axes[axis]) for axis in of_runs(study, study.axes))
    ways = math.prod(len(study.axes[axis]) for axis in of_report(study))
    by = f", each compared in {ways} ways ({', '.join(of_report(study))})" if ways > 1 else ""
    return (
        f"N = {len(ranking.ranked)} readings measured: {started} of {most:,} drawn, at up to {len(section.rungs)} "
        f"lengths of training{by}; {int(ranking.ranked['cells'].max())} of {ranking.wanted} cells count. "
        f"The nearest of N is a fit to the printed numbers and confirms nothing."
    )


def findings(section: Section) -> list[str]:
    """The nearest reading, how it does where it was not fitted, what no reading reaches, in a sentence each."""
    ranking = section.ranking
    assert ranking is not None
    found = looks(section.table, ranking)
    if not found:
        return []
    total, nearest = len(ranking.ranked), found[0]
    lines = [f"Nearest of {total}: {reading(section, nearest.line)} (distance {nearest.distance:.2f})."]
    for look in found[1:]:
        lines += [_elsewhere(look, name, total) for name in look.away if name not in look.fitted]
    counted = numbers(section.table, ranking, nearest.line)
    return [*lines, _together(ranking, list(nearest.away), counted), *_out_of_reach(section, counted, total)]


def _elsewhere(look: Look, table: str, total: int) -> str:
    fitted, (away, place) = look.fitted[0], look.away[table]
    return (
        f"Fitted to {fitted} alone the nearest of {total} is {look.distance:.2f} away there, and {away:.2f} from "
        f"{table}: number {place} of {total} on it."
    )


def _together(ranking: Ranking, tables: list[str], counted: list[Number]) -> str:
    """Whether one reading reaches all printed numbers."""
    frame, total = ranking.ranked, len(ranking.ranked)
    whole = []
    for name in tables:
        most = sum(one.table == name for one in counted)
        whole.append(f"All {most} of {name}: {int((frame[f'{REACHED}_{name}'] == most).sum())} readings.")
    every = int((frame[REACHED] == len(counted)).sum())
    best = "" if every else f"; the most that one reaches is {int(frame[REACHED].max())}"
    answer = f"{every} of {total} readings reach" if every else f"No reading of {total} reaches"
    return f"{answer} all {len(counted)} printed numbers, tolerance included{best}. {' '.join(whole)}"


def _out_of_reach(section: Section, counted: list[Number], total: int) -> list[str]:
    """The printed numbers beyond all readings, and those between readings that none of them reaches."""
    missed = [one for one in counted if not one.reached]
    beyond = [one for one in missed if not one.low <= one.printed <= one.high]
    between = [one for one in missed if one not in beyond]
    parts = {f"Beyond all {total} readings": beyond, f"Between readings, but reached by none of {total}": between}
    return [
        f"{what}: {'; '.join(f'{_name(section, one)} {one.printed:g} ({_range(section, one)})' for one in those)}."
        for what, those in parts.items()
        if those
    ]


def grids(section: Section) -> list[Grid]:
    """The rungs, the looks from one table to the other, and the nearest reading number by number."""
    ranking = section.ranking
    assert ranking is not None
    found = looks(section.table, ranking)
    if not found:
        return []
    total = len(ranking.ranked)
    rungs = [[f"{r.steps:,}", str(r.readings), str(r.kept) or "", f"{r.distance:.2f}"] for r in section.rungs]
    return [
        Grid("Rungs, by one seed", ["steps", "readings", "went on", "smallest distance"], rungs),
        Grid(
            f"Fitted to one table, looked at on the other: distance, and its place among {total}",
            ["nearest to", "reading", "seeds", *found[0].away, "together", "numbers reached"],
            [_look(section, look) for look in found],
        ),
        Grid(
            f"The nearest of {total} readings, number by number",
            ["number", "paper", "tolerance", "nearest reading", "all readings", "readings that reach it"],
            [_number(section, one, total) for one in numbers(section.table, ranking, found[0].line)],
        ),
    ]


def effects(section: Section) -> Grid:
    """How near readings with this answer are on average, in the first rung."""
    assert section.ranking is not None
    found = main_effects(section.table, section.ranking).to_dict("records")
    return Grid(
        f"Mean distance over the readings of {section.rungs[0].steps:,} steps with this answer",
        ["question", "answer", "distance", "readings"],
        [[one["axis"], one["answer"], words.number(one["distance"], 2), str(one["readings"])] for one in found],
    )


def _look(section: Section, look: Look) -> list[str]:
    away = [f"{distance:.2f} (number {place})" for distance, place in look.away.values()]
    line = look.line
    ends = [f"{line[DISTANCE]:.2f}", f"{line[REACHED]} of {line['cells']}"]
    return [" and ".join(look.fitted), reading(section, line), str(line["seeds"]), *away, *ends]


def _number(section: Section, one: Number, total: int) -> list[str]:
    digits = section.table.columns[one.column].digits
    return [
        _name(section, one),
        f"{one.printed:g}",
        f"{one.tolerance:g}",
        words.mean(one.ours, digits),
        _range(section, one),
        f"{one.reached} of {total}",
    ]


def _name(section: Section, one: Number) -> str:
    return f"{one.table}, {one.row}: {section.headings[one.column]}"


def _range(section: Section, one: Number) -> str:
    digits = section.table.columns[one.column].digits
    return f"{one.low:.{digits}f} to {one.high:.{digits}f}"

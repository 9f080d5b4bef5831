"""How numbers and verdicts are written, the same in every format."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple

from vaebench.config.choices import leaf
from vaebench.papers.evidence import LEVEL
from vaebench.papers.study import STEPS
from vaebench.papers.tables import Column, Paper
from vaebench.papers.verdicts import DIRECTED, Interval
from vaebench.report.judged import Cell, JudgedClaim
from vaebench.report.summary import NOT_RUN, SCALES, Score, Section, counts, total

ARROWS = {"lower": "↓", "higher": "↑", "none": ""}

VERDICTS = {
    "not run": "no number of ours",
    "not comparable": "our protocol is not the one that the paper states; the fields are named",
    "reproduced": "the whole interval of our mean lies inside the paper's number ± tolerance",
    "better": "that interval lies outside the band, on the good side; the paper's number could not be one run of ours",
    "worse": "the same on the bad side",
    "different": "the same where no side is the good one",
    "outside our spread": f"the same with fewer than {DIRECTED} seeds: one run in ten that collapses would look alike",
    "within our spread": "some of our seeds lie above the paper's number and some below: it could be one run of ours",
    "seeds collapse": "a few seeds lie far from all others, so a mean says nothing; both groups are given",
    "undecided": "none of these can be told with so many seeds",
    "failed there": "the paper prints no number: its training failed",
    "within tolerance": "one seed, inside the band: no more can be said",
    "outside tolerance": "one seed, outside the band: no more can be said",
}
# How a verdict is coloured; any other is neutral.
_TONES = {
    **dict.fromkeys(("reproduced", "better", "holds", "within tolerance"), "good"),
    **dict.fromkeys(("worse", "reversed", "different", "outside tolerance", "outside our spread"), "bad"),
    **dict.fromkeys(("undecided", "1 seed", "within our spread", "seeds collapse"), "open"),
}
_NOT_COMPARED = {"not run", "not comparable", "failed there"}
CLAIM_VERDICTS = {
    "holds": "the paired differences lie on the claim's side of 0, with at most 5 % for a false call at any look",
    "reversed": "they lie on the other side",
    "also after correction": "decided too with 5 % for any false call among all the paper's claims of the table (Holm)",
    "undecided": "it cannot be told with so many seeds, or there is no difference",
    "seeds collapse": "a few seeds' differences lie far from all others",
    "1 seed": "one seed can only point a way",
    "not comparable": "the two sides were measured differently",
    "not run": "a side has no number, or the two sides share no seed",
}


def number(value: float | None, digits: int) -> str:
    """A number, or a dash."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def signed(value: float | None, digits: int) -> str:
    """A number with its sign, or a dash."""
    return "-" if value is None else f"{value:+.{digits}f}"


def spread(found: Interval | None, digits: int) -> str:
    """``± half width``; nothing for a single seed, ``(exact)`` for a count."""
    if found is None or found.half is None:
        return ""
    return "(exact)" if found.exact else f"± {found.half:.{digits}f}"


def mean(found: Interval | None, digits: int) -> str:
    """``mean ± half width``, or ``mean (1 seed)``, or a dash."""
    if found is None:
        return "-"
    return f"{found.mean:.{digits}f} {spread(found, digits) or '(1 seed)'}"


def seeds(found: Interval | None) -> str:
    """How many seeds a number rests on."""
    return "-" if found is None or found.exact else str(found.count)


def tone(kind: str, otherwise: str) -> str:
    """``good``, ``bad`` or ``open``, by a verdict's kind."""
    return _TONES.get(kind, otherwise)


def ours(section: Section, row: str) -> list[str]:
    """Our numbers of a row, a text per column."""
    found = [(section.cells.get((row, name)), column.digits) for name, column in section.table.columns.items()]
    return [found_in(cell, digits) if cell else "" for cell, digits in found]


def found_in(cell: Cell, digits: int) -> str:
    """Our number: its mean and interval, or which seeds collapse."""
    return cell.collapse or mean(cell.ours, digits)


def difference(section: Section, judged: JudgedClaim) -> str:
    """The mean paired difference of a claim's two sides, with half of its interval."""
    found, digits = judged.difference, section.table.columns[judged.claim.column].digits
    return f"{signed(found.mean if found else None, digits)} {spread(found, digits)}".strip()


def headings(section: Section) -> dict[str, str]:
    """Every column's heading with its unit and an arrow towards better."""
    return {
        key: f"{section.headings[key]}{one.unit and f', {one.unit}'} {ARROWS[one.better]}".strip()
        for key, one in section.table.columns.items()
    }


def printed_cells(section: Section) -> list[tuple[Cell, Column]]:
    """The cells of ours that the paper has: with a number, or without one because its training failed."""
    return [(cell, section.table.columns[cell.column]) for cell in section.cells.values() if cell.verdict]


def printed(section: Section, row: str, column: str) -> str:
    """What the paper prints in a cell."""
    reported = section.table.reported.get(row, {}).get(column)
    if reported is not None:
        return f"{reported:g}"
    return "failed" if column in section.table.rows[row].failed else ""


def moved(section: Section, cell: Cell) -> str:
    """Between what a number lies over all readings of what the paper leaves open; empty where that was not measured."""
    found, digits = section.moved.get((cell.row, cell.column)), section.table.columns[cell.column].digits
    if found is None:
        return ""
    at = "" if found.scale == section.scale else f", scale={found.scale}"
    return f"{found.low:.{digits}f} to {found.high:.{digits}f} ({found.readings} readings{at})"


def reasons(section: Section) -> list[str]:
    """Why cells are not comparable."""
    return _by_column(section, lambda cell: cell.differences)


def readings(section: Section) -> list[str]:
    """In what judged cells are another reading of what the paper leaves open than ours at scale=paper."""
    return _by_column(section, lambda cell: () if cell.differences or not cell.values else cell.readings)


def _by_column(section: Section, phrases: Callable[[Cell], Sequence[str]]) -> list[str]:
    """What all cells have of such phrases, then what only some columns have."""
    cells = [cell for cell, _ in printed_cells(section) if phrases(cell)]
    common = _shared([phrases(cell) for cell in cells])
    only: dict[str, list[str]] = {}
    for cell in cells:
        for phrase in (phrase for phrase in phrases(cell) if phrase not in common):
            only.setdefault(phrase, []).append(section.headings[cell.column])
    lines = ["; ".join(common)] if common else []
    return lines + [f"{', '.join(dict.fromkeys(columns))}: {phrase}" for phrase, columns in only.items()]


def short(cell: Cell) -> str:
    """The verdict; the differences of a protocol stand once for the whole table (`reasons`)."""
    if cell.verdict is None:
        return ""
    return cell.verdict.kind if cell.differences else cell.verdict.text


def judgement(judged: JudgedClaim) -> str:
    """A claim's verdict, and whether it stands beside the table's other claims too."""
    if judged.corrected is None or judged.verdict.kind not in ("holds", "reversed"):
        return judged.verdict.text
    return f"{judged.verdict.text}; {'also' if judged.corrected else 'not'} after correction"


def false_calls(section: Section) -> str:
    """How many of the paper's claims are decided, and how many of these could be by chance."""
    tested = [judged for judged in section.claims if judged.corrected is not None]
    if not tested:
        return ""
    decided = [judged for judged in tested if judged.verdict.kind in ("holds", "reversed")]
    corrected = sum(bool(judged.corrected) for judged in decided)
    return (
        f"{len(decided)} of {len(tested)} decided, each with at most 5 % for a false call: at most "
        f"{LEVEL * len(tested):.1f} false ones to be expected; {corrected} stand after Holm's correction"
    )


def common_notes(section: Section) -> list[str]:
    """Stand-ins that all judged claims of a section share."""
    return _shared([judged.stand_ins for judged in section.claims if judged.difference is not None])


def _shared(texts: Sequence[Sequence[str]]) -> list[str]:
    """Those that stand in every list, in the order of the first."""
    return [text for text in texts[0] if all(text in other for other in texts)] if texts else []


def own_notes(section: Section, judged: JudgedClaim) -> list[str]:
    """Stand-ins of one claim that not all of them share."""
    return [note for note in judged.stand_ins if note not in common_notes(section)]


def remarks(section: Section, judged: JudgedClaim) -> list[str]:
    """What has to stand with a claim: that it is not the paper's, and its own stand-ins."""
    return [*(() if judged.claim.asserted else ("not claimed by the paper",)), *own_notes(section, judged)]


def summary(kinds: dict[str, int]) -> str:
    """``3 reproduced, 1 worse``; of claims ``2 hold, 1 reversed``."""
    found = sorted(kinds.items(), key=lambda item: -item[1])
    return ", ".join(f"{count} {'hold' if kind == 'holds' and count > 1 else kind}" for kind, count in found) or "none"


def notes(section: Section) -> list[tuple[str, str]]:
    """(column or row, what has to be known to read it)."""
    columns, rows = section.table.columns, section.table.rows
    found = [(section.headings[key], column.note) for key, column in columns.items() if column.note]
    return found + [(row.label, row.note) for row in rows.values() if row.note]


def overview(section: Section) -> str:
    """The verdicts on the paper's numbers and on its claims, counted; of a study the nearest reading."""
    if section.ranking is not None:
        study, best = section.table.study, section.ranking.ranked.head(1).to_dict("records")
        many = len(section.ranking.ranked)
        answers = (", ".join(line[axis] for axis in (*study.axes, STEPS)) for line in best if study)
        return "".join(f"nearest of {many} (a fit): {one}" for one in answers)
    found = counts(section)
    parts = {"numbers": found["cells"], "claims": found["claims"]}
    return "; ".join(f"{what}: {summary(kinds)}" for what, kinds in parts.items() if kinds)


def finding(section: Section) -> str:
    """What came of the paper's claims and numbers: ``3 claims: 2 hold, 1 reversed; 8 comparable numbers: 8 worse``."""
    found = counts(section)
    claims = found["claims"]
    compared = {kind: count for kind, count in found["cells"].items() if kind not in _NOT_COMPARED}
    parts = [f"{counted(sum(claims.values()), 'claim')}: {summary(claims)}"] if claims else []
    if compared:
        parts.append(f"{counted(sum(compared.values()), 'comparable number')}: {summary(compared)}")
    elif found["cells"]:
        parts.append("no number can be compared with the paper's")
    return "; ".join(parts)


def counted(count: int, what: str) -> str:
    """``1 claim``, ``2 claims``."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def scoreboard(scores: Mapping[str, Score]) -> tuple[list[str], list[list[str]]]:
    """A heading and a line per paper, by its name, then all of them."""
    every = {**scores, "all": total(scores.values())} if scores else {}
    heading = [
        "paper",
        "numbers printed",
        "comparable",
        "reproduced",
        "outside",
        "claims",
        "judged",
        "hold",
        "reversed",
    ]
    return heading, [[name, *(str(number) for number in astuple(one))] for name, one in every.items()]


def anchor(section: Section) -> str:
    """Where a section stands on its paper's page."""
    return section.name.replace(" ", "-")


def made(section: Section) -> str:
    """What a section's numbers were made with, before the command that makes them again."""
    if section.scale == NOT_RUN:
        return "No number of ours. To run it:"
    commits, devices = (", ".join(found) or "unknown" for found in (section.commits, section.devices))
    return f"Commit {commits}; device {devices}. Again:"


def command(paper: Paper, section: Section) -> str:
    """The command that makes a section again."""
    one = section.table.study or section.table.datasets or section.table.stand_ins or section.scale == NOT_RUN
    words = [
        paper.again or f"vaebench reproduce paper={paper.name}",
        *([f"table={section.key}"] if one or paper.again else []),
    ]
    if section.scale == NOT_RUN:
        scales = [scale for scale in SCALES if section.table.sets(scale)]
        return " ".join([*words, f"scale={scales[0]}"])
    usual = section.table.seeds.get(section.scale) or leaf("scale", section.scale)["seeds"]
    own = [cell for cell in section.cells.values() if not section.table.rows[cell.row].of[0]]
    seeds = max((len(cell.values) for cell in own), default=0) or usual  # a design has no seeds
    words += [f"scale={section.scale}", f"dataset={section.dataset}"]
    return " ".join([*words, *([f"seeds={seeds}"] if seeds != usual else [])])

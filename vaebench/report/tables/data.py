"""``table.json``: all that the other formats show, for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from vaebench.contracts.infinite import spelled
from vaebench.papers.readings import looks, main_effects, numbers
from vaebench.papers.tables import Paper
from vaebench.papers.verdicts import Interval
from vaebench.report import words
from vaebench.report.judged import Cell, JudgedClaim
from vaebench.report.summary import Section


def render(paper: Paper, sections: Sequence[Section]) -> str:
    """The paper's sections as indented JSON; a missing number is null, an infinite one the text ``inf``."""
    content = {
        "paper": paper.name,
        "title": paper.title,
        "source": paper.source,
        "interval": "95 %: Student t of the mean over seeds, or (pooled) a bootstrap over questions and seeds; "
        "where all questions are alike, the exact binomial one",
        "unstated": dict(paper.unstated),
        "sections": [_section(section) for section in sections],
    }
    return json.dumps(spelled(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _section(section: Section) -> dict[str, Any]:
    facts: dict[str, Any] = {"table": section.key, "caption": section.table.caption}
    facts |= {name: getattr(section, name) for name in ("scale", "dataset", "stand_ins", "commits", "devices")}
    if section.ranking is None:
        cells = [_cell(section, cell) for cell in section.cells.values()]
        return {**facts, "cells": cells, "claims": [_claim(judged) for judged in section.claims]}
    return {
        **facts,
        "race": _race(section),
        "cells_of_the_paper": section.ranking.wanted,
        "readings": _lines(section.ranking.frame),
        "main_effects": _lines(main_effects(section.table, section.ranking)),
    }


def _race(section: Section) -> dict[str, Any]:
    """The rungs, and for each fit its nearest reading, looked at everywhere, number by number."""
    ranking, nearest = section.ranking, []
    assert ranking is not None
    for look in looks(section.table, ranking):
        found = [asdict(one) | {"ours": _interval(one.ours)} for one in numbers(section.table, ranking, look.line)]
        places = {name: {"distance": away, "place": place} for name, (away, place) in look.away.items()}
        facts = {"reading": look.line, "distance": look.distance, "by_table": places, "numbers": found}
        nearest.append({"fitted_to": look.fitted, **facts})
    rungs = [asdict(rung) for rung in section.rungs]
    return {"readings": len(ranking.ranked), "rungs": rungs, "nearest": nearest}


def _cell(section: Section, cell: Cell) -> dict[str, Any]:
    column = section.table.columns[cell.column]
    return {
        "row": cell.row,
        "row_label": section.table.rows[cell.row].label,
        "column": cell.column,
        "column_label": section.headings[cell.column],
        "measurement": column.measurement,
        "unit": column.unit,
        "paper": cell.reported,
        "tolerance": column.tolerance,
        "ours": _interval(cell.ours),
        "pooled": cell.pooled,
        "difference": cell.difference,
        "verdict": cell.verdict.kind if cell.verdict else None,
        "verdict_text": cell.verdict.text if cell.verdict else None,
        "seeds_needed": cell.verdict.needs if cell.verdict else None,
        "readings": cell.readings,
        "over_readings": words.moved(section, cell) or None,
        "collapse": cell.collapse or None,
        "values": {str(seed): value for seed, value in cell.values.items()},
        "protocol": [protocol for n, protocol in enumerate(cell.protocols) if protocol not in cell.protocols[:n]],
        "protocol_digest": cell.digests,
        "runs": {str(seed): {"run": made.run, "eval": made.evaluation} for seed, made in cell.runs.items()},
    }


def _claim(judged: JudgedClaim) -> dict[str, Any]:
    claim = judged.claim
    return {
        "id": claim.id,
        "text": claim.text,
        "asserted_by_the_paper": claim.asserted,
        "left": [claim.row, claim.column],
        "right": [claim.than, claim.than_column],
        "holds_if": claim.holds,
        "paired_difference": _interval(judged.difference),
        "verdict": judged.verdict.kind,
        "verdict_text": judged.verdict.text,
        "seeds_needed": judged.verdict.needs,
        "p": judged.judged.evidence.p if judged.judged.evidence else None,
        "also_after_correction": judged.corrected,
        "stand_ins": judged.stand_ins,
    }


def _interval(found: Interval | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"mean": found.mean, "low": found.low, "high": found.high, "seeds": found.count}


def _lines(frame: Any) -> list[dict[str, Any]]:
    """A frame's lines as plain data; what is not there is null."""
    return [
        {str(name): None if value != value else value for name, value in line.items()}
        for line in frame.to_dict("records")
    ]

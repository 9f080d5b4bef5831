"""``sources.js`` of a paper: what a click on one of its numbers shows.

A script, because a page from a file reads no JSON.

Numbers by ``section/row/column``; protocols, commits and devices, which many share, by their place in a list.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from vaebench.papers.verdicts import plain
from vaebench.report import words
from vaebench.report.judged import Cell
from vaebench.report.summary import Section


def script(sections: Iterable[Section]) -> str:
    """The file. ASCII, and nothing in it is markup."""
    shared: dict[str, dict[str, int]] = {"protocols": {}, "commits": {}, "devices": {}}
    cells = {
        f"{words.anchor(section)}/{cell.row}/{cell.column}": _cell(section, cell, shared)
        for section in sections
        for cell in section.cells.values()
        if cell.runs or cell.verdict
    }
    content = {**{name: list(texts) for name, texts in shared.items()}, "cells": cells}
    return f"window.vaebench.sources = {json.dumps(content, separators=(',', ':'))};\n"


def _cell(section: Section, cell: Cell, shared: dict[str, dict[str, int]]) -> dict[str, Any]:
    column = section.table.columns[cell.column]

    def place(what: str, text: str) -> int:
        return shared[what].setdefault(text, len(shared[what]))

    protocols = (", ".join(f"{name} {plain(value)}" for name, value in one.items()) for one in cell.protocols)
    said = {
        "verdict": cell.verdict.text if cell.verdict else "",
        "difference": words.signed(cell.difference, column.digits) if cell.difference is not None else "",
        "tolerance": f"{column.tolerance:g}" if cell.reported is not None else "",
        "over readings": words.moved(section, cell),
        "another reading than at scale=paper": "; ".join(cell.readings),
        "seeds collapse": cell.collapse,
    }
    return {
        "said": {what: text for what, text in said.items() if text},
        "protocols": sorted({place("protocols", text) for text in protocols}),
        "runs": [
            [
                "all" if cell.pooled else seed,
                "" if cell.pooled else f"{cell.values[seed]:.{column.digits + 2}f}",
                made.run,
                made.evaluation,
                place("commits", made.commit),
                place("devices", made.device),
            ]
            for seed, made in cell.runs.items()
        ],
    }

"""``search.js``: papers, tables, rows and claims, each with the place of a page where it stands."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from vaebench.report import words
from vaebench.report.summary import NOT_RUN

if TYPE_CHECKING:
    from vaebench.report.site import Told

Entry = tuple[str, str, str, str]  # what it is, its text, where it stands, address


def script(told: Sequence[Told]) -> str:
    """The file. ASCII, and nothing in it is markup."""
    entries = [entry for one in told for entry in dict.fromkeys(_of(one))]
    return f"window.vaebench.index = {json.dumps(entries, separators=(',', ':'))};\n"


def _of(told: Told) -> Iterator[Entry]:
    page = f"{told.name}/index.html"
    yield "paper", told.paper.title, told.paper.authors, page
    for section in told.sections:
        where = f"{told.name}, {section.key}, {section.place}"
        address = f"{page}#{words.anchor(section)}"
        yield "table", section.table.caption, where, address
        for row in section.measured_rows():
            yield "row", section.table.rows[row].label, where, f"{address}/{row}"
        shown = "" if section.scale == NOT_RUN else "/claims"  # the claims of what has not been run are not listed
        for judged in section.claims:
            yield "claim", f"{judged.claim.text}: {judged.verdict.kind}", where, f"{address}{shown}"

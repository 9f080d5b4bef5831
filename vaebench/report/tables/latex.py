"""``table.tex``: one booktabs table per section, for pasting into a paper."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from vaebench.papers.tables import Paper
from vaebench.report import words
from vaebench.report.summary import Section

if TYPE_CHECKING:
    from pylatexenc.latexencode import UnicodeToLatexEncoder


def render(paper: Paper, sections: Sequence[Section]) -> str:
    """All sections, for the package booktabs. A study is a ranking, not a table: it is left to table.md."""
    lines = [
        "% Written by `vaebench report`; edits are lost. Needs \\usepackage{booktabs}.",
        "% $\\pm$: half of the 95 % Student t interval of the mean over seeds.",
    ]
    for section in sections:
        if not section.ranking:
            lines += ["", *_table(paper, section)]
    return "\n".join(lines) + "\n"


def _table(paper: Paper, section: Section) -> list[str]:
    columns = section.table.columns
    caption = f"{section.table.caption}; {section.place}."
    if section.stand_ins:
        caption += f" {'; '.join(section.stand_ins)}."
    verdicts = [
        _comment(f"{section.table.rows[cell.row].label}, {section.headings[cell.column]}: {cell.verdict.text}")
        for cell, _ in words.printed_cells(section)
        if cell.verdict
    ]
    claims = [_comment(f"{judged.claim.text}: {words.judgement(judged)}") for judged in section.claims]
    return [
        _comment(words.command(paper, section)),
        *verdicts,
        *claims,
        r"\begin{table}",
        r"\centering",
        f"\\caption{{{_escape(caption)}}}",
        f"\\label{{tab:{paper.name}-{section.name}}}".replace("_", "-"),
        f"\\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        _line(["", *words.headings(section).values()]),
        r"\midrule",
        *_rows(section),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def _rows(section: Section) -> Iterable[str]:
    """The paper's rows with its numbers above ours, then a rule, then the controls."""
    table = section.table
    for row in table.printed:
        yield _line([f"{table.rows[row].label}, paper", *(words.printed(section, row, c) for c in table.columns)])
        if row not in table.quoted:
            yield _line([f"{table.rows[row].label}, ours", *words.ours(section, row)])
    controls = [row for row in section.measured_rows() if row not in table.printed]
    if controls and table.printed:
        yield r"\midrule"
    yield from (_line([table.rows[row].label, *words.ours(section, row)]) for row in controls)


def _line(texts: Iterable[str]) -> str:
    return " & ".join(_escape(text) for text in texts) + r" \\"


def _comment(text: str) -> str:
    """A comment ends with its line, so its text must not."""
    return "% " + " ".join(text.split())


def _escape(text: str) -> str:
    """A command in place of whatever LaTeX would read as one, and of every character beyond ASCII."""
    return re.sub(r"\\ensuremath\{([^{}]*)\}", r"$\1$", _encoder().unicode_to_latex(text))


@cache
def _encoder() -> UnicodeToLatexEncoder:
    from pylatexenc.latexencode import UnicodeToLatexEncoder

    return UnicodeToLatexEncoder(unknown_char_policy="unihex", unknown_char_warning=False)

"""``table.md``: ours beside the paper's, cell by cell, for reading on a code host."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from vaebench.papers.tables import Paper
from vaebench.report import raced, words
from vaebench.report.judged import dataset_name
from vaebench.report.summary import NOT_RUN, Score, Section, counts, protocol_lines

Files = Sequence[tuple[str, str]]


def render(
    paper: Paper, sections: Sequence[Section], figures: Mapping[str, Files], pages: Mapping[str, Files] | None = None
) -> str:
    """The whole file. ``figures``, ``pages``: by section name, (file name, caption) of what lies beside it."""
    lines = [
        f"# {_escape(paper.title)}",
        "",
        _escape(f"{paper.authors}. {paper.source}."),
        "",
        "Written by `vaebench report`; edits are lost. ± is half of the 95 % Student t interval over seeds; "
        "in tables on answers to questions, of the 95 % bootstrap interval over questions and seeds "
        "(where all are alike, of the binomial one).",
        "",
    ]
    lines += _grid(
        ["table", "scale", "dataset", "verdicts"],
        ([s.key, s.scale, dataset_name(s.dataset), words.overview(s)] for s in sections),
    )
    for place, group in groupby(sections, key=lambda section: section.place):
        lines += [f"## {_escape(place)}", ""]
        for section in group:
            lines += _section(paper, section, figures.get(section.name, ()), (pages or {}).get(section.name, ()))
    lines += ["## What the paper leaves open", "", "and how it is read here at scale=paper:", ""]
    lines += _grid(["question", "reading"], paper.unstated.items())
    lines += ["## What the verdicts mean", ""]
    lines += _grid(["verdict on a number", "when"], words.VERDICTS.items())
    lines += _grid(["verdict on a claim", "when"], words.CLAIM_VERDICTS.items())
    return "\n".join(lines).rstrip() + "\n"


def scoreboard(scores: Mapping[str, Score]) -> str:
    """How much of each paper is decided."""
    return "\n".join(_grid(*words.scoreboard(scores)))


def _section(paper: Paper, section: Section, figures: Files, pages: Files) -> list[str]:
    lines = [f"### {_escape(f'{section.key}: {section.table.caption}')}", ""]
    if section.stand_ins:
        lines += [f"**Stand-ins:** {_escape('; '.join(section.stand_ins))}.", ""]
    lines += _race(section) if section.ranking else _printed(section)
    for file, caption in figures:
        lines += [f"![{_escape(caption)}]({file})", "", f"*{_escape(caption)}*", ""]
    for file, caption in pages:
        lines += [f"[{_escape(caption)}]({file})", ""]
    lines += [f"{_escape(note)}\n" for note in section.table.notes]
    return [*lines, f"{_escape(words.made(section))} `{words.command(paper, section)}`", ""]


def _printed(section: Section) -> list[str]:
    table = section.table
    lines = _table([_escape(text) for text in ("", *words.headings(section).values())], _rows(section))
    if section.scale == NOT_RUN:  # the paper's numbers, and nothing to say about them
        return lines
    cells = words.printed_cells(section)
    if cells:
        found = words.summary(counts(section)["cells"])
        lines += [f"**Cell by cell** ({found})", ""]
        beside = ["over readings"] if section.moved else []
        lines += _grid(
            ["row", "column", "ours", "seeds", "paper", *beside, "difference", "tolerance", "verdict"],
            (
                [
                    table.rows[cell.row].label,
                    section.headings[cell.column],
                    words.found_in(cell, column.digits),
                    words.seeds(cell.ours),
                    words.printed(section, cell.row, cell.column),
                    *(words.moved(section, cell) for _ in beside),
                    words.signed(cell.difference, column.digits),
                    f"{column.tolerance:g}",
                    words.short(cell),
                ]
                for cell, column in cells
            ),
        )
        reasons = words.reasons(section)
        lines += ["Not comparable, because", "", *_items(reasons), ""] if reasons else []
        read = words.readings(section)
        lines += ["Judged under another reading than at scale=paper:", "", *_items(read), ""] if read else []
    if section.claims:
        found = words.summary(counts(section)["claims"])
        judged_on = "".join(f"; {_escape(note)}" for note in words.common_notes(section))
        title = f"**Claims** (the paper's: {found}{judged_on})" if counts(section)["claims"] else "**Questions**"
        lines += [title, ""]
        lines += _grid(["claim", "of", "mean paired difference", "seeds", "verdict", "note"], _claims(section))
        chance = words.false_calls(section)
        lines += [f"The paper's claims: {chance}.", ""] if chance else []
    lines += ["**Measured under**", ""]
    facts = [*protocol_lines(section), *words.notes(section)]
    return [*lines, *(f"- {_escape(f'{name}: {text}')}" for name, text in facts), ""]


def _items(lines: Sequence[str]) -> list[str]:
    return [f"- {_escape(line)}" for line in lines]


def _rows(section: Section) -> Iterable[list[str]]:
    """A line with the paper's numbers (where it prints some) and one with ours; Markdown already."""
    table = section.table
    for row, entry in table.rows.items():
        label, printed = _escape(entry.label), row in table.printed
        papers = [words.printed(section, row, column) for column in table.columns]
        if section.scale == NOT_RUN:
            yield [label, *papers]
            continue
        if printed:
            yield [f"{label}, paper", *papers]
        if row in table.quoted:
            continue
        ours = words.ours(section, row)
        if printed or any(ours):
            kind = "added" if entry.words else "control" if table.printed and not entry.of[0] else ""
            control = f" ({kind})" if kind else ""
            yield [f"{label}, **ours**" if printed else f"{label}{control}", *ours]


def _claims(section: Section) -> Iterable[list[str]]:
    for judged in section.claims:
        yield [
            judged.claim.text,
            "paper" if judged.claim.asserted else "ours",
            words.difference(section, judged),
            words.seeds(judged.difference),
            words.judgement(judged),
            "; ".join(words.own_notes(section, judged)),
        ]


def _race(section: Section) -> list[str]:
    if not section.rungs:
        return ["No reading has been measured yet.", ""]
    lines = [_escape(raced.count(section)), "", *_items(raced.findings(section)), ""]
    for grid in (*raced.grids(section), raced.effects(section)):
        lines += [f"**{_escape(grid.title)}**", "", *_grid(grid.header, grid.rows)]
    return lines


def _grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table of texts."""
    return _table([_escape(text) for text in header], ([_escape(text) for text in line] for line in rows))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table whose cells are Markdown already."""
    return ["| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *rows)] + [""]


def _escape(text: str) -> str:
    """No character of ``text`` is read as Markdown or HTML, and no line ends in it."""
    text = re.sub(r"[\\`*|]|\](?=[(\[:])|(?<!\w)_|_(?!\w)", r"\\\g<0>", " ".join(text.split()))
    return text.replace("&", "&amp;").replace("<", "&lt;")

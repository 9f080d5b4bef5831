"""``index.html``: all papers' tables and pictures in one page, with its styles inside, without scripts.

Pictures, and pages with what can be listened to, are the files beside it that the other formats show too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from itertools import groupby

from vaebench.papers.readings import main_effects
from vaebench.papers.tables import Paper
from vaebench.papers.verdicts import Verdict
from vaebench.report import words
from vaebench.report.summary import NOT_RUN, Cell, Section, counts, protocol_lines

Links = Sequence[tuple[str, str]]  # (address, caption) each

_CLASSES = {
    **dict.fromkeys(("reproduced", "better", "holds", "within tolerance"), "good"),
    **dict.fromkeys(("worse", "reversed", "different", "outside tolerance"), "bad"),
    **dict.fromkeys(("undecided", "1 seed"), "open"),
}
_SHOWN_READINGS = 10


def render(
    papers: Sequence[tuple[Paper, Sequence[Section], Mapping[str, Links], Mapping[str, Links]]],
) -> str:
    """The page. Of each paper: it, its sections, and by section name the pictures and the pages to listen to."""
    style = files("vaebench.report").joinpath("page.css").read_text(encoding="utf-8")
    body = [line for found in papers for line in _paper(*found)]
    if not papers:
        body = ["<p>Nothing has been measured yet: <code>vaebench reproduce</code>.</p>"]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            "<title>vaebench: results</title>",
            f"<style>\n{style}</style>\n</head>\n<body>",
            "<h1>vaebench: what holds of the papers' tables</h1>",
            '<p class="dim">Written by <code>vaebench report</code>. Numbers are means over seeds ± half of the 95 % '
            "Student t interval (on answers to questions: of the bootstrap interval over questions and seeds); "
            "below them what the paper prints.</p>",
            *_navigation([(paper, sections) for paper, sections, *_ in papers]),
            *body,
            *_legend(),
            "</body>\n</html>\n",
        ]
    )


def _navigation(papers: Iterable[tuple[Paper, Sequence[Section]]]) -> Iterable[str]:
    yield '<nav aria-label="Contents"><ul>'
    for paper, sections in papers:
        yield f'<li><a href="#{_anchor(paper.name)}">{escape(paper.title)}</a><ul>'
        for section in sections:
            title = escape(f"{section.key}, {section.place}")
            yield f'<li><a href="#{_anchor(paper.name, section.name)}">{title}</a>'
            yield f'<br><span class="dim small">{escape(words.overview(section))}</span></li>'
        yield "</ul></li>"
    yield '<li><a href="#verdicts">What the verdicts mean</a></li></ul></nav>'


def _paper(
    paper: Paper, sections: Sequence[Section], pictures: Mapping[str, Links], sounds: Mapping[str, Links]
) -> Iterable[str]:
    yield f'<section id="{_anchor(paper.name)}"><h2>{escape(paper.title)}</h2>'
    yield f'<p class="dim">{escape(paper.authors)}. {escape(paper.source)}.</p>'
    for place, group in groupby(sections, key=lambda section: section.place):
        yield f"<h2>{escape(place)}</h2>"
        for section in group:
            yield f'<section id="{_anchor(paper.name, section.name)}">'
            yield from _section(paper, section, pictures.get(section.name, ()), sounds.get(section.name, ()))
            yield "</section>"
    yield "<h3>What the paper leaves open, and how it is read here at scale=paper</h3>"
    yield from _table(["question", "reading"], ([_cell(k, "th"), _cell(v)] for k, v in paper.unstated.items()))
    yield "</section>"


def _section(paper: Paper, section: Section, pictures: Links, sounds: Links) -> Iterable[str]:
    yield f"<h3>{escape(section.key)}: {escape(section.table.caption)}</h3>"
    if section.stand_ins:
        yield f'<p class="notice"><strong>Stand-ins:</strong> {escape("; ".join(section.stand_ins))}.</p>'
    yield from _study(section) if section.ranking else _printed(section)
    yield from (f'<p class="dim">{escape(note)}</p>' for note in section.table.notes)
    for address, caption in pictures:
        text = escape(caption)
        yield f'<figure><img alt="{text}" src="{escape(address)}" loading="lazy">'
        yield f"<figcaption>{text}</figcaption></figure>"
    yield from (f'<p><a href="{escape(address)}">{escape(caption)}</a></p>' for address, caption in sounds)
    again = f"{escape(words.made(section))} <code>{escape(words.command(paper.name, section))}</code>"
    yield f'<p class="dim small">{again}</p>'


def _printed(section: Section) -> Iterable[str]:
    table = section.table
    rows = [row for row in table.rows if row in table.printed or row in section.measured_rows()]
    header = ["", *(words.heading(section, column) for column in table.columns)]
    yield from _table(header, ([_row_head(section, row), *_numbers(section, row)] for row in rows), kind="grid")
    if section.scale == NOT_RUN:
        return
    cells = words.printed_cells(section)
    if cells:
        yield f"<details><summary>Cell by cell: {escape(words.summary(counts(section)['cells']))}</summary>"
        yield from _table(["row", "column", "difference", "tolerance", "verdict"], _details(section))
        yield "</details>"
    for reason in words.reasons(section):
        yield f'<p class="small dim">Not comparable: {escape(reason)}.</p>'
    if section.claims:
        found = counts(section)["claims"]
        yield f"<h4>Claims (the paper's: {escape(words.summary(found))})</h4>" if found else "<h4>Questions</h4>"
        yield from (f'<p class="small dim">{escape(note)}</p>' for note in words.common_notes(section))
        yield from _table(["claim", "verdict", "mean paired difference", "seeds"], _claims(section))
    yield '<details><summary>How it was measured</summary><ul class="small">'
    for columns, protocol in protocol_lines(section):
        yield f"<li><strong>{escape(columns)}</strong>: {escape(protocol)}</li>"
    for name, note in words.notes(section):
        yield f"<li><strong>{escape(name)}</strong>: {escape(note)}</li>"
    yield "</ul></details>"


def _row_head(section: Section, row: str) -> str:
    entry = section.table.rows[row]
    table = section.table
    kind = "" if row in table.printed or not table.printed else '<br><span class="dim small">not in the paper</span>'
    return f'<th scope="row">{escape(entry.label)}{kind}</th>'


def _numbers(section: Section, row: str) -> Iterable[str]:
    for name, column in section.table.columns.items():
        cell = section.cells.get((row, name))
        yield _number_cell(cell, column.digits, words.printed(section, row, name)) if cell else "<td></td>"


def _number_cell(cell: Cell, digits: int, printed: str) -> str:
    mean = words.number(cell.ours.mean if cell.ours else None, digits)
    spread = words.spread(cell.ours, digits) or ("(1 seed)" if cell.ours else "")
    parts = [f'<span class="ours">{mean}</span> <span class="dim small">{spread}</span>']
    if printed:
        parts.append(f'<span class="dim small">paper {printed}</span>')
    if cell.verdict:
        parts.append(_chip(cell.verdict, cell.verdict.kind))
    return f'<td class="number">{"<br>".join(parts)}</td>'


def _details(section: Section) -> Iterable[list[str]]:
    for cell, column in words.printed_cells(section):
        yield [
            _cell(section.table.rows[cell.row].label, "th"),
            _cell(section.headings[cell.column]),
            _cell(words.signed(cell.difference, column.digits), kind="number"),
            _cell(f"{column.tolerance:g}", kind="number"),
            _cell(words.short(cell)),
        ]


def _claims(section: Section) -> Iterable[list[str]]:
    for judged in section.claims:
        claim, found = judged.claim, judged.difference
        digits = section.table.columns[claim.column].digits
        text = "-" if found is None else f"{words.signed(found.mean, digits)} {words.spread(found, digits)}"
        notes = [*(() if claim.asserted else ("not claimed by the paper",)), *words.own_notes(section, judged)]
        small = "".join(f'<br><span class="dim small">{escape(note)}</span>' for note in notes)
        yield [
            f'<th scope="row" class="text">{escape(claim.text)}{small}</th>',
            f"<td>{_chip(judged.verdict, judged.verdict.text)}</td>",
            _cell(text.strip(), kind="number"),
            _cell(words.seeds(found), kind="number"),
        ]


def _study(section: Section) -> Iterable[str]:
    ranking, study = section.ranking, section.table.study
    assert ranking is not None
    assert study is not None
    ranked = ranking.ranked
    if ranked.empty:
        yield "<p>No reading has been measured yet.</p>"
        return
    left_out = f"; left out: {', '.join(ranking.left_out)}" if ranking.left_out else ""
    most = int(ranked["cells"].max())
    text = f"{len(ranked)} of {len(ranking.frame)} readings measured; {most} of {ranking.wanted} cells count{left_out}."
    yield f"<p>{escape(text)} The nearest {min(_SHOWN_READINGS, len(ranked))}:</p>"
    lines = ranked.head(_SHOWN_READINGS).to_dict("records")
    yield from _table(
        ["rank", *study.axes, "distance"],
        (
            [
                _cell(str(line["rank"]), "th"),
                *(_cell(line[axis]) for axis in study.axes),
                _cell(f"{line['distance']:.2f}", kind="number"),
            ]
            for line in lines
        ),
    )
    yield "<h4>Mean distance over all ranked readings with this answer</h4>"
    effects = main_effects(section.table, ranking).to_dict("records")
    yield from _table(
        ["question", "answer", "distance"],
        (
            [_cell(e["axis"], "th"), _cell(e["answer"]), _cell(words.number(e["distance"], 2), kind="number")]
            for e in effects
        ),
    )


def _legend() -> Iterable[str]:
    yield '<section id="verdicts"><h2>What the verdicts mean</h2>'
    for title, verdicts in (("on a number", words.VERDICTS), ("on a claim", words.CLAIM_VERDICTS)):
        lines = ([f"<td>{_chip(Verdict(kind, kind), kind)}</td>", _cell(text)] for kind, text in verdicts.items())
        yield from _table([title, "when"], lines)
    yield "</section>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "list") -> Iterable[str]:
    """A table inside a box that scrolls sideways by itself. The cells of ``rows`` are HTML already."""
    yield f'<div class="box" tabindex="0"><table class="{kind}"><thead><tr>'
    yield "".join(f'<th scope="col">{escape(text)}</th>' for text in header) + "</tr></thead><tbody>"
    yield from (f"<tr>{''.join(row)}</tr>" for row in rows)
    yield "</tbody></table></div>"


def _cell(text: str, tag: str = "td", kind: str = "") -> str:
    scope = ' scope="row"' if tag == "th" else ""
    return f"<{tag}{scope}{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{escape(text)}</{tag}>"


def _chip(verdict: Verdict, text: str) -> str:
    return (
        f'<span class="chip {_CLASSES.get(verdict.kind, "quiet")}" title="{escape(verdict.text)}">{escape(text)}</span>'
    )


def _anchor(*names: str) -> str:
    return escape("-".join(names).replace(" ", "-"))

"""The tables in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from vaebench.errors import printable
from vaebench.papers.verdicts import Verdict
from vaebench.report import raced, words
from vaebench.report.summary import Section

_STYLES = {"good": "green", "bad": "red", "open": "yellow"}


def show(section: Section, console: Console) -> None:
    """Print one section: the paper's cells with verdicts, the controls, the claims; a study as its nearest readings."""
    console.print()
    console.print(_text(f"{section.key}: {section.table.caption}", console, "bold"))
    console.print(_text("; ".join((section.place, *section.stand_ins)), console, "dim"))
    if section.ranking is not None:
        _show_race(section, console)
        return
    _show_printed(section, console)
    _show_controls(section, console)
    for judged in section.claims:
        notes = words.remarks(section, judged)
        verdict = _verdict(judged.verdict, words.judgement(judged), console)
        tail = _text(f" ({'; '.join(notes)})" if notes else "", console)
        console.print(Text.assemble(_text(f"  {judged.claim.text}: ", console), verdict, tail))
    if chance := words.false_calls(section):
        console.print(_text(f"  the paper's claims: {chance}", console, "dim"))


def _show_printed(section: Section, console: Console) -> None:
    cells = words.printed_cells(section)
    grid = Grid("row", "column", "ours", "paper", "verdict")
    for cell, column in cells:
        row, heading = section.table.rows[cell.row].label, section.headings[cell.column]
        verdict = _verdict(cell.verdict, words.short(cell), console) if cell.verdict else ""
        grid.add_row(
            row, heading, words.found_in(cell, column.digits), words.printed(section, cell.row, cell.column), verdict
        )
    if cells:
        console.print(grid)
    for reason in words.reasons(section):
        console.print(_text(f"  not comparable: {reason}", console, "dim"))
    for reading in words.readings(section):
        console.print(_text(f"  judged under another reading than at scale=paper: {reading}", console, "dim"))


def _show_controls(section: Section, console: Console) -> None:
    """Rows the paper prints no number for, in the columns in which one of them has a number."""
    rows = [row for row in section.measured_rows() if row not in section.table.printed]
    found = {row: words.ours(section, row) for row in rows}
    kept = [number for number, column in enumerate(zip(*found.values(), strict=True)) if any(column)]
    headings = list(words.headings(section).values())
    first = "not in the paper" if section.table.printed else "row"
    grid = Grid(first, *(headings[number] for number in kept))
    for row in rows:
        grid.add_row(section.table.rows[row].label, *(found[row][number] for number in kept))
    if rows:
        console.print(grid)


def _show_race(section: Section, console: Console) -> None:
    if not section.rungs:
        console.print("  No reading has been measured yet.")
        return
    for one in raced.grids(section):
        grid = Grid(*one.header, title=one.title, title_justify="left")
        for row in one.rows:
            grid.add_row(*row)
        console.print(grid)
    for line in (raced.count(section), *raced.findings(section)):
        console.print(_text(f"  {line}", console))


def _verdict(verdict: Verdict, text: str, console: Console) -> Text:
    return _text(text, console, _STYLES.get(words.tone(verdict.kind, ""), "dim"))


def _text(text: str, console: Console, style: str = "") -> Text:
    """A text as the console has its letters; nothing in it is markup."""
    return console.render_str(printable(text), style=style, markup=False, emoji=False, highlight=False)

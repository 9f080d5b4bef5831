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
    console.print(Text(printable(f"{section.key}: {section.table.caption}"), style="bold"))
    console.print(Text(printable("; ".join((section.place, *section.stand_ins))), style="dim"))
    if section.ranking is not None:
        _show_race(section, console)
        return
    _show_printed(section, console)
    _show_controls(section, console)
    for judged in section.claims:
        notes = words.remarks(section, judged)
        tail = f" ({'; '.join(notes)})" if notes else ""
        console.print(
            Text.assemble("  ", judged.claim.text, ": ", _verdict(judged.verdict, words.judgement(judged)), tail)
        )
    if chance := words.false_calls(section):
        console.print(Text(printable(f"  the paper's claims: {chance}"), style="dim"))


def _show_printed(section: Section, console: Console) -> None:
    cells = words.printed_cells(section)
    grid = Grid("row", "column", "ours", "paper", "verdict")
    for cell, column in cells:
        row, heading = section.table.rows[cell.row].label, section.headings[cell.column]
        verdict = _verdict(cell.verdict, words.short(cell)) if cell.verdict else ""
        grid.add_row(
            row, heading, words.found_in(cell, column.digits), words.printed(section, cell.row, cell.column), verdict
        )
    if cells:
        console.print(grid)
    for reason in words.reasons(section):
        console.print(Text(printable(f"  not comparable: {reason}"), style="dim"))
    for reading in words.readings(section):
        console.print(Text(printable(f"  judged under another reading than at scale=paper: {reading}"), style="dim"))


def _show_controls(section: Section, console: Console) -> None:
    """Rows the paper prints no number for."""
    rows = [row for row in section.measured_rows() if row not in section.table.printed]
    grid = Grid("not in the paper" if section.table.printed else "row", *words.headings(section).values())
    for row in rows:
        grid.add_row(section.table.rows[row].label, *words.ours(section, row))
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
        console.print(Text(printable(f"  {line}")))


def _verdict(verdict: Verdict, text: str) -> Text:
    return Text(printable(text), style=_STYLES.get(words.tone(verdict.kind, ""), "dim"))

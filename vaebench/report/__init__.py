"""The report: tables and pictures of what has been measured, beside what a paper prints. No torch here."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.config.choices import choices
from vaebench.papers.cells import Cells, cells_path, write_text
from vaebench.papers.tables import Paper, load, names

if TYPE_CHECKING:
    from rich.console import Console

    from vaebench.report.summary import Section

Beside = dict[str, list[tuple[str, str]]]
_known: dict[Path, tuple[Paper, bytes, list[Section]]] = {}


def write(paper_name: str, results_dir: Path, store: Path) -> list[Path]:
    """Write ``table.md``, ``table.tex``, ``table.json``, pictures and sounds of a paper from its ``cells.csv``.

    Pictures and sounds are made from the arrays in ``store``; where some of them are gone, those that exist stay.
    Returns the files; a picture that would come out as it is stays as it is.
    """
    from vaebench.report import pictures
    from vaebench.report.tables import data, latex, markdown

    paper, folder = load(paper_name), results_dir / paper_name
    found = _sections(paper, cells_path(results_dir, paper_name))
    written = [path for section in found for path in pictures.write(section, store, folder)]
    texts = {
        "table.md": markdown.render(paper, found, *_beside(found, folder)),
        "table.tex": latex.render(paper, found),
        "table.json": data.render(paper, found),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return written + [folder / name for name in texts]


def write_index(results_dir: Path) -> Path:
    """Write the pages: ``index.html``, one for each paper, and ``scoreboard.md`` and ``.svg``: how much is decided."""
    from vaebench.report import pictures, site
    from vaebench.report.pictures import scoreboard
    from vaebench.report.tables import markdown

    told = []
    for name in names():
        path = cells_path(results_dir, name)
        if path.exists():
            found = _sections(load(name), path)
            told.append(site.told(load(name), found, path.parent, *_beside(found, path.parent)))
    own = [one for one in told if one.name in choices("paper")]  # not once more, with rows of one's own
    write_text(results_dir / "scoreboard.md", markdown.scoreboard({one.name: one.score for one in own}))
    if own:
        pictures.draw(results_dir / "scoreboard.svg", scoreboard.panels([(one.title, one.score) for one in own]))
    return site.write(results_dir, told)


def _sections(paper: Paper, path: Path) -> list[Section]:
    """What has been measured of a paper, worked out once for the same cells: the index has all papers in it."""
    from vaebench.report.summary import sections

    try:
        content = path.read_bytes()
    except OSError:
        return sections(paper, Cells.read(path))
    known = _known.get(path)
    if known is None or known[0] is not paper or known[1] != content:
        known = _known[path] = paper, content, sections(paper, Cells.read(path))
    return known[2]


def _beside(found: Iterable[Section], folder: Path) -> tuple[Beside, Beside]:
    """By section name the pictures, then the pages to listen to, that are in a paper's folder: (file, caption) each."""
    from vaebench.report import pictures

    return (
        {section.name: pictures.there(section, folder) for section in found},
        {section.name: pictures.to_hear(section, folder) for section in found},
    )


def console(paper: Paper, cells: Cells, shown: Collection[tuple[str, str, str]], out: Console) -> None:
    """Print the sections named by ``shown``, (table, scale, dataset) each, as tables."""
    from vaebench.report.summary import sections
    from vaebench.report.tables import terminal

    for section in sections(paper, cells):
        if (section.key, section.scale, section.dataset) in shown:
            terminal.show(section, out)


def brief(found: Iterable[tuple[Paper, Cells, Collection[tuple[str, str, str]]]], out: Console) -> None:
    """Print how the numbers and claims of papers came out, a line per table; of each the sections that are named."""
    from vaebench.report.summary import sections
    from vaebench.report.tables import brief as tables

    told = [
        (paper, [one for one in sections(paper, cells) if (one.key, one.scale, one.dataset) in shown])
        for paper, cells, shown in found
    ]
    tables.show(told, out)

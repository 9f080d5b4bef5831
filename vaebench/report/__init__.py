"""The report: tables and pictures of what has been measured, beside what a paper prints. No torch here."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.papers.cells import Cells, cells_path, write_text
from vaebench.papers.tables import Paper, load, names

if TYPE_CHECKING:
    from rich.console import Console


def write(paper_name: str, results_dir: Path, store: Path) -> list[Path]:
    """Write ``table.md``, ``table.tex``, ``table.json``, pictures and sounds of a paper from its ``cells.csv``.

    Pictures and sounds are made from the arrays in ``store``; where some of them are gone, those that exist stay.
    Returns the files written.
    """
    from vaebench.report import pictures
    from vaebench.report.summary import sections
    from vaebench.report.tables import data, latex, markdown

    paper = load(paper_name)
    folder = results_dir / paper_name
    found = sections(paper, Cells.read(cells_path(results_dir, paper_name)))
    written = [path for section in found for path in pictures.write(section, store, folder)]
    seen = {section.name: pictures.there(section, folder) for section in found}
    heard = {section.name: pictures.there(section, folder, "html") for section in found}
    texts = {
        "table.md": markdown.render(paper, found, seen, heard),
        "table.tex": latex.render(paper, found),
        "table.json": data.render(paper, found),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
        written.append(folder / name)
    return written


def write_index(results_dir: Path) -> Path:
    """Write ``index.html``: every paper's tables and pictures in one page; pictures and sounds are files beside it."""
    from vaebench.report import pictures
    from vaebench.report.summary import sections
    from vaebench.report.tables import html

    pages = []
    for name in names():
        path = cells_path(results_dir, name)
        if not path.exists():
            continue
        paper, folder = load(name), results_dir / name
        found = sections(paper, Cells.read(path))
        seen = {section.name: _addressed(name, pictures.there(section, folder)) for section in found}
        heard = {section.name: _addressed(name, pictures.there(section, folder, "html")) for section in found}
        pages.append((paper, found, seen, heard))
    write_text(results_dir / "index.html", html.render(pages))
    return results_dir / "index.html"


def _addressed(paper_name: str, beside: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Names of files in a paper's folder, with their captions, as seen from the folder above."""
    return [(f"{paper_name}/{file}", caption) for file, caption in beside]


def console(paper: Paper, cells: Cells, shown: Collection[tuple[str, str, str]], out: Console) -> None:
    """Print the sections named by ``shown``, (table, scale, dataset) each, as tables."""
    from vaebench.report.summary import sections
    from vaebench.report.tables import terminal

    for section in sections(paper, cells):
        if (section.key, section.scale, section.dataset) in shown:
            terminal.show(section, out)

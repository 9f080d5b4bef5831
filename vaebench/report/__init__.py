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
    """Write ``index.html``, every paper's tables and pictures, and ``scoreboard.md``, how much of them is decided."""
    from vaebench.report.summary import score
    from vaebench.report.tables import html, markdown

    pages, scores = [], {}
    for name in names():
        path = cells_path(results_dir, name)
        if path.exists():
            found = _sections(load(name), path)
            if name in choices("paper"):  # not once more, with rows of one's own
                scores[name] = score(load(name), found)
            pages.append((load(name), found, *_beside(found, path.parent, f"{name}/")))
    write_text(results_dir / "scoreboard.md", markdown.scoreboard(scores))
    write_text(results_dir / "index.html", html.render(pages, scores))
    return results_dir / "index.html"


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


def _beside(found: Iterable[Section], folder: Path, seen_from: str = "") -> tuple[Beside, Beside]:
    """By section name the pictures, then the pages to listen to, that are in a paper's folder: (file, caption) each."""
    from vaebench.report import pictures

    def there(ending: str) -> Beside:
        files = {section.name: pictures.there(section, folder, ending) for section in found}
        return {name: [(seen_from + file, caption) for file, caption in beside] for name, beside in files.items()}

    return there("png"), there("html")


def console(paper: Paper, cells: Cells, shown: Collection[tuple[str, str, str]], out: Console) -> None:
    """Print the sections named by ``shown``, (table, scale, dataset) each, as tables."""
    from vaebench.report.summary import sections
    from vaebench.report.tables import terminal

    for section in sections(paper, cells):
        if (section.key, section.scale, section.dataset) in shown:
            terminal.show(section, out)

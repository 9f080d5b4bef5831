"""The results as pages: a front page, a page for each paper, and what a click on a number or the search box asks for.

Files only: no server, nothing from elsewhere. Without scripts everything can be read, but not sorted or filtered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from vaebench.papers.cells import write_text
from vaebench.papers.tables import Paper
from vaebench.report import findings, raced, summary, words
from vaebench.report.findings import Findings
from vaebench.report.pages import fill
from vaebench.report.site import search, sources
from vaebench.report.site.sizes import size
from vaebench.report.summary import Score, Section

Links = Mapping[str, Sequence[tuple[str, str]]]  # by section name, (file, caption) each


@dataclass(frozen=True)
class Told:
    """A paper, what has been measured of it, and the pictures and pages to listen to beside its tables."""

    paper: Paper
    sections: Sequence[Section]
    score: Score
    pictures: Links = field(default_factory=dict)
    sounds: Links = field(default_factory=dict)
    findings: Findings | None = None

    @property
    def title(self) -> str:
        """What to call the paper in a line."""
        return (self.findings and self.findings.title) or self.name

    @property
    def name(self) -> str:
        """The paper's, and its folder's."""
        return self.paper.name


def write(results_dir: Path, told: Sequence[Told]) -> Path:
    """Write all pages into the folder that holds the papers' folders; returns the front page."""
    shared = {
        "words": words,
        "raced": raced,
        "summary": summary,
        "papers": told,
        "size": size(results_dir),
        "still": _still(results_dir),
    }
    texts = {
        "index.html": fill("front.html.j2", root="", current=None, **shared),
        "search.js": search.script(told),
        **{name: files("vaebench.report").joinpath("templates", name).read_text("utf-8") for name in _AS_THEY_ARE},
    }
    for one in told:
        texts[f"{one.name}/index.html"] = fill("paper.html.j2", root="../", current=one, **shared)
        texts[f"{one.name}/sources.js"] = sources.script(one.sections)
    for name, text in texts.items():
        write_text(results_dir / name, text)
    return results_dir / "index.html"


def _still(results_dir: Path) -> Callable[[str, str], str]:
    """Of a moving picture in a paper's folder, the one that stands for it where a reader wants nothing to move."""

    def of(folder: str, address: str) -> str:
        name = f"{address.removesuffix('.gif')}.png"
        return name if address.endswith(".gif") and (results_dir / folder / name).is_file() else ""

    return of


_AS_THEY_ARE = ("site.css", "site.js")


def told(paper: Paper, sections: Sequence[Section], folder: Path, pictures: Links, sounds: Links) -> Told:
    """A paper with what stands in its folder of results."""
    return Told(paper, sections, summary.score(paper, sections), pictures, sounds, findings.read(folder))

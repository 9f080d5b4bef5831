"""What a report shows: what its tests share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from vaebench.papers.cells import digest
from vaebench.papers.tables import Paper, load
from vaebench.report import pictures, site
from vaebench.report.site.sizes import size
from vaebench.report.stored import Shown
from vaebench.report.summary import Section


class Stored(Shown):
    """A section whose arrays, or logs, are those a test made up."""

    def __init__(self, section: Section, suite: str, arrays: dict[str, Any] | None = None, logs: Any = None) -> None:
        super().__init__(section, Path("nowhere"), suite)
        self.__dict__ |= {"_arrays": arrays or {}, "logs": lambda: logs or {}}


def shown_in(section: Section, store: Path, kind: str) -> Any:
    """What there is to see in a section's picture of a kind."""
    found = (picture.draw(shown) for picture, shown in pictures.of(section, store) if picture.kind == kind)
    return next((one for one in found if one), None)


def cell_line(
    paper: str, table: str, row: str, column: str, *, protocol: Mapping[str, Any], **facts: Any
) -> dict[str, Any]:
    """A line of ``cells.csv``; ``facts``: value, seed, run, eval, scale, dataset and what is not as usual."""
    measured = load(paper).tables[table].columns[column]
    usual = {
        **{"paper": paper, "table": table, "row": row, "column": column, "unit": measured.unit},
        **{"measurement": measured.measurement, "protocol": json.dumps(protocol), "protocol_digest": digest(protocol)},
        **{"low": None, "high": None, "by_seed": "[]", "count": 2000, "dataset_digest": "d", "stand_in": 0},
        **{"scale": "small", "epochs": 3.0, "train_images": 20000, "commit": "0123abc", "device": "cpu"},
    }
    return usual | facts


def check_picture(path: Path, lowest: int, highest: int, most: int) -> None:
    """A whole file as wide as all pictures, so high (in pixels of 150 to an inch), of so many bytes at most."""
    content = path.read_bytes()
    width, height = size(path.parent)(path.name) or (0, 0)
    dots = 72 / 150 if path.suffix == ".svg" else 1
    assert width == round(1050 * dots), path.name
    assert lowest * dots <= height <= highest * dots, path.name
    assert len(content) < most, path.name
    assert content.startswith(b"<?xml" if path.suffix == ".svg" else b"\x89PNG"), path.name
    if path.suffix == ".svg":
        assert b"<text" in content, "texts are texts, to be found and read aloud"


def page_of(folder: Path, paper: Paper, sections: Sequence[Section], **beside: Mapping[str, Any]) -> str:
    """The page of a paper with these sections, and what stands beside them: ``pictures``, ``sounds``."""
    shown = site.told(paper, sections, folder / paper.name, beside.get("pictures", {}), beside.get("sounds", {}))
    site.write(folder, [shown])
    return (folder / paper.name / "index.html").read_text(encoding="utf-8")


class Page(HTMLParser):
    """What is open, and every tag with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, Any]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "link", "input", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(text: str) -> Page:
    """A page in which all that is opened is closed."""
    page = Page()
    page.feed(text)
    assert page.open == []
    return page

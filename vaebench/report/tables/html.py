"""``index.html``: all papers' tables and pictures in one page, with its styles inside, without scripts.

Pictures, and pages with what can be listened to, are the files beside it that the other formats show too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from vaebench.papers.tables import Paper
from vaebench.report import raced, summary, words
from vaebench.report.summary import Score, Section

Links = Sequence[tuple[str, str]]  # (address, caption) each


def render(
    papers: Sequence[tuple[Paper, Sequence[Section], Mapping[str, Links], Mapping[str, Links]]],
    scores: Mapping[str, Score],
) -> str:
    """The page. Of each paper: it, its sections, and by section name the pictures and the pages to listen to."""
    values = {"words": words, "raced": raced, "summary": summary}
    return fill("index.html.j2", papers=papers, scores=scores, **values)


def fill(template: str, **values: Any) -> str:
    """A page of ``report/templates``, in which every value is text."""
    pages = Environment(
        loader=PackageLoader("vaebench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return pages.get_template(template).render(values)

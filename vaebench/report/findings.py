"""What was found: ``findings.md`` beside a paper's tables, written by whoever read them.

It begins with a title, three sentences, and a picture; the rest may say more. No HTML in it is passed on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

NAME = "findings.md"


@dataclass(frozen=True)
class Findings:
    """``lead``, ``rest``: HTML. ``picture``: a file in the same folder, or "", with its ``caption``."""

    title: str
    lead: Markup
    picture: str
    caption: str
    rest: Markup


def read(folder: Path) -> Findings | None:
    """What stands in a paper's folder of results; None if nothing does."""
    path = folder / NAME
    return parse(path.read_text(encoding="utf-8")) if path.is_file() else None


def parse(text: str) -> Findings:
    """From Markdown with tables."""
    blocks = _blocks(_markdown().parse(text))
    title = blocks.pop(0)[1].content if blocks and blocks[0][0].tag == "h1" else ""
    lead = blocks.pop(0) if blocks and blocks[0][0].tag == "p" and not _image(blocks[0]) else []
    image = _image(blocks[0]) if blocks else None
    return Findings(
        title=title,
        lead=_html(lead),
        picture=str(image.attrs["src"]) if image else "",
        caption=image.content if image else "",
        rest=_html([token for block in blocks[bool(image) :] for token in block]),
    )


def _blocks(tokens: Sequence[Token]) -> list[list[Token]]:
    """The tokens of each block that stands in no other."""
    found: list[list[Token]] = []
    depth = 0
    for token in tokens:
        if depth == 0:
            found.append([])
        found[-1].append(token)
        depth += token.nesting
    return found


def _image(block: Sequence[Token]) -> Token | None:
    """The image that is all of a paragraph."""
    children = [child for token in block for child in token.children or ()]
    return children[0] if len(children) == 1 and children[0].type == "image" else None


def _html(tokens: Sequence[Token]) -> Markup:
    made = _markdown()
    return Markup(made.renderer.render(tokens, made.options, {}))  # the renderer escapes HTML in the text


@cache
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt

    made = MarkdownIt("commonmark", {"html": False}).enable("table")
    box = '<div class="box" role="region" aria-label="Table" tabindex="0">'  # scrolls by itself, with keys too
    made.add_render_rule("table_open", lambda *_: f"{box}<table>")
    made.add_render_rule("table_close", lambda *_: "</table></div>")
    return made

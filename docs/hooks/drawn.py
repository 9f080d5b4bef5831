"""What browsers would need a library from elsewhere for: equations, the picture of the house, the notebook, drawings.

All of them become plain HTML, MathML and SVG when the site is built, so that it reads the same from a folder, offline.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

import house

DOCS = Path(__file__).resolve().parents[1]
NOTEBOOK = "tutorial.ipynb"
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
DRAWING = re.compile(r'<img alt="([^"]*)" src="([^":]+\.svg)"[^>]*>')
MERMAID = re.compile(r"^```mermaid\n(.*?)^```", re.MULTILINE | re.DOTALL)
STYLE = re.compile(r"<style>.*?</style>\s*", re.DOTALL)


def on_files(files: Files, *, config: Any) -> Files:
    """Add the notebook as a page."""
    files.append(File.generated(config, "tutorial.md", content=notebook(DOCS / NOTEBOOK)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Draw the picture of the house."""
    return MERMAID.sub(lambda match: f'<div class="scrolled">{house.draw(match[1])}</div>', markdown)


def on_page_content(content: str, *, page: Any, config: Any, files: Files) -> str:
    """Turn equations into MathML and put drawings into the page, where they follow its colours."""
    content = EQUATION.sub(lambda match: equation(html.unescape(match[3]), match[2] == "["), content)
    folder = (DOCS / page.file.src_uri).parent

    def drawing(match: re.Match[str]) -> str:
        path = folder / match[2]
        if not path.is_file():
            return match[0]
        text = STYLE.sub("", path.read_text("utf-8"))
        drawn = text.replace("<svg ", f'<svg class="drawing" role="img" aria-label="{match[1]}" ', 1)
        return f'<div class="scrolled">{drawn}</div>'

    return DRAWING.sub(drawing, content)


def equation(latex: str, display: bool) -> str:
    """One equation; a displayed one scrolls where the screen is too narrow for it."""
    made = convert(latex.strip(), display="block" if display else "inline")
    return f'<div class="equation">{made}</div>' if display else made


def notebook(path: Path) -> str:
    """A notebook as Markdown, with the outputs that are stored in it."""
    parts = []
    for one in json.loads(path.read_text("utf-8"))["cells"]:
        text = "".join(one["source"])
        parts.append(text if one["cell_type"] == "markdown" else f"```python\n{text}\n```")
        parts += [made for output in one.get("outputs", ()) if (made := shown(output))]
    return "\n\n".join([*parts, f"The notebook itself: [{NOTEBOOK}]({NOTEBOOK})", ""])


def shown(output: dict[str, Any]) -> str:
    """What a cell gave, in the best form that it has."""
    data = {kind: "".join(value) for kind, value in output.get("data", {}).items()}
    if "image/png" in data:
        return f'<img alt="" src="data:image/png;base64,{data["image/png"].strip()}">'
    if "text/html" in data:
        made = re.sub(r"<style.*?</style>", "", data["text/html"], flags=re.DOTALL)
        return "\n".join(line.strip() for line in made.splitlines() if line.strip()).replace(' border="1"', "")
    text = data.get("text/plain") or "".join(output.get("text", ()))
    return f"```text\n{text}\n```" if text else ""

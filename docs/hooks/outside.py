"""What lies outside docs/ and is linked from it: results, benchmarks and the changelog become part of the site.

A paragraph that is nothing but a link to findings, to the scoreboard or to a paper's YAML is replaced by what the file
says, so that nothing is written twice and the link still works where the Markdown is read as it is.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
CHANGELOG = PurePosixPath("changelog.md")
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(?=[)\s])")
ALONE = re.compile(r'^\[[^\]\n]*\]\(((?:\.\./)+[^)\s#]+)( "in short")?\)$', re.MULTILINE)
HEADING = re.compile(r"^(#+) ", re.MULTILINE)
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def on_files(files: Files, *, config: Any) -> Files:
    """Add every file outside docs/ that a page links to, and those that these link to."""
    texts = {PurePosixPath("docs", file.src_uri): file.content_string for file in files.documentation_pages()}
    todo = [PurePosixPath("CHANGELOG.md"), *(found for base, text in texts.items() for found in linked(base, text))]
    seen: set[PurePosixPath] = set()
    while todo:
        path = todo.pop()
        if path in seen or path.parts[0] == "docs" or not (ROOT / path).is_file():
            continue
        seen.add(path)
        if path.suffix == ".yaml":
            continue
        files.append(File.generated(config, str(uri(path)), abs_src_path=str(ROOT / path)))
        if path.suffix == ".md":
            todo += linked(path, (ROOT / path).read_text("utf-8"))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Put in what is included, and turn links to files outside docs/ into links within the site."""
    here = PurePosixPath(page.file.src_uri)
    base = source(here)
    if here.parts[0] == "results":  # thousands of numbers: found by their paper's page, not by the search
        page.meta["search"] = {"exclude": True}

    def included(match: re.Match[str]) -> str:
        path = joined(base.parent, match[1])
        if path.suffix == ".yaml":
            return readings(path)
        if path.name not in ("findings.md", "scoreboard.md"):
            return match[0]
        text = (ROOT / path).read_text("utf-8").strip()
        if match[2]:
            text = next(part for part in text.split("\n\n") if not part.startswith("#"))
        elif path.name == "findings.md":
            text = HEADING.sub(r"#\1 ", text.partition("\n")[2].strip())
        return relinked(text, path, here)

    found = ALONE.sub(included, markdown)
    return relinked(found, base, here)


def linked(base: PurePosixPath, text: str) -> list[PurePosixPath]:
    """The files of the repository that a Markdown text links to."""
    targets = (match[2] for match in LINK.finditer(FENCE.sub("", text)))
    return [path for target in targets if is_relative(target) and (path := joined(base.parent, target)).parts]


def relinked(text: str, base: PurePosixPath, page: PurePosixPath) -> str:
    """The text of the file ``base`` with its links as they have to be on ``page``; code is left alone."""

    def one(match: re.Match[str]) -> str:
        if not is_relative(match[2]) or (ROOT / "docs" / page.parent / match[2]).resolve().is_relative_to(DOCS):
            if not match[2].endswith(".ipynb") and base == source(page):
                return match[0]
        if not is_relative(match[2]):
            return match[0]
        target = uri(joined(base.parent, match[2]))
        return f"{match[1]}{os.path.relpath(target, page.parent)}{match[3] or ''}"

    parts, last = [], 0
    for fence in FENCE.finditer(text):
        parts += [LINK.sub(one, text[last : fence.start()]), fence[0]]
        last = fence.end()
    return "".join([*parts, LINK.sub(one, text[last:])])


def is_relative(target: str) -> bool:
    """Whether a link names a file, and neither an address nor a place on its own page."""
    return not re.match(r"[a-z]+:|/|#|\\", target)


def joined(folder: PurePosixPath, target: str) -> PurePosixPath:
    """Where in the repository a link from a file in ``folder`` leads."""
    return PurePosixPath(os.path.normpath(folder / target))


def uri(path: PurePosixPath) -> PurePosixPath:
    """Where on the site a file of the repository is."""
    if path.parts[0] == "docs":
        path = path.relative_to("docs")
        return path.with_suffix(".md") if path.suffix == ".ipynb" else path
    return CHANGELOG if path.name == "CHANGELOG.md" else path


def source(page: PurePosixPath) -> PurePosixPath:
    """The file of the repository behind a page."""
    if page == CHANGELOG:
        return PurePosixPath("CHANGELOG.md")
    inside = PurePosixPath("docs") / page
    return inside if not (ROOT / page).is_file() or (ROOT / inside).is_file() else page


def readings(path: PurePosixPath) -> str:
    """How a paper's YAML reads what the paper leaves open, as a table."""
    said = yaml.safe_load((ROOT / path).read_text("utf-8"))["unstated"]
    rows = "\n".join(f"| {question} | {cell(answer)} |" for question, answer in said.items())
    return f"| the paper leaves open | here |\n|---|---|\n{rows}"


def cell(text: Any) -> str:
    """A text within a table."""
    return " ".join(str(text).split()).replace("|", "\\|")

"""The documentation as a site: what every page is like, and that all of it builds without a broken link."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from commands import ROOT
from vaebench.cli.main import VERBS

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
MOST_LINES = 200
LONG = 300.0  # seconds, of what takes ten on a machine that is not busy
PAPERS = sorted(path.stem for path in (ROOT / "conf" / "paper").glob("*.yaml"))
# What a browser would fetch by itself: scripts, styles, pictures; links that a reader may follow are not among them.
FETCHED = re.compile(r"""<(?:script|img|iframe|link(?! rel="canonical"))\b[^>]*?(?:src|href)=["']?(https?:[^"'\s>]*)""")


def nav(entry: object) -> list[str]:
    """The pages of the navigation."""
    if isinstance(entry, str):
        return [entry]
    inner = entry.values() if isinstance(entry, dict) else entry
    return [page for one in inner for page in nav(one)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of it, as `make docs` writes it."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=LONG, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_a_page_is_short_and_begins_with_what_it_is_for(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES
    assert re.match(r"# \S", lines[0])
    assert not lines[1]
    assert re.match(r"[A-Z0-9a-z`*][^|]*", lines[2]), "a sentence comes first, no list, table or code"
    headings = re.findall(r"^(#+) ", re.sub(r"^```.*?^```", "", "\n".join(lines), flags=re.M | re.S), re.MULTILINE)
    assert headings.count("#") == 1


def test_every_page_stands_in_the_navigation():
    named = nav(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    assert len(set(named)) == len(named)
    assert {str(page.relative_to(DOCS)) for page in PAGES} <= set(named)


@pytest.mark.parametrize("name", PAPERS)
def test_a_page_for_each_paper_has_the_same_parts(name):
    text = (DOCS / "papers" / f"{name}.md").read_text(encoding="utf-8")
    parts = re.findall(r"^## (.*)$", text, re.MULTILINE)
    wanted = ["The idea in one picture", "In equations", "Our readings", "What was found", "How to run it"]
    assert [part for part in parts if part in wanted] == wanted
    assert f"({name}.svg)" in text
    assert f"](../../results/{name}/findings.md)\n" in text
    assert f"vaebench reproduce paper={name}" in text


def test_the_findings_are_taken_in_and_not_copied(site):
    for name in PAPERS:
        first = (ROOT / "results" / name / "findings.md").read_text(encoding="utf-8").split("\n")[2]
        words = re.sub(r"[*_`]", "", first)[:60]
        for page in (site / "papers" / f"{name}.html", site / "index.html"):
            assert words in re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")).replace("&#39;", "'"), page


def test_the_reference_has_every_command_and_every_group(site):
    commands = (site / "reference" / "cli.html").read_text(encoding="utf-8")
    assert all(f'<h2 id="{verb}">' in commands for verb in VERBS)
    overview = (site / "reference" / "configuration" / "index.html").read_text(encoding="utf-8")
    for folder in (path for path in (ROOT / "conf").iterdir() if path.is_dir()):
        page = (site / "reference" / "configuration" / f"{folder.name}.html").read_text(encoding="utf-8")
        assert f'href="{folder.name}.html"' in overview
        names = [str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml")]
        assert all(name in page for name in names), folder.name
    assert "<code>train.batch_size</code>" in overview
    assert "<code>budget</code>" in overview
    models = (site / "reference" / "configuration" / "model.html").read_text(encoding="utf-8")
    assert "<code>model.ema_decay</code>" in models


def test_the_python_reference_has_what_the_package_gives(site):
    text = (site / "reference" / "api.html").read_text(encoding="utf-8")
    wanted = ("train", "evaluate", "load", "runs", "reported", "table", "Trained", "Model")
    assert all(f'id="vaebench.api.{name}"' in text for name in wanted)


def test_nothing_is_loaded_from_elsewhere(site):
    found = {match for page in site.rglob("*.html") for match in FETCHED.findall(page.read_text(encoding="utf-8"))}
    assert not found
    for page in (site / "papers").glob("*.html"):
        text = page.read_text(encoding="utf-8")
        equations = re.findall(r"<math .*?</math>", text, re.DOTALL)
        assert equations
        assert not [one for one in equations if "\\" in one], "a command of LaTeX that is not known"
        assert 'class="drawing"' in text
        assert "arithmatex" not in text
    assert 'class="drawing house"' in (site / "architecture.html").read_text(encoding="utf-8")
    assert "mermaid" not in (site / "architecture.html").read_text(encoding="utf-8")

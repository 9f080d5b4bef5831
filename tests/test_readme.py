"""The first page, and what a project has beside its code: short, true, and every link leads somewhere."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from urllib.parse import urldefrag

import pytest
import yaml

from commands import ROOT
from vaebench import __version__
from vaebench.cli.main import VERBS
from vaebench.config.choices import choices
from vaebench.papers.tables import load
from vaebench.report import findings

README = (ROOT / "README.md").read_text(encoding="utf-8")
REPOSITORY = "https://github.com/vaebench/vaebench"
HERE = (f"{REPOSITORY}/blob/main/", "https://raw.githubusercontent.com/vaebench/vaebench/main/")
LINK = re.compile(r"\]\(([^)\s]+)\)")
PAGES = ["README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / ".github").glob("*.md")))]


def anchors(text: str) -> set[str]:
    return {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", text, re.M)
    }


def test_the_readme_is_short_and_says_what_it_is_first():
    lines = README.splitlines()
    assert len(lines) <= 120
    assert lines[2].endswith(".")
    screen = "\n".join(lines[:30])
    assert "results/scoreboard.svg" in screen
    assert screen.count("```") == 2
    assert "make reproduce-all" in README
    assert "make test" in README


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_these_pages_leads_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in LINK.findall(text):
        target, anchor = urldefrag(link)
        if target.startswith(HERE):
            path = ROOT / next(target.removeprefix(prefix) for prefix in HERE if target.startswith(prefix))
        elif "://" in target:
            continue
        else:
            assert page != "README.md" or not target, f"{link}: would not work on a package index"
            path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), link
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("name", choices("paper"))
def test_the_readme_says_of_each_paper_what_was_found(name):
    found = findings.read(ROOT / "results" / name)
    first = re.search(r"<strong>(.*?)</strong>", found.lead)[1].replace("\n", " ")
    assert f"| [{found.title}]({HERE[0]}docs/papers/{name}.md) | {first} |" in README


def test_the_commands_of_the_readme_are_commands():
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.M | re.S)
    words = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    used = [line[line.index(one) + 1] for line in words for one in line if one.endswith("vaebench") and line[0] == one]
    assert set(used) >= {"reproduce", "list", "new", "compare"}
    assert set(used) <= set(VERBS)
    targets = set(re.findall(r"make ([a-z-]+)", README))
    assert targets <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))


def test_the_citation_is_of_this_version_and_of_the_papers():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["cff-version"], cited["version"], cited["license"]) == ("1.2.0", __version__, "MIT")
    known = {load(name).title: load(name) for name in choices("paper")}
    assert {one["title"] for one in cited["references"]} == set(known)
    for one in cited["references"]:
        assert one["year"] == known[one["title"]].year
        for author in one["authors"]:
            assert author["family-names"] in known[one["title"]].authors
        for identifier in one.get("identifiers", ()):
            assert identifier["value"].removeprefix("arXiv:") in known[one["title"]].source


def test_every_file_of_the_project_can_be_read():
    files = [*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml"]
    assert len(files) >= 6
    for path in files:
        assert yaml.safe_load(path.read_text(encoding="utf-8")), path
    forms = [yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")]
    assert all(form["name"] and form["description"] and form["body"] for form in forms)
    json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert ".ci/run" in [step.get("run") for step in workflow["jobs"]["ci"]["steps"]]


def test_the_container_has_what_the_package_is_built_from():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = {word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]}
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == kept
    assert all((ROOT / name).exists() for name in copied)
    assert "USER bench" in lines
    torch = next(line for line in lines if "torch>=" in line)
    declared = (ROOT / "pyproject.toml").read_text()
    assert all(f'"{wanted}"' in declared for wanted in re.findall(r'"(torch\S+)"', torch))


@pytest.mark.parametrize("script", ["run", "release"])
def test_the_scripts_are_written_in_the_shells_grammar(script):
    path = ROOT / ".ci" / script
    assert path.stat().st_mode & 0o100
    assert subprocess.run(["bash", "-n", path], capture_output=True, check=False).stderr == b""


def test_the_results_have_a_licence_of_their_own():
    assert "CC BY 4.0" in (ROOT / "results" / "LICENSE").read_text()

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


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


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


def test_every_number_of_the_readme_is_one_of_the_results():
    names, *_, last = [line.strip("| ").split(" | ") for line in text("results/scoreboard.md").splitlines()]
    all_ = dict(zip(names, last, strict=True))
    prose = " ".join(re.sub(r"^```.*?^```|^\| \[.*?\|$|\]\([^)]*\)", "", README, flags=re.M | re.S).split())
    said = [
        f"Of the papers' {all_['claims']} claims",
        f"we judged {all_['judged']}",
        f"{all_['hold']} hold, {all_['reversed']} are reversed",
        f"Of the {all_['numbers printed']} numbers",
        f"only {all_['comparable']} can be compared",
        f"{all_['reproduced']} are reproduced, and {all_['outside']} lie outside",
        "at most 5 % of the time, in every setting but one",
        "22 minutes (BatchTopK-VAE)",
        "Python " + re.search(r'requires-python = ">=(.*)"', text("pyproject.toml"))[1],
        "CC BY 4.0",
    ]
    for one in said:
        assert one in prose, one
    left = re.sub(r"`[^`]*`", "", prose)
    assert set(re.findall(r"[\d.,]*\d", left)) == set(re.findall(r"[\d.,]*\d", " ".join(said)))
    assert len(choices("paper")) == 5
    assert "tables of five papers" in prose
    # The hours stand beside the tables that took them.
    for name, hours in (
        ("batchtopk", "22 minutes"),
        ("dmvae", "two and a quarter hours"),
        ("batchtopk", "some four core-hours"),
    ):
        assert hours in prose
        assert hours in text(f"results/{name}/findings.md")


def test_verdicts_are_wrong_as_often_as_the_readme_says():
    table = text("docs/verdicts.md").split("| verdict, and the truth |")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    above = [name for name, *shares in rows if max(float(share) for share in shares if share) > 5]
    assert len(rows) == 10
    assert len(above) == 1


def test_the_commands_of_the_readme_are_commands(run):
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.M | re.S)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    commands = [line[1:] for line in lines if line[0].endswith("vaebench")]
    assert [verb for verb, *_ in commands] == ["reproduce", "list", "new", "compare"]
    for verb, *options in commands:
        assert verb in VERBS
        if verb == "reproduce":
            run.done(verb, *options, "--cfg", "job")
        given = dict(option.split("=", 1) for option in options if "=" in option)
        if "table" in given:
            assert set(given["row"].split(",")) <= set(load(given["paper"]).tables[given["table"]].rows)
    targets = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.M))
    assert targets >= {"setup", "reproduce-all", "test", "docs"}
    assert targets <= set(re.findall(r"^([a-z-]+):", text("Makefile"), re.M))


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

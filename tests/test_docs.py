"""The examples of the how-to pages, copied out of them into a package and run by a wheel."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from commands import ROOT, python
from vaebench.config import origins
from vaebench.papers.mistakes import _KEYS
from vaebench.papers.tables import load
from vaebench.runs.store import Store

PAGES = ("own-model", "own-parts", "own-data", "own-suite", "own-table")
EXAMPLES = "".join((ROOT / "docs" / "how-to" / f"{name}.md").read_text(encoding="utf-8") for name in PAGES)
BLOCK = re.compile(r"^```(?:python|yaml)\n(# mine/.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^# (mine/\S+)\n(.*?)(?=^# mine/|\Z)", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"`vaebench ((?:train|eval|reproduce) [^`]*)`")
LONG = 1200.0  # seconds, of what takes one or two minutes on a machine that is not busy

SHORT = "train.max_steps=2"
# What makes the page's commands short, by a word in them; a longer word counts before those in it.
SHORTER = {
    "model=hinted": [SHORT, f"chain.teacher.overrides=['{SHORT}']"],
    "reference=box": ["reference.samples=300", SHORT]
    + [f"chain.{link}.overrides=['{SHORT}']" for link in ("encoder", "tokenizer", "teacher")],
    "dataset=tiny": [SHORT, "model.hidden=[16]", "dataset.problems.train=200"],
    "dataset=tones": [SHORT, "train.batch_size=8"],
    "reproduce": ["seeds=1", "executor.kind=inline"],
    "dataset=": [SHORT],
}
# All commands in one process, which imports torch once.
EACH = """
import json, sys
import vaebench
from vaebench.cli.main import main
print(vaebench.__file__, flush=True)
for words in json.loads(sys.argv[1]):
    if code := main(words):
        sys.exit(f"{words}: {code}")
"""
# What each of them makes, by the class or the name that its request holds.
MADE = {"mine.rae.RAE", "mine.hinted.Hinted", "mine.halves.Halves", "mine.signs.signs", "mine.box.Box"}
MADE |= {"mine.hashing.Hashing", "mine.activity.Activity"}
# The tests that are there for every choice, whoever adds one.
GENERIC = ["test_config", "test_matching", "test_stored_code", "models/test_models_all"]
GENERIC += ["references/test_references_all", "suites/test_suite_options", "suites/test_suites_diverged"]


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """The package of the pages' examples."""
    folder = tmp_path_factory.mktemp("examples") / "mine"
    files = [found for block in BLOCK.findall(EXAMPLES) for found in FILE.findall(block)]
    assert len(dict(files)) == len(files) == 19
    for name, content in [("mine/__init__.py", ""), *files]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


@pytest.fixture
def named(package: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package is one of this process's."""
    monkeypatch.setenv(origins.FOLDERS, str(package / "mine"))
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    yield
    origins._origins.cache_clear()


def commands() -> list[list[str]]:
    """Those of the pages, as words, short enough to be run here; one on a set that has to be downloaded is left out."""
    found = []
    for text in COMMAND.findall(EXAMPLES):
        if "NAME" in text or not re.search("dataset=(digits|tiny|tones)", text):
            continue
        more = next(words for word, words in SHORTER.items() if word in text)
        found.append([*shlex.split(text), *more, "quiet=true"])
    return found


def test_the_examples_run_from_a_package_of_ones_own(named, package, installed, home, tmp_path):
    given = commands()
    assert len(given) == 10
    env = {origins.FOLDERS: str(package / "mine"), "VAEBENCH_HOME": str(home)}
    done = python("-c", EACH, json.dumps(given), path=installed, cwd=tmp_path, env=env, timeout=LONG)
    assert done.returncode == 0, done.stdout + done.stderr
    assert Path(done.stdout.splitlines()[0]).is_relative_to(installed)
    requests = [one.request().data for one in Store(home).runs()]
    requests += [yaml.safe_load(path.read_text()) for path in home.glob("*/evals/*/request.yaml")]
    parts = [part for data in requests for part in data.values() if isinstance(part, dict)]
    made = {part.get("_target_") for part in parts} | {
        part.get("network", {}).get("kind") for part in parts if isinstance(part.get("network"), dict)
    }
    assert made >= MADE
    own = [data for data in requests if "mine." in str([data.get(name) for name in data if name != "parents"])]
    assert all(data["plugins"].keys() == {"mine"} for data in own)
    assert len(own) > len(MADE)
    # The paper's rows are filled, and the suite's picture is drawn.
    cells = (tmp_path / "results" / "example" / "cells.csv").read_text()
    assert all(f",{row}," in cells for row in ("rae_8", "rae_16", "hinted", "halves"))
    assert list((tmp_path / "results" / "example").glob("variances-*.svg"))
    claims = load("example").tables["table1"].claims
    assert [claim.text for claim in claims][:2] == [
        "PSNR of Hinted above RAE's (L = 8)",
        "PSNR of Hinted above RAE's (L = 16)",
    ]


def test_the_examples_are_formatted(package):
    for how in (["check", "--select", "E,F,I,UP,B,N,RUF,PT,PTH,T20", "--ignore", "N812"], ["format", "--check"]):
        done = python("-m", "ruff", how[0], "--isolated", "--line-length", "120", *how[1:], ".", cwd=package)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_examples_pass_the_tests_of_their_kind(package):
    files = [path.stem for path in package.rglob("*.yaml")]
    words = [*(f"tests/{name}.py" for name in GENERIC), "-k", " or ".join(sorted(set(files)))]
    env = {origins.FOLDERS: str(package / "mine")}
    done = python(
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *words,
        path=f"{ROOT}:{package}",
        cwd=ROOT,
        env=env,
        timeout=LONG,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 9


def test_every_key_of_a_papers_file_is_in_the_table():
    rows = dict(re.findall(r"^\| (\w+) \| (.*) \|$", EXAMPLES, re.MULTILINE))
    for record, keys in _KEYS.items():
        name = {"Readings": "study"}.get(record.__name__, record.__name__.lower())
        said = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`]*)`", rows[name]))))
        said |= (
            set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`]*)`", rows["table"])))) if name == "study" else set()
        )
        assert keys - said == set(), name

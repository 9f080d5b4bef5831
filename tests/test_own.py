"""The how-to pages, run as a new user would: from a wheel, in an empty folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from commands import ROOT, VAEBENCH, python

# In the order in which their commands follow from each other.
PAGES = ("own-model", "own-table", "runs")
PAGE = "".join((ROOT / "docs" / "how-to" / f"{name}.md").read_text(encoding="utf-8") for name in PAGES)
COMMAND = re.compile(r"^\$ vaebench (.*)$", re.MULTILINE)
CODE = re.compile(r"^```python\n(?!# mine/)(.*?)^```", re.MULTILINE | re.DOTALL)
SAID = {
    "train -m": ["4 points, 4 runs, ", "model.k", "kl_kept"],
    "eval -m": ['"psnr": '],
    "new": [
        "written: mine/README.md, ",
        "now: cd mine && pip install -e . && vaebench train model=mine dataset=digits",
    ],
    "train --conf": ["mine latent_dim=64 on digits seed=0", "1,116,560"],
    "train model=batchtopk": ["tracked: tensorboard --logdir "],
    "list models": ["mine (mine)"],
    "compare": ["PSNR: mine above PCA 8: ", "stands in for MNIST"],
    "list runs where": ["batchtopk latent_dim=64 k=8 on digits seed=0", "differs"],
    "list runs --json": ['"what": "Mine latent_dim=8 on digits seed=0"'],
}


def test_the_page_runs_from_a_wheel_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    env = {"VAEBENCH_HOME": "", "COLUMNS": "160"}
    code, _ = CODE.findall(PAGE)
    left = dict(SAID)
    for words in COMMAND.findall(PAGE):
        if words.startswith("list runs where"):  # what the Python code made
            done = python("-c", code, path=installed, cwd=tmp_path, env=env)
            assert done.returncode == 0, done.stderr
        here = ["executor.kind=inline"] if " -m " in words else []
        done = python(*VAEBENCH, *shlex.split(words), *here, path=installed, cwd=tmp_path, env=env)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        for name in [name for name in left if words.startswith(name)]:
            for text in left.pop(name):
                assert text in done.stdout, (words, done.stdout)
    assert not left
    (compared,) = (path for path in (tmp_path / "results").iterdir() if path.is_dir())
    assert {"table.md", "table.tex", "table.json", "cells.csv"} <= {path.name for path in compared.iterdir()}


def test_the_search_finds_a_number_again(installed: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    _, code = CODE.findall(PAGE)
    first, again = (python("-c", code, path=installed, cwd=tmp_path, env={"VAEBENCH_HOME": ""}) for _ in range(2))
    assert first.returncode == again.returncode == 0, first.stderr + again.stderr
    trials = "import optuna; print(len(optuna.load_study(study_name='k', storage='sqlite:///search.db').trials))"
    assert python("-c", trials, cwd=tmp_path).stdout.strip() == "10"

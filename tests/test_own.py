"""docs/own.md, run as a new user would: from a wheel, in an empty folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from commands import ROOT, VAEBENCH, python

PAGE = (ROOT / "docs" / "own.md").read_text(encoding="utf-8")
COMMAND = re.compile(r"^\$ vaebench (.*)$", re.MULTILINE)
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SAID = {
    "new": [
        "written: mine/README.md, ",
        "now: cd mine && pip install -e . && vaebench train model=mine dataset=digits",
    ],
    "train": ["mine latent_dim=64 on digits seed=0", "1,116,560"],
    "train model=batchtopk": ["tracked: tensorboard --logdir "],
    "list models": ["mine (mine)"],
    "compare": ["PSNR: mine above PCA 8: ", "stands in for MNIST"],
    "list runs where": ["batchtopk latent_dim=64 k=8 on digits seed=0", "differs"],
    "list runs --json": ['"what": "Mine latent_dim=8 on digits seed=0"'],
}


def test_the_page_runs_from_a_wheel_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    env = {"VAEBENCH_HOME": "", "COLUMNS": "160"}
    (code,) = CODE.findall(PAGE)
    left = dict(SAID)
    for words in COMMAND.findall(PAGE):
        if words.startswith("list runs where"):  # what the Python code made
            done = python("-c", code, path=installed, cwd=tmp_path, env=env)
            assert done.returncode == 0, done.stderr
        done = python(*VAEBENCH, *shlex.split(words), path=installed, cwd=tmp_path, env=env)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        for name in [name for name in left if words.startswith(name)]:
            for text in left.pop(name):
                assert text in done.stdout, (words, done.stdout)
    assert not left
    (compared,) = (path for path in (tmp_path / "results").iterdir() if path.is_dir())
    assert {"table.md", "table.tex", "table.json", "cells.csv"} <= {path.name for path in compared.iterdir()}

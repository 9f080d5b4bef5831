"""The examples of docs/adding.md are copied out of the page into a copy of vaebench and run there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE = re.compile(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"`rows:` of a table in `([\w./]+)`.*?\n```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)

COMMANDS = """
from dataclasses import asdict
from vaebench.cli.main import main
from vaebench.config.compose import compose, session
from vaebench.config.spine import RuntimeSpec
from vaebench.config.targets import pictures
from vaebench.contracts import Job
from vaebench.papers.tables import load
from vaebench.runs.kinds import moments
from vaebench.runs.store import Store, store_root
from vaebench.runs.worker import work
fast = ["model=rae", "dataset=digits_small", "train.max_steps=2", "quiet=true"]
assert main(["train", *fast]) == 0
assert main(["eval", "suite=activity", *fast]) == 0
assert main(["train", "experiment=batchtopk/rae_64", "dataset=digits", "train.max_steps=2"]) == 0
text = ["model=rcvae", "dataset=tiny", "embedder=hashing", "model.hidden=[16]", "dataset.problems.train=200"]
assert main(["train", *text, "train.max_steps=2", "quiet=true"]) == 0
for data in ("digits_small", "tones"):
    tokens = ["model=signs", f"dataset={data}", "train.max_steps=2", "train.batch_size=8", "quiet=true"]
    assert main(["eval", *tokens]) == 0
latent = ["model=ldm", "dataset=digits_small", "parent.experiment=patchwise", "train.max_steps=2", "quiet=true"]
assert main(["train", *latent, "model.width=16", "model.depth=1", "parent.overrides=['train.max_steps=2']"]) == 0
assert main(["eval", "suite=compression", "model=patchwise", "dataset=digits_small", "train.max_steps=2"]) == 0
short = ["train.max_steps=2"]
chain = [f"chain.{name}.overrides={short}" for name in ("encoder", "tokenizer", "teacher")]
matched = ["experiment=dmvae/joint", "reference=box", "reference.samples=300", "dataset=digits", *short, *chain]
assert main(["train", *matched, "quiet=true"]) == 0
hinted = ["model=hinted", "dataset=digits_small", *short, "quiet=true"]
hinted += ["chain.teacher.overrides=['train.max_steps=2','model.latent_dim=8']"]
assert main(["train", *hinted]) == 0
assert main(["eval", "suite=reconstruction", *hinted]) == 0
with session():
    run = Store(store_root()).open(moments.request(compose("train", ["dataset=digits_small"]), {}))
assert work(Job("moments", run.folder), asdict(RuntimeSpec())).status == "done"
assert run.result()["images"] == 1437
assert main(["list", "runs", "chains"]) == 0
assert [picture.kind for picture in pictures("activity")] == ["variances"]
assert "rae" in load("batchtopk").tables["table1"].rows
one, two = load("example").tables.values()
assert [claim.text for claim in one.claims] == ["PSNR of RAE above PCA's"]
assert [claim.text for claim in two.claims] == ["PSNR of RAE above VAE's (L = 8)", "PSNR of RAE above VAE's (L = 16)"]
"""


def test_the_examples_run(tmp_path):
    page = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
    for folder in ("vaebench", "conf"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    files = FILE.findall(page)
    assert len(files) == 23
    for name, content in files:
        assert not (tmp_path / name).exists(), f"{name} is there already: the page's example needs another name"
        (tmp_path / name).write_text(content, encoding="utf-8")
    written = [name for name, _ in files if name.endswith(".py")]
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    subprocess.run([sys.executable, "-m", "ruff", "check", *written], cwd=tmp_path, check=True)
    subprocess.run([sys.executable, "-m", "ruff", "format", "--check", *written], cwd=tmp_path, check=True)
    ((name, line),) = ROW.findall(page)
    paper = tmp_path / name
    paper.write_text(
        paper.read_text(encoding="utf-8").replace("    rows:\n", f"    rows:\n{line}", 1), encoding="utf-8"
    )

    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "VAEBENCH_HOME": str(tmp_path / "runs")}
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "active_units" in done.stdout
    assert "penalty" in done.stdout
    assert "moments of digits_small" in done.stdout

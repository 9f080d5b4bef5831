"""The examples of docs/adding.md are copied out of the page into a copy of vaebench and run there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from commands import ROOT, python

LONG = 1200.0  # seconds, of what takes one or two minutes on a machine that is not busy
FILE = re.compile(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"`rows:` of a table in `([\w./]+)`.*?\n```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)

COMMANDS = """
from dataclasses import asdict
from vaebench.cli.main import main
from vaebench.config.compose import compose, session
from vaebench.config.spine import RuntimeSpec
from vaebench.config.choices import pictures
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


# The tests that are there for every choice, whoever adds one.
GENERIC = ["test_config", "test_house_rules", "test_kinds", "test_matching", "test_requests", "test_stored_code"]
GENERIC += ["models/test_models_all", "references/test_references_all"]
GENERIC += ["suites/test_suite_options", "suites/test_suites_diverged"]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, list[str]]:
    """A copy of vaebench with the page's examples in it, and the names of their files."""
    folder, page = tmp_path_factory.mktemp("examples"), (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
    for name in ("vaebench", "conf", "docs", "tests", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    files = dict(FILE.findall(page))
    assert len(files) == 23
    for name, content in files.items():
        assert not (folder / name).exists(), f"{name} is there already: the page's example needs another name"
        (folder / name).write_text(content, encoding="utf-8")
    ((name, line),) = ROW.findall(page)
    paper = (folder / name).read_text(encoding="utf-8")
    (folder / name).write_text(paper.replace("    rows:\n", f"    rows:\n{line}", 1), encoding="utf-8")
    return folder, list(files)


def test_the_examples_run(written):
    folder, _ = written
    done = python("-c", COMMANDS, path=folder, cwd=folder, env={"VAEBENCH_HOME": str(folder / "runs")}, timeout=LONG)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "active_units" in done.stdout
    assert "penalty" in done.stdout
    assert "moments of digits_small" in done.stdout


def test_the_examples_are_formatted(written):
    folder, files = written
    code = [name for name in files if name.endswith(".py")]
    for how in (["check"], ["format", "--check"]):
        done = python("-m", "ruff", *how, *code, cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_examples_pass_the_tests_of_their_kind(written):
    folder, files = written
    names = sorted({Path(name).stem for name in files})
    words = [*(f"tests/{name}.py" for name in GENERIC), "-k", " or ".join(names)]
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", *words, path=folder, cwd=folder, timeout=LONG)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > len(files)


def test_the_readme_has_the_scoreboard_of_the_results():
    lines = (ROOT / "results" / "scoreboard.md").read_text(encoding="utf-8").strip()
    assert lines in (ROOT / "README.md").read_text(encoding="utf-8")

"""The command line helps: a text for each verb whose examples work, and completion in a shell."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from commands import ROOT, VAEBENCH, python
from vaebench.cli import completion
from vaebench.cli.help import ABOUT, of
from vaebench.cli.main import VERBS
from vaebench.papers.tables import load


def test_every_verb_has_a_text_with_three_examples(run):
    assert ABOUT.keys() == set(VERBS)
    for verb, (what, *examples) in ABOUT.items():
        said = run.done(verb, "--help")
        assert said == of(verb)
        assert said.splitlines()[0].lower() == f"vaebench {verb}: {what.lower()}"
        assert len(examples) == 3
        assert all(f"vaebench {verb}" in example for example in examples)
        assert max(map(len, said.splitlines())) <= 120
    assert "train.batch_size=128" in run.done("train", "--help")
    assert "measure=true" in run.done("plan", "--help")


@pytest.mark.parametrize("verb", ["train", "eval", "answers", "prompt"])
def test_examples_of_trainings_compose(run, verb):
    for example in ABOUT[verb][1:]:
        words = [word.replace("FILE", str(ROOT / "README.md")) for word in shlex.split(example)[2:]]
        if not any(word.startswith("run=") for word in words):
            assert run(verb, *words, "--cfg", "job").code == 0, example


@pytest.mark.parametrize("verb", ["reproduce", "compare", "plan", "report"])
def test_examples_name_tables_and_rows_there_are(verb):
    for example in ABOUT[verb][1:]:
        given = dict(word.partition("=")[::2] for word in shlex.split(example)[2:])
        if given.get("paper", "").endswith(".yaml"):
            continue
        paper = load(given["paper"]) if "paper" in given else None
        if paper and "table" in given:
            rows = paper.tables[given["table"]].rows
            assert {row for row in given.get("row", "").split(",") if row} <= set(rows), example


@pytest.mark.parametrize(
    ("line", "some", "none"),
    [
        ("vaebench ", ["train", "compare", "completion"], ["complete"]),
        ("vaebench tr", ["train"], ["eval"]),
        ("vaebench train model=b", ["model=batchtopk", "model=beta_vae"], ["model=ae"]),
        ("vaebench train model=batchtopk model.", ["model.k=", "model.beta="], ["model._target_=", "model.version="]),
        ("vaebench train train.", ["train.batch_size=", "train.max_steps="], ["seed="]),
        ("vaebench eval ", ["suite=", "run=", "seed="], ["paper="]),
        ("vaebench eval suite=noise suite.", ["suite.sigmas="], ["suite.code_seed="]),
        ("vaebench eval dataset@test_on=mn", ["dataset@test_on=mnist", "dataset@test_on=mnist_32"], []),
        ("vaebench reproduce ", ["paper=", "scale=", "seeds=", "executor="], ["model="]),
        ("vaebench compare paper=batchtopk table=", ["table=table1", "table=masks"], ["table=headline"]),
        ("vaebench list ", ["models", "runs"], ["train"]),
        ("vaebench runs ", ["show", "unpack"], []),
        ("vaebench new ", ["model", "paper"], []),
        ("vaebench data fetch mni", ["mnist"], ["digits"]),
        ("vaebench train 'model=", [], ["model=ae"]),
        ("vaebench nothing ", [], ["train"]),
    ],
)
def test_words_that_may_stand_there(line, some, none):
    found = completion.complete(line, VERBS)
    assert set(some) <= set(found)
    assert not set(none) & set(found)
    assert found == sorted(found)


def test_keys_are_completed(run, home):
    run.done("train", "model=pca", "dataset=digits", "quiet=true")
    (key,) = (path.name for path in home.iterdir() if (path / "request.yaml").exists())
    assert completion.complete("vaebench eval run=", VERBS) == [f"run={key}"]
    assert completion.complete(f"vaebench runs show {key[:3]}", VERBS) == [key]


def test_a_mistake_in_the_environment_completes_nothing(monkeypatch):
    monkeypatch.setenv("VAEBENCH_CONF", "/nowhere/at/all")
    assert completion.complete("vaebench train model=", VERBS) == []


def test_answering_needs_neither_torch_nor_hydra(tmp_path):
    code = "import sys; from vaebench.cli.main import main; main(['complete', 'vaebench train model=']); "
    code += "print([name for name in ('torch', 'hydra', 'pandas', 'rich') if name in sys.modules], file=sys.stderr)"
    done = python("-c", code, cwd=tmp_path)
    assert "model=batchtopk\n" in done.stdout
    assert done.stderr == "[]\n"


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("line", "wanted"),
    [("vaebench trai", "train"), ("vaebench train model=batcht", "batchtopk"), ("vaebench list mod", "models")],
)
def test_bash_completes(line, wanted, tmp_path):
    (tmp_path / "vaebench").write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m vaebench "$@"\n')
    (tmp_path / "vaebench").chmod(0o755)
    script = python(*VAEBENCH, "completion", "bash").stdout
    script += (
        f'\nCOMP_LINE="{line}"; COMP_POINT=${{#COMP_LINE}}; compopt() {{ :; }}; _vaebench; echo "${{COMPREPLY[@]}}"\n'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == wanted, done.stderr


def test_scripts_say_where_they_go(run):
    for shell in ("bash", "zsh", "fish"):
        assert run.done("completion", shell).startswith("# ")
    assert "unknown shell 'tcsh'" in run.refused("completion", "tcsh")
    assert Path(ROOT / "vaebench" / "cli" / "completion.py").is_file()

"""vaebench from Python, and single runs of the store: opened, listed, packed, removed."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import torch

import vaebench
from commands import VAEBENCH, holding, python
from vaebench.chains import evaluation
from vaebench.cli import main as cli
from vaebench.config.compose import compose, session
from vaebench.papers.cells import Cells
from vaebench.runs.listed import named
from vaebench.runs.load import load_model
from vaebench.runs.store import Run, Store

WORDS = ("dataset=digits", "train.max_steps=2", "quiet=true")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A store with two runs, one of them evaluated."""
    store = tmp_path_factory.mktemp("api") / "store"
    for k in (4, 8):
        vaebench.train("model=batchtopk", f"model.k={k}", *WORDS, store=store)
    vaebench.evaluate("suite=reconstruction", "model=batchtopk", "model.k=4", *WORDS, store=store)
    return store


@pytest.fixture
def store(made: Path, home: Path) -> Path:
    """A copy of it, where commands look."""
    shutil.copytree(made, home)
    return home


def key_of(store: Path, k: int) -> str:
    (row,) = vaebench.runs(f"model.k={k}", store=store)["run"]
    return row


def test_importing_is_quick_and_brings_no_torch(tmp_path):
    code = "import vaebench, sys; assert not {'torch', 'pandas', 'hydra'} & set(sys.modules); print(vaebench.__all__)"
    done = python("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "evaluate" in done.stdout


def test_a_trained_model_works_with_images(store):
    found = vaebench.load(key_of(store, 4)[:7])
    x = found.dataset.test_x[:5].float() / 255
    module = load_model(named(Store(store), found.key), torch.device("cpu"))
    assert torch.equal(found.model.encode(x), module.encode(x))
    assert torch.equal(found.model.reconstruct(x), module.decode(module.encode(x)))
    assert torch.equal(found.model.sample(3, seed=5), found.model.sample(3, seed=5))
    assert found.request["model"]["k"] == 4
    assert found.result["steps"] == 2
    assert isinstance(found.log(), pd.DataFrame)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            torch.zeros(2, 1, 28, 28, dtype=torch.uint8),
            "images are torch.uint8: expected floats in [0, 1]; divide by 255",
        ),
        (torch.zeros(28, 28), "images have the shape [28, 28]: expected [b, c, h, w]"),
    ],
)
def test_images_of_another_form_are_refused(store, images, message):
    model = vaebench.load(key_of(store, 4)).model
    with pytest.raises(vaebench.UserError) as caught:
        model.encode(images)
    assert message in str(caught.value)


def test_what_a_model_cannot_do_is_said(store):
    model = vaebench.train("model=ae", *WORDS).model
    with pytest.raises(vaebench.UserError, match="Autoencoder has no sample"):
        model.sample(2)


def test_training_and_evaluating_are_those_of_the_command_line(store, run):
    trained = vaebench.train("model=batchtopk", "model.k=4", *WORDS)
    assert trained.key == key_of(store, 4)
    by_key = vaebench.evaluate("suite=reconstruction", run=trained.key[:6])
    by_words = vaebench.evaluate("suite=reconstruction", "model=batchtopk", "model.k=4", *WORDS)
    pd.testing.assert_frame_equal(by_key, by_words)
    assert f"psnr         │ {by_key.set_index('measurement').value['psnr']:.4f}" in run.done(
        "eval", f"run={trained.key[:6]}", "suite=reconstruction"
    )


def test_what_a_stored_run_is_evaluated_with_is_what_its_options_ask_for(store):
    trained = named(Store(store), key_of(store, 8)).request()
    for suite in ("suite=noise", "suite=noise suite.classifier=reconstructions", "suite=generation", "suite=masks"):
        with session():
            by_words = compose("eval", ["model=batchtopk", "model.k=8", *WORDS, *suite.split()])
            by_key = compose("eval", ["dataset=digits", *suite.split()])
            wanted, found = evaluation.evaluation(by_words)[0], evaluation.of_stored(by_key, trained)[0]
        assert [one.key for one in found] == [one.key for one in wanted]


def test_the_configuration_of_a_stored_runs_evaluation_is_only_shown(store, run):
    before = sorted(store.rglob("*"))
    assert "jaccard" not in run.done("eval", f"run={key_of(store, 8)}", "suite=masks", "--cfg", "job")
    assert sorted(store.rglob("*")) == before


def test_a_store_is_named_by_its_folder(made, home):
    found = vaebench.evaluate("suite=reconstruction", run=key_of(made, 4), store=made)
    assert len(found)
    assert not home.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run=ffff", "suite=masks"), "run ffff: there is no such run in"),
        (("run=", "suite=masks"), "run : there is no such run in"),
        (("run=KEY", "model.k=3"), "model.k=3: run KEY is trained already; leave it out"),
        (("run=KEY", "suite=masks", "snapshot=2"), "snapshot=2: train.snapshots=None keeps none"),
        (("run=KEY", "suite=selection"), "suite selection"),
        (("run=KEY", "suite=cost"), "suite cost is for designs"),
        (("run=KEY,KEY", "suite=masks"), "run=KEY,KEY: lists several values; add -m to sweep"),
    ],
)
def test_mistakes_are_one_line(store, run, words, message):
    key = key_of(store, 8)
    said = run.refused("eval", *(word.replace("KEY", key) for word in words))
    assert message.replace("KEY", key) in said


def test_runs_are_filtered_sorted_and_shown_by_what_they_differ_in(store, run):
    frame = vaebench.runs(store=store)
    assert list(frame["differs"]) == ["k=4", "k=8"]
    assert list(frame["evaluations"]) == ["reconstruction", ""]
    rows = json.loads(run.done("list", "runs", "sort=-model.k", "columns=run,model.k", "--json"))["runs"]
    assert [row["model.k"] for row in rows] == ["8", "4"]
    assert "k=8" not in run.done("list", "runs", "where=model.k=4")
    for word, message in (
        ("where=k=4", "unknown where 'k'"),
        ("where=model", "expected FIELD=VALUE"),
        ("sort=size", "unknown sort 'size'"),
        ("columns=run,what,size", "unknown columns 'size'"),
        ("order=model", "unknown option 'order'"),
    ):
        assert message in run.refused("list", "runs", word)
    assert "is for `vaebench list runs`" in run.refused("list", "models", "sort=model")


def test_a_failure_is_listed_with_its_reason(store, run):
    broken = named(Store(store), key_of(store, 8))
    broken.set_status("failed", reason="RuntimeError: out of memory")
    (row,) = json.loads(run.done("list", "runs", "where=status=failed", "columns=run,reason", "--json"))["runs"]
    assert row == {"run": broken.key, "reason": "RuntimeError: out of memory"}


def test_every_section_is_listed_as_json(run):
    found = json.loads(run.done("list", "--json"))
    assert {"model": "ae", "options (defaults)": found["models"][0]["options (defaults)"]} == found["models"][0]
    assert all(isinstance(rows, list) for rows in found.values())


def test_options_are_listed_as_a_command_takes_them(run):
    rows = json.loads(run.done("list", "executors", "--json"))["executors"]
    found = {one["executor"]: one["options (defaults)"] for one in rows}
    assert "address=null" in found["ray"]
    verbs = "{train, eval, answers, embed, grade, latents, reference}"
    assert "wait=true, partition=null" in found["slurm"]
    assert f"verbs.{verbs}.{{partition, account, time, memory, cpus, gpus}}=null" in found["slurm"]


def test_a_run_is_shown_whole(store, run):
    key = key_of(store, 4)
    found = json.loads(run.done("runs", "show", key[:8], "--json"))
    assert found["request"]["model"]["k"] == 4
    assert found["status"] == "done"
    assert list(found["evaluations"].values()) == ["done"]
    assert "latent_dim: 64" in run.done("runs", "show", key)


def test_a_packed_run_is_whole_elsewhere(store, run, tmp_path, monkeypatch):
    key = key_of(store, 4)
    monkeypatch.chdir(tmp_path)
    run.done("runs", "pack", key[:6])
    other = tmp_path / "other"
    monkeypatch.setenv("VAEBENCH_HOME", str(other))
    assert run.done("runs", "unpack", f"{key}.zip") == f"unpacked: {key}\n"
    assert run.done("runs", "unpack", f"{key}.zip") == f"unpacked: nothing new; here already: {key}\n"
    x = torch.rand(2, 1, 28, 28)
    assert torch.equal(vaebench.load(key).model.encode(x), vaebench.load(key, store=store).model.encode(x))
    assert vaebench.runs()["evaluations"].tolist() == ["reconstruction"]
    assert f"{key}.zip: exists" in run.refused("runs", "pack", key)


def rewritten(source: Path, target: Path, change) -> Path:
    """A packed file, each entry of which ``change`` gives another name and content."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            for name, content in change(entry.filename, old.read(entry)):
                new.writestr(name, content)
    return target


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda name, content: [("../out.txt" if "metrics" in name else name, content)], "which is no file of a run"),
        (lambda name, content: [("/out.txt" if "metrics" in name else name, content)], "which is no file of a run"),
        (lambda name, content: [(f"notakey/{name}", content)], "is no packed run"),
        (
            lambda name, content: [(name, content[:-1] if name.endswith("safetensors") else content)],
            "model.safetensors",
        ),
        (lambda name, content: [(name, content.replace(b"k: 4", b"k: 5"))], "was changed after it was written"),
        (lambda name, content: [(name, content)] if "status" not in name else [], "is not finished"),
    ],
)
def test_a_packed_file_that_was_changed_is_refused_and_nothing_is_put_anywhere(
    store, run, tmp_path, monkeypatch, change, message
):
    key = key_of(store, 4)
    run.done("runs", "pack", key, str(tmp_path / "whole.zip"))
    changed = rewritten(tmp_path / "whole.zip", tmp_path / "changed.zip", change)
    other = tmp_path / "other"
    monkeypatch.setenv("VAEBENCH_HOME", str(other))
    assert message in run.refused("runs", "unpack", str(changed))
    assert not other.exists() or not list(other.iterdir())
    assert not (tmp_path / "out.txt").exists()


def test_what_others_build_on_and_what_is_at_work_stays(store, run):
    with session():
        cfg = compose("eval", ["dataset=digits", "suite=noise", "suite.classifier=reconstructions"])
        trained = named(Store(store), key_of(store, 8)).request()
        Store(store).open(evaluation.of_stored(cfg, trained)[0][1])  # its classifier, begun
    said = run.refused("runs", "remove", key_of(store, 8))
    assert "build on it; remove them first" in said
    key = key_of(store, 4)
    holder = holding(store / key)
    assert "is being worked on" in run.refused("runs", "remove", key)
    holder.kill()
    holder.communicate()
    assert run.done("runs", "remove", key) == f"removed: {key}\n"
    assert not (store / key).exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "vaebench runs: which? show, remove, pack, unpack, push, pull"),
        (("shwo", "a"), "unknown runs command 'shwo'; did you mean 'show'?"),
        (("show",), "vaebench runs show KEY: expected these words"),
        (("unpack", "nothing.zip"), "nothing.zip: cannot be unpacked"),
    ],
)
def test_mistakes_with_runs_are_one_line(store, run, words, message):
    assert message in run.refused("runs", *words)


def test_a_run_that_is_not_finished_is_not_packed(store, run):
    key = key_of(store, 8)
    Run(store / key).set_status("interrupted")
    assert f"run {key}: is interrupted, not finished" in run.refused("runs", "pack", key)
    with pytest.raises(vaebench.UserError, match="not finished"):
        vaebench.load(key)


def test_a_table_is_a_frame(tmp_path):
    from commands import ROOT

    frame = vaebench.table("batchtopk", "table2", results=ROOT / "results")
    assert {"row", "column", "ours", "low", "high", "seeds", "paper", "verdict"} <= set(frame)
    cells = Cells.read(ROOT / "results" / "batchtopk" / "cells.csv").frame
    one = frame[(frame.row == "beta_vae") & (frame.column == "accuracy@0.3") & (frame.scale == "small")].iloc[0]
    same = cells[
        (cells.table == "table2")
        & (cells.row == "beta_vae")
        & (cells.column == "accuracy@0.3")
        & (cells.scale == "small")
    ]
    assert one.ours == pytest.approx(same.value.mean())
    for words, message in ((("nope", "table2"), "unknown paper 'nope'"), (("batchtopk", "t"), "unknown table 't'")):
        with pytest.raises(vaebench.UserError, match=message):
            vaebench.table(*words)
    with pytest.raises(vaebench.UserError, match="nothing of batchtopk is measured there"):
        vaebench.table("batchtopk", "table2", results=tmp_path)


def test_a_busy_machine_is_no_news_in_python(store, capsys, monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (1000.0, 0.0, 0.0))
    vaebench.train("model=batchtopk", "model.k=4", *WORDS)
    assert capsys.readouterr() == ("", "")
    assert cli.main(["train", "model=batchtopk", "model.k=4", *WORDS[:2]]) == 0
    assert "expect it to be slow" in capsys.readouterr().err


def test_a_table_is_there_as_it_is_printed():
    frame = vaebench.reported("batchtopk", "table2").set_index(["row", "column"])["paper"]
    assert frame["batchtopk", "accuracy@0.7"] == 0.7841
    assert len(frame) == 6
    assert list(vaebench.reported("batchtopk", "masks")) == ["row", "column", "paper"]
    for words, message in ((("nope", "table2"), "unknown paper 'nope'"), (("batchtopk", "t"), "unknown table 't'")):
        with pytest.raises(vaebench.UserError, match=message):
            vaebench.reported(*words)


def test_the_command_line_says_how(run):
    assert python(*VAEBENCH, "runs").returncode == 2

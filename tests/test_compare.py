"""Rows of one's own in a paper's table, and papers of one's own in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import ROOT
from vaebench.papers import tables

FAST = ("scale=smoke", "dataset=digits", "seeds=2", "executor.kind=inline", "quiet=true")
SHORT = "train.max_steps=2"
TABLE = ("compare", "paper=batchtopk", "table=table1", "row=pca_8")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, and no papers but those that can be chosen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tables, "_added", {})
    return tmp_path


def test_a_row_of_ones_own_stands_beside_the_papers(run, here):
    run.done(*TABLE, *FAST, f"with=mine: model=ae model.latent_dim=4 {SHORT}", f"with=model=identity {SHORT}")
    (folder,) = (path for path in (here / "results").iterdir() if path.is_dir())
    assert folder.name == f"batchtopk-table1-mine-model_identity_{SHORT.replace('.', '_').replace('=', '_')}"
    assert {path.name for path in folder.iterdir()} >= {"cells.csv", "table.md", "table.tex", "table.json"}
    text = (folder / "table.md").read_text()
    assert "\n| mine (added) |" in text
    assert "with rows added" in text
    assert "| PSNR: mine above PCA 8 | ours |" in text
    assert "mine, FID: suite generation cannot run on Autoencoder: it needs a model that Samples" in text
    board = (here / "results" / "scoreboard.md").read_text()
    assert "batchtopk-table1" not in board  # the paper's numbers are not counted once more


def test_what_was_compared_is_not_run_again(run, here):
    run.done(*TABLE, *FAST, f"with=mine: model=ae {SHORT}")
    before = {path: path.stat().st_mtime_ns for path in here.parent.rglob("model.safetensors")}
    run.done(*TABLE, *FAST, f"with=mine: model=ae {SHORT}")
    assert {path: path.stat().st_mtime_ns for path in here.parent.rglob("model.safetensors")} == before


def test_rows_are_compared_on_data_of_ones_own(run, here):
    pixels = np.random.default_rng(0).integers(0, 256, (150, 8, 8), np.uint8)
    (here / "my scans").mkdir()
    for number, one in enumerate(pixels):
        Image.fromarray(one).save(here / "my scans" / f"{number}.png")
    own = ("dataset=folder", "dataset.path=my scans", "dataset.size=8", "dataset.channels=1")
    words = (*TABLE, *(word for word in FAST if not word.startswith("dataset=")), "with=mine: model=identity")
    run.done(*words, *own)
    text = next(here.glob("results/*/table.md")).read_text()
    assert "scale=smoke on folder, a stand-in for MNIST" in text
    assert "dataset folder, train_images 135" in text
    assert "dataset=folder: which folder?" in run.refused(*words, own[0])
    assert "unknown option 'dataset.siz'; did you mean 'dataset.size'?" in run.refused(*words, *own, "dataset.siz=3")
    unfit = run.refused(*words, "dataset=digits", own[2])
    assert "dataset.size=8: here a dataset has no options, unless it is your own" in unfit
    assert "`vaebench compare` measures a table's rows on them" in run.refused("reproduce", "paper=batchtopk", own[0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "compare: which row is added? with='model=mine model.k=16'"),
        (("with=latent_dim",), "'latent_dim' is no option"),
        (("with=model.k=3",), "names neither model nor experiment"),
        (("with=model=ae dataset=mnist seed=3",), "dataset, seed is the table's, the same for all its rows"),
        (("with=pca 8: model=ae",), "there is a row pca_8 already; give this one a label"),
        (("with=model=ae", "with=model=ae"), "there is a row model_ae already; give this one a label"),
        (("with=model=aee",), "unknown model 'aee'; did you mean 'ae'?"),
        (("with='model=ae",), "cannot be read (No closing quotation)"),
        (("with=mine: model=classifier",), "suite reconstruction cannot run on Classifier"),
        (("table=all", "with=model=ae"), "table=all: compare takes one; valid: table1, table2, masks"),
        (("paper=all", "with=model=ae"), "paper=all: compare takes one; valid: batchtopk, dmvae"),
        (("table=table9", "with=model=ae"), "unknown table 'table9'"),
    ],
)
def test_mistakes_are_named(run, words, message):
    assert message in run.failed(*TABLE, *FAST, *words)


PAPER = """
title: Narrow codes
authors: A. N. Author
source: nowhere
year: 2026
tables:
  table1:
    caption: Reconstruction
    dataset: mnist
    columns: {psnr: {label: PSNR, suite: reconstruction, better: higher, digits: 2, tolerance: 0.25}}
    rows: {pca: {label: PCA, experiment: batchtopk/pca_8}, wide: {label: PCA 64, experiment: batchtopk/pca_64}}
    reported: |
      method  psnr
      pca     14.0
    claims: [{row: wide, higher: psnr, than: pca}]
"""


def test_a_paper_in_a_file_is_reproduced_and_reported(run, here):
    (here / "narrow.yaml").write_text(PAPER)
    run.done("reproduce", "paper=narrow.yaml", *FAST)
    assert "PSNR of PCA 64 above PCA's" in (here / "results" / "narrow" / "table.md").read_text()
    assert "5 files are up to date" in run.done("report", "paper=narrow.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "paper=own.yaml: there is no such file"),
        ("a: [", "own.yaml: is not YAML"),
        (PAPER.replace("caption:", "captoin:"), "paper own, table1: unknown key 'captoin'"),
        (PAPER.replace("higher: psnr, than", "higher: pnsr, than"), "unknown column 'pnsr'; did you mean 'psnr'?"),
    ],
)
def test_a_file_with_a_mistake_is_one_line(run, here, content, message):
    if content is not None:
        (here / "own.yaml").write_text(content)
    assert message in run.failed("plan", "paper=own.yaml")


def test_a_file_of_a_name_that_is_taken_is_refused(run, here):
    (here / "dmvae.yaml").write_text(PAPER)
    assert "paper dmvae: there is a paper of that name" in run.refused("plan", "paper=dmvae.yaml")
    assert (ROOT / "conf" / "paper" / "dmvae.yaml").is_file()

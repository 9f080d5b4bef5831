"""A rehearsal runs a table to its last cell, and its numbers can be taken for no others."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import pandas as pd
import pytest
from dying import Dying

from benchmarks.rehearsal import folders, report
from benchmarks.rehearsal.measured import Measured
from benchmarks.rehearsal.papers import SUFFIX, rehearsed
from commands import python
from vaebench.config.choices import choices
from vaebench.config.compose import dataset
from vaebench.config.request import Request
from vaebench.contracts import Job
from vaebench.data.leaves import dataset_leaf
from vaebench.errors import UserError
from vaebench.papers.cells import COLUMNS, Cells, cells_path
from vaebench.papers.tables import load
from vaebench.runs import build
from vaebench.runs.kinds import asked

ON = "VAEBENCH_REHEARSAL"


def cells(*protocols: dict) -> Cells:
    """A line for each protocol."""
    one = dict.fromkeys(COLUMNS, "a") | {"seed": 0, "value": 1.0, "by_seed": "[]", "count": 1, "stand_in": 0}
    one |= {"low": float("nan"), "high": float("nan"), "epochs": 1.0, "train_images": 1}
    lines = [{**one, "row": f"r{n}", "protocol": json.dumps(found)} for n, found in enumerate(protocols)]
    return Cells(pd.DataFrame(lines, columns=list(COLUMNS)))


def test_a_rehearsed_request_has_another_key(monkeypatch):
    plain = asked("train", {}, seed=0)
    monkeypatch.setenv(ON, "1")
    marked = asked("train", {}, seed=0)
    assert marked["rehearsal"] is True
    assert marked.key != plain.key
    monkeypatch.delenv(ON)
    assert asked("train", {}, seed=0) == plain


def test_rehearsed_numbers_reach_no_results(tmp_path):
    rehearsed, measured = {"rehearsal": True}, {"split": "test"}
    with pytest.raises(UserError, match="takes no numbers of a rehearsal"):
        cells(rehearsed).write(cells_path(tmp_path / "results", "ldmae"))
    with pytest.raises(UserError, match="do not stand in one file"):
        cells(rehearsed, measured).write(cells_path(tmp_path / "tables", "ldmae"))
    for protocol in (rehearsed, measured):
        cells(protocol).write(cells_path(tmp_path / "tables", "ldmae"))
        assert len(Cells.read(cells_path(tmp_path / "tables", "ldmae")).frame) == 1
    # Nor by hand: the file is refused when it is read.
    cells(rehearsed).write(cells_path(tmp_path / "tables", "ldmae"))
    (tmp_path / "tables").rename(tmp_path / "results")
    with pytest.raises(UserError, match="takes no numbers of a rehearsal"):
        Cells.read(cells_path(tmp_path / "results", "ldmae"))


@pytest.mark.usefixtures("composing")
@pytest.mark.parametrize("name", choices("paper"))
def test_a_rehearsal_leaves_no_table_row_or_column_out(name, tmp_path):
    paper, own = rehearsed(name, width=Fraction(1, 8), weights=tmp_path), load(name)
    assert paper.name == name + SUFFIX
    assert paper.tables.keys() == own.tables.keys()
    for key, table in own.tables.items():
        there = paper.tables[key]
        assert there.seeds == {"paper": 1}
        assert there.columns.keys() == table.columns.keys()
        # What is printed was not rehearsed, so no number of a rehearsal is comparable.
        assert all(column.protocol["rehearsal"] is False for column in there.columns.values())
        if not table.study:
            assert there.run_at("paper") == table.run_at("paper")
            assert there.reported == table.reported
            assert [replace(claim, id="") for claim in there.claims] == [replace(c, id="") for c in table.claims]


@pytest.mark.usefixtures("composing")
def test_made_up_folders_are_read_as_the_real_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEBENCH_DATA", str(tmp_path))
    folders.write_pictures(tmp_path)
    folders.write_sounds(tmp_path)
    found = {
        name: build.dataset(Request({"dataset": dataset_leaf(dataset(name))}))
        for name in ("imagenet", "celebahq", "coco", "librispeech", "common_voice")
    }
    assert [found[name].classes for name in ("imagenet", "celebahq", "coco")] == [10, 0, 0]
    assert found["imagenet"].shape == (3, 256, 256)
    assert len(found["coco"]) == folders.CODED
    assert len(found["librispeech"]) == folders.SPOKEN
    assert len(found["common_voice"].test) == folders.HEARD
    assert {one.note for one in found.values()} <= {"", "no training split"}


def test_a_table_is_rehearsed_to_its_last_cell(tmp_path):
    options = ["--folder", str(tmp_path), "--paper", "dmvae", "--table", "toy", "--row", "dmd", "--threads", "2"]
    done = python("-m", "benchmarks.rehearse", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    frame = Cells.read(cells_path(tmp_path / "tables", f"dmvae{SUFFIX}")).frame
    assert len(frame) == len(load("dmvae").tables["toy"].columns)
    assert all(json.loads(text)["rehearsal"] is True for text in frame["protocol"])
    said = (tmp_path / "REHEARSAL.md").read_text(encoding="utf-8")
    assert "| dmvae toy | 29 | 3 | 8 | 112 |" in said
    assert "REHEARSAL" in (tmp_path / "tables" / f"dmvae{SUFFIX}" / "table.md").read_text(encoding="utf-8")
    runs = [json.loads(line) for line in (tmp_path / "ledgers" / "dmvae.toy.jsonl").read_text().splitlines()]
    assert [run["status"] for run in runs] == ["done"] * 3
    assert all(run["gigabytes"] > 0 for run in runs)


def test_runs_are_measured_one_at_a_time(tmp_path):
    assert Measured(ledger=str(tmp_path / "ledger"), gigabytes=1.0).at_once(gpus=0, processes=1) == 1


def test_a_run_whose_process_ends_without_a_word_has_failed(tmp_path):
    executor = Dying(ledger=str(tmp_path / "ledger"), gigabytes=1.0)
    queue, told = SimpleNamespace(take=iter([Job("train", tmp_path / "a"), None]).__next__), SimpleNamespace(machine={})
    (outcome,) = executor.submit(queue, told)
    assert (outcome.status, outcome.reason) == ("failed", "its process ended with 3")
    entry = json.loads((tmp_path / "ledger").read_text())
    assert (entry["cpu"], entry["gigabytes"]) == (None, None)
    assert "| a | 1 | 0 | 0 | 0 | 0.0 | - |" in report._row("a", {"runs": 1, "cells": 0, "wanted": 0}, [entry])

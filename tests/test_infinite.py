"""Numbers that are infinite, or none at all: measured, stored, shown, collected and judged."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from vaebench.contracts import Measurement, SuiteResult
from vaebench.contracts.infinite import difference, spelled
from vaebench.papers.cells import COLUMNS, Cells
from vaebench.papers.verdicts import Interval, interval, judge_cell, judge_claim, less
from vaebench.runs.kinds.eval import _told_apart
from vaebench.runs.store import Store

INF = math.inf


def measured(name: str, value: float, **protocol: object) -> Measurement:
    return Measurement(name, value, 4, "", protocol)


def test_the_identity_reconstructs_every_image(home, run):
    words = ["eval", "suite=reconstruction", "model=identity", "dataset=digits"]
    shown = run.done(*words)
    assert "inf dB" in shown
    assert "infinite=360" in shown
    (result,) = home.rglob("evals/*/result.json")
    found = {one["name"]: one for one in json.loads(result.read_text())["measurements"]}
    assert found["psnr"]["value"] == found["psnr_set"]["value"] == "inf"
    assert float(found["psnr"]["value"]) == INF
    assert found["psnr"]["protocol"]["infinite"] == 360
    assert (found["mse"]["value"], found["l1"]["value"]) == (0, 0)
    assert found["ssim_valid"]["value"] == found["ssim_reflect"]["value"] == pytest.approx(1)
    assert "inf dB" in run.done(*words)


def test_small_images_are_measured_without_ssim(home, run):
    words = ["eval", "suite=reconstruction", "model=pca", "model.latent_dim=4", "dataset=digits"]
    shown = run.done(*words, "dataset.shape=[1,8,8]")
    assert "not measured: ssim_valid: its window needs 11x11 pixels, the images have 8x8" in shown
    assert "psnr_set" in shown
    (run,) = (run for run in Store(home).runs())
    (result,) = run.folder.rglob("evals/*/result.json")
    assert sorted(json.loads(result.read_text())["left_out"]) == ["ssim_reflect", "ssim_valid"]


def test_what_is_no_number_is_named_and_the_others_stand():
    result = SuiteResult(
        (
            measured("fid", math.nan),
            measured("l1", 0.5),
            measured("psnr", INF, infinite=2),
            measured("psnr@ema", -INF),
            measured("kid", INF),
            measured("drop", math.nan, infinite=2),
            Measurement("cvu", 1.0, 4, "", {}, low=math.nan, high=2.0),
        ),
        left_out={"ssim": "too small"},
    )
    found, left_out = _told_apart(result)
    assert [one.name for one in found] == ["l1", "psnr"]
    assert left_out.pop("ssim") == "too small"
    assert left_out["fid"] == "is nan; the model's output is not usable for it"
    assert left_out["kid"].startswith("is inf; ")
    assert sorted(left_out) == ["cvu", "drop", "fid", "kid", "psnr@ema"]


def test_plain_data_spells_infinity_and_differences_of_it_are_numbers():
    content = {"a": [INF, 1.5, "inf"], "b": {"c": (-INF, None, True)}}
    assert spelled(content) == {"a": ["inf", 1.5, "inf"], "b": {"c": ["-inf", None, True]}}
    assert [float(text) for text in (spelled(INF), spelled(-INF))] == [INF, -INF]
    assert spelled(np.float64(INF)) == "inf"
    assert (difference(INF, INF), difference(INF, 3.0), difference(3.0, 1.0)) == (0, INF, 2)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([INF], Interval(INF, None, None, 1)),
        ([INF, INF, INF], Interval(INF, INF, INF, 3)),
        ([30.0, INF], Interval(INF, -INF, INF, 2)),
    ],
)
def test_an_interval_with_infinite_values(values, found):
    assert interval(values) == found
    assert found.half in (None, 0, INF)
    assert not math.isnan(found.half or 0)


def test_verdicts_on_infinite_numbers():
    assert judge_cell(30.0, 0.5, "higher", [INF] * 3, []).kind == "better"
    assert judge_cell(30.0, 0.5, "higher", [INF, INF, 31.0], []).kind == "undecided"
    some, all_ = {0: 30.0, 1: 31.0, 2: 30.0}, dict.fromkeys(range(3), INF)
    assert judge_claim(all_, some, "higher").verdict.kind == "holds"
    assert judge_claim(some, all_, "higher").verdict.kind == "reversed"
    assert judge_claim(all_, all_, "higher").verdict.text == "undecided (no difference)"
    assert judge_claim({0: INF, 1: 31.0, 2: INF}, some, "higher").verdict.kind == "undecided"
    assert less(interval([INF, INF]), interval([1.0, 2.0])).mean == INF
    assert less(interval([INF, INF]), interval([INF, INF])) == Interval(0, 0, 0, 2)


def test_cells_keep_infinity(tmp_path):
    numbers = {"seed": 0, "value": INF, "count": 1, "stand_in": 0, "epochs": 1.0, "train_images": 1}
    line = {name: numbers.get(name, math.nan if name in ("low", "high") else "x") for name in COLUMNS}
    line |= {"protocol": "{}", "by_seed": "[]"}
    path = tmp_path / "cells.csv"
    Cells.read(path).merged([line]).write(path)
    assert float(Cells.read(path).frame["value"][0]) == INF
    assert ",inf," in path.read_text()


def test_an_evaluation_of_nothing_fails_and_says_why(home, monkeypatch, capsys, run):
    class Nothing:
        requires = ()
        needs_classifier = False

        def run(self, inputs: object) -> SuiteResult:
            return SuiteResult((measured("a", math.nan), measured("b", math.nan)), left_out={"c": "too small"})

    monkeypatch.setattr("vaebench.runs.build.suite", lambda request: Nothing())
    code, *shown = run("eval", "suite=reconstruction", "model=identity", "dataset=digits")
    assert code != 0
    assert "nothing could be measured (c: too small; a, b: is nan; the model's output is not usable for it)" in "".join(
        shown
    )

"""A table from its YAML to its files: planned, run, collected, resumed, never overwritten."""

from __future__ import annotations

import io
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
from rich.console import Console

from chains import MACHINE, frozen, stamps
from diary import leaf, told
from vaebench.config.request import Request
from vaebench.contracts import Job, Outcome, Queue
from vaebench.errors import UserError
from vaebench.papers.cells import COLUMNS, KEY
from vaebench.papers.tables import load
from vaebench.reproduce import collect as reproduce
from vaebench.reproduce import durations
from vaebench.reproduce import rows as items
from vaebench.runs import executors
from vaebench.runs.executors.local import Local
from vaebench.runs.store import Store

WORDS = ["paper=batchtopk", "table=masks", "scale=smoke", "dataset=digits"]


def test_table_is_made_resumed_and_extended(tmp_path, home, diary, run):
    results = tmp_path / "results"
    words = ["reproduce", *WORDS, "seeds=1", f"results={results}", "executor.kind=inline"]
    words += ["tracker=diary", f"tracker.path={diary}"]
    out = run.done(*words)
    assert f"tracked: read {diary}\n" in out
    assert "digits, embedded" in out
    assert "measured: scale=smoke on digits, a stand-in for MNIST\n" in out
    frame = pd.read_csv(results / "batchtopk" / "cells.csv")
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == 2 * 5  # rows of the table x measured columns
    assert set(frame["stand_in"]) == {1}
    assert frame.groupby(list(KEY)).size().eq(1).all()
    stored = {request.parent.name for request in home.glob("*/request.yaml")}
    assert set(frame["run"]) <= stored
    for name in ("table.md", "table.tex", "table.json"):
        assert (results / "batchtopk" / name).stat().st_size > 0
    page = (results / "batchtopk" / "index.html").read_text()
    assert "stands in for MNIST" in page
    assert "http-equiv" not in page
    begun = {line[0]: line[3] for line in told(diary) if line[1] == "begin"}
    assert begun.keys() == {path.parent.name for path in home.rglob("request.yaml")}
    assert {(one["paper"], one["table"]) for one in begun.values()} == {("batchtopk", "masks")}
    assert {one["row"] for one in begun.values()} == set(frame["row"])

    # Cells of another scale stay; finished runs are not touched again; a plan says that nothing is left.
    other = frame.assign(scale="small", dataset="mnist", value=0.25)
    pd.concat([frame, other]).to_csv(results / "batchtopk" / "cells.csv", index=False)
    before = stamps(home)
    run.done(*words)
    assert stamps(home).items() >= before.items()
    again = pd.read_csv(results / "batchtopk" / "cells.csv")
    assert len(again) == 20
    assert set(again[again["scale"] == "small"]["value"]) == {0.25}
    assert "0 of 4 jobs" in run.done("plan", *WORDS, "seeds=1")
    run.done("report", "paper=batchtopk", f"results={results}")


def test_numbers_of_an_earlier_definition_do_not_stand_in_for_those_that_failed(tmp_path, run, monkeypatch):
    words = ["reproduce", *WORDS, "seeds=1", f"results={tmp_path}", "executor.kind=inline"]
    run.done(*words)
    path = tmp_path / "batchtopk" / "cells.csv"
    frame = pd.read_csv(path, dtype="str")
    earlier = frame["row"] == frame["row"][0]
    frame.loc[earlier, "eval"] = "0" * 12
    frame.to_csv(path, index=False)
    monkeypatch.setattr(executors, "run", lambda jobs, *_, **__: [Outcome(job, "failed", "no luck") for job in jobs])
    said = run(*words, f"store={tmp_path / 'empty'}")
    assert said.code == 1
    assert "no luck" in said.out
    assert set(pd.read_csv(path)["row"]) == set(frame["row"][~earlier])


def test_how_long_runs_took_is_looked_up_once(tmp_path, run, monkeypatch):
    seen = []
    learnt = durations.learnt
    monkeypatch.setattr(durations, "learnt", lambda store, todo: seen.append(len(todo)) or learnt(store, todo))
    run.done("reproduce", *WORDS, "seeds=1", f"results={tmp_path}", "executor.kind=inline")
    assert seen == [4], "for trainings and evaluations"


def test_report_without_results_says_what_to_do(run, tmp_path):
    assert "run vaebench reproduce first" in run.failed("report", f"results={tmp_path}")


def test_plan_names_what_it_would_do_and_makes_nothing(run, home):
    out = run.done("plan", "dataset=digits")
    for word in ("batchtopk table1", "batchtopk table2", "smoke, 2 seeds", "classifier", "cpu:", "min on a CPU core"):
        assert word in out
    assert "batchtopk race" not in out  # a study runs when it is named
    assert not home.exists()


def test_workers_run_jobs_and_report_failures(home, diary):
    """Two processes, three jobs, one of which cannot work: the others get done, and are tracked."""
    fast = ["dataset=digits", "model=beta_vae", "train.max_steps=3"]
    store = Store(home)
    runs = [store.open(frozen(*fast, word)) for word in ("seed=0", "seed=1", "train.batch_size=9999")]
    screen = io.StringIO()
    outcomes = executors.run(
        Queue(Job("train", run.folder, (("row", str(number)),)) for number, run in enumerate(runs)),
        {run.folder: run.key for run in runs},
        executor=Local(workers=2),
        store=home,
        machine=MACHINE | {"tracker": leaf(diary)},
        quiet=False,
        console=Console(file=screen, width=200),
    )
    ends = {outcome.job.folder: outcome for outcome in outcomes}
    assert [ends[run.folder].status for run in runs] == ["done", "done", "failed"]
    assert "only 1437 training items" in ends[runs[2].folder].reason
    assert runs[2].status()["status"] == "failed"
    assert screen.getvalue().count("done train") == 2
    assert "failed train" in screen.getvalue()
    begun = {line[0]: line[3]["row"] for line in told(diary) if line[1] == "begin"}
    assert begun == {run.key: str(number) for number, run in enumerate(runs)}
    closed = {line[0]: line[2] for line in told(diary) if line[1] == "close"}
    assert closed == {run.key: ends[run.folder].status for run in runs}


def test_unknown_executor_is_refused(run, tmp_path):
    assert "unknown executor 'slrum'" in run.failed(
        "reproduce", *WORDS, "executor.kind=slrum", f"results={tmp_path}", "seeds=1"
    )


@pytest.mark.usefixtures("composing")
@pytest.mark.parametrize(
    ("paper", "name", "dataset", "own", "line"),
    [
        ("batchtopk", "masks", "tones", {}, "model batchtopk works on images and dataset=tones holds audio; datasets"),
        ("batchtopk", "masks", "tiny", {}, "model batchtopk works on images and dataset=tiny holds text; datasets"),
        ("batchtopk", "masks", "mnist", {"train.max_step": 5}, "unknown option 'train.max_step'; did you mean"),
        ("batchtopk", "masks", "mnist", {"train.max_steps": -5}, "train.max_steps=-5: expected a whole number, at "),
        ("batchtopk", "masks", "mnist", {"train.max_steps": "x"}, "train.max_steps=x: Value 'x' of type 'str'"),
        ("batchtopk", "masks", "mnist", {"links": {"teacher": {"train.max_steps": 5}}}, "unknown option 'chain.tea"),
        ("dmvae", "references", "digits", {"links": {"diffusion": {"train.max_steps": 5}}}, "links.diffusion: is not"),
    ],
)
def test_what_a_row_cannot_be_is_one_line_with_its_place_before_anything_runs(paper, name, dataset, own, line):
    there = load(paper).tables[name]
    key, row = next((key, row) for key, row in there.rows.items() if "reference" in row.set or paper != "dmvae")
    table = replace(there, rows={key: replace(row, set={**row.set, **own})})
    here = items.RowHere(paper, name, table, key, items.Setting("smoke", dataset, False, "classifier", 1))
    for plan in (lambda: here.planned([]), here.trainings):
        with pytest.raises(UserError) as error:
            plan()
        assert len(error.value.lines) == 1
        assert str(error.value).startswith(f"paper {paper}, {name}, row {key}: {line}")


def test_a_difference_of_two_columns_is_of_the_same_row_and_seed():
    setting = items.Setting("small", "mnist", True, "classifier", 1)
    item = items.Item("dmvae", "references", "ssl", setting, 2, None, {})
    measured = [
        {"column": "rfid", "measurement": "rfid@0", "value": 30.0},
        {"column": "gap", "measurement": "fid", "value": 50.5},
        {"column": "psnr", "measurement": "psnr", "value": 17.0},
    ]
    found = {cell["column"]: cell for cell in reproduce._differences(item, measured)}
    assert found["gap"] == {"column": "gap", "measurement": "fid - rfid@0", "value": 20.5}
    assert found["rfid"]["value"] == 30.0
    without = reproduce._differences(item, measured[1:])
    assert [cell["column"] for cell in without] == ["psnr"], "nothing to take off: no number"


def test_a_number_that_its_suite_does_not_measure_is_named_and_the_others_are_kept():
    setting = items.Setting("smoke", "digits", True, "classifier", 1)
    request = Request({"suite": {"_target_": "vaebench.suites.reconstruction.Reconstruction"}, "parents": {}})
    item = items.Item("batchtopk", "table1", "batchtopk", setting, 0, None, {"psnr": request, "ssim_valid": request})
    measured = {"name": "psnr", "value": 20.0, "count": 1, "unit": "dB", "protocol": {}}
    result = {"measurements": [measured], "dataset": {"digest": "0" * 16, "stand_in": True}}
    result["provenance"] = {"commit": "", "device": "cpu"}
    done = SimpleNamespace(done=True, key="k", result=lambda: result)
    wrong: dict[str, None] = {}
    (cell,) = reproduce._cells(item, SimpleNamespace(find=lambda _: done), wrong)
    assert cell["value"] == 20.0
    assert list(wrong) == [
        "paper batchtopk, table1, column ssim_valid: suite reconstruction measures no ssim_valid. Valid: psnr"
    ]

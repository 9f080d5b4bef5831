"""Jobs on Slurm: on a real cluster of two nodes where it can be started, its grouping and its refusals anywhere.

The cluster is that of a script which starts one on one machine (``ONE_MACHINE_SLURM``) from Debian's packages slurmd,
slurmctld, slurm-client and munge; it takes root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock

from chains import MACHINE, do, files, frozen
from commands import ROOT, beside, until
from vaebench.contracts import Job, Outcome, Queue, Told
from vaebench.runs.executors import batches, cluster
from vaebench.runs.executors import slurm as executor
from vaebench.runs.executors.slurm import Slurm, seconds_of
from vaebench.runs.executors.submitted import Array, Submission, earlier
from vaebench.runs.store import Run, Store

SCRIPT = Path(os.environ.get("ONE_MACHINE_SLURM", ROOT.parent / "shared" / "tools" / "one-machine-slurm"))
TOOLS = ("slurmctld", "slurmd", "sbatch", "munged")
TABLE = "reproduce paper=batchtopk table=table1 row=beta_vae,batchtopk scale=smoke seeds=1 dataset=digits".split()
ON_SLURM = ["executor.kind=slurm", "executor.poll=0.5", "executor.memory=null", "executor.target_minutes=0.1"]
LONG = "model=batchtopk model.hidden=[128] dataset=digits train.max_steps=3000 train.epochs=900".split()
WHERE = ["commit", "device", "time", "seconds", "run", "eval"]


def missing() -> str:
    """Why there is no cluster here, empty if there can be one."""
    if not SCRIPT.is_file():
        return "ONE_MACHINE_SLURM names no script that starts Slurm"
    if os.geteuid() != 0:
        return "Slurm on one machine takes root"
    lacking = [tool for tool in TOOLS if not shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")]
    return f"{', '.join(lacking)} not installed" if lacking else ""


needs_slurm = pytest.mark.skipif(bool(missing()), reason=missing() or "there is one")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., None]]:
    """A cluster of two nodes, ``n1`` and ``n2``, of one CPU each; call it to kill or revive one."""
    folder = tmp_path_factory.mktemp("slurm")

    def do(verb: str, *words: str) -> None:
        subprocess.run([str(SCRIPT), verb, str(folder), *words], check=True, capture_output=True, timeout=120)

    with (
        FileLock("/tmp/vaebench-test-slurm.lock"),
        pytest.MonkeyPatch.context() as patch,
    ):  # its ports are the machine's
        patch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin:/sbin")
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        do("start", "1")
        yield do
        do("stop")


def slurm(**options: object) -> Slurm:
    given = dict.fromkeys(("partition", "account", "time", "memory"))
    given |= {"wait": True, "cpus": 1, "gpus": 0, "verbs": {}, "setup": [], "options": [], "target_minutes": 0.01}
    return Slurm(**{**given, "workers": 2, "store_before": 60, "poll": 0.5, **options})


def ends(runs: list[Run], meanwhile: Callable[[], None], **options: object) -> tuple[list[Outcome], list[str]]:
    """How trainings ended that were submitted to Slurm, and what was said of them."""
    said: list[str] = []
    told = Told(
        MACHINE | {"checkpoint_seconds": 0.5},
        track=lambda job, done, total: None,
        note=lambda job, line: said.append(line),
        say=said.append,
        store=runs[0].root,
    )
    queue = Queue(Job("train", run.folder, seconds=60) for run in runs)
    with beside(meanwhile), pytest.MonkeyPatch.context() as patch:
        patch.setattr(executor, "_SETTLED", 1.0)
        return list(slurm(**options).submit(queue, told)), said


def trained(run: Run) -> bool:
    """Whether it is being trained and has been stored."""
    return run.status()["status"] == "running" and run.path("checkpoint.pt").exists()


@needs_slurm
def test_submit_leave_come_back_and_collect_the_cells_of_a_local_run(nodes, run, home, tmp_path):
    here = tmp_path / "here"
    run.done(*TABLE, "executor.kind=inline", f"store={tmp_path / 'local'}", f"results={here}")
    words = [*TABLE, *ON_SLURM, f"results={tmp_path / 'there'}"]
    said = run(*words, "executor.wait=false")
    assert said.code == 0, said.err
    assert "submitted: 7 jobs in" in said.out
    assert "7 jobs go on without this command" in said.out
    again = run.done(*words, "executor.wait=false")  # nothing is submitted twice
    assert "submitted: " not in again
    assert "submitted" in run.done("plan", *TABLE[1:])
    until(lambda: not any(earlier(home / "slurm")))
    assert "0 of 7 jobs to do" in run.done("plan", *TABLE[1:])
    run.done(*words)
    one, other = (
        pd.read_csv(folder / "batchtopk" / "cells.csv", dtype=str).drop(columns=WHERE, errors="ignore")
        for folder in (here, tmp_path / "there")
    )
    assert len(one)
    pd.testing.assert_frame_equal(one, other)


@needs_slurm
@pytest.mark.slow
def test_a_cancelled_job_is_named_as_such_with_its_log(nodes, home):
    long, other = (Store(home).open(frozen(*LONG, f"seed={seed}")) for seed in (0, 1))

    def cancel() -> None:
        until(lambda: trained(long) and trained(other))
        subprocess.run(["scancel", task_of(long)], check=True)

    outcomes, _ = ends([long, other], cancel)
    found = {outcome.job.folder: outcome for outcome in outcomes}
    assert found[other.folder].status == "done"
    assert found[long.folder].status == "failed"
    reason = found[long.folder].reason
    assert "was cancelled; log: " in reason
    assert "asked to stop" in Path(reason.rpartition("log: ")[2]).read_text()
    assert long.status()["status"] == "failed"
    assert long.path("checkpoint.pt").exists(), "it was stored before"


@needs_slurm
@pytest.mark.slow
def test_a_job_of_a_node_that_dies_goes_on_elsewhere_to_the_same_bits(nodes, home, tmp_path):
    """Slurm waits two minutes before it starts it again."""
    long = Store(home).open(frozen(*LONG))

    def kill() -> None:
        until(lambda: trained(long))
        nodes("kill", node := cluster.states()[task_of(long)].node)
        nodes("revive", node)

    outcomes, said = ends([long], kill)
    assert [outcome.status for outcome in outcomes] == ["done"]
    assert any("and is in the queue again; it goes on where it was" in line for line in said)
    assert files(long) == files(*do(tmp_path, frozen(*LONG)))


@needs_slurm
@pytest.mark.slow
def test_a_job_whose_time_is_over_stores_and_goes_on_in_another(nodes, home, tmp_path):
    words = [*LONG[:-2], "train.max_steps=30000", "train.epochs=9000"]  # more than a minute anywhere
    long = Store(home).open(frozen(*words))
    outcomes, said = ends([long], lambda: None, time=2, store_before=55)
    assert [outcome.status for outcome in outcomes] == ["done"], outcomes
    assert any("is in the queue again" in line for line in said)
    assert files(long) == files(*do(tmp_path, frozen(*words)))


def task_of(run: Run) -> str:
    """What Slurm calls the task that does a run."""
    ((name, number),) = [
        (array.id, number)
        for submission in earlier(run.root / "slurm")
        for array in submission.arrays
        for number, jobs in enumerate(array.tasks)
        if run.folder in [job.folder for job in jobs]
    ]
    return f"{name}_{number}"


@needs_slurm
def test_partitions_that_are_not_there_are_named_with_those_that_are(nodes, run, home):
    words = [*TABLE, *ON_SLURM, "executor.partition=gpu"]
    assert "executor.partition=gpu: there is no such partition; valid: main" in run.refused(*words)
    assert not list((home / "slurm").glob("*/"))


def test_without_slurm_it_says_where_to_run_it(run, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "there is no sinfo or sbatch on this machine; run the command where" in run.refused(*TABLE, *ON_SLURM)


def test_a_store_that_nodes_do_not_see_is_noticed_before_anything_is_submitted(run, monkeypatch, tmp_path, home):
    """A cluster whose nodes see nothing of this machine's disks."""
    tools = {"sinfo": "echo main", "squeue": "true", "sbatch": "echo 1 >submitted"}
    tools["srun"] = f"echo missing {home}/slurm; echo looked"
    for name, script in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    assert f"{home}/slurm: a node of the cluster does not see it; the store and" in run.refused(*TABLE, *ON_SLURM)
    assert not (tmp_path / "submitted").exists()


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("executor.time=soon", "executor.time=soon: is no time of Slurm's; write minutes, 04:00:00 or 2-00:00:00"),
        ("executor.verbs.train.gpus=-1", "executor.verbs.train.gpus=-1: expected a whole number, at least 0"),
        ("executor.verbs.train.gpu=1", "unknown option 'executor.verbs.train.gpu'; did you mean"),
        ("executor.verbs.train=5", "executor.verbs.train=5: expected options"),
        ("executor.time=2", "executor.time=2: has to be 4 minutes or more, to store executor.store_before=120 seconds"),
        ("executor.time=43200", "executor.time=43200: expected "),
        ("executor.workers=0", "executor.workers=0: expected a whole number, at least 1"),
        ("executor.cores=2", "unknown option 'executor.cores'"),
    ],
)
def test_options_that_cannot_be_are_one_line(run, word, line):
    assert line in run.refused("plan", *TABLE[1:], "executor=slurm", word)


def test_a_cluster_of_ones_own_is_a_file(run, tmp_path, monkeypatch):
    (tmp_path / "executor").mkdir()
    (tmp_path / "executor" / "ours.yaml").write_text("defaults: [slurm, _self_]\npartition: gpu\nworkers: 7\n")
    monkeypatch.setenv("VAEBENCH_CONF", str(tmp_path))
    assert "up to 7 jobs at a time, elsewhere" in run.done("plan", *TABLE[1:], "executor=ours")


@pytest.mark.parametrize(
    "words",
    [
        ["reproduce", "paper=dmvae", "scale=smoke", "seeds=auto", "executor=slurm", "executor.wait=false"],
        ["train", "-m", "dataset=digits", "seed=0,1", "executor=slurm", "executor.wait=false"],
    ],
)
def test_who_needs_the_numbers_waits_for_them(run, words):
    assert "executor.wait=false: " in run.refused(*words)


def job(name: str, *needs: str, seconds: float = 60.0, verb: str = "train") -> Job:
    return Job(verb, Path(name), needs=tuple(map(Path, needs)), seconds=seconds)


def grouped(jobs: list[Job], most: float, there: dict[Path, str] | None = None) -> list[batches.Task[str]]:
    return batches.tasks(jobs, lambda one: one.verb, most, there or {})


def test_short_jobs_share_a_task_up_to_its_time():
    jobs = [job(name) for name in "abcde"]
    found = grouped(jobs, 120)
    assert [[one.folder.name for one in task.jobs] for task in found] == [["a", "b"], ["c", "d"], ["e"]]
    assert batches.arrays(found, 2) == [[0, 1], [2]]


def test_a_job_joins_its_parents_task_or_waits_for_it():
    jobs = [job("a"), job("b", seconds=500), job("c", "a"), job("d", "b"), job("e", "a", "b"), job("f", verb="eval")]
    found = grouped(jobs, 130)
    names = [("".join(one.folder.name for one in task.jobs), set(task.needs)) for task in found]
    assert names == [("ac", set()), ("b", set()), ("d", {1}), ("e", {0, 1}), ("f", set())]
    assert batches.arrays(found, 100) == [[0, 1], [2], [3], [4]]


def test_a_job_waits_for_a_task_that_was_submitted_before():
    (task,) = grouped([job("b", "a")], 1000, {Path("a"): "12_0"})
    assert task.needs == {"12_0"}


@pytest.mark.parametrize(
    ("time", "seconds"),
    [("30", 1800), (30, 1800), ("10:30", 630), ("04:00:00", 14400), ("2-00", 172800), ("1-12:30", 131400)],
)
def test_times_as_slurm_writes_them(time, seconds):
    assert seconds_of(time) == seconds


def test_a_task_that_no_node_can_start_is_let_go_some_times_and_then_cancelled(monkeypatch, tmp_path):
    asked: list[str] = []
    monkeypatch.setattr(cluster, "release", lambda name: asked.append(f"release {name}"))
    monkeypatch.setattr(cluster, "cancel", lambda names: asked.append(f"cancel {names[0]}"))
    said: list[str] = []
    told = Told({}, lambda *_: None, lambda job, line: said.append(line), said.append, tmp_path)
    for times in range(1, 5):
        executor._let_go(executor.Watched("7_0", [], tmp_path), job("a"), times, told)
    assert asked == ["release 7_0"] * 3 + ["cancel 7_0"]
    assert said == ["task 7_0 could not be started 4 times; it is cancelled, the nodes' logs say why"]
    assert cluster.State("PENDING", reason="launch failed requeued held").held
    assert not cluster.State("PENDING", reason="JobHeldUser").held


def test_what_was_submitted_is_read_back_as_it_was(tmp_path):
    one = Submission.new(tmp_path, {"device": "cpu"})
    one.arrays.append(Array([[Job("train", tmp_path / "a", (("row", "x"),), (tmp_path / "b",))]]))
    one.named(0, "17")
    assert Submission.read(one.file) == one
    assert [found.file for found in earlier(tmp_path)] == [one.file]
    one.file.write_text("{")
    assert not list(earlier(tmp_path))

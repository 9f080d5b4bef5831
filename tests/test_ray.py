"""Jobs on Ray: on a cluster of two nodes on this machine, one of which is lost; and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chains import MACHINE, do, files, frozen
from commands import beside, until
from vaebench.contracts import Job, Queue, Told
from vaebench.runs.executors.ray import Ray
from vaebench.runs.executors.submitted import environment
from vaebench.runs.store import Run, Store

LONG = "model=batchtopk model.hidden=[128] dataset=digits train.max_steps=3000 train.epochs=900".split()
TABLE = "reproduce paper=batchtopk table=table1 row=beta_vae scale=smoke seeds=1 dataset=digits executor=ray".split()
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A node with one core."""
    utils = pytest.importorskip("ray.cluster_utils")
    found = utils.Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    yield found
    found.shutdown()


def begun(run: Run) -> bool:
    """Whether it is being trained and has been stored."""
    return run.status()["status"] == "running" and run.path("checkpoint.pt").exists()


@pytest.mark.slow
def test_jobs_of_a_lost_node_go_on_elsewhere_to_the_same_bits(home, tmp_path, cluster):
    node = cluster.add_node(**NODE)
    requests = [frozen(*LONG, f"seed={seed}") for seed in (0, 1)]
    runs = [Store(home).open(request) for request in requests]
    told = Told(MACHINE | {"checkpoint_seconds": 0.5}, *[lambda *_: None] * 3, home)

    def lose() -> None:
        until(lambda: all(map(begun, runs)))
        cluster.remove_node(node, allow_graceful=False)

    with beside(lose):
        executor = Ray(address=cluster.address, cpus=1, gpus=0, retries=3)
        outcomes = list(executor.submit(Queue(Job("train", run.folder) for run in runs), told))
    assert [outcome.status for outcome in outcomes] == ["done", "done"]
    assert list(map(files, runs)) == list(map(files, do(tmp_path, *requests)))


def test_a_cluster_that_is_not_there_is_one_line(run, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert "executor.address=auto: there is no cluster (" in run.failed(*TABLE, "executor.address=auto")


def test_workers_are_told_what_the_command_was_told(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAEBENCH_DATA", "data:/elsewhere")
    monkeypatch.setenv("PYTHONPATH", "src")
    found = environment()
    assert found["VAEBENCH_DATA"] == f"{Path('data').absolute()}:/elsewhere"
    assert found["PYTHONPATH"] == str(tmp_path / "src")


def test_jobs_at_a_time_follow_from_what_one_takes():
    assert Ray(address=None, cpus=1, gpus=0.5, retries=0).at_once(gpus=2, processes=1) == 4
    assert Ray(address=None, cpus=1, gpus=0, retries=0).here
    assert not Ray(address="auto", cpus=1, gpus=0, retries=0).here
    assert Ray(address=None, cpus=1000, gpus=0, retries=0).at_once(gpus=0, processes=1) == 1

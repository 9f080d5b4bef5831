"""Trackers: what they are told, that a run is the same with and without one, and what becomes of those that fail."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from chains import MACHINE, files, frozen, work
from diary import leaf as of_diary
from diary import told
from vaebench.config.choices import leaf
from vaebench.contracts import Batch, Outcome, Sampling
from vaebench.data.images import ImageData
from vaebench.runs import build, tracking
from vaebench.runs.grids import grids
from vaebench.runs.store import Run, Store

FAST = ["dataset=digits", "model=batchtopk", "train.max_steps=20", "train.log_every=5", "train.batch_size=16"]


def options(name: str, **changes: Any) -> dict[str, Any]:
    """A tracker as a worker is told of it."""
    found = {key: None if "${" in str(value) else value for key, value in leaf("tracker", name).items()}
    return found | {"sample_every": 5} | changes


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the run leaves without a tracker."""
    run = Store(tmp_path_factory.mktemp("plain")).open(frozen(*FAST))
    assert work(run).status == "done"
    return files(run)


def until(steps: int) -> Callable[[], bool]:
    """What asks a training to stop after so many steps."""
    left = iter(range(steps))
    return lambda: next(left, 0) == steps - 1


def went_twice(home: Path, tracker: dict[str, Any]) -> tuple[Run, list[str]]:
    """A training that was stopped after step 12, lost all after step 7, and went on; with what was said meanwhile."""
    run, lines = Store(home).open(frozen(*FAST)), list[str]()

    def go(stop: Callable[[], bool]) -> Outcome:
        return work(run, MACHINE | {"tracker": tracker}, stop=stop, note=lines.append)

    assert go(until(7)).status == "interrupted"
    checkpoint = run.path("checkpoint.pt").read_bytes()
    assert go(until(5)).status == "interrupted"
    run.path("checkpoint.pt").write_bytes(checkpoint)
    assert go(lambda: False).status == "done"
    return run, lines


Curve = list[tuple[int, float]]


def of_tensorboard(store: Path, name: str) -> tuple[Curve, Curve, list[int], str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = (store / "tensorboard").iterdir()
    found = EventAccumulator(str(folder)).Reload()
    loss, final = ([(one.step, one.value) for one in found.Scalars(each)] for each in (name, "final/parameters"))
    about = found.Tensors("configuration/text_summary")[0].tensor_proto.string_val[0].decode()
    return loss, final, [one.step for one in found.Images("samples")], about


def of_mlflow(store: Path, name: str) -> tuple[Curve, Curve, list[int], str]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{store / 'mlflow' / 'runs.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'vaebench'")
    (one,) = client.search_runs([experiment.experiment_id])
    assert one.info.status == "FINISHED"
    loss, final = (
        [(each.step, each.value) for each in client.get_metric_history(one.info.run_id, metric)]
        for metric in (name, "final/parameters")
    )
    images = [each.path.split("+")[2] for each in client.list_artifacts(one.info.run_id, "images")]
    looks = sorted({int(step) for step in images})
    return loss, final, looks, f"{one.data.tags} latent_dim: {one.data.params['model.latent_dim']}"


def _records(log: bytes) -> Iterator[bytes]:
    """What a ``.wandb`` file holds: LevelDB's log format (blocks of 32 KB, records in parts) after seven bytes."""
    at, record = 7, b""
    while at + 7 <= len(log):
        if (left := 32768 - at % 32768) < 7:  # no room for another header in this block
            at += left
            continue
        size, part = int.from_bytes(log[at + 4 : at + 6], "little"), log[at + 6]
        record += log[at + 7 : at + 7 + size]
        at += 7 + size
        if part in (1, 4):  # whole, or the last part
            yield record
            record = b""


def of_wandb(store: Path, name: str) -> tuple[Curve, Curve, list[int], str]:
    from wandb.proto.wandb_internal_pb2 import Record

    loss, looks, about, summary = dict[int, float](), list[int](), "", dict[str, float]()
    for path in sorted((store / "wandb").glob("offline-run-*/*.wandb")):
        for record in map(Record.FromString, _records(path.read_bytes())):
            line = {(i.key or i.nested_key[0]): json.loads(i.value_json) for i in record.history.item}
            loss |= {line["_step"]: line[name]} if name in line else {}
            looks += [line["_step"]] if "samples" in line else []
            summary |= {(i.key or i.nested_key[0]): json.loads(i.value_json) for i in record.summary.update}
            config = {i.key: json.loads(i.value_json) for i in record.run.config.update}
            about += f"{config} latent_dim: {config['model']['latent_dim']}" if "model" in config else ""
    return sorted(loss.items()), [(20, summary["parameters"])], looks, about


def of_trackio(store: Path, name: str) -> tuple[Curve, Curve, list[int], str]:
    from trackio import Api
    from trackio.sqlite_storage import SQLiteStorage

    (one,) = Api().runs("vaebench")
    lines = SQLiteStorage.get_logs("vaebench", one.name)
    loss, final = (
        [(line["step"], line[each]) for line in lines if each in line] for each in (name, "final/parameters")
    )
    about = f"{one.config} latent_dim: {one.config['model']['latent_dim']}"
    return loss, final, [line["step"] for line in lines if "samples" in line], about


READERS = {"tensorboard": of_tensorboard, "wandb": of_wandb, "mlflow": of_mlflow, "trackio": of_trackio}


@pytest.mark.filterwarnings("ignore")  # of the packages
@pytest.mark.parametrize("name", READERS)
def test_a_training_that_was_interrupted_is_one_tracked_run_with_each_step_once(
    name, home, plain, tmp_path, monkeypatch
):
    for package in leaf("tracker", name)["needs"]:
        pytest.importorskip(package)
    monkeypatch.setenv("WANDB_MODE", "offline")
    if name == "trackio":
        monkeypatch.setattr("trackio.utils.TRACKIO_DIR", tmp_path / "trackio")
        monkeypatch.setattr("trackio.sqlite_storage.TRACKIO_DIR", tmp_path / "trackio")
    own = {"wandb": {"project": "vaebench"}, "mlflow": {"experiment": "vaebench"}}.get(name, {})
    run, lines = went_twice(home, options(name, **own))
    assert lines == []
    loss, final, looks, about = READERS[name](home, "autoencoder/loss")
    logged = [(line["step"], line["autoencoder/loss"]) for line in run.log()]
    assert [step for step, _ in loss] == [5, 10, 15, 20]
    np.testing.assert_allclose([value for _, value in loss], [value for _, value in logged], rtol=1e-6)
    assert final == [(20, run.result()["parameters"])]
    assert sorted(set(looks)) == [5, 10, 15, 20]
    assert "latent_dim: 64" in about
    assert run.key in about
    assert files(run) == plain
    assert len(list(home.glob("*/request.yaml"))) == 1


CALLS = ["begin", "curves", "images", "final", "close"]


def test_a_tracker_of_ones_own_hears_all_in_order_and_the_run_is_the_same_request(diary, home, run):
    own = [f"tracker.path={diary}", "tracker.sample_every=10"]
    assert f"tracked: read {diary}\n" in run.done("train", *FAST, "tracker=diary", *own)
    (stored,) = Store(home).runs()
    (begin, *lines), log = told(diary), stored.log()
    tags = {"key": stored.key, "kind": "train", "model": "batchtopk", "dataset": "digits", "seed": "0"}
    assert begin == [stored.key, "begin", "batchtopk latent_dim=64 k=8 on digits seed=0", tags, "", 0]
    curves = [line[2:] for line in lines if line[1] == "curves"]
    rate = {"autoencoder/learning_rate": stored.request()["optim"]["lr"]}
    terms = [{name: value for name, value in line.items() if "/" in name} for line in log]
    speeds = [line for line in curves if "speed/items_per_second" in line[1]]
    assert [line for line in curves if line not in speeds] == [
        [line["step"], named | rate] for line, named in zip(log, terms, strict=True)
    ]
    assert [step for step, _ in speeds] == [line["step"] for line in log]
    for _, values in speeds:
        assert values.keys() == {"speed/items_per_second", "speed/waiting_for_data"}
        assert values["speed/items_per_second"] > 0
        assert 0 <= values["speed/waiting_for_data"] < 1
    assert stored.provenance()["speed"].keys() == {"items_per_second", "waiting_for_data"}
    shapes = {"reconstructions": [2 * 28, 8 * 28, 3], "samples": [4 * 28, 8 * 28, 3]}
    assert [line[2:] for line in lines if line[1] == "images"] == [[10, shapes], [20, shapes]]
    numbers = {name: value for name, value in stored.result().items() if name != "dataset_digest"}
    assert [line[1:] for line in lines[-2:]] == [["final", 20, numbers], ["close", "done"]]
    assert "already done: " in run.done("train", *FAST, "tracker=diary", *own)
    assert len(told(diary)) == len(lines) + 1

    run.done("eval", f"run={stored.key}", "suite=reconstruction", "tracker=diary", *own)
    begin, final, close = told(diary)[len(lines) + 1 :]
    assert begin[2] == "reconstruction of batchtopk latent_dim=64 k=8 on digits seed=0"
    assert begin[3]["kind"] == "eval"
    assert begin[4] == stored.key
    (evaluated,) = stored.path("evals").iterdir()
    measured = {one["name"]: one["value"] for one in Run(evaluated).result()["measurements"]}
    assert final == [evaluated.name, "final", 20, measured]
    assert close[1:] == ["close", "done"]


@pytest.mark.parametrize("call", CALLS)
def test_a_tracker_that_fails_is_given_up_in_one_line_and_the_run_is_the_same(call, diary, home, plain, run):
    said = run(
        "train", *FAST, "tracker=diary", f"tracker.path={diary}", "tracker.sample_every=10", f"tracker.fails={call}"
    )
    assert said.code == 0
    assert said.err.count("\n") == 1
    assert ": tracker diary is given up (SystemExit: the server is gone); the run goes on" in said.err
    assert files(Store(home).runs()[0]) == plain
    assert "close" not in diary.read_text() if diary.exists() else call == "begin"


@pytest.mark.parametrize("call", ["begin", "curves"])
def test_a_tracker_that_hangs_is_not_waited_for(call, diary, home, run, monkeypatch):
    """Nor is one that did not begin or end in time tried again in this process."""
    monkeypatch.setattr(tracking, "_TO_END", 0.1)
    words = ["train", *FAST, "tracker=diary", f"tracker.path={diary}", f"tracker.fails={call} hangs"]
    said = run(*words, "seed=0")
    assert (said.code, said.err.count("\n")) == (0, 1)
    assert "tracker diary is given up (it has not ended after 0.1 seconds)" in said.err
    assert run(*words, "seed=1").err == ""
    assert [run.state() for run in Store(home).runs()] == ["done", "done"]


def test_images_that_cannot_be_made_stop_nothing(diary, run, monkeypatch):
    def broken(*given: Any) -> None:
        raise RuntimeError("no memory\nat all")

    monkeypatch.setattr("vaebench.runs.grids.grids", broken)
    said = run("train", *FAST, "tracker=diary", f"tracker.path={diary}", "tracker.sample_every=5")
    assert (said.code, said.err.count("\n")) == (0, 1)
    assert "no images for the tracker (RuntimeError: no memory); the run goes on" in said.err
    assert told(diary)[-1][1:] == ["close", "done"]


def test_an_interrupted_or_failed_run_says_so(diary, home):
    machine = MACHINE | {"tracker": of_diary(diary)}
    for words, stop in ((["seed=1"], until(3)), (["seed=2", "optim.lr=1e30", "model.beta=1e30"], lambda: False)):
        work(Store(home).open(frozen(*FAST, *words)), machine, stop=stop)
    assert [line[2] for line in told(diary) if line[1] == "close"] == ["interrupted", "failed"]


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow", "trackio"])
@pytest.mark.parametrize("verb", ["train", "eval", "reproduce"])
def test_a_package_that_is_missing_is_named_before_anything_is_made(verb, name, home, run, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda one, *rest: None if one == name else found(one, *rest))
    for package in leaf("tracker", name)["needs"][1:]:
        monkeypatch.setitem(sys.modules, package, sys)  # is there
    line = f"error: tracker {name}: needs {name}; pip install 'vaebench[{name}]'"
    dataset = ["dataset=digits"] if verb != "reproduce" else ["paper=batchtopk"]
    assert run.refused(verb, *dataset, f"tracker={name}") == line
    assert not home.exists()


@pytest.mark.parametrize("verb", ["train dataset=digits", "reproduce"])
def test_what_cannot_be_chosen_is_said_with_what_can(verb, home, run):
    verb, *words = verb.split()
    assert "unknown tracker 'tensorbord'; did you mean 'tensorboard'? Valid: mlflow, none," in run.refused(
        verb, *words, "tracker=tensorbord"
    )
    assert "unknown option 'tracker.pat'; did you mean 'tracker.path'?" in run.refused(
        verb, *words, "tracker=tensorboard", "tracker.pat=x"
    )
    assert "tracker.sample_every=0: expected a whole number, at least 1" in run.refused(
        verb, *words, "tracker=tensorboard", "tracker.sample_every=0"
    )
    assert not home.exists()


@pytest.mark.parametrize("model", ["batchtopk", "vq_ema", "dae", "classifier"])
def test_a_look_changes_nothing(model):
    """Weights, buffers, which parts train, and what the global generator draws next."""
    found = build.model(frozen("dataset=digits", f"model={model}")).train()
    x = (torch.arange(16 * 28 * 28) % 255).byte().view(16, 1, 28, 28)
    found.phases[0].loss(Batch(x.float() / 255, torch.arange(16) % 10), 0)  # averages and codebooks begin with a step
    next(iter(found.children())).eval()
    data = ImageData("toy", x, torch.zeros(16), x, torch.zeros(16), source="", digest="", note="")
    before = {name: value.clone() for name, value in found.state_dict().items()}
    modes, random = [one.training for one in found.modules()], torch.get_rng_state()
    seen = grids(found, data, seed=0)
    assert (seen == {}) == (model == "classifier")
    assert modes == [one.training for one in found.modules()]
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in found.state_dict().items())
    for name, grid in grids(found, data, seed=0).items():
        np.testing.assert_array_equal(grid, seen[name])


def test_a_grid_has_eight_images_in_a_line():
    class Twice(torch.nn.Module):
        def encode(self, x: torch.Tensor) -> torch.Tensor:
            return x

        def decode(self, z: torch.Tensor) -> torch.Tensor:
            return z * 2

    x = (torch.arange(10, dtype=torch.uint8) * 10)[:, None, None, None].expand(10, 3, 2, 2).clone()
    x[:, 1] += 1
    data = ImageData("toy", x, torch.zeros(10), x, torch.zeros(10), source="", digest="", note="")
    grid = grids(Twice(), data, seed=0)["reconstructions"]
    assert grid.shape == (4, 16, 3)
    np.testing.assert_array_equal(grid[0, ::2, 0], np.arange(8) * 10)
    np.testing.assert_array_equal(grid[1, ::2, 1], np.arange(8) * 10 + 1)
    np.testing.assert_array_equal(grid[3, ::2, 1], (np.arange(8) * 10 + 1) * 2)


def test_a_flow_samples_each_class_in_turn_from_the_same_noise():
    class Flow(torch.nn.Module):
        classes = 3

        def check(self, sampling: Sampling) -> None: ...

        def sample_latents(self, labels: torch.Tensor, generator: torch.Generator, sampling: Sampling) -> Any: ...

        def generate(self, labels: torch.Tensor, generator: torch.Generator, sampling: Sampling) -> torch.Tensor:
            assert not self.training
            return (labels / 2)[:, None, None, None] * torch.rand(len(labels), 1, 1, 1, generator=generator)

    x = torch.zeros(1, 1, 1, 1, dtype=torch.uint8)
    data = ImageData("toy", x, torch.zeros(1), x, torch.zeros(1), source="", digest="", note="")
    first, again = (grids(Flow(), data, seed=4)["samples"] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert [(line > 0).tolist() for line in first[..., 0]] == [
        [(8 * row + column) % 3 > 0 for column in range(8)] for row in range(4)
    ]

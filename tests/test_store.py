"""Run folders: whole writes, statuses, locks, and files that are not what they should be."""

from __future__ import annotations

import os

import pytest
import torch
import yaml
from torch import nn

from commands import ended, holding
from vaebench.config.request import Request
from vaebench.disk import write_bytes, write_json
from vaebench.engine.checkpoint import checkpoint_bytes, load_checkpoint, load_weights, weights_bytes
from vaebench.errors import UserError
from vaebench.runs.store import Run, Store

REQUEST = Request(
    {
        "verb": "train",
        "model": {"_target_": "vaebench.models.ae.AE"},
        "optim": {"_target_": "torch.optim.Adam"},
        "train": {"batch_size": 1, "precision": "float32", "schedule": "constant", "log_every": 1},
        "dataset": {"name": "digits"},
        "seed": 0,
    }
)
STATE = {
    **{"step": 3, "model": {"w": torch.ones(2)}, "optimizers": {}, "window": {}, "best": None},
    **{"rng": torch.get_rng_state(), "cuda_rng": []},
}


def test_request_comes_back_and_names_its_folder(tmp_path):
    run = Store(tmp_path).open(REQUEST)
    assert run.folder.name == REQUEST.key
    assert run.request().data == REQUEST.data
    assert run.status()["status"] == "new"


def test_evaluation_lies_inside_its_run(tmp_path):
    evaluation = Request({"verb": "eval", "suite": {}, "parents": {"run": REQUEST.key}})
    assert Store(tmp_path).find(evaluation).folder == tmp_path / REQUEST.key / "evals" / evaluation.key


@pytest.mark.parametrize("name", ["runs", "evals"])
def test_a_run_and_its_evaluation_know_their_store(tmp_path, name):
    evaluation = Request({"verb": "eval", "suite": {}, "parents": {"run": REQUEST.key}})
    for request in (REQUEST, evaluation):
        assert Store(tmp_path / name).find(request).root == tmp_path / name


def test_tampered_request_is_refused(tmp_path):
    run = Store(tmp_path).open(REQUEST)
    path = run.path("request.yaml")
    path.write_text(path.read_text().replace("vaebench.models.ae.AE", "os.system"))
    with pytest.raises(UserError, match="was changed after it was written"):
        run.request()


@pytest.mark.parametrize("content", ["", "[1, 2]", "a: [", "!!python/object/apply:os.system ['true']"])
def test_unreadable_request_is_refused(tmp_path, content):
    run = Store(tmp_path).open(REQUEST)
    run.path("request.yaml").write_text(content)
    with pytest.raises(UserError, match=r"request\.yaml"):
        run.request()


def test_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    write_json(path, {"old": 1})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_json(path, {"new": 2})
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.json"]
    assert "old" in path.read_text()


def test_write_json_refuses_what_json_has_not(tmp_path):
    with pytest.raises(ValueError, match="nan"):
        write_json(tmp_path / "x.json", {"a": float("nan")})


def test_store_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written.*store=FOLDER"):
        Store(tmp_path / "file").open(REQUEST)


def test_lock_is_exclusive_and_dies_with_its_owner(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    process = holding(folder)
    with Run(folder).lock(timeout=0.05) as held:
        assert not held
    Run(folder).set_status("running")
    assert Run(folder).state() == "running"
    process.kill()
    ended(process)
    assert Run(folder).state() == "interrupted"
    with Run(folder).lock(timeout=5) as held:
        assert held


def test_checkpoint_round_trip_and_foreign_key(tmp_path):
    path = tmp_path / "checkpoint.pt"
    assert load_checkpoint(path, "abc") is None
    path.write_bytes(checkpoint_bytes("abc", STATE))
    state = load_checkpoint(path, "abc")
    assert state is not None
    assert state["step"] == 3
    with pytest.raises(UserError, match="belongs to another run"):
        load_checkpoint(path, "def")


def test_checkpoint_that_would_run_code_or_is_cut_is_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save({"key": "abc", "step": nn.Linear(1, 1)}, path)
    with pytest.raises(UserError, match="no readable checkpoint"):
        load_checkpoint(path, "abc")
    whole = checkpoint_bytes("abc", STATE)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (b"", whole[:40], whole[:200], whole[:-1], whole + b"x", bytes(flipped), b"PK\x03\x04", b"garbage"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="no readable checkpoint"):
            load_checkpoint(path, "abc")


@pytest.mark.parametrize(
    "change", [{"step": 1.5}, {"step": True}, {"step": None}, {"model": []}, {"rng": 1}, {"optimizers": torch.ones(1)}]
)
def test_checkpoint_of_another_form_is_refused(tmp_path, change):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(checkpoint_bytes("abc", {**STATE, **change}))
    with pytest.raises(UserError, match=f"no checkpoint of a training .{next(iter(change))} is"):
        load_checkpoint(path, "abc")
    lacking = {name: value for name, value in STATE.items() if name not in change}
    path.write_bytes(checkpoint_bytes("abc", lacking))
    with pytest.raises(UserError, match=f"{next(iter(change))} is missing"):
        load_checkpoint(path, "abc")


def test_checkpoint_from_before_checksums_is_read(tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save({"key": "abc", **STATE}, path)
    state = load_checkpoint(path, "abc")
    assert state is not None
    assert state["step"] == 3


def test_weights_of_another_model_missing_or_cut(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(UserError, match="is missing"):
        load_weights(path, nn.Linear(2, 2))
    path.write_bytes(weights_bytes(nn.Linear(2, 2).state_dict()))
    load_weights(path, nn.Linear(2, 2))
    with pytest.raises(UserError, match="does not hold this model's weights"):
        load_weights(path, nn.Linear(3, 2))
    with pytest.raises(UserError, match=r"does not hold this model's weights .*float64"):
        load_weights(path, nn.Linear(2, 2).double())
    path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(UserError, match="does not hold this model's weights"):
        load_weights(path, nn.Linear(2, 2))


def test_runs_are_listed_oldest_first_without_litter(tmp_path):
    store = Store(tmp_path)
    assert Store(tmp_path / "nowhere").runs() == []
    first = store.open(REQUEST)
    second = store.open(Request({**REQUEST.data, "seed": 1}))
    os.utime(first.path("request.yaml"), (1, 1))
    (tmp_path / "cache").mkdir()
    write_bytes(tmp_path / "abcdefabcdef" / "note.txt", b"no request here")
    assert [run.key for run in store.runs()] == [first.key, second.key]
    assert yaml.safe_load(second.path("request.yaml").read_text())["seed"] == 1

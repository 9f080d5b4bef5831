"""What happens to a run's folder while it is used: killed writes, links, folders that vanish, two writers at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import chains
from chains import MACHINE, do, failed, frozen, work
from vaebench.config.request import Request
from vaebench.contracts import Job
from vaebench.disk import TEMPORARY, locked, remove_unfinished, write_bytes
from vaebench.engine.checkpoint import checkpoint_bytes, load_checkpoint
from vaebench.errors import UserError
from vaebench.papers.cells import COLUMNS, Cells, cells_path
from vaebench.runs import worker
from vaebench.runs.store import Run, Store

WORDS = ["model=batchtopk", "model.hidden=[8]", "dataset=digits", "train.max_steps=6", "train.log_every=1"]
WORDS += ["train.snapshots=3", "train.batch_size=32"]


@pytest.fixture(scope="module")
def request_() -> Request:
    return frozen(*WORDS)


def stopped(home: Path, request: Request, steps: int = 4) -> Run:
    """The request's run, stopped behind a checkpoint after so many steps."""
    run = chains.stopped(home, request, steps + 2)
    assert state(run)["step"] == steps
    return run


def state(run: Run) -> dict[str, Any]:
    found = load_checkpoint(run.path("checkpoint.pt"), run.key)
    assert found is not None
    return found


def made(run: Run) -> dict[str, bytes]:
    names = ("model.safetensors", "metrics.jsonl", "result.json", "snapshots/1.safetensors", "snapshots/2.safetensors")
    return {name: run.path(name).read_bytes() for name in names}


def elsewhere(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


@pytest.mark.parametrize("damage", ["absent", "garbage", "link", "dangling"])
def test_a_resumed_log_is_the_checkpoints(damage, request_, home, tmp_path):
    (whole,) = do(tmp_path / "whole", request_)
    run = stopped(home, request_)
    log = run.path("metrics.jsonl")
    log.unlink()
    outside = elsewhere(tmp_path / "outside", "mine")
    if damage == "garbage":
        log.write_bytes(b"\xff\xfe garbage")
    elif damage != "absent":
        log.symlink_to(outside if damage == "link" else tmp_path / "nowhere")
    assert work(run).status == "done"
    assert made(run) == made(whole)
    assert outside.read_text() == "mine"
    assert not log.is_symlink()
    assert not run.path("checkpoint.pt").exists()


def test_a_checkpoint_from_before_checksums_goes_on_with_the_old_log(request_, home, tmp_path):
    (whole,) = do(tmp_path / "whole", request_)
    run = stopped(home, request_)
    old = {name: value for name, value in state(run).items() if name not in ("log", "snapshots")}
    torch.save(old, run.path("checkpoint.pt"))
    with run.path("metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "ep')  # what a killed process was writing
    assert work(run).status == "done"
    assert made(run) == made(whole)


def other_moments(state: dict[str, Any]) -> None:
    moments = state["optimizers"]["autoencoder"]["state"][0]
    moments["exp_avg"] = moments["exp_avg"].new_zeros(3)


def lacking_moments(state: dict[str, Any]) -> None:
    for moments in state["optimizers"]["autoencoder"]["state"].values():
        del moments["exp_avg"]


def strange_parameter(state: dict[str, Any]) -> None:
    moments = state["optimizers"]["autoencoder"]["state"]
    moments[10_000] = moments[0]


CHANGES: dict[str, Any] = {
    "beyond the end": lambda state: state.update(step=10**9),
    "before the beginning": lambda state: state.update(step=-1),
    "other moments": other_moments,
    "lacking moments": lacking_moments,
    "a parameter more": strange_parameter,
    "no optimizer": lambda state: state.update(optimizers={}),
    "random state": lambda state: state.update(rng=state["rng"][:10]),
    "random type": lambda state: state.update(rng=state["rng"].float()),
    "another model": lambda state: state["model"].popitem(),
    "another window": lambda state: state.update(window={"stranger/loss": torch.zeros(2)}),
    "a window of matrices": lambda state: state.update(window={"autoencoder/loss": torch.zeros(2, 2)}),
    "a window of text": lambda state: state.update(window={"autoencoder/loss": "text"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_checkpoint_of_another_training_is_refused(change, request_, home):
    run = stopped(home, request_)
    found = state(run)
    CHANGES[change](found)
    run.write("checkpoint.pt", checkpoint_bytes(run.key, found))
    assert "remove it to start over" in failed(home, request_)


def test_the_options_of_an_optimiser_are_the_requests(request_, home, tmp_path):
    (whole,) = do(tmp_path / "whole", request_)
    run = stopped(home, request_)
    found = state(run)
    found["optimizers"]["autoencoder"]["param_groups"][0].update(lr=100.0, betas="text")
    run.write("checkpoint.pt", checkpoint_bytes(run.key, found))
    assert work(run).status == "done"
    assert made(run) == made(whole)


def test_a_damaged_snapshot_of_an_unfinished_run_is_refused(request_, home):
    run = stopped(home, request_)
    path = run.path("snapshots/1.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    outcome = work(run)
    assert outcome.reason.startswith(f"{path}: is missing or damaged; remove ")
    run.path("checkpoint.pt").unlink()
    assert work(run).status == "done"


def test_what_a_killed_write_left_is_removed(request_, home):
    run = stopped(home, request_)
    left = [f".checkpoint.pt.a1_b2c3d{TEMPORARY}", ".checkpoint.pt.a1_b2c3d", f"snapshots/.1.safetensors.x{TEMPORARY}"]
    for name in left:
        run.path(name).write_bytes(b"half")
    others = [".lock", ".mine", f".request.yaml.abcdefgh{TEMPORARY}"]  # a request is written without the lock
    for name in others:
        run.path(name).touch()
    assert work(run).status == "done"
    assert [name for name in left if run.path(name).exists()] == []
    assert all(run.path(name).exists() for name in others)


def test_a_folder_of_many_writers_is_cleared_by_age_or_under_its_lock(tmp_path):
    half, mine = tmp_path / f".cells.csv.x{TEMPORARY}", tmp_path / ".cells.csv.abcdefgh"
    for path in (half, mine):
        path.touch()
    remove_unfinished(tmp_path, older_than=60)
    assert half.exists()
    with locked(tmp_path):
        assert not half.exists()
    assert mine.exists(), "of somebody else"


@pytest.mark.parametrize("anew", [False, True])
def test_a_folder_that_vanishes_in_use_stays_away(anew, request_, home, run):
    made = Store(home).open(request_)

    def track(done: int, total: int) -> None:
        if done == 3:
            shutil.rmtree(made.folder)
            if anew:  # another process begins at once
                Store(home).open(request_)

    outcome = work(made, track=track)
    assert (outcome.status, "\n" in outcome.reason) == ("failed", False)
    assert f"{made.folder}: was removed while the run was being made" in outcome.reason
    assert made.folder.exists() == anew
    run.done("train", *WORDS)
    assert Run(made.folder).done


def test_a_folder_that_is_gone_before_its_job_begins_is_named(home):
    with pytest.raises(UserError, match="was removed while the run was being made"):
        worker.work(Job("train", home / ("0" * 12)), MACHINE)
    assert not home.exists()


def test_a_file_in_place_of_a_folder_is_named(request_, home):
    run = Store(home).open(request_)
    run.path("snapshots").touch()
    assert f"{run.path('snapshots')}: is a file, and a folder belongs there" in work(run).reason


@pytest.mark.parametrize("name", ["metrics.jsonl", "model.safetensors", "result.json"])
def test_a_folder_in_place_of_a_file_is_named(name, request_, home):
    run = Store(home).open(request_)
    run.path(name).mkdir()
    assert f"{run.path(name)}: is a folder, and a file belongs there; remove it" in work(run).reason


def test_a_link_is_replaced_and_never_followed(tmp_path):
    outside = elsewhere(tmp_path / "outside", "mine")
    (tmp_path / "file").symlink_to(outside)
    write_bytes(tmp_path / "file", b"new")
    assert (outside.read_text(), (tmp_path / "file").read_text()) == ("mine", "new")
    run = Run(tmp_path)
    (tmp_path / "log").symlink_to(outside)
    with pytest.raises(UserError, match="was replaced by a link"):
        run.append("log", "line")
    assert outside.read_text() == "mine"


def test_a_lock_that_is_a_link_is_refused(request_, home, tmp_path):
    outside = elsewhere(tmp_path / "outside", "mine")
    run = Store(home).open(request_)
    run.path(".lock").symlink_to(outside)
    with pytest.raises(UserError, match="is a link or a folder"):
        work(run)
    assert outside.read_text() == "mine"


# What a command does with the cells it has measured: ten times, as soon as the other process is there too.
ADD_CELLS = """
import sys, time
from pathlib import Path
from vaebench.papers.cells import COLUMNS, Cells, cells_path
from vaebench.disk import locked

results, first = Path(sys.argv[1]), int(sys.argv[2])
(results / str(first)).touch()
while not all((results / name).exists() for name in ("0", "10")):
    time.sleep(0.001)
for seed in range(first, first + 10):
    with locked(results):
        texts = dict.fromkeys(COLUMNS, "x") | {"protocol": "{}", "by_seed": "[]", "seed": seed, "value": 1.0}
        numbers = {"low": None, "high": None, "count": 1, "stand_in": 0, "epochs": 1.0, "train_images": 1}
        path = cells_path(results, "toy")
        Cells.read(path).merged([texts | numbers]).write(path)
"""


def cell(seed: int) -> dict[str, Any]:
    texts = dict.fromkeys(COLUMNS, "x") | {"protocol": "{}", "by_seed": "[]", "seed": seed, "value": 1.0}
    return texts | {"low": None, "high": None, "count": 1, "stand_in": 0, "epochs": 1.0, "train_images": 1}


def test_two_processes_lose_no_row_of_the_cells(tmp_path):
    writers = [subprocess.Popen([sys.executable, "-c", ADD_CELLS, str(tmp_path), first]) for first in ("0", "10")]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert sorted(Cells.read(cells_path(tmp_path, "toy")).frame["seed"]) == list(range(20))


@pytest.mark.parametrize(
    "change",
    [
        *({"protocol": "[]"}, {"protocol": "{"}, {"by_seed": "5"}, {"by_seed": '["x"]'}, {"seed": "1.5"}),
        *({"count": "9" * 30}, {"value": "much"}, {"protocol": "[" * 100_000}),
    ],
    ids=lambda change: "-".join(change) + str(len(str(change))),
)
def test_cells_that_are_damaged_are_refused(change, tmp_path):
    path = cells_path(tmp_path, "toy")
    Cells.read(path).merged([cell(0)]).write(path)
    lines = path.read_text().splitlines()
    values = dict(zip(COLUMNS, lines[1].split(","), strict=True)) | {k: f'"{v}"' for k, v in change.items()}
    if '"' in change.get("by_seed", ""):
        values["by_seed"] = '"[""x""]"'
    path.write_text(lines[0] + "\n" + ",".join(values.values()) + "\n")
    with pytest.raises(UserError, match=r"cells.csv: is damaged .*; remove it and run again"):
        Cells.read(path)


def test_cells_that_are_no_file_are_refused(tmp_path):
    cells_path(tmp_path, "toy").mkdir(parents=True)
    with pytest.raises(UserError, match=r"cells.csv: cannot be read"):
        Cells.read(cells_path(tmp_path, "toy"))


@pytest.mark.parametrize("change", ["absent", "other", "more", "link", "hidden"])
def test_a_folder_for_other_code_holds_what_it_was_finished_with(change, request_, home):
    run = Store(home).open(request_)
    for name in ("pretrained/config.json", "pretrained/inner/weights"):
        run.path(name).parent.mkdir(parents=True, exist_ok=True)
        run.path(name).write_text(name)
    run.finish(spent=0.0)
    assert run.check_folder("pretrained") == run.path("pretrained")
    path = run.path("pretrained/inner/weights")
    if change == "absent":
        path.unlink()
    elif change == "other":
        path.write_text("pretrained/inner/Weights")
    elif change == "link":
        path = path.with_name("code.py")
        path.symlink_to(run.path("request.yaml"))
    else:
        path = path.with_name(".code.py" if change == "hidden" else "code.py")
        path.touch()
    with pytest.raises(UserError, match=f"{path}: (is|was) "):
        run.check_folder("pretrained")

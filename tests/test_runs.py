"""Whole runs in their own processes: killed, interrupted, started twice."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

OVERRIDES = "model=batchtopk model.hidden=[16] dataset=digits train.max_steps=400 train.epochs=60 train.log_every=20"
COMMAND = [sys.executable, "-m", "vaebench", "train", *OVERRIDES.split(), "runtime.checkpoint_seconds=0"]


def start(store: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "VAEBENCH_HOME": str(store)}
    return subprocess.Popen(COMMAND, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(store: Path, pattern: str, process: subprocess.Popen[str]) -> Path:
    """The first file that matches, polled until it is there; the process must not end before."""
    while process.poll() is None:
        for path in store.glob(pattern):
            return path
        time.sleep(0.005)
    found = list(store.glob(pattern))
    assert found, process.communicate()
    return found[0]


def digests(store: Path) -> dict[str, str]:
    (folder,) = [path.parent for path in store.glob("*/model.safetensors")]
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("model.safetensors", "metrics.jsonl", "result.json", "request.yaml")
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    store = tmp_path_factory.mktemp("whole")
    process = start(store)
    out, error = process.communicate()
    assert process.returncode == 0, error
    assert "1437 items" in out
    return digests(store)


def test_killed_run_resumes_to_the_same_files(tmp_path: Path, whole: dict[str, str]) -> None:
    """kill -9 once before the first checkpoint can be there and twice after one; then to the end."""
    for pattern in ("*/status.json", "*/checkpoint.pt", "*/checkpoint.pt"):
        process = start(tmp_path)
        wait_for(tmp_path, pattern, process)
        process.kill()
        process.communicate()
    last = start(tmp_path)
    last.communicate()
    assert last.returncode == 0
    assert digests(tmp_path) == whole


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_saves_says_so_and_resumes(
    tmp_path: Path, whole: dict[str, str], number: signal.Signals
) -> None:
    process = start(tmp_path)
    wait_for(tmp_path, "*/metrics.jsonl", process)
    process.send_signal(number)
    _, error = process.communicate()
    assert process.returncode == 130, error
    assert "the same command goes on" in error
    assert list(tmp_path.glob("*/checkpoint.pt"))
    again = start(tmp_path)
    again.communicate()
    assert again.returncode == 0
    assert digests(tmp_path) == whole


def test_two_processes_make_one_run(tmp_path: Path, whole: dict[str, str]) -> None:
    """Both end well, the work is done once: the second finds the first one's files and leaves them alone."""
    first = start(tmp_path)
    wait_for(tmp_path, "*/metrics.jsonl", first)
    second = start(tmp_path)
    first.communicate()
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*") if path.is_file() and path.name[0] != "."}
    out, error = second.communicate()
    assert (first.returncode, second.returncode) == (0, 0), (out, error)
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert digests(tmp_path) == whole

"""Whole runs in their own processes: killed, interrupted, started twice."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from chains import stamps
from commands import ROOT, VAEBENCH, begin, ended, python, until

OVERRIDES = "model=batchtopk model.hidden=[16] dataset=digits train.max_steps=400 train.epochs=60 train.log_every=20"
COMMAND = [*VAEBENCH, "train", *OVERRIDES.split(), "runtime.checkpoint_seconds=0"]


def start(store: Path) -> subprocess.Popen[str]:
    return begin(*COMMAND, env={"VAEBENCH_HOME": str(store)})


def wait_for(store: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    until(lambda: list(store.glob(pattern)), process)


def digests(store: Path) -> dict[str, str]:
    (folder,) = [path.parent for path in store.glob("*/model.safetensors")]
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("model.safetensors", "metrics.jsonl", "result.json", "request.yaml")
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    store = tmp_path_factory.mktemp("whole")
    code, out, error = ended(start(store))
    assert code == 0, error
    assert "1437 items" in out
    return digests(store)


def test_killed_run_resumes_to_the_same_files(tmp_path, whole):
    """kill -9 once before the first checkpoint can be there and twice after one; then to the end."""
    for pattern in ("*/status.json", "*/checkpoint.pt", "*/checkpoint.pt"):
        process = start(tmp_path)
        wait_for(tmp_path, pattern, process)
        process.kill()
        ended(process)
    assert ended(start(tmp_path)).code == 0
    assert digests(tmp_path) == whole


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_saves_says_so_and_resumes(tmp_path, whole, number):
    process = start(tmp_path)
    wait_for(tmp_path, "*/metrics.jsonl", process)
    process.send_signal(number)
    code, _, error = ended(process)
    assert code == 130, error
    assert "the same command goes on" in error
    assert list(tmp_path.glob("*/checkpoint.pt"))
    assert ended(start(tmp_path)).code == 0
    assert digests(tmp_path) == whole


def test_two_processes_make_one_run(tmp_path, whole):
    """Both end well, the work is done once: the second finds the first one's files and leaves them alone."""
    first = start(tmp_path)
    wait_for(tmp_path, "*/metrics.jsonl", first)
    second = start(tmp_path)
    assert ended(first).code == 0
    files = stamps(tmp_path, "[!.]*")
    assert ended(second).code == 0
    assert stamps(tmp_path).items() >= files.items()
    assert digests(tmp_path) == whole


def test_a_checkout_is_named_by_its_commit(tmp_path):
    """The code that measured a number, not the version it will become; ``+`` for what is not committed."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    shutil.copytree(ROOT / "vaebench", tmp_path / "vaebench", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(ROOT / ".gitignore", tmp_path)  # of what Python compiles
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
    asked = ("-c", "from vaebench.engine.runtime import commit; print(commit())")
    assert python(*asked, path=tmp_path, cwd=tmp_path).stdout == head.stdout
    (tmp_path / "conf" / "more.yaml").touch()
    assert python(*asked, path=tmp_path, cwd=tmp_path).stdout == head.stdout.strip() + "+\n"

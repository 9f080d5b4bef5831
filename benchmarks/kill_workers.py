"""Kill a reproduction, its busy workers and those without work at random moments, and compare with one undisturbed.

``python -m benchmarks.kill_workers --kills 20`` prints a line per life of the command and one per kind of kill, and
exits with 1 unless nothing outlived a killed parent by ten seconds, nothing hung, and the files are equal, byte for
byte. Linux: processes are found in /proc.

``parent``: the command itself is killed and started again. ``busy``: a worker whose run says that it runs. ``idle``: a
worker that has not begun a job yet, or has none any more. A job whose worker is killed is tried once more by the same
command, so of each life's jobs one worker is killed at most once.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.kill_resume import CHECKPOINT_SECONDS, digest, finish

COMPARED = ("model.safetensors", "metrics.jsonl", "arrays.npz", "request.yaml")
SECONDS_TO_GO = 10.0
KINDS = ("parent", "idle", "busy")
TABLE = ("paper=batchtopk", "table=masks", "scale=smoke", "dataset=digits")


def main() -> int:
    """The kills of each kind; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of each kind")
    parser.add_argument("--seeds", type=int, default=1, help="of the table")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vaebench-kill-") as name:
        folder = Path(name)
        options = [
            *(*TABLE, f"seeds={arguments.seeds}", f"executor.workers={arguments.workers}", f"results={folder}/results"),
            *("executor.kind=local", f"runtime.checkpoint_seconds={CHECKPOINT_SECONDS}", "quiet=true"),
        ]
        command = [sys.executable, "-m", "vaebench", "reproduce", *options]
        start = time.monotonic()
        finish([*command, f"store={folder / 'whole'}"])
        seconds = time.monotonic() - start
        wanted = files(folder / "whole")
        print(f"undisturbed: {len(wanted)} files in {seconds:.1f} s", flush=True)
        moments = random.Random(arguments.seed)
        good = [
            kills(kind, arguments.kills, command, folder, seconds, wanted, moments=moments) for kind in arguments.kinds
        ]
    return 0 if all(good) else 1


def kills(
    kind: str,
    wanted_kills: int,
    command: list[str],
    folder: Path,
    seconds: float,
    wanted: dict[str, str],
    *,
    moments: random.Random,
) -> bool:
    """Kill until there were enough, each reproduction to its end; whether all went well."""
    found: Counter[str] = Counter()
    number = 0
    while found["kills"] < wanted_kills:
        number += 1
        store = folder / f"{kind}-{number}"
        ended = False
        while not ended:
            left = wanted_kills - found["kills"]
            life = Life([*command, f"store={store}"], store, deadline=10 * seconds + 60)
            ended = life.live(kind, left, seconds, moments)
            found += life.found
            print(f"{kind}: {dict(life.found)}, exit code {life.process.returncode}", flush=True)
        found["different"] += files(store) != wanted
        found["reproductions"] += 1
    bad = {name: found[name] for name in ("orphans", "hangs", "different", "failed")}
    print(f"{kind}: {found['kills']} kills in {found['reproductions']} reproductions: {bad}", flush=True)
    return not any(bad.values())


class Life:
    """One run of a command, from its start to its end or its kill; ``found`` counts what happened."""

    def __init__(self, command: list[str], store: Path, *, deadline: float) -> None:
        self.store = store
        self.found: Counter[str] = Counter(kills=0)
        self.deadline = time.monotonic() + deadline
        self.mark = f"VAEBENCH_KILLED={store}"
        self.process = subprocess.Popen(
            command,
            env={**os.environ, "VAEBENCH_KILLED": str(store)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def live(self, kind: str, left: int, seconds: float, moments: random.Random) -> bool:
        """Kill at most ``left`` times; whether the command came to its end."""
        if kind == "parent" and left:
            return not self._kill_parent(moments.uniform(0, seconds / 3))
        hit: set[str] = set()
        pause = time.monotonic() + (moments.uniform(0, seconds / 4) if kind == "busy" else 0.0)
        while self._runs():
            now = self.found["kills"] < left and time.monotonic() > pause
            victim = (self._busy(hit) if kind == "busy" else self._idle(hit)) if now else None
            if victim:
                os.kill(victim, signal.SIGKILL)
                self.found["kills"] += 1
                pause = time.monotonic() + moments.uniform(0, seconds / 10)
            time.sleep(0.01)
        self.found["failed"] += self.process.returncode != 0
        self.found["orphans"] += self._orphans()
        return True

    def _kill_parent(self, moment: float) -> bool:
        """Kill the command ``moment`` seconds after its first worker was there; whether it still ran."""
        while self._runs() and not self._workers():
            time.sleep(0.01)
        until = time.monotonic() + moment
        while self._runs() and time.monotonic() < until:
            time.sleep(0.01)
        if self.process.poll() is not None:
            self.found["failed"] += self.process.returncode != 0
            return False
        self.process.kill()
        self.process.wait()
        self.found["kills"] += 1
        self.found["orphans"] += self._orphans()
        return True

    def _runs(self) -> bool:
        """Whether the command goes on; one beyond the deadline is a hang and is killed with all that it started."""
        if self.process.poll() is None and time.monotonic() > self.deadline:
            self.found["hangs"] += 1
            self.process.kill()
            self.process.wait()
        return self.process.poll() is None

    def _orphans(self) -> int:
        """What the command left behind and is there after ten seconds; it is killed then."""
        until = time.monotonic() + SECONDS_TO_GO
        while time.monotonic() < until and any(self._all()):
            time.sleep(0.05)
        left = list(self._all())
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return len(left)

    def _all(self) -> Iterator[int]:
        """Every process that has the command's mark in its environment."""
        return marked(self.mark)

    def _workers(self) -> list[int]:
        return [pid for pid in children(self.process.pid) if b"spawn_main" in read(pid, "cmdline")]

    def _busy(self, hit: set[str]) -> int | None:
        """A worker whose run says that it runs, of a job that was not hit yet."""
        workers = self._workers()
        for path in self.store.rglob("status.json"):
            status = json.loads(path.read_text())
            if status["status"] == "running" and status["pid"] in workers and str(path) not in hit:
                hit.add(str(path))
                return int(status["pid"])
        return None

    def _idle(self, hit: set[str]) -> int | None:
        """A worker that works on no run. Two in a life: from the third on it could be one's second try."""
        if len(hit) >= 2:
            return None
        statuses = [json.loads(path.read_text()) for path in self.store.rglob("status.json")]
        busy = {status["pid"] for status in statuses if status["status"] == "running"}
        idle = [pid for pid in self._workers() if pid not in busy and str(pid) not in hit]
        hit.update(map(str, idle[:1]))
        return idle[0] if idle else None


def marked(mark: str) -> Iterator[int]:
    """Every living process with ``NAME=value`` in its environment."""
    for folder in Path("/proc").glob("[0-9]*"):
        if mark.encode() in read(int(folder.name), "environ").split(b"\0"):
            yield int(folder.name)


def children(parent: int) -> list[int]:
    """The processes that a process started."""
    tasks = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(pid) for path in tasks for pid in _quietly(path.read_bytes).split()]


def read(pid: int, name: str) -> bytes:
    """A file of a process; nothing if it is gone."""
    return _quietly(Path(f"/proc/{pid}/{name}").read_bytes)


def _quietly(function: Callable[[], bytes]) -> bytes:
    try:
        return function()
    except OSError:
        return b""


def files(store: Path) -> dict[str, str]:
    """What has to be equal, by path: weights, logs, arrays, requests, and the numbers of every result."""
    found = {str(path.relative_to(store)): digest(path) for name in COMPARED for path in store.rglob(name)}
    for path in store.rglob("result.json"):
        result = json.loads(path.read_text())
        result.pop("provenance", None)  # when and where
        found[str(path.relative_to(store))] = json.dumps(result)
    return found


if __name__ == "__main__":
    sys.exit(main())

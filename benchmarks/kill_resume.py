"""Kill a training at random moments, resume it, and compare with a training nobody disturbed.

``python -m benchmarks.kill_resume --kills 20`` prints a line per kill and the verdict, and exits with 1 unless weights
and metrics are equal, byte for byte.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMPARED = ("model.safetensors", "metrics.jsonl")
CHECKPOINT_SECONDS = 0.5


def main() -> int:
    """Run both trainings and compare them; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=3000, help="steps of the training")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--model", default="batchtopk")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vaebench-kill-") as folder:
        return compare(arguments, Path(folder))


def compare(arguments: argparse.Namespace, folder: Path) -> int:
    """Train undisturbed, train with kills, compare the files of the two runs."""
    command = [
        *(
            sys.executable,
            "-m",
            "vaebench",
            "train",
            f"model={arguments.model}",
            f"dataset={arguments.dataset}",
        ),
        *(f"train.epochs={arguments.steps}", f"train.max_steps={arguments.steps}", "train.log_every=20"),
        *(f"runtime.device={arguments.device}", f"runtime.checkpoint_seconds={CHECKPOINT_SECONDS}", "quiet=true"),
    ]
    start = time.monotonic()
    finish([*command, f"store={folder / 'whole'}"])
    whole = run_folder(folder / "whole")
    seconds = time.monotonic() - start
    training = seconds - started_after(whole, start)
    print(f"undisturbed: {arguments.steps} steps in {seconds:.1f} s, {training:.1f} s of them training")

    # On average a life gets 0.7 of its share of the training, and half the second it takes to get back to it; what it
    # did since its last checkpoint is lost. So the kills spread over the training, and some is left after the last.
    longest = 1.4 * training / max(arguments.kills, 1) + 1.0
    moments = random.Random(arguments.seed)
    killed = [*command, f"store={folder / 'killed'}"]
    for number in range(1, arguments.kills + 1):
        alive, step = kill_after(killed, folder / "killed", moments.uniform(0, longest))
        print(f"kill {number:2d}: {alive:5.2f} s after the start; last logged step {step}", flush=True)
    finish(killed)

    equal = True
    for name in COMPARED:
        digests = [digest(run / name) for run in (whole, run_folder(folder / "killed"))]
        equal &= digests[0] == digests[1]
        print(f"{name}: {digests[0][:16]} undisturbed, {digests[1][:16]} after {arguments.kills} kills")
    print("equal, bit for bit" if equal else "DIFFERENT")
    return 0 if equal else 1


def finish(command: list[str]) -> None:
    """Run a command to its end; show what it said if it failed."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def kill_after(command: list[str], store: Path, seconds: float) -> tuple[float, int]:
    """Start a command, wait until it works on the run and ``seconds`` more, kill its process group.

    Returns how long it lived and the last step in the log.
    """
    start, clock = time.monotonic(), time.time()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None and not working_since(store, clock):
        time.sleep(0.01)
    time.sleep(seconds)
    if process.poll() is not None:
        sys.exit("the training ended before its kill; take more --steps")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return time.monotonic() - start, last_step(store)


def working_since(store: Path, clock: float) -> bool:
    """Whether the run's status was written after ``clock`` (seconds since the epoch)."""
    return any(path.stat().st_mtime > clock for path in store.glob("*/status.json"))


def started_after(run: Path, start: float) -> float:
    """Seconds from ``start`` (monotonic) to the run's first log line, as far as the files tell."""
    age = time.time() - (run / "request.yaml").stat().st_mtime
    return time.monotonic() - age - start


def last_step(store: Path) -> int:
    """The last whole step in the run's log; 0 before the first."""
    steps = [0]
    for path in store.glob("*/metrics.jsonl"):
        steps += [
            int(line.split('"step": ')[1].split(",")[0]) for line in path.read_text().splitlines() if line.endswith("}")
        ]
    return steps[-1]


def run_folder(store: Path) -> Path:
    """The one run of a store."""
    (weights,) = store.glob("*/model.safetensors")
    return weights.parent


def digest(path: Path) -> str:
    """The file's sha256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())

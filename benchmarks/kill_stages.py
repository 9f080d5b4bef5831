"""Kill a generation and an embedding at random moments, resume them, and compare with ones nobody disturbed.

``python -m benchmarks.kill_stages --kills 5`` prints a line per kill and the verdict, and exits with 1 unless all
shards are equal, byte for byte. The tiny language model is trained first, once, for both.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.kill_resume import digest, finish

OPTIONS = ("dataset=tiny", "model=rcvae", "embedder=lsa", "quiet=true")


def main() -> int:
    """Run everything twice, once with kills, and compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5, help="of each of the two stages")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vaebench-kill-") as name:
        folder = Path(name)
        command = [sys.executable, "-m", "vaebench"]
        finish([*command, "train", "experiment=rcvae/tiny_lm", "quiet=true", f"store={folder / 'model'}"])
        moments = random.Random(arguments.seed)
        equal = all(
            compare(
                [*command, verb, *OPTIONS, *extra], pattern, folder / verb, folder / "model", arguments.kills, moments
            )
            for verb, extra, pattern in (
                ("answers", ("dataset.answers.shard=5",), "*/answers-*.parquet"),
                ("train", ("embedder.shard=16", "train.max_steps=1"), "*/*-*.safetensors"),
            )
        )
    print("equal, bit for bit" if equal else "DIFFERENT")
    return 0 if equal else 1


def compare(command: list[str], pattern: str, folder: Path, model: Path, kills: int, moments: random.Random) -> bool:
    """Run a command undisturbed and with kills that fall between its shards; compare the shards."""
    whole, killed = folder / "whole", folder / "killed"
    for store in (whole, killed):
        shutil.copytree(model, store)
    finish([*command, f"store={whole}"])
    total = len(list(whole.glob(pattern)))
    for number in range(1, kills + 1):
        done = kill_at(command, killed, pattern, moments.randrange(number * total // (kills + 2), total))
        print(f"{command[3]}, kill {number}: {done} of {total} shards were there", flush=True)
    finish([*command, f"store={killed}"])
    found = [{str(path.relative_to(store)): digest(path) for path in store.glob(pattern)} for store in (whole, killed)]
    same = sum(found[0][name] == found[1].get(name) for name in found[0])
    print(f"{command[3]}: {len(found[0])} shards undisturbed, {same} of them equal after {kills} kills", flush=True)
    return found[0] == found[1]


def kill_at(command: list[str], store: Path, pattern: str, shards: int) -> int:
    """Start the command, kill it with all its children when there are so many shards; returns how many there were."""
    process = subprocess.Popen(
        [*command, f"store={store}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None and len(list(store.glob(pattern))) < shards:
        time.sleep(0.001)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return len(list(store.glob(pattern)))


if __name__ == "__main__":
    sys.exit(main())

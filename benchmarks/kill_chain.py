"""Kill a chain of runs (autoencoder, its latents, a diffusion model on them) at random moments and compare.

``python -m benchmarks.kill_chain --kills 8`` runs one command undisturbed and once with kills, in all stages, and exits
with 1 unless every weight, latent and log is equal, byte for byte. ``--chain dmvae``: encoder, tokenizer, reference,
teacher, joint training.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.kill_resume import CHECKPOINT_SECONDS, digest, finish

COMPARED = ("*/model.safetensors", "*/latents-*.safetensors", "*/snapshots/*.safetensors", "*/metrics.jsonl")
LENGTH = ["train.max_steps={steps}", "train.epochs=1000", "train.log_every=20"]
PARENT = [*LENGTH, "model.network.patch=7", "model.perceptual=none"]
CHAINS = {
    "ldmae": [
        *("experiment=ldmae/ldm", *LENGTH, "train.snapshots=2", "latents.flip=true"),
        f"parent.overrides=[{','.join(map(repr, PARENT))}]",
    ],
    "dmvae": [
        *("experiment=dmvae/joint", "reference=ssl", *LENGTH),
        *(f"chain.{name}.overrides=[{','.join(map(repr, LENGTH))}]" for name in ("encoder", "tokenizer", "teacher")),
    ],
}


def main() -> int:
    """Run the chain twice and compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--steps", type=int, default=300, help="of each training")
    parser.add_argument("--chain", choices=CHAINS, default="ldmae")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    arguments = parser.parse_args()
    options = [option.format(steps=arguments.steps) for option in CHAINS[arguments.chain]]
    command = [
        *(sys.executable, "-m", "vaebench", "train", f"dataset={arguments.dataset}", *options),
        *("quiet=true", f"runtime.checkpoint_seconds={CHECKPOINT_SECONDS}"),
    ]
    with tempfile.TemporaryDirectory(prefix="vaebench-kill-") as folder:
        return compare(command, Path(folder), arguments.kills, random.Random(arguments.seed))


def compare(command: list[str], folder: Path, kills: int, moments: random.Random) -> int:
    """The chain undisturbed and with kills; prints what was there at each kill."""
    start = time.monotonic()
    finish([*command, f"store={folder / 'whole'}"])
    seconds = time.monotonic() - start
    print(f"undisturbed: {seconds:.1f} s")
    killed = [*command, f"store={folder / 'killed'}"]
    for number in range(1, kills + 1):
        alive = moments.uniform(0.1, 0.5) * seconds  # starting takes some of it, so several kills fall into each stage
        process = subprocess.Popen(
            killed,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(alive)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        print(f"kill {number}: after {alive:.1f} s; {there(folder / 'killed')}", flush=True)
    finish(killed)
    found = [
        {str(path.relative_to(store)): digest(path) for pattern in COMPARED for path in store.glob(pattern)}
        for store in (folder / "whole", folder / "killed")
    ]
    equal = found[0] == found[1]
    print(f"{len(found[0])} files {'equal, bit for bit' if equal else 'DIFFERENT'}")
    return 0 if equal else 1


def there(store: Path) -> str:
    """What a store holds: finished runs and checkpoints."""
    done = sum('"done"' in path.read_text() for path in store.glob("*/status.json"))
    return f"{done} runs done, {len(list(store.glob('*/checkpoint.pt')))} checkpoints"


if __name__ == "__main__":
    sys.exit(main())

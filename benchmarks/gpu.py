"""The GPU kit: what a GPU does with vaebench, written to RESULTS-gpu.md.

``python -m benchmarks.gpu`` measures all parts, ``python -m benchmarks.gpu agree speed`` some. Each row is kept as soon
as it is measured, so the same command goes on after it was stopped, and after the ``--minutes`` of a part. ``--device
cpu`` tries the kit where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.on_gpu import ITEMS, Speed, Way, differences, speed
from benchmarks.prepared import one_of_each
from benchmarks.run import HERE, facts, machine, number
from vaebench.config.compose import session
from vaebench.config.spine import ReproduceConfig
from vaebench.disk import write_json
from vaebench.engine import runtime
from vaebench.errors import UserError
from vaebench.papers.tables import names
from vaebench.reproduce import costs, planning

STORED, RESULTS = "gpu.json", "RESULTS-gpu.md"
TOLERANCES = {"device": 1e-3, "bf16": 0.2, "compiled": 1e-3}
GOAL_LEAN, GOAL_SMALL = 0.9, 20.0
STEPS, STEPS_ON_CPU = 20, 200  # of a training at its paper's shape; of a small one on a CPU
SMALL_STEPS = 2_000
_TABLES = ("reproduce", "paper=batchtopk", "scale=paper", "-q")

Row = dict[str, Any]


@dataclass(frozen=True)
class Kit:
    """What it is measured on. ``steps``: how many of those that are usual, 1.0 all of them."""

    device: torch.device
    store: Path
    steps: float = 1.0
    seconds: float = 600.0

    def count(self, steps: int) -> int:
        """A number of steps, cut."""
        return max(1, round(self.steps * steps))


def main() -> int:
    """Measure the parts named on the command line and write the report; 1 if time was too short for all rows."""
    parser = argparse.ArgumentParser(description="Measure vaebench on a GPU and write benchmarks/RESULTS-gpu.md.")
    parser.add_argument("parts", nargs="*", metavar="part", help=f"any of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, ...; cpu to try the kit")
    parser.add_argument("--minutes", type=float, default=9.0, help="after which a part begins no further row")
    parser.add_argument("--to", type=Path, default=HERE, help="folder of the results")
    parser.add_argument("--rows", type=int, help="of a part, at most")
    parser.add_argument("--steps", type=float, default=1.0, help="share of the usual steps")
    given = parser.parse_args()
    if unknown := set(given.parts) - PARTS.keys():
        parser.error(f"unknown part {', '.join(sorted(unknown))}; valid: {', '.join(PARTS)}")
    try:
        device = runtime.setup(device=given.device, threads=1)
    except UserError as error:
        parser.error(str(error))
    kit = Kit(device, given.to / "gpu-runs", given.steps, 60 * given.minutes)
    left = [part for part in given.parts or PARTS if not measured(part, kit, given.to, given.rows)]
    (given.to / RESULTS).write_text(report(_stored(given.to)))
    print(f"written: {given.to / RESULTS}")
    for part in left:
        print(f"{part}: rows are left; the same command goes on", file=sys.stderr)
    return 1 if left else 0


def measured(part: str, kit: Kit, folder: Path, most: int | None = None) -> bool:
    """Measure the rows of a part that are not there for this device and commit; whether all are there."""
    heading, rows = PARTS[part]
    print(heading)
    began = time.monotonic()
    stored = _stored(folder)
    about = {**facts(), "device": runtime.device_name(kit.device)}
    kept = stored.get(part, {"facts": about, "rows": {}})
    if any(kept["facts"][name] != about[name] for name in ("commit", "device", "torch")):
        kept = {"facts": about, "rows": {}}
    for count, (what, measure) in enumerate(rows(kit)):
        if most is not None and count >= most:
            return True
        if what in kept["rows"]:
            continue
        if time.monotonic() - began > kit.seconds:
            return False
        try:
            kept["rows"][what] = measure()
        except subprocess.TimeoutExpired:
            return False
        except UserError as error:
            kept["rows"][what] = {"note": error.lines[0]}
        except RuntimeError as error:
            kept["rows"][what] = {"note": f"not measured: {str(error).splitlines()[0][:200]}"}
        print(f"  {what}: {kept['rows'][what]}", flush=True)
        write_json(folder / STORED, {**stored, part: kept})
    return True


def _stored(folder: Path) -> dict[str, Any]:
    path = folder / STORED
    return json.loads(path.read_bytes()) if path.exists() else {}


def _agree(kit: Kit) -> Iterator[tuple[str, Callable[[], Row]]]:
    """One step of each model."""

    def measure(experiment: str) -> Row:
        found = differences(experiment, kit.device)
        return {**found, "met": all(found[name] <= TOLERANCES[name] for name in found)} if found else {}

    for experiment in one_of_each():
        yield experiment, partial(measure, experiment)


def _speeds(kit: Kit) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Every training of images or latents at scale=paper; those that cost the same are one."""

    def measure(training: costs.Cost) -> Row:
        if training.design is None or training.count is None:
            raise UserError(training.note)
        items = costs.fitting_items(training.count, training.batch_size, runtime.free_bytes(kit.device), kit.device)
        if not items:
            raise RuntimeError("a step on one item does not fit")
        given = {"batch_size": items, "steps": kit.count(STEPS)}
        eager, compiled, lean, bf16 = (
            speed(training.design, way, **given)
            for way in (Way(), Way(compile="default"), Way(lean=True, compile="default"), Way(precision="bf16"))
        )
        row = _speed_row({"eager": eager, "compiled": compiled, "lean": lean, "bf16": bf16})
        ratio = compiled.steps / lean.steps
        return {"items": items, **row, "ratio": ratio, "met": ratio >= GOAL_LEAN, "peak_bytes": compiled.peak_bytes}

    for paper in names():
        with session():
            trainings, behind = planning.trainings(ReproduceConfig(paper=paper), "paper")
            for one in costs.of(trainings, behind, device=kit.device, cache=None):
                yield f"{paper}: {one.what}, {one.labels[0]}", partial(measure, one)


def _small(kit: Kit) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Steps on 128 images of MNIST, of which nearly all is the launching of kernels, against one core of the CPU."""

    def measure(one: costs.Cost) -> Row:
        assert one.design is not None
        on_cpu, given = replace(one.design, device=torch.device("cpu")), {"batch_size": one.batch_size}
        found = {"CPU": speed(on_cpu, Way(), steps=kit.count(STEPS_ON_CPU), **given)}
        for mode in (None, "default", "reduce-overhead"):
            found[mode or "eager"] = speed(one.design, Way(compile=mode), steps=kit.count(SMALL_STEPS), **given)
        best = max(one.steps for name, one in found.items() if name != "CPU")
        return {**_speed_row(found), "ratio": best / found["CPU"].steps, "met": best >= GOAL_SMALL * found["CPU"].steps}

    with session():
        trainings, behind = planning.trainings(ReproduceConfig(paper="batchtopk"), "paper")
        found = costs.of(trainings, behind, device=kit.device, cache=None)
    for name in ("batchtopk", "beta_vae"):
        one = next(one for one in found if one.what.startswith(name))
        yield one.what, partial(measure, one)


def _speed_row(found: Mapping[str, Speed]) -> Row:
    return {f"{name} steps/s": one.steps for name, one in found.items()}


def _tables(kit: Kit) -> Iterator[tuple[str, Callable[[], Row]]]:
    """BatchTopK's tables at scale=paper, by the command; it goes on where it was stopped."""

    def measure() -> Row:
        words = [*_TABLES, f"store={kit.store}", f"results={kit.store / 'results'}", f"runtime.device={kit.device}"]
        began = time.monotonic()
        ended = subprocess.run([sys.executable, "-m", "vaebench", *words], timeout=kit.seconds)
        if ended.returncode:
            raise RuntimeError(f"vaebench ended with {ended.returncode}")
        return {"minutes": (time.monotonic() - began) / 60, "note": "of the last of the commands that it took"}

    yield f"vaebench {' '.join(_TABLES[:-1])}", measure


PARTS: dict[str, tuple[str, Callable[[Kit], Iterator[tuple[str, Callable[[], Row]]]]]] = {
    "agree": (f"One step on {ITEMS} items: the GPU against the CPU, bf16 against single precision, compiled", _agree),
    "small": (f"Small networks: the best of the GPU against one core (goal {GOAL_SMALL:g})", _small),
    "speed": (f"Trainings at scale=paper: compiled against a lean compiled loop (goal {GOAL_LEAN:g})", _speeds),
    "tables": ("BatchTopK's tables at scale=paper", _tables),
}


def report(stored: Mapping[str, Any]) -> str:
    """RESULTS-gpu.md of what was measured so far."""
    tolerances = ", ".join(f"{name} {most:g}" for name, most in TOLERANCES.items())
    lines = [
        "# On a GPU",
        "",
        "Written by `make gpu`. Differences are the largest relative ones of a phase's loss or gradient, with the same",
        f"random numbers; tolerances: {tolerances}. `lean` is a compiled step in a loop with nothing else in it.",
    ]
    for part, (heading, _) in PARTS.items():
        lines += ["", f"## {heading}", ""]
        if part not in stored:
            lines.append(f"Not measured: `make gpu ARGS={part}`.")
            continue
        rows = stored[part]["rows"]
        columns = list(dict.fromkeys(name for row in rows.values() for name in row))
        lines += [f"| what | {' | '.join(columns)} |", "|---|" + "--:|" * len(columns)]
        lines += [f"| {what} | {' | '.join(_shown(row.get(name)) for name in columns)} |" for what, row in rows.items()]
        about = stored[part]["facts"]
        lines += ["", f"{about['device']}. {machine(about)}"]
    return "\n".join(lines) + "\n"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    return number(value) if isinstance(value, int | float) else str(value or "")


if __name__ == "__main__":
    sys.exit(main())

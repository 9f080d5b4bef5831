"""What a rehearsal says of itself: tables, cells, largest memory, minutes, and what did not run or fit."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from benchmarks.rehearsal.papers import FLOWS, encoder
from vaebench.engine import runtime

NAME = "REHEARSAL.md"


def write(folder: Path, width: Fraction, gigabytes: float) -> None:
    """Write the report of all tables that were rehearsed in a folder."""
    found = [
        (path.stem, json.loads(path.read_text(encoding="utf-8")), runs(path.with_suffix(".jsonl")))
        for path in sorted((folder / "ledgers").glob("*.json"))
    ]
    (folder / NAME).write_text("\n".join(_lines(found, width, gigabytes)) + "\n", encoding="utf-8")


def runs(ledger: Path) -> list[dict[str, Any]]:
    """The runs in a ledger: of each key the last that was tried."""
    lines = ledger.read_text(encoding="utf-8").splitlines() if ledger.is_file() else []
    return list({entry["key"]: entry for entry in map(json.loads, lines)}.values())


def _lines(
    found: list[tuple[str, dict[str, Any], list[dict[str, Any]]]], width: Fraction, gigabytes: float
) -> Iterator[str]:
    yield from ("# Rehearsal of scale=paper", "")
    processor = runtime.device_name(torch.device("cpu")).removeprefix("cpu: ")
    yield (
        f"{processor}, {os.cpu_count()} cores, Python {platform.python_version()}, PyTorch {torch.__version__}, commit "
        f"{runtime.commit()}; at most {gigabytes:g} GB for a run. Two steps of each training on made-up data and "
        "weights: no number of it means anything, and none is kept."
    )
    yield ""
    flows = f"LightningDiT-XL and -L of dmvae at {_share(width * FLOWS)}"
    yield f"Networks at {_share(width)}; {flows}; DINOv2: {encoder(width)}."
    yield "A run that several tables share counts for the first of them."
    yield ""
    yield "| table | runs | done | cells | of | peak memory, GB | in | minutes | CPU minutes |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, facts, runs in found:
        yield _row(name.replace(".", " "), facts, runs)
    every = [run for _, _, runs in found for run in runs]
    total = {key: sum(facts.get(key, 0) for _, facts, _ in found) for key in ("runs", "done", "cells", "wanted")}
    yield _row("all", total, every)
    failed = [
        (name, run)
        for name, facts, runs in found
        for run in runs
        if run["status"] != "done" and run["key"] in facts.get("todo", ())
    ]
    yield from _section("Failed", [f"{name}: {run['verb']} {run['key']}: {run['reason']}" for name, run in failed])
    yield from _section("Left out", list(dict.fromkeys(line for _, facts, _ in found for line in facts["said"])))


def _share(width: Fraction) -> str:
    return "their full width" if width == 1 else f"{width} of their width"


def _row(name: str, facts: Mapping[str, Any], runs: list[dict[str, Any]]) -> str:
    told = [run for run in runs if run["gigabytes"] is not None]  # who was killed says nothing
    largest = max(told, key=lambda run: run["gigabytes"], default={"gigabytes": 0.0, "verb": "-"})
    wall, cpu = (sum(run[kind] or 0 for run in runs) / 60 for kind in ("wall", "cpu"))
    cells = [name, facts["runs"], facts.get("done", 0), facts["cells"], facts["wanted"]]
    cells += [f"{largest['gigabytes']:.1f}", largest["verb"], f"{wall:.1f}", f"{cpu:.1f}"]
    return f"| {' | '.join(map(str, cells))} |"


def _section(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield from ("", f"## {title}", "", *(f"- {line}" for line in lines))

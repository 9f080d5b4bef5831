"""Runs made of shards.

A shard is written whole or not at all and depends on the request alone, so a killed run goes on after its last shard
to the same files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from vaebench.errors import Interrupted, UserError
from vaebench.runs import records
from vaebench.runs.kinds import Setup
from vaebench.runs.store import Run

_LEDGER = "shards.json"


def write_shards(
    run: Run, setup: Setup, name: str, total: int, size: int, make: Callable[[range], bytes]
) -> list[Path]:
    """Write ``total`` items, ``size`` to a shard: those that are not there yet, or not as they were written.

    ``name``: of a shard's file, with a place for its number. ``shards.json`` holds the sha256 of each. Before 0.6 there
    was none, and what is there is taken.

    Returns all of them in order. Raises `Interrupted` between two of them when one is asked to stop.
    """
    pieces = [range(start, min(start + size, total)) for start in range(0, total, size)]
    paths = [run.path(name.format(number)) for number in range(len(pieces))]
    sums = _written(run)
    for path, rows in zip(paths, pieces, strict=True):
        if path.is_file() and (sums is None or sums.get(path.name) == records.checksum(path)):
            continue
        content = make(rows)
        run.write(path.name, content)
        sums = {**(sums or _found(run)), path.name: hashlib.sha256(content).hexdigest()}
        run.write_json(_LEDGER, sums)
        setup.track(rows.stop, total)
        if setup.stop() and rows.stop < total:
            raise Interrupted(f"stopped after {rows.stop} of {total}; the same command goes on from there")
    return paths


def _written(run: Run) -> dict[str, str] | None:
    """The sha256 of the shards by name; None if nothing says. Raises `UserError` if that file is damaged."""
    path = run.path(_LEDGER)
    try:
        return records.ledger(path) if path.exists() else None
    except UserError as error:
        raise UserError(f"{error}; remove it to take the shards as they are, or the folder to start over") from error


def _found(run: Run) -> dict[str, str]:
    return {path.name: records.checksum(path) for path in run.folder.glob("*-[0-9]*.*") if path.is_file()}


def check_all(run: Run, found: int, wanted: int, what: str) -> None:
    """Raise `UserError` for a finished run that holds fewer items than its result says."""
    if found != wanted:
        raise UserError(f"{run.folder}: holds {found} of {wanted} {what}, a shard is missing; {run.again()}")

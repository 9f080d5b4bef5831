"""The rehearsal of ``vaebench reproduce paper=all scale=paper``: every table, two steps of each training.

``python -m benchmarks.rehearse`` makes up data and weights in a folder, runs every table of every paper by the ordinary
code with the papers' networks at their real shapes, and writes ``REHEARSAL.md`` there: tables, cells, largest memory,
minutes. The same command goes on where it was stopped. ``--paper``, ``--table`` and ``--row`` choose, ``--width 1/4``
narrows.
"""

from __future__ import annotations

import argparse
import os
import sys
from fractions import Fraction
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """Rehearse what the command line names; 1 if a run failed or a table could not be rehearsed."""
    parser = argparse.ArgumentParser(description="Rehearse the papers' tables at scale=paper.")
    parser.add_argument("--folder", type=Path, default=Path("rehearsal"), help="of data, weights, runs and tables")
    parser.add_argument("--paper", default="all", help="one of them, or several: ldmae,vpvae (all)")
    parser.add_argument("--table", default="all", help="one of its tables, or several (all)")
    parser.add_argument("--row", default="all", help="some of its rows (all)")
    parser.add_argument("--width", type=Fraction, default=Fraction(1), help="of the networks: 1/4 (1)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of a run (the number of cores)")
    parser.add_argument("--gigabytes", type=float, default=20, help="of memory that a run may take (20)")
    chosen = parser.parse_args()
    folder = chosen.folder.absolute()
    settle(folder)
    from benchmarks.rehearsal.tables import Rehearsal

    rehearsal = Rehearsal(folder, chosen.width, chosen.threads, chosen.gigabytes)
    return rehearsal.run(chosen.paper, chosen.table, chosen.row)


def settle(folder: Path) -> None:
    """Let everything come from the folder and go there, and mark it; nothing is asked of a network."""
    where = {"DATA": "data", "CACHE": "cache", "WEIGHTS": "weights", "HOME": "runs"}
    os.environ |= {f"VAEBENCH_{name}": str(folder / part) for name, part in where.items()}
    os.environ |= {"VAEBENCH_REHEARSAL": "1", "VAEBENCH_CONF": str(HERE / "rehearsal"), "HF_HUB_OFFLINE": "1"}
    folder.mkdir(parents=True, exist_ok=True)


if __name__ == "__main__":
    sys.exit(main())

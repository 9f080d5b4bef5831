"""Every table, rehearsed one after the other, and what there is to say of it."""

from __future__ import annotations

import json
import traceback
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from rich.console import Console

from benchmarks.rehearsal import folders, report, texts, weights
from benchmarks.rehearsal.papers import SCALE, SUFFIX, encoder, rehearsed
from vaebench.config.choices import choices, kind_of
from vaebench.config.compose import session
from vaebench.config.spine import ReproduceConfig, RuntimeSpec
from vaebench.errors import UserError
from vaebench.papers import tables
from vaebench.papers.cells import Cells, cells_path
from vaebench.reproduce import collect, planning
from vaebench.reproduce.planning import Plan
from vaebench.runs.store import Store

RESNET = "resnet34.a1_in1k"  # of conf/encoder/resnet34.yaml
_NEVER = 1e9  # seconds between checkpoints: a run of two steps is begun again


@dataclass(frozen=True)
class Rehearsal:
    """``folder``: with ``data``, ``weights``, ``runs``, ``tables``, ``ledgers``. ``width``: of the networks.

    ``threads``: of a run. ``gigabytes``: of memory that one may take.
    """

    folder: Path
    width: Fraction
    threads: int
    gigabytes: float

    def run(self, paper: str, table: str, row: str = "all") -> int:
        """Rehearse tables, and write the report of all that were; 1 if something failed."""
        console = Console(soft_wrap=True)
        with session():
            failed = 0
            for name in planning.chosen("paper", paper, choices("paper")):
                tables.add(rehearsed(name, width=self.width, weights=self.folder / "weights"))
                known = tables.load(name + SUFFIX).tables
                for key in known if table == "all" else planning.chosen("table", table, list(known)):
                    console.print(f"{name} {key}")
                    self._make_up(kind_of(known[key].dataset))
                    failed |= self._rehearse(name, key, row, console)
                    report.write(self.folder, self.width, self.gigabytes)
        console.print(f"written: {self.folder / report.NAME}")
        return failed

    def _make_up(self, kind: str) -> None:
        """The data and weights of tables on a kind of data."""
        data, made = self.folder / "data", self.folder / "weights"
        if kind == "images":
            folders.write_pictures(data)
            weights.of_pictures(made, (encoder(self.width), RESNET))
        elif kind == "audio":
            folders.write_sounds(data)
            weights.of_sounds(made)
        elif kind == "text":
            texts.write(data)
            words = (data / "gsm8k" / "train.jsonl").read_text(encoding="utf-8").splitlines()
            weights.of_texts(made, words, self.width)

    def _rehearse(self, name: str, key: str, row: str, console: Console) -> int:
        """Rows of one table; a mistake in it stops no other. What is said of it afterwards is of all its rows."""
        ledger = self.folder / "ledgers" / f"{name}.{key}.jsonl"
        ledger.parent.mkdir(exist_ok=True)
        cfg = ReproduceConfig(
            paper=name + SUFFIX,
            table=key,
            scale=SCALE,
            results=str(self.folder / "tables"),
            store=str(self.folder / "runs"),
            runtime=RuntimeSpec(device="cpu", threads=self.threads, checkpoint_seconds=_NEVER),
            executor={"_target_": "rehearsal.measured.Measured", "ledger": str(ledger), "gigabytes": self.gigabytes},
            quiet=True,
        )
        said: list[str] = []
        status = 0
        try:
            status = collect.run(replace(cfg, row=row), console)
        except UserError as error:
            said += error.lines
        except Exception as error:  # of the code: it is what a rehearsal is to find
            console.print(traceback.format_exc())
            said.append(f"{type(error).__name__}: {error}")
        facts: dict[str, object] = {"cells": self._cells(name, key), "wanted": 0, "runs": 0, "said": said}
        with suppress(Exception):  # which has been said above
            plan = planning.make(cfg)
            facts |= self._of_race(name, key, ledger) if planning.raced(cfg) else self._of(plan)
            facts["said"] = [*said, *plan.left_out]
        ledger.with_suffix(".json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
        return int(status or bool(said))

    def _of(self, plan: Plan) -> dict[str, object]:
        """How many cells a table has, how many runs are behind them and done, and the keys of the others."""
        store = Store(self.folder / "runs")
        todo = [request.key for request in plan.todo(store)]
        wanted, runs = sum(len(item.evaluations) for item in plan.items), len(plan.requests)
        return {"wanted": wanted, "runs": runs, "done": runs - len(todo), "todo": todo}

    def _of_race(self, name: str, key: str, ledger: Path) -> dict[str, object]:
        """As `_of`; what a race runs follows from what it measures, so no plan counts it."""
        runs = report.runs(ledger)
        todo = [run["key"] for run in runs if run["status"] != "done"]
        return {"wanted": self._cells(name, key), "runs": len(runs), "done": len(runs) - len(todo), "todo": todo}

    def _cells(self, name: str, key: str) -> int:
        frame = Cells.read(cells_path(self.folder / "tables", name + SUFFIX)).frame
        return int((frame["table"] == key).sum())

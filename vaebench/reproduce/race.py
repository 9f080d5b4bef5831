"""A race of readings: all that were drawn are trained shortly, the nearest go on to longer trainings, rung by rung.

Nothing is kept of it but runs and cells, so the same command resumes it. A rung is judged by seed 0 alone. At the end
the nearest reading of all that were measured, whatever its length, gets more seeds, until the nearest one has them: one
that came near by chance moves away with more seeds, and another is the nearest then.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from vaebench.config.spine import ReproduceConfig
from vaebench.errors import UserError
from vaebench.papers.cells import Cells, cells_path
from vaebench.papers.readings import few_seeds, kept, rank
from vaebench.papers.records import Race, Readings
from vaebench.papers.study import at_length, drawn, row_names
from vaebench.papers.tables import Table, load
from vaebench.reproduce import durations, ending, planning
from vaebench.reproduce.collect import Work
from vaebench.reproduce.planning import Plan
from vaebench.reproduce.steps import Place, fits, minutes, place_of, plan_of
from vaebench.runs import executors
from vaebench.runs.store import Store


def run(cfg: ReproduceConfig, store: Store, console: Console) -> int:
    """Race the readings of a study, on each of its sets. Returns 1 if some job failed, else 0.

    Raises `UserError` where the budget does not reach to the end of the first rung.
    """
    return max(one.run() for one in _races(cfg, store, console))


def outlook(cfg: ReproduceConfig, store: Store, console: Console) -> None:
    """Print how many readings a race will train and for how long, as if those drawn first went on."""
    for one in _races(cfg, store, console):
        one.outlook()


def _races(cfg: ReproduceConfig, store: Store, console: Console) -> list[_Race]:
    began = time.monotonic()
    places = dict.fromkeys(place_of(item) for item in planning.make(cfg).items)
    return [_Race(cfg, store, console, began, place) for place in places]


@dataclass(frozen=True)
class _Race:
    cfg: ReproduceConfig
    store: Store
    console: Console
    began: float
    place: Place

    @property
    def table(self) -> Table:
        return load(self.place.paper).tables[self.place.table]

    @property
    def study(self) -> Readings:
        assert self.table.study is not None
        return self.table.study

    @property
    def rules(self) -> Race:
        return self.study.race[self.place.scale]

    def run(self) -> int:
        executors.must_wait(self.cfg, "a race")
        left, status = drawn(self.study, self.place.scale), 0
        for number, steps in enumerate(self.rules.lengths, 1):
            plan = self._plan(row_names(self.study, at_length(left, steps)), 1)
            what = f"rung {number} of {len(self.rules.lengths)}: {_count(len(left))} to {steps:,} steps"
            if not self._begins(what, plan, first=number == 1):
                break
            status |= self._do(plan)
            left = kept(self.table, self._cells().frame, self.place.scale, steps, left)
            if not left:
                self._say("no reading has all its numbers, so none goes on")
                break
        else:
            status |= self._more_seeds()
        self._show()
        return status

    def _more_seeds(self) -> int:
        status, tried = 0, set[str]()
        while rows := [row for row in self._few() if row not in tried]:
            plan = self._plan(rows, self.rules.seeds)
            if not self._begins(f"the nearest get {self.rules.seeds} seeds", plan):
                break
            tried.update(rows)
            status |= self._do(plan)
        return status

    def _few(self) -> list[str]:
        ranking = rank(self.table, self._cells().frame, self.place.scale)
        return few_seeds(self.table, ranking, self.place.scale)

    def outlook(self) -> None:
        left, seconds, counts = drawn(self.study, self.place.scale), 0.0, []
        for steps in self.rules.lengths:
            seconds += self._seconds(self._plan(row_names(self.study, at_length(left, steps)), 1))
            counts.append(f"{len(left)} to {steps:,}")
            left = left[: math.ceil(self.rules.keep * len(left))]
        rungs = f"readings by steps: {', '.join(counts)}; then {self.rules.seeds} seeds for the nearest"
        whole = f"the race is {minutes(seconds / executors.workers(self.cfg))} without those"
        self.console.print(f"{self.place.table} ({self.place.dataset}): {rungs}; {whole}")

    def _begins(self, what: str, plan: Plan, *, first: bool = False) -> bool:
        """Say what comes next; False if it does not fit into the budget."""
        seconds = self._seconds(plan)
        needs = seconds / executors.workers(self.cfg)
        if seconds and not fits(self.cfg, self.began, seconds):
            if first:
                raise UserError(f"budget={self.cfg.budget}: is over before the first rung is done ({minutes(needs)})")
            self._say(f"budget={self.cfg.budget} is spent: {what} takes {minutes(needs)}")
            return False
        self._say(f"{what} ({minutes(needs) if seconds else 'done'})")
        return True

    def _seconds(self, plan: Plan) -> float:
        todo = plan.todo(self.store)
        return sum(map(durations.learnt(self.store, todo), todo))

    def _plan(self, rows: Iterable[str], seeds: int) -> Plan:
        return plan_of(self.cfg, self.place, rows, seeds)

    def _do(self, plan: Plan) -> int:
        return Work(plan, self.store, self.cfg, self.console, brief=True).run()

    def _cells(self) -> Cells:
        """The race's own."""
        frame, here = Cells.read(cells_path(Path(self.cfg.results), self.place.paper)).frame, self.place
        mine = (frame["table"] == here.table) & (frame["scale"] == here.scale) & (frame["dataset"] == here.dataset)
        return Cells(frame[mine])

    def _show(self) -> None:
        if not self.cfg.quiet:
            here = (self.place.table, self.place.scale, self.place.dataset)
            ending.show([(load(self.place.paper), self._cells(), {here})], self.cfg, self.console)

    def _say(self, line: str) -> None:
        if not self.cfg.quiet:
            self.console.print(line)


def _count(readings: int) -> str:
    return f"{readings} reading{'s' * (readings > 1)}"

"""``seeds=auto``: more seeds for the rows whose verdicts are open, until all is decided or the budget is gone.

All rows are looked at after 3 seeds; what is in the results already is kept. Then one step at a time takes some
rows of a table to their next look (5, 8, 12, 20 seeds), first the one that may decide most of the paper's claims and
numbers for its time. What a look costs in evidence says `papers.evidence`; nothing has to be kept of looks that were
taken.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from vaebench.config.spine import ReproduceConfig
from vaebench.disk import locked
from vaebench.errors import UserError
from vaebench.papers.cells import Cells, cells_path
from vaebench.papers.evidence import LOOKS
from vaebench.papers.tables import load
from vaebench.papers.verdicts import Verdict
from vaebench.reproduce import durations, planning
from vaebench.reproduce.collect import Work
from vaebench.reproduce.planning import Plan
from vaebench.reproduce.rows import Item, of_design
from vaebench.reproduce.steps import Place, fits, minutes, place_of, plan_of
from vaebench.runs import executors
from vaebench.runs.store import Store

Measured = tuple[str, str, str, str]  # paper, table, row and evaluation


@dataclass(frozen=True)
class Open:
    """A verdict that more seeds may decide: on a number or on a claim about ``rows``, which share ``seeds``."""

    place: Place
    rows: frozenset[str]
    seeds: int
    verdict: Verdict


@dataclass(frozen=True)
class Step:
    """Rows of a table to take to their next look, and the verdicts that are open there."""

    place: Place
    rows: frozenset[str]
    seeds: int
    verdicts: tuple[Open, ...]
    seconds: float

    @property
    def worth(self) -> tuple[float, float]:
        """Verdicts for its time: those that the most seeds would probably decide, then all."""
        likely = sum(one.verdict.needs is not None and one.verdict.needs <= LOOKS[-1] for one in self.verdicts)
        return likely / max(self.seconds, 1.0), len(self.verdicts) / max(self.seconds, 1.0)


def run(cfg: ReproduceConfig, store: Store, console: Console) -> int:
    """Look after 3 seeds, then go on as long as something is open. Returns 1 if some job failed, else 0.

    Raises `UserError` where nothing can be decided, or the budget does not reach to the first seed.
    """
    return _Auto(cfg, store, console, time.monotonic()).run()


@dataclass(frozen=True)
class _Auto:
    cfg: ReproduceConfig
    store: Store
    console: Console
    began: float
    plans: dict[tuple[Place, frozenset[str], int], Plan] = field(default_factory=dict)

    def run(self) -> int:
        executors.must_wait(self.cfg, "seeds=auto")
        first = self._decidable(planning.make(self.cfg))
        status = self._do(first)
        tried: set[tuple[Place, frozenset[str], int]] = set()  # one that comes again has failed, or decides nothing
        while left := [step for step in self._steps(first) if (step.place, step.rows, step.seeds) not in tried]:
            fitting = [step for step in left if fits(self.cfg, self.began, step.seconds)]
            if not fitting:
                self._say(f"budget={self.cfg.budget} is spent: the next look takes {minutes(left[0].seconds)}")
                break
            step = max(fitting, key=lambda one: one.worth)
            what = f"{step.place.table}, {', '.join(sorted(step.rows))}: {len(step.verdicts)} open"
            self._say(f"{what}, on to {step.seeds} seeds ({minutes(step.seconds)})")
            tried.add((step.place, step.rows, step.seeds))
            status |= self._do(self._plan(step.place, step.rows, step.seeds))
        with locked(Path(self.cfg.results)):
            Work(first, self.store, self.cfg, self.console).collect()
        self._say(self._summary(first))
        return status

    def _do(self, plan: Plan) -> int:
        return Work(self._left(plan), self.store, self.cfg, self.console, brief=True).run()

    def _left(self, plan: Plan) -> Plan:
        """The plan without what ``cells.csv`` has already: its runs may be gone, or on another machine."""
        return _without(plan, self._known(item.paper for item in plan.items))

    def _known(self, papers: Iterable[str]) -> set[Measured]:
        """What ``cells.csv`` has. A row of another table may be the same evaluation: its numbers are not this one's."""
        known: set[Measured] = set()
        for paper in dict.fromkeys(papers):
            frame = Cells.read(cells_path(Path(self.cfg.results), paper)).frame
            known |= set(zip(frame["paper"], frame["table"], frame["row"], frame["eval"], strict=True))
        return known

    def _decidable(self, plan: Plan) -> Plan:
        """The plan of the tables in which something can be decided.

        Raises `UserError` before anything is run if there is none, or not the time or the seeds for a first look.
        """
        idle: dict[tuple[str, str], str] = {}
        for item in _tables(plan):
            table = load(item.paper).tables[item.table]
            where = f"seeds=auto: {item.paper} {item.table}"
            if table.study:
                idle[item.paper, item.table] = f"{where} ranks readings and decides nothing; leave seeds out"
            elif not table.reported and not any(claim.asserted for claim in table.claims):
                why = "has no printed numbers and no claims of the paper to decide; give seeds=N"
                idle[item.paper, item.table] = f"{where} {why}"
        kept = plan.only(item for item in plan.items if (item.paper, item.table) not in idle)
        lines = [] if kept.items else list(idle.values())
        if self.cfg.seeds.max < LOOKS[0]:
            lines.append(f"seeds.max={self.cfg.seeds.max}: a first look takes {LOOKS[0]} seeds")
        if self.cfg.budget and not lines:
            todo = self._left(kept).todo(self.store)
            one = min(map(durations.learnt(self.store, todo), todo), default=0.0)
            if not fits(self.cfg, self.began, one):
                lines.append(f"budget={self.cfg.budget}: is over before the first seed is done ({minutes(one)})")
        if lines:
            raise UserError(*lines)
        for line in idle.values():
            self._say(f"left out: {line}")
        return kept

    def _plan(self, place: Place, rows: frozenset[str], seeds: int) -> Plan:
        """Composed once: what is open is looked at after every step."""
        asked = (place, rows, seeds)
        if asked not in self.plans:
            self.plans[asked] = plan_of(self.cfg, place, sorted(rows), seeds)
        return self.plans[asked]

    def _steps(self, first: Plan) -> list[Step]:
        """What may be done next, for each set of rows that some open verdict is about; the shortest first."""
        found = list(self._open(first))
        known = self._known(one.place.paper for one in found)
        sets = dict.fromkeys((one.place, one.rows, self._next(one.seeds)) for one in found)
        plans = {
            (place, rows, seeds): _without(self._plan(place, rows, seeds), known)
            for place, rows, seeds in sets
            if seeds is not None
        }
        # What is measured there already and is open still lacks numbers: of a package that is not installed, say.
        todo = {step: plan.todo(self.store) for step, plan in plans.items() if plan.items}
        seconds = durations.learnt(self.store, [request for requests in todo.values() for request in requests])
        next_ones = []
        for (place, rows, seeds), requests in todo.items():
            covered = [one for one in found if one.place == place and one.rows <= rows and one.seeds < seeds]
            next_ones.append(Step(place, rows, seeds, tuple(covered), sum(map(seconds, requests))))
        return sorted(next_ones, key=lambda one: one.seconds)

    def _next(self, seeds: int) -> int | None:
        """The look after ``seeds``; the last one is at ``seeds.max``."""
        most = self.cfg.seeds.max
        return next((min(look, most) for look in (*LOOKS, most) if seeds < look and seeds < most), None)

    def _open(self, first: Plan) -> Iterator[Open]:
        """The undecided numbers and claims of the paper that more seeds of the plan's rows may decide."""
        from vaebench.report.summary import sections

        rows: dict[Place, set[str]] = {}
        for item in first.items:
            rows.setdefault(place_of(item), set()).add(item.row)
        for paper in dict.fromkeys(place.paper for place in rows):
            cells = Cells.read(cells_path(Path(self.cfg.results), paper))
            for section in sections(load(paper), cells):
                place = Place(paper, section.key, section.scale, section.dataset)
                if place not in rows or of_design(section.table):
                    continue
                by_key = {key: len(cell.values) for key, cell in section.cells.items() if not cell.pooled}
                found = [(frozenset({cell.row}), [key], cell.verdict) for key, cell in section.cells.items()]
                for judged in section.claims:
                    one = judged.claim
                    keys = [(one.row, one.column), (one.than, one.than_column)]
                    found.append((frozenset({one.row, one.than}), keys, judged.verdict if one.asserted else None))
                for names, keys, verdict in found:
                    known = [by_key[key] for key in keys if key in by_key]
                    here = names - set(section.table.quoted)
                    if verdict and verdict.kind == "undecided" and known and here <= rows[place]:
                        yield Open(place, here, min(known), verdict)

    def _summary(self, first: Plan) -> str:
        left = list(self._open(first))
        spent = minutes(time.monotonic() - self.began)
        needs = sorted(one.verdict.needs for one in left if one.verdict.needs)
        more = f"; they would probably take {needs[0]} to {needs[-1]} seeds" if needs else ""
        return f"{len(left)} verdicts are open after {spent}{more}" if left else f"all is decided after {spent}"

    def _say(self, line: str) -> None:
        if not self.cfg.quiet:
            self.console.print(line)


def _tables(plan: Plan) -> list[Item]:
    """An item of each table."""
    return list({(item.paper, item.table): item for item in plan.items}.values())


def _without(plan: Plan, known: Container[Measured]) -> Plan:
    """The plan without the items whose evaluations are all known."""
    return plan.only(
        item
        for item in plan.items
        if any((item.paper, item.table, item.row, one.key) not in known for one in item.evaluations.values())
    )

"""How long jobs that run side by side still take: what was expected of each, corrected by what others took."""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from vaebench.contracts import Job, Outcome

K = TypeVar("K", bound=Hashable)
Level = tuple[str, ...]  # what jobs that are alike have in common

_OVERDUE = 0.1  # of the time that a job has run longer than was expected: so much more it is given


def lasts(
    times: Mapping[K, float], needs: Mapping[K, Iterable[K]], workers: int, busy: Collection[K] = frozenset()
) -> float:
    """About how many seconds jobs take together if each of the ``workers`` begins the most urgent one that can be.

    ``times``: of each job in seconds, the most urgent first; ``needs``: what has to be done before it, of which only
    what is among ``times`` counts; ``busy``: those that run already, with what is left of them in ``times``.

    At the end of a chain workers wait for parents: the longest path counts, not the sum alone.
    """
    places = {key: place for place, key in enumerate(times)}
    names, children, missing = list(times), dict[K, list[K]](), Counter[K]()
    for key in times:
        for parent in (one for one in needs.get(key, ()) if one in times):
            children.setdefault(parent, []).append(key)
            missing[key] += 1
    running = [(times[key], places[key]) for key in busy]
    ready = [place for key, place in places.items() if key not in busy and not missing[key]]
    heapq.heapify(running)
    now = 0.0
    while ready or running:
        while ready and len(running) < workers:
            place = heapq.heappop(ready)
            heapq.heappush(running, (now + times[names[place]], place))
        now, done = heapq.heappop(running)
        for child in children.get(names[done], ()):
            missing[child] -= 1
            if not missing[child]:
                heapq.heappush(ready, places[child])
    return now


@dataclass
class Doing:
    """A job that runs: when it ``began``, and ``done`` of ``total`` steps, counted from the ``first`` at ``since``.

    Times are seconds of the caller's clock. ``total`` is 0 as long as nothing is known of steps.
    """

    job: Job
    began: float
    since: float
    first: int = 0
    done: int = 0
    total: int = 0

    def rate(self, now: float) -> float:
        """Steps per second, 0 if that is not known."""
        return (self.done - self.first) / (now - self.since) if self.done > self.first and now > self.since else 0.0

    def by_steps(self, now: float) -> float | None:
        """How many seconds its own steps say it still takes; None if they say nothing yet."""
        rate = self.rate(now)
        return (self.total - self.done) / rate if rate else None

    @property
    def part(self) -> float:
        """How much of what it began with is done, from 0 to 1: so far its own steps are believed."""
        return (self.done - self.first) / (self.total - self.first) if self.total > self.first else 0.0

    @property
    def of_all(self) -> float:
        """How much of the whole job this process does, from 0 to 1: less where it goes on with what is there."""
        return 1 - self.first / self.total if self.total else 1.0


@dataclass(frozen=True)
class Look:
    """``left``: seconds until all is done, None if nothing says how long; ``share`` of the work done, from 0 to 1."""

    left: float | None
    share: float


# The first jobs tell how wrong the guesses are. A guess is wrong in the same way for jobs that are alike, so the ratio
# of what was taken to what was expected is kept at three levels: of all jobs, of a verb, of a verb in one table. What a
# level lacks of one job, as long as they are on average, has the ratio of the level above: a short one that ended early
# cannot mislead. Of other verbs' ratio only the root is taken over: half of it may be the machine's, the rest is their
# own guess. What runs counts by as much of it as is done.
class Outlook:
    """The time left for jobs, by what they were expected to take and what is heard of them.

    ``jobs``: the most urgent first; ``workers``: how many run at a time; ``resumed``: folders of those that go on with
    what an earlier command has made of them. ``now`` is a clock's seconds, the same clock in all calls.
    """

    def __init__(self, jobs: Iterable[Job], workers: int, resumed: Collection[Path] = frozenset()) -> None:
        self.waiting = {job.folder: job for job in jobs}
        self.running: dict[Path, Doing] = {}
        self.finished = 0
        self.workers, self.resumed = workers, resumed
        self._taken: list[tuple[Job, float, float]] = []  # of each that has ended: seconds taken, and expected
        self._spent = 0.0
        of_level = defaultdict[Level, list[float]](list)
        for job in self.waiting.values():
            for level in _levels(job):
                of_level[level].append(job.seconds)
        self._typical = {level: sum(found) / len(found) for level, found in of_level.items()}

    @property
    def total(self) -> int:
        """How many jobs there are: ended, running and waiting; without those that will never begin."""
        return self.finished + len(self.running) + len(self.waiting)

    def heard(self, job: Job, done: int, total: int, now: float) -> bool:
        """A job runs and has done so many steps; 0 of 0: more is not known. Returns whether that is the first sign."""
        begins = job.folder not in self.running
        if begins:
            self.running[job.folder] = Doing(job, began=now, since=now)
            self.waiting.pop(job.folder, None)
        doing = self.running[job.folder]
        if total and (total != doing.total or done < doing.done):  # the first steps, or those of another part
            fresh = not doing.total and job.folder not in self.resumed
            doing.first, doing.since = (0, doing.began) if fresh else (done, now)
        if total:
            doing.done, doing.total = done, total
        return begins

    def ended(self, outcome: Outcome, now: float, spent: float | None = None) -> float | None:
        """A job has ended. ``spent``: the seconds that went into it as its run says, before it was resumed as well.

        Those that need one that has failed are forgotten. Returns how many seconds it ran; None if nobody knows.
        """
        job, self.finished = outcome.job, self.finished + 1
        self.waiting.pop(job.folder, None)
        doing = self.running.pop(job.folder, None)
        if outcome.status == "failed":
            self._forget(job.folder)
        whole = None if job.folder in self.resumed else spent
        taken = whole if whole is not None else now - doing.began if doing else None
        if taken is not None:
            self._spent += taken
            if outcome.status == "done":
                part = 1.0 if whole is not None or doing is None else doing.of_all
                self._taken.append((job, taken, part * job.seconds))
        return taken

    def _forget(self, folder: Path) -> None:
        """Leave out what needs a job, and what needs that."""
        lost = [folder]
        for one in lost:
            children = [job.folder for job in self.waiting.values() if one in job.needs]
            lost += children
            for child in children:
                del self.waiting[child]

    def look(self, now: float) -> Look:
        """What is left, as far as can be told now."""
        factors = self._factors(now)
        running, waiting = dict(self.running), dict(self.waiting)  # whoever draws is another thread

        def expected(job: Job) -> float:
            return factors[_levels(job)[-1]] * job.seconds

        times = {folder: _remains(doing, expected(doing.job), now) for folder, doing in running.items()}
        times |= {folder: expected(job) for folder, job in waiting.items() if folder not in times}
        known = all(job.seconds for job in waiting.values()) and all(
            doing.job.seconds or doing.rate(now) for doing in running.values()
        )
        needs = {folder: job.needs for folder, job in waiting.items()}
        done = self._spent + sum(now - doing.began for doing in running.values())
        work = done + sum(times.values())
        if not known or not work:
            return Look(None, self.finished / max(1, self.total))
        return Look(lasts(times, needs, self.workers, running.keys()), done / work)

    def _factors(self, now: float) -> dict[Level, float]:
        """By what jobs take longer than expected, at each level."""
        taken, expected = defaultdict[Level, float](float), defaultdict[Level, float](float)
        for job, seconds, wanted in (*self._taken, *self._so_far(now)):
            for level in _levels(job):
                taken[level] += seconds
                expected[level] += wanted
        found: dict[Level, float] = {(): taken[()] / expected[()] if expected[()] else 1.0}
        for level in sorted(self._typical, key=len)[1:]:
            above = math.sqrt(found[()]) if len(level) == 1 else found[level[:-1]]
            lacking = max(0.0, self._typical[level] - expected[level])
            seen = expected[level] + lacking
            found[level] = (taken[level] + above * lacking) / seen if seen else above
        return found

    def _so_far(self, now: float) -> Iterator[tuple[Job, float, float]]:
        """Of those that run, the seconds of as much as is done; of one that is overdue, all it has taken."""
        for doing in list(self.running.values()):
            spent, left, wanted = now - doing.began, doing.by_steps(now), doing.of_all * doing.job.seconds
            if left is not None:
                yield doing.job, (spent + left) * doing.part, wanted * doing.part
            elif spent > wanted:
                yield doing.job, spent, wanted


def _levels(job: Job) -> tuple[Level, Level, Level]:
    """All jobs, those of its verb, those of its verb in its table; each is the one before and a word more."""
    where = "/".join(text for name, text in job.tags if name in ("paper", "table"))
    return (), (job.verb,), (job.verb, where)


def _remains(doing: Doing, expected: float, now: float) -> float:
    """How many seconds a job still takes: as expected at its beginning, as its own steps say at its end."""
    spent, by_steps = now - doing.began, doing.by_steps(now)
    by_guess = max(expected * doing.of_all - spent, _OVERDUE * spent)
    if by_steps is None:
        return by_guess
    if not doing.job.seconds:
        return by_steps
    return doing.part * by_steps + (1 - doing.part) * by_guess

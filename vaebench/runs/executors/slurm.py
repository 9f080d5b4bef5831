"""Slurm: arrays of tasks on the nodes of a cluster, which need nothing of this command once they are submitted.

A task does its jobs one after the other (`task`). How far they are is read from the runs' own status, and what became
of a task that says nothing any more from the queue.
"""

from __future__ import annotations

import itertools
import re
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval

from vaebench.config.signatures import Count, CountOrNone, Positive, Sound, checked, mistakes, require
from vaebench.contracts import Job, Outcome, Queue, Told
from vaebench.disk import locked
from vaebench.errors import UserError
from vaebench.runs.executors import batches, cluster
from vaebench.runs.executors.cluster import State
from vaebench.runs.executors.progress import mark, steps_of
from vaebench.runs.executors.submitted import Array, Submission, earlier, environment
from vaebench.runs.store import Run
from vaebench.stopping import stop_on_signal

_TICK = 0.2  # seconds between two looks at whether one was asked to stop
_RELEASES = 3  # of a task that a node could not start
_SETTLED = 60.0  # seconds from the end of a task until all machines see what it wrote
_EARLY = 60  # seconds by which Slurm may send its signal early
_SILENT = 600.0  # seconds without an answer of the cluster after which nobody waits any longer
_ENDS = {
    "CANCELLED": "was cancelled",
    "TIMEOUT": "ran into its time limit before it was done; give it more (executor.time)",
    "OUT_OF_MEMORY": "took more memory than it had; give it more (executor.memory)",
    "NODE_FAIL": "its node failed, and Slurm does not start it again",
    "BOOT_FAIL": "its node did not come up",
    "DEADLINE": "was not done by the cluster's deadline",
    "COMPLETED": "ended without doing it",
    "PREEMPTED": "had to make room, and Slurm does not start it again",
}
_TIME = re.compile(r"\d+|\d+:\d\d(:\d\d)?|\d+-\d\d?(:\d\d){0,2}")


def _no_time(text: str) -> str:
    return "" if _TIME.fullmatch(text) else "is no time of Slurm's; write minutes, 04:00:00 or 2-00:00:00"


# A whole number beyond a week is no time that somebody gave: YAML reads 12:00:00 without quotes as one.
Time = Annotated[str, Sound(_no_time)] | Annotated[int, Interval(ge=1, le=7 * 24 * 60)]


def seconds_of(time: str | int) -> int:
    """Slurm's way to write a time limit."""
    days, _, rest = str(time).rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if not days and len(parts) < 3:  # minutes, perhaps with seconds
        parts = [0, *parts]
    hours, minutes, seconds = (*parts, 0, 0)[:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a task takes of the cluster, in sbatch's terms; None: what the cluster gives."""

    partition: str | None = None
    account: str | None = None
    time: Time | None = None
    memory: str | None = None
    cpus: Count | None = None
    gpus: CountOrNone | None = None

    def words(self) -> list[str]:
        """The options of sbatch."""
        named = {"partition": self.partition, "account": self.account, "time": self.time, "mem": self.memory}
        named |= {"cpus-per-task": self.cpus, "gres": f"gpu:{self.gpus}" if self.gpus else None}
        return [f"--{name}={value}" for name, value in named.items() if value is not None]


@dataclass(frozen=True)
class Watched:
    """A task in the queue. ``name``: what Slurm calls it, ``123_4``."""

    name: str
    jobs: Sequence[Job]
    log: Path


@checked("executor")
@dataclass(kw_only=True)
class Slurm:
    """Options: ``conf/executor/slurm.yaml`` says what each means."""

    wait: bool
    partition: str | None
    account: str | None
    time: Time | None
    memory: str | None
    cpus: Count
    gpus: CountOrNone
    verbs: Mapping[str, Any]
    setup: Sequence[str]
    options: Sequence[str]
    target_minutes: Positive
    workers: Count
    store_before: Count
    poll: Annotated[float, Interval(ge=0.1, le=3600)]

    here = False

    def __post_init__(self) -> None:
        where = {f"executor.verbs.{verb}": own or {} for verb, own in self.verbs.items()}
        require(*(f"{name}={own}: expected options" for name, own in where.items() if not isinstance(own, Mapping)))
        lines = [mistakes(name, own, Resources, needed_by=name, provided=()) for name, own in where.items()]
        require(*itertools.chain(*lines))
        times = {f"{name}.time": own.get("time") for name, own in where.items()} | {"executor.time": self.time}
        least = self.store_before + _EARLY
        require(
            *(
                f"{name}={time}: has to be {least // 60 + 1} minutes or more, to store executor.store_before="
                f"{self.store_before} seconds before its end"
                for name, time in times.items()
                if time is not None and seconds_of(time) <= least
            )
        )

    def at_once(self, *, gpus: int, processes: int) -> int:
        """The tasks that run at a time."""
        return self.workers

    def submit(self, queue: Queue, told: Told) -> Iterator[Outcome]:
        """Submit what is not in the queue yet, and yield what has ended; without ``wait``, what goes on as ``left``.

        Asked to stop, raise KeyboardInterrupt: the tasks go on.
        """
        jobs = queue.take_all()
        place = told.store / "slurm"
        with locked(place):  # or another command submits the same
            try:
                watched = self._there(place, {job.folder: job for job in jobs}, told)
            except cluster.SilentError as error:
                raise UserError("executor=slurm: squeue does not answer; is slurmctld up?") from error
            there = {job.folder: one.name for one in watched for job in one.jobs}
            done = [job for job in jobs if job.folder not in there and Run(job.folder).done]  # in the last second
            jobs = [job for job in jobs if job not in done]
            new = [job for job in jobs if job.folder not in there]
            if watched:
                told.say(f"{len(jobs) - len(new)} jobs are in the queue already")
            if new:
                watched += self._submitted(new, there, place, told)
        yield from (Outcome(job, "done") for job in done)
        if self.wait:
            yield from self._watch(watched, told)
        else:
            told.say(f"{len(jobs)} jobs go on without this command; the same one says how far they are, and collects")
            yield from (Outcome(job, "left") for job in jobs)

    def _resources(self, job: Job) -> Resources:
        own = self.verbs.get(job.verb) or {}
        names = [one.name for one in fields(Resources)]
        return Resources(**{name: getattr(self, name) if own.get(name) is None else own[name] for name in names})

    def _there(self, place: Path, wanted: Mapping[Path, Job], told: Told) -> list[Watched]:
        """The tasks of earlier commands that go on, with those of their jobs that are wanted now.

        One that waits for what nobody makes any more leaves the queue. Of those that have ended it is said how.
        """
        states, alive = cluster.states(), dict[str, tuple[Sequence[Job], Path]]()
        for submission in earlier(place):
            named = {
                f"{array.id}_{number}": task for array in submission.arrays for number, task in enumerate(array.tasks)
            }
            going = {name for name in named if not states.get(name, State("GONE")).over}
            alive |= {name: (named[name], _log(submission, name)) for name in going}
            for name in named.keys() - going:
                left = [job for job in named[name] if job.folder in wanted and not Run(job.folder).done]
                for job in left:
                    told.note(job, f"{_end(name, states.get(name, State('GONE')), _log(submission, name))}; once more")
            if not going:
                submission.close()
        while lost := [name for name in alive if states[name].name == "PENDING" and not _can_begin(name, alive)]:
            cluster.cancel(lost)
            for name in lost:
                del alive[name]
        mine = {name: [wanted[job.folder] for job in task if job.folder in wanted] for name, (task, _) in alive.items()}
        return [Watched(name, task, alive[name][1]) for name, task in mine.items() if task]

    def _submitted(self, jobs: Sequence[Job], there: Mapping[Path, str], place: Path, told: Told) -> list[Watched]:
        """Submit jobs, parents first; ``there``: the tasks that others have been submitted with."""
        kinds = {self._resources(job) for job in jobs}
        where = {(one.partition, one.account) for one in kinds}
        if doubt := cluster.check(sorted(where, key=str), place, sys.executable):
            told.say(doubt)
        tasks = batches.tasks(jobs, self._resources, self.target_minutes * 60, there)
        together = batches.arrays(tasks, cluster.most_tasks())
        submission = Submission.new(place, told.machine)
        submission.arrays.extend(Array([tasks[number].jobs for number in numbers]) for numbers in together)
        submission.write()
        names: dict[int, str] = {}
        for job in jobs:
            mark(job, "submitted", f"to Slurm, {submission.folder.name}")
        try:
            for array, numbers in enumerate(together):
                after = sorted(need if isinstance(need, str) else names[need] for need in tasks[numbers[0]].needs)
                name = cluster.submit(self._words(submission, array, tasks[numbers[0]].resources, len(numbers), after))
                submission.named(array, name)
                names |= {number: f"{name}_{index}" for index, number in enumerate(numbers)}
        except BaseException:
            cluster.cancel([one.id for one in submission.arrays if one.id])
            for job in jobs:
                mark(job, "interrupted", "could not be submitted to Slurm")
            raise
        ids = ", ".join(one.id for one in submission.arrays)
        told.say(f"submitted: {len(jobs)} jobs in {len(tasks)} tasks (job {ids}); logs: {submission.folder}")
        return [Watched(name, tasks[number].jobs, _log(submission, name)) for number, name in names.items()]

    def _words(
        self, submission: Submission, array: int, needs: Resources, count: int, after: Sequence[str]
    ) -> list[str]:
        """What sbatch is given for an array."""
        python = [sys.executable, "-m", "vaebench.runs.executors.task", str(submission.file), str(array)]
        exports = [f"export {name}={shlex.quote(value)}" for name, value in environment().items()]
        lines = ["#!/bin/bash", *exports, *self.setup, f'exec {shlex.join(python)} "$SLURM_ARRAY_TASK_ID"', ""]
        script = submission.folder / f"array-{array}.sh"
        script.write_text("\n".join(lines), encoding="utf-8")
        words = ["--job-name=vaebench", f"--array=0-{count - 1}%{self.workers}", "--requeue", "--open-mode=append"]
        words += [f"--output={submission.folder}/%A_%a.log", f"--signal=B:USR1@{self.store_before}"]
        words += needs.words() + list(self.options)
        words += [f"--dependency=afterany:{':'.join(after)}"] if after else []
        return [*words, str(script)]

    def _watch(self, watched: list[Watched], told: Told) -> Iterator[Outcome]:
        """Yield each job's outcome when it has ended."""
        answered, look, before, over = time.monotonic(), 0.0, dict[str, State](), dict[str, float]()
        held = Counter[str]()
        left = {one.name: list(one.jobs) for one in watched}
        failed: set[Path] = set()
        with stop_on_signal() as asked:
            while any(left.values()):
                if asked():
                    told.say(f"the tasks go on; `scancel {' '.join(_arrays(left))}` ends them")
                    raise KeyboardInterrupt
                if time.monotonic() < look:
                    time.sleep(_TICK)
                    continue
                look = time.monotonic() + self.poll
                try:
                    states = cluster.states()
                    answered = time.monotonic()
                except cluster.SilentError:
                    if time.monotonic() - answered > _SILENT:
                        raise UserError(
                            f"Slurm has not answered for {_SILENT / 60:.0f} minutes; the tasks may go on, and the same "
                            "command collects them"
                        ) from None
                    continue
                for one in watched:
                    state = states.get(one.name, State("GONE"))
                    yield from _seen(left[one.name], state, told)
                    if not state.over:
                        over.pop(one.name, None)
                    elif time.monotonic() - over.setdefault(one.name, time.monotonic()) > _SETTLED:
                        yield from _given_up(one, left[one.name], state, failed)
                        left[one.name] = []
                    if left[one.name] and state.held:
                        held[one.name] += 1
                        _let_go(one, left[one.name][0], held[one.name], told)
                    _say_of(one, left[one.name], state, before.get(one.name), told)
                    before[one.name] = state


def _seen(left: list[Job], state: State, told: Told) -> Iterator[Outcome]:
    """What of a task's jobs is done by now, and how far the rest is."""
    for job in list(left):
        if Run(job.folder).done:
            left.remove(job)
            yield Outcome(job, "done")
        elif not state.over and (steps := steps_of(job)):
            told.track(job, *steps)


# A task that has ended is looked at for a while before this: what a node wrote is not seen everywhere at once.
def _given_up(one: Watched, left: Sequence[Job], state: State, failed: set[Path]) -> Iterator[Outcome]:
    """What became of the jobs of a task that is over and did not do them; of those that need a failed one, nothing."""
    for job in left:
        status, begun = Run(job.folder).status(), failed.isdisjoint(job.needs)
        failed.add(job.folder)
        if not begun:
            mark(job, "interrupted", "needs a run that failed")
        elif status["status"] == "failed":
            yield Outcome(job, "failed", str(status.get("reason", "")))
        else:
            reason = _end(one.name, state, one.log)
            mark(job, "failed", reason)
            yield Outcome(job, "failed", reason)


def _end(name: str, state: State, log: Path) -> str:
    """How a task ended that has not done its jobs."""
    why = _ENDS.get(state.name) or cluster.exit_code(name) or "is gone from the queue"
    return f"task {name} {'on ' + state.node + ' ' if state.node else ''}{why}; log: {log}"


def _can_begin(name: str, alive: Mapping[str, tuple[Sequence[Job], Path]]) -> bool:
    """Whether all that a task's jobs need is done, or will be."""
    made = {job.folder for task, _ in alive.values() for job in task}
    return all(need in made or Run(need).done for job in alive[name][0] for need in job.needs)


def _let_go(one: Watched, job: Job, times: int, told: Told) -> None:
    """Slurm holds what a node could not start, and would hold it for ever."""
    if times <= _RELEASES:
        cluster.release(one.name)
    else:
        told.note(job, f"task {one.name} could not be started {times} times; it is cancelled, the nodes' logs say why")
        cluster.cancel([one.name])


def _say_of(one: Watched, left: Sequence[Job], state: State, before: State | None, told: Told) -> None:
    """Say when a task was put into the queue again, and what keeps it there."""
    if not left or state == before:
        return
    if before and before.name == "RUNNING" and state.name in ("PENDING", "REQUEUED"):
        told.note(left[0], f"task {one.name} left {before.node} and is in the queue again; it goes on where it was")
    if state.stuck:
        told.note(left[0], f"task {one.name} waits: {state.stuck}")


def _log(submission: Submission, name: str) -> Path:
    return submission.folder / f"{name}.log"


def _arrays(names: Mapping[str, Sequence[Job]]) -> list[str]:
    return sorted({name.partition("_")[0] for name, left in names.items() if left})

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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval

from vaebench.config.signatures import Count, CountOrNone, Positive, Sound, checked, mistakes, require
from vaebench.contracts import Job, Outcome, Queue, Told
from vaebench.errors import UserError
from vaebench.runs.executors import batches, cluster
from vaebench.runs.executors.cluster import State
from vaebench.runs.executors.progress import mark, steps_of
from vaebench.runs.executors.submitted import Array, Submission, earlier
from vaebench.runs.store import Run
from vaebench.stopping import stop_on_signal

_TICK = 0.2  # seconds between two looks at whether one was asked to stop
_SILENT = 600.0  # seconds without an answer of the cluster after which nobody waits any longer
_ENDS = {
    "CANCELLED": "was cancelled",
    "TIMEOUT": "ran into its time limit before it was done; give it more (executor.time)",
    "OUT_OF_MEMORY": "took more memory than it had; give it more (executor.memory)",
    "NODE_FAIL": "its node failed, and Slurm does not start it again",
    "BOOT_FAIL": "its node did not come up",
    "DEADLINE": "was not done by the cluster's deadline",
    "PREEMPTED": "had to make room, and Slurm does not start it again",
}
_TIME = re.compile(r"\d+|\d+:\d\d(:\d\d)?|\d+-\d\d?(:\d\d){0,2}")


def _no_time(text: str) -> str:
    return "" if _TIME.fullmatch(text) else "is no time of Slurm's; write minutes, 04:00:00 or 2-00:00:00"


Time = Annotated[str, Sound(_no_time)]


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a task takes of the cluster, in sbatch's terms; None: what the cluster gives."""

    partition: str | None = None
    account: str | None = None
    time: Time | Count | None = None
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
    time: Time | Count | None
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
        lines = [mistakes(name, own, Resources, needed_by=name, provided=()) for name, own in where.items()]
        require(*itertools.chain(*lines))

    def at_once(self, *, gpus: int) -> int:
        """The tasks that run at a time."""
        return self.workers

    def submit(self, queue: Queue, told: Told) -> Iterator[Outcome]:
        """Submit what is not in the queue yet, and yield what has ended; without ``wait``, what goes on as ``left``.

        Asked to stop, raise KeyboardInterrupt: the tasks go on.
        """
        jobs = queue.take_all()
        place = told.store / "slurm"
        place.mkdir(parents=True, exist_ok=True)
        wanted = {*self._partitions(jobs)}
        if doubt := cluster.check(sorted(wanted, key=str), place, [sys.executable]):
            told.say(doubt)
        watched = self._there(place, {job.folder: job for job in jobs})
        there = {job.folder: one.name for one in watched for job in one.jobs}
        done = [job for job in jobs if job.folder not in there and Run(job.folder).done]  # in the last second
        yield from (Outcome(job, "done") for job in done)
        jobs = [job for job in jobs if job not in done]
        new = [job for job in jobs if job.folder not in there]
        if watched:
            told.say(f"{len(jobs) - len(new)} jobs are in the queue already")
        if new:
            watched += self._submitted(new, there, place, told)
        if self.wait:
            yield from self._watch(watched, told)
        else:
            told.say(f"{len(jobs)} jobs go on without this command; the same one says how far they are, and collects")
            yield from (Outcome(job, "left") for job in jobs)

    def _partitions(self, jobs: Sequence[Job]) -> Iterator[str | None]:
        return (self._resources(job).partition for job in jobs)

    def _resources(self, job: Job) -> Resources:
        own = self.verbs.get(job.verb) or {}
        names = [one.name for one in fields(Resources)]
        return Resources(**{name: getattr(self, name) if own.get(name) is None else own[name] for name in names})

    def _there(self, place: Path, wanted: Mapping[Path, Job]) -> list[Watched]:
        """The tasks of earlier commands that have not ended, with those of their jobs that are wanted now."""
        states, found = cluster.states(), []
        for submission in earlier(place):
            for array in submission.arrays:
                for number, task in enumerate(array.tasks):
                    name = f"{array.id}_{number}"
                    state = states.get(name)
                    mine = [wanted[job.folder] for job in task if job.folder in wanted]
                    if state and not state.over and mine:
                        found.append(Watched(name, mine, _log(submission, name)))
        return found

    def _submitted(self, jobs: Sequence[Job], there: Mapping[Path, str], place: Path, told: Told) -> list[Watched]:
        """Submit jobs, parents first; ``there``: the tasks that others have been submitted with."""
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
        lines = ["#!/bin/bash", *self.setup, f'exec {shlex.join(python)} "$SLURM_ARRAY_TASK_ID"', ""]
        script = submission.folder / f"array-{array}.sh"
        script.write_text("\n".join(lines), encoding="utf-8")
        words = ["--job-name=vaebench", f"--array=0-{count - 1}%{self.workers}", "--requeue", "--open-mode=append"]
        words += [f"--output={submission.folder}/%A_%a.log", f"--signal=B:USR1@{self.store_before}"]
        words += needs.words() + list(self.options)
        words += [f"--dependency=afterany:{':'.join(after)}"] if after else []
        return [*words, str(script)]

    def _watch(self, watched: list[Watched], told: Told) -> Iterator[Outcome]:
        """Yield each job's outcome when it has ended."""
        answered, look, before, lost = time.monotonic(), 0.0, dict[str, State](), set[str]()
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
                    if left[one.name] and state.over and one.name in lost:
                        yield from _given_up(one, left[one.name], state, failed)
                        left[one.name] = []
                    lost = lost | {one.name} if state.over else lost - {one.name}
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


# A task that has just ended is looked at twice before this: what a node wrote is not seen everywhere at once.
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
            why = _ENDS.get(state.name) or cluster.exit_code(one.name) or "is gone from the queue"
            reason = f"task {one.name} {'on ' + state.node + ' ' if state.node else ''}{why}; log: {one.log}"
            mark(job, "failed", reason)
            yield Outcome(job, "failed", reason)


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

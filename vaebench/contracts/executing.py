"""What executors are given and what they give: jobs, of which some need others, and how each ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Job:
    """All an executor ships to a worker: ``verb`` says what to do with the request in ``folder``.

    ``tags``: what a tracker is to know of it beside the request, pairs of a name and a text (its paper, table and row).
    ``needs``: the folders of jobs that have to be done before. ``seconds``: about how long it takes.
    """

    verb: str
    folder: Path
    tags: tuple[tuple[str, str], ...] = ()
    needs: tuple[Path, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """How a job ended: ``status`` is ``done``, ``failed``, ``interrupted`` or, for who asked not to wait, ``left``.

    ``reason``: one line.
    """

    job: Job
    status: str
    reason: str = ""


class Queue:
    """Jobs that wait to be begun, the most urgent first; each until all that it needs is done.

    ``begin`` is called with each job that is taken, before it is.
    """

    def __init__(self, jobs: Iterable[Job], begin: Callable[[Job], object] = lambda job: None) -> None:
        self._waiting = {job.folder: job for job in jobs}
        self._missing = set(self._waiting)
        self._begin = begin

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._waiting.values()))

    @property
    def ready(self) -> Job | None:
        """The job to begin now; None if there is none left, or all that are left have to wait."""
        return next((job for job in self._waiting.values() if self._missing.isdisjoint(job.needs)), None)

    def take(self) -> Job | None:
        """What is `ready`, which is no longer in the queue."""
        job = self.ready
        if job is not None:
            self._begin(job)
            del self._waiting[job.folder]
        return job

    def take_all(self) -> list[Job]:
        """All that is left, each after those it needs: for an executor that knows itself when a job may begin."""
        found: dict[Path, Job] = {}
        while len(found) < len(self._waiting):
            free = [job for job in self if job.folder not in found and self._missing & set(job.needs) <= found.keys()]
            assert free, "jobs that need each other in a circle, or what is not there"
            found |= {job.folder: job for job in free}
        for job in found.values():
            self._begin(job)
        self._waiting = {}
        return list(found.values())

    def put_back(self, job: Job) -> None:
        """A job that was taken and not begun: it is the next."""
        self._waiting = {job.folder: job, **self._waiting}

    def ended(self, outcome: Outcome) -> None:
        """What needs a done job may begin; what needs one that has failed is left out."""
        if outcome.status == "done":
            self._missing.discard(outcome.job.folder)
        elif outcome.status == "failed":
            lost = [outcome.job.folder]
            for folder in lost:
                lost += [job.folder for job in self if folder in job.needs]
                self._waiting.pop(folder, None)


@dataclass(frozen=True)
class Told:
    """What an executor is told beside its jobs.

    ``machine``: plain data for the workers, as `vaebench.runs.worker.work` takes it. ``track(job, done, total)``: hears
    that a job runs, 0 of 0 as long as nothing is known of its steps, and how far it is. ``note(job, line)``,
    ``say(line)``: tell the user of a job, of all. ``store``: the runs' folder.
    """

    machine: Mapping[str, Any]
    track: Callable[[Job, int, int], None]
    note: Callable[[Job, str], None]
    say: Callable[[str], None]
    store: Path


class Executor(Protocol):
    """Where jobs run. Its options are the arguments of its constructor; a file of ``conf/executor`` names it.

    ``here``: whether that is this machine. ``at_once``: how many jobs run at a time, for estimates; ``gpus``: how many
    there are for this process, 0 without; ``processes``: of each training. ``submit``: runs the jobs of a queue and
    yields how each ended when it has; who iterates tells the queue before it asks for the next. Asked to stop, it lets
    the jobs store and raises KeyboardInterrupt.
    """

    @property
    def here(self) -> bool: ...

    def at_once(self, *, gpus: int, processes: int) -> int: ...

    def submit(self, queue: Queue, told: Told) -> Iterator[Outcome]: ...

"""Jobs in batches, for a scheduler that starts them: short ones share a task, and a task waits for those it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Generic, TypeVar

from vaebench.contracts import Job

R = TypeVar("R")  # what a task takes of a machine


@dataclass
class Task(Generic[R]):
    """Jobs that run one after the other. ``needs``: the tasks that have to end before, by number or by name."""

    resources: R
    needs: frozenset[int | str]
    jobs: list[Job] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """About how long it takes."""
        return sum(job.seconds for job in self.jobs)


# A job joins the task of its parents if that is one, because then it can begin as soon as they are done; else a task
# that waits for the same ones. Both are tasks whose needs it has already, so that no circle can arise.
def tasks(
    jobs: Iterable[Job], resources: Callable[[Job], R], most: float, there: Mapping[Path, str] = MappingProxyType({})
) -> list[Task[R]]:
    """Jobs (parents first) in tasks of up to ``most`` seconds, which need tasks with smaller numbers only.

    ``there``: the names of tasks that do other jobs already, which some of these may need.
    """
    found: list[Task[R]] = []
    at: dict[Path, int | str] = dict(there)
    latest: dict[tuple[R, frozenset[int | str]], int] = {}
    for job in jobs:
        needs, kind = frozenset(at[folder] for folder in job.needs if folder in at), resources(job)
        beside = [n for n in needs if isinstance(n, int) and len(needs) == 1]
        beside += [latest[kind, needs]] if (kind, needs) in latest else []
        fits = (n for n in beside if found[n].resources == kind and found[n].seconds + job.seconds <= most)
        number = next(fits, len(found))
        if number == len(found):
            found.append(Task(kind, needs))
            latest[kind, needs] = number
        found[number].jobs.append(job)
        at[job.folder] = number
    return found


def arrays(found: list[Task[R]], most: int) -> list[list[int]]:
    """The numbers of the tasks that can be submitted as one, at most ``most`` of them: of one kind, after the same."""
    together: dict[tuple[R, frozenset[int | str]], list[int]] = {}
    for number, task in enumerate(found):
        together.setdefault((task.resources, task.needs), []).append(number)
    return [numbers[start : start + most] for numbers in together.values() for start in range(0, len(numbers), most)]

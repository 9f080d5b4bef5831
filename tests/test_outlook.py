"""The time left of jobs that run side by side: within 30 % once the first have ended, whatever the guesses were."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from vaebench.contracts import Job, Outcome
from vaebench.runs.executors.outlook import Outlook, lasts

NEAR = 0.3  # of the time that is left in truth


def job(name: str, seconds: float, *needs: Job, verb: str = "train", table: str = "table1") -> Job:
    tags = (("paper", "p"), ("table", table), ("row", name))
    return Job(verb, Path(name), tags, tuple(one.folder for one in needs), seconds)


def outlook(*jobs: Job, workers: int = 1, resumed: tuple[Job, ...] = ()) -> Outlook:
    return Outlook(jobs, workers, {one.folder for one in resumed})


def done(one: Job) -> Outcome:
    return Outcome(one, "done")


def reproduction(shape: str) -> list[tuple[Job, float]]:
    """Jobs with what each takes in truth; the guesses are wrong by as much as ``shape`` says."""
    rng = np.random.default_rng(0)
    slow = {"true": (1.0, 1.0), "slow": (4.0, 4.0), "quick": (0.25, 0.25), "mixed": (3.0, 0.5)}[shape]
    found = []
    for number in range(24):
        table = f"table{number % 2}"
        guess = float(rng.uniform(20, 60))
        training = job(f"train{number}", guess, table=table)
        suite = job(f"eval{number}", guess / 10, training, verb="eval", table=table)
        noise = float(rng.uniform(0.85, 1.15))
        found += [(training, guess * slow[number % 2] * noise), (suite, suite.seconds * slow[1 - number % 2] * noise)]
    return found


def played(truth: list[tuple[Job, float]], workers: int) -> Iterator[tuple[Outlook, float]]:
    """The outlook and the time at the end of each job, done by workers who begin the next that can be."""
    takes, order = {one.folder: seconds for one, seconds in truth}, [one for one, _ in truth]
    found, running, ended, now = outlook(*order, workers=workers), list[tuple[float, int]](), set[Path](), 0.0
    began: dict[Path, float] = {}
    waiting = list(order)
    while waiting or running:
        free = [one for one in waiting if ended.issuperset(one.needs)][: workers - len(running)]
        for one in free:
            waiting.remove(one)
            found.heard(one, 0, 0, now)
            began[one.folder] = now
            heapq.heappush(running, (now + takes[one.folder], order.index(one)))
        now, place = heapq.heappop(running)
        ended.add(order[place].folder)
        for _, other in running:
            folder = order[other].folder
            found.heard(order[other], int(1000 * (now - began[folder]) / takes[folder]), 1000, now)
        found.ended(done(order[place]), now, takes[order[place].folder])
        yield found, now


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("shape", ["true", "slow", "quick", "mixed"])
def test_after_the_first_jobs_the_time_left_is_within_30_percent(shape, workers):
    told = [(found.finished, found.look(now).left, now) for found, now in played(reproduction(shape), workers)]
    end = told[-1][2]
    for finished, left, now in told[6:-1]:
        assert left is not None
        assert abs(left - (end - now)) <= NEAR * (end - now), (finished, left, end - now)
    assert told[-1][1] is None or told[-1][1] == 0.0


def test_before_anything_has_ended_the_guesses_stand_as_they_are():
    first = job("a", 10.0)
    found = outlook(first, job("b", 5.0, first), job("c", 7.0), workers=2)
    assert found.look(0.0).left == 15.0
    assert found.look(0.0).share == 0.0


def test_a_job_that_runs_says_by_its_steps_how_wrong_the_guess_was():
    one, two = job("a", 10.0), job("b", 10.0)
    found = outlook(one, two)
    assert found.heard(one, 0, 0, 0.0) is True
    assert found.heard(one, 50, 100, 50.0) is False
    left = found.look(50.0).left
    assert 60 < left <= 150, "half of it took 50 s: as much again, and more than was guessed for the other"
    found.heard(one, 99, 100, 99.0)
    assert found.look(99.0).left == pytest.approx(1 + 100, rel=0.6)


def test_a_job_alone_needs_no_guess():
    one = job("a", 0.0)
    found = outlook(one)
    assert found.look(0.0).left is None
    found.heard(one, 0, 0, 10.0)
    assert found.look(12.0).left is None
    found.heard(one, 25, 100, 20.0)
    assert found.look(20.0).left == pytest.approx(30.0)


def test_what_goes_on_with_an_earlier_run_counts_the_steps_of_now():
    one, two = job("a", 100.0), job("b", 100.0)
    found = outlook(one, two, resumed=(one,))
    found.heard(one, 0, 0, 0.0)
    found.heard(one, 800, 1000, 1.0)
    found.heard(one, 900, 1000, 11.0)
    assert found.running[one.folder].by_steps(11.0) == pytest.approx(10.0)
    assert found.ended(done(one), 21.0, spent=101.0) == 21.0
    assert found.look(21.0).left == pytest.approx(100.0, rel=0.1), "a fifth of it took a fifth of the guess"


def test_steps_that_begin_anew_are_those_of_another_part():
    one = job("a", 0.0)
    found = outlook(one)
    for finished, now in ((90, 9.0), (100, 10.0), (2, 20.0), (12, 30.0)):
        found.heard(one, finished, 100, now)
    assert found.running[one.folder].by_steps(30.0) == pytest.approx(88.0)


def test_what_runs_longer_than_it_should_has_some_time_left_and_is_told_of_the_others():
    one, two = job("a", 10.0), job("b", 10.0)
    found = outlook(one, two)
    found.heard(one, 0, 0, 0.0)
    left = found.look(100.0).left
    assert left > 50.0


def test_what_needs_a_failed_job_is_left_out_with_all_that_needs_it():
    first = job("a", 10.0)
    second = job("b", 10.0, first)
    found = outlook(first, second, job("c", 10.0, second), job("d", 3.0))
    found.heard(first, 0, 0, 0.0)
    found.ended(Outcome(first, "failed", "no luck"), 1.0)
    assert found.total == 2
    assert found.look(1.0).left == 3.0


def test_ends_that_nobody_saw_begin_count_by_what_their_runs_say():
    one, two = job("a", 10.0), job("b", 10.0)
    found = outlook(one, two)
    assert found.ended(done(one), 5.0, spent=20.0) == 20.0
    assert found.look(5.0).left == pytest.approx(20.0)
    assert found.ended(done(two), 6.0) is None


@pytest.mark.parametrize("read", [lambda look: look.share, lambda look: -look.left])
def test_the_share_grows_and_the_time_left_shrinks_where_guesses_are_right(read: Callable):
    seen = [read(found.look(now)) for found, now in played(reproduction("true")[:20], 2) if found.look(now).left]
    assert seen == sorted(seen)


def test_what_runs_already_takes_a_worker():
    times = {"running": 5.0, "other": 4.0, "child": 1.0}
    assert lasts(times, {"child": ["running"]}, 1, ["running"]) == 10.0
    assert lasts(times, {"child": ["running"]}, 2, ["running"]) == 6.0
    assert lasts({"a": 3.0, "b": 9.0}, {}, 1, ["a", "b"]) == 9.0, "more than workers: each has its own"

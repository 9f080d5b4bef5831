"""How long requests take together: workers begin what is most urgent, and wait for parents."""

from __future__ import annotations

import pytest

from vaebench.config.request import Request
from vaebench.runs import schedule


def request(name: str, seconds: float, *parents: Request) -> Request:
    behind = {f"role{number}": parent.key for number, parent in enumerate(parents)}
    return Request({"verb": "train", "name": name, "seconds": seconds, "parents": behind})


def lasts(todo: list[Request], workers: int) -> float:
    return schedule.lasts(todo, lambda one: one["seconds"], workers)


FREE = [request(str(number), 10.0) for number in range(5)]
FIRST = request("first", 4.0)
CHAIN = [FIRST, second := request("second", 5.0, FIRST), request("third", 6.0, second, FIRST)]


@pytest.mark.parametrize(
    ("todo", "workers", "wanted"),
    [
        ([], 2, 0.0),
        (FREE, 1, 50.0),
        (FREE, 2, 30.0),  # the fifth has nobody beside it
        (FREE, 8, 10.0),
        (CHAIN, 1, 15.0),
        (CHAIN, 4, 15.0),  # one after the other, however many wait
        ([*FREE[:2], *CHAIN], 2, 19.0),  # 4 + 5, then the other free one, which is longer than the third
        ([*CHAIN[1:], FREE[0]], 2, 11.0),  # what they build on is done
        ([FIRST, second, request("same twice", 1.0, second, second)], 2, 10.0),
    ],
)
def test_workers_wait_for_parents_at_the_end(todo, workers, wanted):
    assert lasts(todo, workers) == wanted


def test_the_longest_path_goes_first():
    parent = request("parent", 1.0)
    children = [request(f"child {number}", 10.0, parent) for number in range(2)]
    assert lasts([FREE[0], parent, *children], 2) == 20.0

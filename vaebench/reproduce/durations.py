"""How long requests will take here, learnt from the runs that the store holds."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from vaebench.config.choices import called
from vaebench.config.request import Request
from vaebench.errors import UserError
from vaebench.runs import kinds
from vaebench.runs.store import Run, Store

_LOOKED_AT = 400  # finished runs, the newest
_NEAREST = 5  # of them, in length


def learnt(store: Store, wanted: Iterable[Request]) -> Callable[[Request], float]:
    """A function that says how many seconds a request will take on one worker of this machine.

    Runs are alike if they are of one kind, make the same thing and work on the same data. What they took is a multiple
    of the kind's own guess, in which their lengths are. Those of nearest length count, since a short run is mostly its
    start; of these the quickest, since other work on the machine only makes a run longer.
    """
    sorts = {_sort(request) for request in wanted}
    taken: dict[Hashable, list[tuple[float, float]]] = {}  # by sort: guessed and spent seconds
    for run in store.runs()[-_LOOKED_AT:] if sorts else ():
        for one in (run, *_evaluations(run)):
            with suppress(UserError, KeyError):  # it cannot be read, or nothing says how long it took
                request = one.request()
                sort = _sort(request)
                if sort in sorts and (status := one.status())["status"] == "done":
                    guess = kinds.of(request["verb"]).seconds(request)
                    taken.setdefault(sort, []).append((guess, float(status["spent"])))

    @cache
    def factor(sort: Hashable, guess: float) -> float:
        near = heapq.nsmallest(_NEAREST, taken.get(sort, ()), key=lambda one: abs(math.log(one[0] / guess)))
        return min((spent / guessed for guessed, spent in near), default=1.0)

    def seconds(request: Request) -> float:
        guess = kinds.of(request["verb"]).seconds(request)
        return factor(_sort(request), guess) * guess

    return seconds


def _evaluations(run: Run) -> Iterable[Run]:
    folder = run.path("evals")
    return map(Run, folder.iterdir()) if folder.is_dir() else ()


def _sort(request: Request) -> Hashable:
    """What runs have in common that take alike long for their length."""
    leaf: Mapping[str, Any] = next(
        (request[name] for name in ("model", "suite", "embedder", "answers") if name in request.data), {}
    )
    network = leaf.get("network")
    kind = network.get("kind") if isinstance(network, dict) else network
    data = request.data.get("dataset") or request.data.get("problems")
    return request["verb"], called(leaf), str(kind), data.get("name") if isinstance(data, dict) else data

"""How long requests will take here, learnt from the runs that the store holds."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from vaebench.config.choices import about, called
from vaebench.config.request import Request
from vaebench.errors import UserError
from vaebench.runs import kinds
from vaebench.runs.store import Run, Store

_LOOKED_AT = 400  # finished runs, the newest
_NEAREST = 5  # of them, in length
_SMALL = 10_000  # items of a set below which an evaluation takes less than its kind's guess


def learnt(store: Store, wanted: Iterable[Request]) -> Callable[[Request], float]:
    """A function that says how many seconds a request will take on one worker of this machine.

    Runs are alike if they are of one kind, make the same thing and work on the same data. What they took is a multiple
    of the kind's own guess, in which their lengths are. Those of nearest length count, since a short run is mostly its
    start; of these the quickest, since other work on the machine only makes a run longer.
    """
    wanted = list(wanted)
    sorts = {_sort(request) for request in wanted}
    sets = {request.key: _set(request) for request in wanted}
    taken: dict[Hashable, list[tuple[float, float]]] = {}  # by sort: guessed and spent seconds
    for run in store.runs()[-_LOOKED_AT:] if sorts else ():
        for one in (run, *_evaluations(run)):
            with suppress(UserError, KeyError):  # it cannot be read, or nothing says how long it took
                request = one.request()
                sort = _sort(request)
                sets.setdefault(one.key, _set(request))
                if sort in sorts and (status := one.status())["status"] == "done":
                    guess = _guess(request, sets)
                    taken.setdefault(sort, []).append((guess, float(status["spent"])))

    @cache
    def factor(sort: Hashable, guess: float) -> float:
        near = heapq.nsmallest(_NEAREST, taken.get(sort, ()), key=lambda one: abs(math.log(one[0] / guess)))
        return min((spent / guessed for guessed, spent in near), default=1.0)

    def seconds(request: Request) -> float:
        guess = _guess(request, sets)
        return factor(_sort(request), guess) * guess

    return seconds


def _evaluations(run: Run) -> Iterable[Run]:
    folder = run.path("evals")
    return map(Run, folder.iterdir()) if folder.is_dir() else ()


def _guess(request: Request, sets: Mapping[str, str]) -> float:
    """A kind's own guess; less for what is measured on a small set, which the request of the trained run names."""
    seconds = kinds.of(request["verb"]).seconds(request)
    on = _set(request) or sets.get(request.data.get("parents", {}).get("run", ""), "")
    if "suite" not in request.data or not on:
        return seconds
    return seconds * min(1.0, max(0.1, about(on).get("items", _SMALL) / _SMALL))


def _set(request: Request) -> str:
    """The name of the set that a request works on; empty if it has none of its own."""
    data = request.data.get("dataset") or request.data.get("problems")
    return str(data.get("name", "")) if isinstance(data, dict) else str(data or "")


def _sort(request: Request) -> Hashable:
    """What runs have in common that take alike long for their length."""
    leaf: Mapping[str, Any] = next(
        (request[name] for name in ("model", "suite", "embedder", "answers") if name in request.data), {}
    )
    network = leaf.get("network")
    kind = network.get("kind") if isinstance(network, dict) else network
    return request["verb"], called(leaf), str(kind), _set(request)

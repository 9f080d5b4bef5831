"""How long a run will take: what finished runs of the same kind took, else a rough guess of the kind's own.

For the plan, and to start the longest jobs first.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from vaebench.config.request import Request
from vaebench.config.targets import called
from vaebench.errors import UserError
from vaebench.runs import kinds
from vaebench.runs.store import Run, Store

_LOOKED_AT = 400  # finished runs, the newest


def learnt(store: Store, wanted: Iterable[Request]) -> Callable[[Request], float]:
    """A function that says how many seconds a request will take on one worker of this machine.

    Runs are alike if they are of one kind, make the same thing and work on the same data; of each sort the median of
    what they took is kept, as a multiple of the kind's own guess, in which their lengths are.
    """
    sorts = {_sort(request) for request in wanted}
    taken: dict[Hashable, list[float]] = {}
    for run in store.runs()[-_LOOKED_AT:]:
        for one in (run, *_evaluations(run)):
            with suppress(UserError, KeyError):  # it cannot be read, or nothing says how long it took
                request = one.request()
                sort = _sort(request)
                if sort in sorts and (status := one.status())["status"] == "done":
                    spent = float(status["spent"])
                    taken.setdefault(sort, []).append(spent / kinds.of(request["verb"]).seconds(request))
    factors = {sort: statistics.median(found) for sort, found in taken.items()}
    return lambda request: factors.get(_sort(request), 1.0) * kinds.of(request["verb"]).seconds(request)


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

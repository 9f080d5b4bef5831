"""What each step takes its batch from, made ready while the steps before it are done; how long it is waited for."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vaebench.config.spine import TrainSpec
from vaebench.contracts import Batch, Fetches, TrainingData
from vaebench.data.ahead import ahead
from vaebench.engine.ranks import Ranks, SharedError

_READERS = 4  # threads, each of which reads a batch

Part = tuple[TrainingData, Tensor]


@dataclass(frozen=True)
class Lap:
    """Some steps of a training: how many ``items`` they took, in how many ``seconds``, ``waited`` of them for data.

    On a CPU that is also the time in which they were read.
    """

    items: int
    seconds: float
    waited: float

    def __add__(self, other: Lap) -> Lap:
        return Lap(self.items + other.items, self.seconds + other.seconds, self.waited + other.waited)

    def facts(self) -> dict[str, float]:
        """Items of whole batches per second, and the share of this process's time that it waited for data."""
        return {
            "items_per_second": round(self.items / self.seconds, 2),
            "waiting_for_data": round(self.waited / self.seconds, 4),
        }


class Feed:
    """The parts of each batch that are this process's: rows, and the data that they are rows of.

    Of what lies on a disk, and goes to a GPU, this process's rows are read and sent by threads, some batches ahead
    (``early``); the data of a part are then these rows alone. Nothing is drawn for it: who takes a batch of a part
    draws, in the order of the steps, and the numbers are those of a batch that is read when its step begins.

    Raises `SharedError` if a batch cannot be cut into parts of one size.
    """

    def __init__(self, data: TrainingData, spec: TrainSpec, ranks: Ranks) -> None:
        if spec.batch_size % (ranks.size * (spec.accumulate or 1)):
            raise SharedError(_uneven(spec, ranks))
        self.data, self.ranks, self.spec = data, ranks, spec
        # A step on a CPU would wait for the core that reads, whenever that is; threads only add to it.
        self.early = isinstance(data, Fetches) and data.mapped and data.device.type != "cpu"
        # Rows of what is on a disk stay with it: brought back from a GPU, each would wait for the step before.
        self.device = torch.device("cpu") if self.early else data.device
        self.begun, self.waited, self.items = time.perf_counter(), 0.0, 0

    def steps(self, batches: Iterable[tuple[int, Tensor]]) -> Iterator[tuple[int, list[Part]]]:
        """Of steps and the rows of their batches, the steps and the parts."""
        found = ahead(self._fetched, batches, _READERS, 1) if self.early else ((one, self._cut(one)) for one in batches)
        while True:
            since = time.perf_counter()
            try:
                (step, rows), parts = next(found)
            except StopIteration:
                return
            self.waited += time.perf_counter() - since
            self.items += len(rows)
            yield step, parts

    def batches(self, parts: Iterable[Part]) -> list[Batch]:
        """The batch of each part. Who asks for it is in the midst of a step's draws."""
        since = time.perf_counter()
        found = [data.batch(rows) for data, rows in parts]
        self.waited += time.perf_counter() - since
        return found

    def _cut(self, one: tuple[int, Tensor]) -> list[Part]:
        return [(self.data, self.ranks.part(rows)) for rows in one[1].chunk(self.spec.accumulate or 1)]

    def _fetched(self, one: tuple[int, Tensor]) -> list[Part]:
        data: Any = self.data
        device = data.device
        parts = (rows.to(self.device) for _, rows in self._cut(one))
        return [(data.fetched(rows), torch.arange(len(rows), device=device)) for rows in parts]

    def lap(self) -> Lap:
        """The steps since the last one, or since the beginning."""
        now = time.perf_counter()
        found = Lap(self.items, now - self.begun, self.waited)
        self.begun, self.waited, self.items = now, 0.0, 0
        return found


def _uneven(spec: TrainSpec, ranks: Ranks) -> str:
    """What to say of a batch that cannot be cut into parts of one size."""
    given = {"runtime.processes": ranks.size, "train.accumulate": spec.accumulate or 1}
    words = " and ".join(f"{name}={count}" for name, count in given.items() if count > 1)
    parts = ranks.size * (spec.accumulate or 1)
    return f"train.batch_size={spec.batch_size}: cannot be cut into {parts} equal parts ({words}); take a multiple"

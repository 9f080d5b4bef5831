"""A reproduction whose numbers are drawn, with nothing trained: for tests of what asks for the next rows or seeds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from seen import cell_line
from vaebench.papers.cells import Cells, cells_path
from vaebench.reproduce import planning
from vaebench.reproduce.rows import Item


@dataclass(frozen=True)
class Drawn:
    """In the place of `reproduce.collect.Work`, on BatchTopK's tables at smoke on digits."""

    plan: planning.Plan
    store: Any
    cfg: Any
    console: Any
    brief: bool = False
    steps: ClassVar[list[dict[str, int]]] = []  # rows and their seeds, of each reproduction

    def value(self, item: Item, column: str, noise: float) -> float:
        """What an item measures in a column; ``noise`` is normal, a number of its own for each seed."""
        raise NotImplementedError

    def began(self) -> None:
        """Note what is asked for."""
        self.steps.append({item.row: item.setting.seeds for item in self.plan.items})

    def measure(self, items: Iterable[Item]) -> None:
        """Put the numbers of items into ``cells.csv``."""
        path, lines = cells_path(Path(self.cfg.results), "batchtopk"), []
        for item in items:
            for column, evaluation in item.evaluations.items():
                noise = np.random.default_rng([item.seed, *map(ord, item.row + column)]).normal()
                facts = {"seed": item.seed, "value": self.value(item, column, noise), "run": "r"}
                facts |= {"eval": evaluation.key, "scale": "smoke", "dataset": "digits", "stand_in": 1}
                lines.append(cell_line("batchtopk", item.table, item.row, column, protocol={}, **facts))
        Cells.read(path).merged(lines).write(path)

    def collect(self) -> None:
        """All is there already."""

"""What auto and race share: rows of a table under a setting as a plan, and whether it fits into a budget."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from vaebench.config.spine import ReproduceConfig, SeedsSpec, duration
from vaebench.reproduce import planning
from vaebench.reproduce.planning import Plan
from vaebench.reproduce.rows import Item
from vaebench.runs import executors


@dataclass(frozen=True)
class Place:
    """A table under a setting."""

    paper: str
    table: str
    scale: str
    dataset: str


def place_of(item: Item) -> Place:
    """Where an item belongs."""
    return Place(item.paper, item.table, item.setting.scale, item.setting.dataset)


def plan_of(cfg: ReproduceConfig, place: Place, rows: Iterable[str], seeds: int) -> Plan:
    """Some rows of a table, with so many seeds."""
    here = replace(cfg, paper=place.paper, table=place.table, scale=place.scale, dataset=place.dataset)
    return planning.make(replace(here, row=",".join(rows), seeds=SeedsSpec(count=seeds)))


def fits(cfg: ReproduceConfig, began: float, seconds: float) -> bool:
    """Whether work of so many seconds on one worker ends within the budget of what ``began`` then (monotonic)."""
    spent = time.monotonic() - began
    return cfg.budget is None or spent + seconds / executors.workers(cfg) <= duration(cfg.budget)


def minutes(seconds: float) -> str:
    """A time, in words."""
    return f"about {max(1, round(seconds / 60))} min"

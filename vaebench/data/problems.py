"""Sets of word problems: training pairs (question, worked solution) and test problems with their final answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vaebench.data.fetch import Files


@dataclass(frozen=True)
class Problem:
    """A test problem. ``gold``: the final answer as the set states it (GSM8K: after ``####``; MATH: the last box)."""

    id: str
    question: str
    gold: str


@dataclass(frozen=True)
class Pair:
    """A training pair: the question and the text of its worked solution, as the embedder gets it."""

    question: str
    solution: str


@dataclass(frozen=True)
class Problems:
    """A set of problems in memory.

    ``source``: ``embedded``, ``VAEBENCH_DATA`` or ``download``. ``digest``: 16 hex digits, of the content. ``note``: which
    part of a set this is, and what was left out of it. ``stand_in``: whether it stands for a paper's set without being it.
    """

    name: str
    train: tuple[Pair, ...]
    test: tuple[Problem, ...]
    source: str
    digest: str
    note: str = ""
    stand_in: bool = False

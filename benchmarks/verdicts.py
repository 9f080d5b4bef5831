"""How often verdicts are wrong: tables whose truth is known, judged by the code that judges the papers'.

``python -m benchmarks.verdicts [--tables 10000]`` prints the tables of docs/verdicts.md. All noise has mean 0 and
standard deviation 1: normal; heavy-tailed (Student's t with 3 degrees of freedom); skewed (exponential, either way
round); and normal of which one seed in ten collapses by 10 standard deviations, where the truth is that of the others.

Every kind of verdict is put where it is easiest to be wrong:

- ``holds``, ``reversed``: two rows whose means are equal; and a row against a number that is its mean.
- ``reproduced``: our mean lies just outside the tolerance, for the widest of tolerances that gives most errors.
- ``better``, ``worse``: our mean lies just inside it; or the paper's number is one run of ours.
- ``outside our spread``: the same.
- ``within our spread``: the paper's number is farther out than 997 of 1,000 runs of ours.
- ``seeds collapse``: no seed did.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np

from vaebench.papers.evidence import LOOKS
from vaebench.papers.verdicts import judge_cell, judge_claim

Draw = Callable[[np.random.Generator, int], np.ndarray]
MOST = LOOKS[-1]
NOISE: dict[str, Draw] = {
    "normal": lambda random, tables: random.standard_normal((tables, MOST)),
    "heavy-tailed": lambda random, tables: random.standard_t(3, (tables, MOST)) / 3**0.5,
    "skewed up": lambda random, tables: random.exponential(1, (tables, MOST)) - 1,
    "skewed down": lambda random, tables: 1 - random.exponential(1, (tables, MOST)),
    "collapsing": lambda random, tables: (
        random.standard_normal((tables, MOST)) - 10 * (random.random((tables, MOST)) < 0.1)
    ),
}
OPEN = ("undecided", "within our spread", "seeds collapse", "1 seed")  # more seeds are asked for
TOLERANCES = (0.5, 4.0, 16.0)  # in standard deviations of a run
Judge = Callable[[int, int], str]  # of a table with so many seeds: the kind of verdict


def rates(judge: Judge, tables: int, wrong: tuple[str, ...]) -> dict[str, float]:
    """The share of tables with a ``wrong`` kind of verdict, by number of seeds; ``auto``: stopped when decided."""
    found = [[judge(table, seeds) for seeds in LOOKS] for table in range(tables)]
    stopped = [next((kind for kind in kinds if kind not in OPEN), kinds[-1]) for kinds in found]
    columns = {**dict(zip(map(str, LOOKS), zip(*found, strict=True), strict=True)), "auto": stopped}
    return {name: sum(kind in wrong for kind in kinds) / tables for name, kinds in columns.items()}


def of_claim(left: np.ndarray, right: np.ndarray) -> Judge:
    """Of the claim that ``left`` is higher than ``right``, [tables, seeds] each."""

    def judge(table: int, seeds: int) -> str:
        first, second = (dict(enumerate(side[table, :seeds].tolist())) for side in (left, right))
        return judge_claim(first, second, "higher").verdict.kind

    return judge


def of_number(values: np.ndarray, reported: np.ndarray, tolerance: float) -> Judge:
    """The ``reported`` numbers [tables] beside our values [tables, seeds]."""

    def judge(table: int, seeds: int) -> str:
        return judge_cell(float(reported[table]), tolerance, "higher", values[table, :seeds].tolist(), ()).kind

    return judge


def claims(name: str, tables: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Claims whose two sides have the same mean: each that is called is called wrongly."""
    random, draw = np.random.default_rng(0), NOISE[name]
    left, right = draw(random, tables), draw(random, tables)
    called = ("holds", "reversed")
    yield "two rows alike", rates(of_claim(left, right), tables, called)
    yield "one row's spread a third of the other's", rates(of_claim(left, right / 3), tables, called)
    yield "a row without seeds, or a number", rates(of_claim(left, np.zeros_like(left)), tables, called)


def numbers(name: str, tables: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Reported numbers beside ours, each where it is easiest to be wrong."""
    random, draw = np.random.default_rng(1), NOISE[name]
    ours = draw(random, tables)
    directed, either = ("better", "worse"), ("better", "worse", "outside our spread")
    at_edge = [
        of_number(ours, np.full(tables, side * tolerance), tolerance) for tolerance in TOLERANCES for side in (-1, 1)
    ]
    yield "reproduced, our mean at the band's edge", _most(rates(one, tables, ("reproduced",)) for one in at_edge)
    yield "better or worse, our mean at the band's edge", _most(rates(one, tables, directed) for one in at_edge)
    yield "outside our spread, our mean at the band's edge", _most(rates(one, tables, either) for one in at_edge)
    run = draw(random, tables)[:, 0]
    yield "better or worse, the paper's is one of our runs", rates(of_number(ours, run, 0.0), tables, directed)
    sound = np.where(run < -7, 0.0, run) if name == "collapsing" else run
    yield (
        "outside our spread, one of our runs that did not collapse",
        rates(of_number(ours, sound, 0.0), tables, either),
    )
    far = np.quantile(draw(random, 50_000), 0.9985)
    yield (
        "within our spread, beyond 997 runs of 1,000",
        rates(of_number(ours, np.full(tables, far), 0.0), tables, ("within our spread",)),
    )
    if name != "collapsing":
        yield "seeds collapse, none did", rates(of_number(ours, run, 0.0), tables, ("seeds collapse",))


def _most(found: Iterator[dict[str, float]]) -> dict[str, float]:
    """The largest rate of several settings, by number of seeds."""
    settings = list(found)
    return {seeds: max(one[seeds] for one in settings) for seeds in settings[0]}


def power(tables: int) -> Iterator[tuple[str, dict[str, float]]]:
    """How often what is there is seen, under normal noise; distances in standard deviations of a run."""
    random, draw = np.random.default_rng(2), NOISE["normal"]
    left, right, run = draw(random, tables), draw(random, tables), draw(random, tables)[:, 0]
    for apart in (1.0, 2.0, 3.0, 5.0):
        yield f"holds, rows {apart:g} apart", rates(of_claim(left + apart, right), tables, ("holds",))
    for tolerance in (1.0, 2.0, 5.0):
        reported = np.zeros(tables)
        yield (
            f"reproduced, tolerance {tolerance:g}",
            rates(of_number(left, reported, tolerance), tables, ("reproduced",)),
        )
    for apart in (5.0, 10.0):
        judge = of_number(left, run - apart, 0.5)
        yield f"better, {apart:g} above another's runs", rates(judge, tables, ("better",))
        yield f"better or outside, {apart:g} above", rates(judge, tables, ("better", "outside our spread"))
    noise = NOISE["collapsing"](random, tables)
    some = noise[(noise < -7).any(1) & ((noise < -7).sum(1) < 6)]
    judge = of_number(some, np.full(len(some), 3.0), 0.5)
    yield "seeds collapse, by ten (of tables with some among 20)", rates(judge, len(some), ("seeds collapse",))


def show(title: str, lines: list[tuple[str, dict[str, float]]]) -> None:
    """A table in Markdown, per cent."""
    columns = [*map(str, LOOKS), "auto"]
    print(f"\n{title}\n")
    print(f"| % | {' | '.join(columns)} |\n| --- |{' ---: |' * len(columns)}")
    for label, found in lines:
        print(f"| {label} | {' | '.join(f'{100 * found[column]:.1f}' for column in columns)} |", flush=True)


def run(tables: int) -> None:
    """Print all tables."""
    for name in NOISE:
        show(f"claims, {name} noise", list(claims(name, tables)))
    for name in NOISE:
        show(f"numbers, {name} noise", list(numbers(name, tables)))
    show("power", list(power(tables)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tables", type=int, default=10_000)
    run(parser.parse_args().tables)

"""How much of each paper is decided, as a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from vaebench.contracts.pictures import Axis, Bars, Panel, Panels, listing
from vaebench.report.pictures.house import TONES
from vaebench.report.summary import Score, total
from vaebench.report.words import counted

# By tone: what it is called, and how many of it a score has, of claims and of printed numbers.
_PARTS: dict[str, tuple[str, Callable[[Score], int], Callable[[Score], int]]] = {
    "good": ("hold, are reproduced", lambda one: one.hold, lambda one: one.reproduced),
    "bad": ("are reversed, lie outside", lambda one: one.reversed, lambda one: one.outside),
    "open": ("undecided", lambda one: one.undecided, lambda one: one.within),
    "quiet": (
        "not comparable or not run",
        lambda one: one.claims - one.judged,
        lambda one: one.printed - one.comparable,
    ),
}


def panels(scores: Sequence[tuple[str, Score]]) -> Panels:
    """Of each paper, by its title, what became of its claims, and of the numbers that it prints."""
    every = [one for _, one in scores]
    labels = [f"{title}\n{counted(one.claims, 'claim')}, {counted(one.printed, 'number')}" for title, one in scores]
    papers = listing([label.replace(", 0 numbers", "") for label in labels])
    claims = _panel("Claims", papers, [[part(one) for one in every] for _, part, _ in _PARTS.values()])
    numbers = _panel("Printed numbers", papers, [[part(one) for one in every] for _, _, part in _PARTS.values()])
    shown = [claims, replace(numbers, y=replace(papers, ticks={}))]
    return Panels(panels=shown, title=_title(total(every)), across=2, height=2.4, legend=4)


def _panel(title: str, papers: Axis, counts: Sequence[Sequence[int]]) -> Panel:
    """Bars as long as a paper's share of each part, one behind the other. ``counts``: by part and paper."""
    everything = [sum(of_paper) for of_paper in zip(*counts, strict=True)]
    begun, marks = [0.0] * len(everything), []
    for (label, *_), tone, of_part in zip(_PARTS.values(), _PARTS, counts, strict=True):
        shares = [100 * count / max(1, whole) for count, whole in zip(of_part, everything, strict=True)]
        style: dict[str, Any] = {"label": label, "colour": TONES[tone], "width": 0.62, "sideways": True}
        marks.append(Bars(places=range(len(shares)), starts=begun, lengths=shares, **style))
        begun = [start + share for start, share in zip(begun, shares, strict=True)]
    return Panel(marks=marks, title=f"{title}: {sum(everything)}", x=Axis(label="share, %", limits=(0, 100)), y=papers)


def _title(score: Score) -> str:
    return (
        f"{counted(score.claims, 'claim')}: {score.hold} hold, {score.reversed} reversed, {score.undecided} undecided\n"
        f"{counted(score.printed, 'printed number')}: {score.comparable} comparable, {score.reproduced} reproduced"
    )

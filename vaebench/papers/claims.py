"""Claims as the YAML writes them: several at once, over a grid, their sentences made of labels.

``lower``, ``higher`` and ``within`` name the columns in which ``row`` is that, compared with ``than``. All of them may
be lists: a claim for each combination; ``pairs`` maps rows to what each is compared with. A claim that names rows or
columns of a grid is repeated over it; the name of an axis limits that (``K: [256, 1024]``). It may have a ``grid`` of
its own too.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vaebench.papers import grid
from vaebench.papers.mistakes import of_keys
from vaebench.papers.records import Claim, Column, Row
from vaebench.papers.verdicts import RELATIONS, WITHIN

_MOVES = {"lower": "falls", "higher": "rises"}
_ROWS = ("row", "than")


@dataclass(frozen=True)
class Claims:
    """What the claims of a table are about, and where ``mistakes`` in them are noted."""

    rows: Mapping[str, Row]
    columns: Mapping[str, Column]
    mistakes: list[str]

    def spread(self, claims: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """The claims one by one, with ``id`` and ``text``. A list of claims among them counts as its claims."""
        for claim in claims:
            if isinstance(claim, list):
                yield from self.spread(claim)
                continue
            holding = [holds for holds in claim if holds in RELATIONS and claim[holds]]
            said = [(column, holds) for holds in holding for column in _listed(claim[holds])]
            if claim.get("value") is not None and ("pairs" in claim or claim.get("than") or claim.get("than_column")):
                self.mistakes.append(
                    f"claim {name_of(claim)}: compares with a value or with another cell, not with both"
                )
            if not said:
                self.mistakes.append(f"claim {name_of(claim)}: says none of {', '.join(RELATIONS)}")
            rest = {key: value for key, value in claim.items() if key not in ("pairs", *_ROWS, *RELATIONS)}
            pairs = claim["pairs"].items() if "pairs" in claim else [(claim.get("row"), claim.get("than"))]
            for rows, thans in pairs:
                for row, than, (column, holds) in itertools.product(_listed(rows), _listed(thans), said):
                    named = {"row": row, "than": than, "column": column, "holds": holds}
                    yield from self._over_grid({side: name for side, name in named.items() if name is not None}, rest)

    def _over_grid(self, named: Mapping[str, Any], rest: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """``named``: what is compared; ``rest``: all else that is written."""
        claim = {**rest, **named}
        axes: dict[str, list[Any]] = {name: list(values) for name, values in (claim.pop("grid", None) or {}).items()}
        for side in ("row", "than", "column", "than_column"):
            for _, entry in self._written(side).get(claim.get(side), ()):
                for name, value in entry.point.items():
                    axes.setdefault(name, []).append(value)
        axes = {name: list(dict.fromkeys(values)) for name, values in axes.items()}
        wanted = {name: _listed(claim.pop(name, values)) for name, values in axes.items()}
        odd = [name for name, values in wanted.items() if any(value not in axes[name] for value in values)]
        if odd:
            lines = (f"{name}={wanted[name]}; Valid: {axes[name]}" for name in odd)
            self.mistakes.extend(f"claim {name_of(claim)}: {line}" for line in lines)
            return
        self.mistakes.extend(of_keys(f"claim {name_of(claim)}", Claim, rest.keys() - axes))
        for point in grid.points(wanted):
            one = grid.at(claim, point, axes)
            one |= {side: self._placed(side, one[side], point) for side in ("row", "than", "column") if side in one}
            one["text"] = self._text(one, point, claim.get("text"))
            one.pop("remark", None)
            yield {**one, "id": name_of(one)}

    def _written(self, side: str) -> Mapping[Any, list[tuple[str, Row | Column]]]:
        """The rows or columns with their names, by what stands in the file for them."""
        return self._as_written[side in _ROWS]

    @cached_property
    def _as_written(self) -> tuple[dict[Any, list[tuple[str, Row | Column]]], ...]:
        found: tuple[dict[Any, list[tuple[str, Row | Column]]], ...] = ({}, {})
        for there, side in zip(found, ("column", "row"), strict=True):
            for key, entry in self._entries(side).items():
                there.setdefault(entry.written, []).append((key, entry))
        return found

    def _entries(self, side: str) -> Mapping[str, Row | Column]:
        return self.rows if side in _ROWS else self.columns

    def _placed(self, side: str, name: str, point: grid.Point) -> str:
        """The row or column at a point of the grid; the name itself if it is not of the grid."""
        for key, entry in self._written(side).get(name, ()):
            if entry.point.items() <= point.items():
                return key
        return name

    def _text(self, claim: Mapping[str, Any], point: grid.Point, given: str | None) -> str:
        """The sentence that is given or made, with its gaps filled; the remark; values of the rows' grid not named."""
        holds = str(claim["holds"])
        gaps: dict[str, Any] = {**point, "relation": RELATIONS[holds], "moves": _MOVES.get(holds, holds)}
        own: dict[str, Any] = {}
        for side in ("row", "than", "column"):
            entry = self._entries(side).get(claim.get(side, ""))
            called = str((entry.short or entry.label) if entry else claim.get(side, ""))
            gaps |= {side: called, f"{side}'s": _possessive(called), f"{side}_label": entry.label if entry else called}
            if entry and side in _ROWS:
                gaps |= {f"{side}_{name}": value for name, value in entry.point.items()}
                if "{" not in entry.written:
                    own |= {name: value for name, value in entry.point.items() if name in point}
        text = given or self._sentence(claim, gaps["column"])
        try:
            filled = text.format_map(gaps)
        except (KeyError, IndexError, ValueError, AttributeError):
            self.mistakes.append(f"claim {name_of(claim)}: text={text!r}: Valid in braces: {', '.join(sorted(gaps))}")
            filled = text
        remark = f", {claim['remark']}" if "remark" in claim else ""
        return (
            filled + remark + "".join(f" ({name} = {value})" for name, value in own.items() if f"{name}}}" not in text)
        )

    def _sentence(self, claim: Mapping[str, Any], column: str) -> str:
        """``PSNR of {row} above {than's}``; what a column's label says behind a comma comes last."""
        entry, holds = self.columns.get(claim["column"]), claim["holds"]
        unit = f" {entry.unit}" if entry and entry.unit else ""
        factor, margin = claim.get("factor", 1), claim.get("margin", 0)
        other = f"{claim['value']}{unit}" if "value" in claim else "{than's}"
        times = {1: "", 2: "twice "}.get(factor, f"{factor} times ")
        relation = f"within {margin}{unit} of" if holds == WITHIN else RELATIONS[holds]
        beyond = f" plus {margin}{unit}" if margin and holds != WITHIN else ""
        quantity, *rest = column.split(", ", 1)
        return ", ".join([f"{quantity} of {{row}} {relation} {times}{other}{beyond}", *rest])


def name_of(claim: Mapping[str, Any]) -> str:
    """What to call it: ``vmae-gfid-lower-sdvae``."""
    sides = (claim.get(side) for side in ("row", "column", "holds", "than", "than_column", "value"))
    return "-".join(str(side) for side in sides if side is not None)


def short(label: str) -> str:
    """What to call a row whose label says more: ``DINO`` of ``DINO: self-supervised features``."""
    return re.split(r", |: | \(", label)[0]


def _listed(names: Any) -> list[Any]:
    return names if isinstance(names, list) else [names]


def _possessive(name: str) -> str:
    return f"that of {name}" if len(name.split()) > 2 else f"{name}'s"

"""Which reading of what a paper leaves open comes nearest to its numbers: distances, ranking, main effects."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaebench.papers.tables import Readings, Table, study_row

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Ranking:
    """``frame``: one line per reading with its answers, ``table.row.column`` means, ``distance``, ``cells``, ``rank``.

    ``rank`` counts from 1 and is 0 for a reading with fewer cells than the best covered ones; ``cells`` of ``wanted``
    numbers entered the distance.
    ``left_out``: printed cells that no reading could be compared in, with the reason.
    """

    frame: DataFrame
    wanted: int
    left_out: tuple[str, ...]

    @property
    def ranked(self) -> DataFrame:
        """Only the readings that have a rank, nearest first."""
        return self.frame[self.frame["rank"] > 0].sort_values("rank", kind="stable")


def rank(table: Table, cells: DataFrame) -> Ranking:
    """Rank the readings of a study by their distance to the printed numbers.

    ``cells``: the study's measured cells of one scale and dataset. The distance is the root mean square of
    (mean over seeds - printed) / unit over the cells whose ``must_match`` protocol fields are the paper's.
    """
    import pandas as pd

    study = table.study
    assert study is not None, "only a study has readings"
    usable, reasons = _usable(table, study, cells)
    means = usable.groupby(["row", "column"], sort=False)["value"].mean().to_dict()
    lines = []
    for answers in itertools.product(*study.axes.values()):
        reading = dict(zip(study.axes, answers, strict=True))
        line: dict[str, Any] = dict(reading)
        squares = []
        for entry in study.of:
            row = study_row(entry["table"], entry["row"], {axis: reading[axis] for axis in entry["axes"]})
            for column in entry["columns"]:
                value = means.get((row, column))
                line[f"{entry['table']}.{entry['row']}.{column}"] = value
                if value is not None:
                    squares.append(((value - table.reported[row][column]) / study.units[column]) ** 2)
        line["distance"] = (sum(squares) / len(squares)) ** 0.5 if squares else None
        line["cells"] = len(squares)
        lines.append(line)
    frame = pd.DataFrame(lines).astype({"distance": "float64"})
    most = int(frame["cells"].max())
    complete = (frame["cells"] == most) & (most > 0)
    frame["rank"] = frame["distance"].where(complete).rank(method="first").fillna(0).astype(int)
    frame = frame.sort_values("rank", key=lambda r: r.where(r > 0, len(frame) + 1), kind="stable")
    return Ranking(frame.reset_index(drop=True), sum(len(e["columns"]) for e in study.of), reasons)


def main_effects(table: Table, ranking: Ranking) -> DataFrame:
    """Mean distance over all ranked readings with a given answer: ``axis``, ``answer``, ``distance``, ``readings``."""
    import pandas as pd

    assert table.study is not None, "only a study has readings"
    frame = ranking.ranked
    lines = []
    for axis, answers in table.study.axes.items():
        for answer in answers:
            those = frame[frame[axis] == answer]["distance"]
            mean = float(those.mean()) if len(those) else None
            lines.append({"axis": axis, "answer": answer, "distance": mean, "readings": len(those)})
    return pd.DataFrame(lines).astype({"distance": "float64"})


def _usable(table: Table, study: Readings, cells: DataFrame) -> tuple[DataFrame, tuple[str, ...]]:
    """The cells that count, and for each column that never does the reason."""
    cells = cells[cells["row"].isin(list(table.rows))]
    keep, reasons = [], {}
    for column, text in zip(cells["column"], cells["protocol"], strict=True):
        measured, wanted = json.loads(text), table.columns[column].protocol
        odd = [f for f in study.must_match if f in wanted and measured.get(f) != wanted[f]]
        keep.append(not odd)
        if odd:
            phrases = (f"{f} {measured.get(f, 'unknown')} != {wanted[f]}" for f in odd)
            reasons[column] = f"{table.columns[column].label} ({', '.join(phrases)})"
    usable = cells.iloc[[i for i, kept in enumerate(keep) if kept]]
    return usable, tuple(reason for column, reason in reasons.items() if column not in set(usable["column"]))

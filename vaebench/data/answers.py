"""Answers to problems and what they are worth, as columns, stored in Parquet."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vaebench.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Answers:
    """Answers, n of them, as columns.

    ``problem``: the row of the problem in ``Problems.test``. ``candidate`` counts a problem's answers from 0.
    ``source``: who answered (a model's or checkpoint's name). ``logprob``: mean log-probability of the answer's tokens
    in nats, NaN where it was not recorded. ``tokens``: how many tokens the answer has, -1 where unknown. ``finished``:
    1 if the model ended the answer itself, 0 if it was cut off, -1 where unknown.
    """

    problem: np.ndarray  # int32 [n]
    candidate: np.ndarray  # int32 [n]
    source: tuple[str, ...]
    text: tuple[str, ...]
    logprob: np.ndarray  # float32 [n]
    tokens: np.ndarray  # int32 [n]
    finished: np.ndarray  # int8 [n]

    def __len__(self) -> int:
        return len(self.problem)


@dataclass(frozen=True)
class Grades:
    """By scorer: the answer each of n answers comes to (empty: none was found) and whether it is right.

    ``final``: normalised, so that equal answers are equal texts (what a majority vote counts). ``timeouts``: how many
    answers a scorer gave up on.
    """

    scorers: tuple[str, ...]
    versions: tuple[int, ...]
    final: dict[str, tuple[str, ...]]
    right: dict[str, np.ndarray]  # bool [n]
    timeouts: dict[str, int]


_TYPES = {"problem": "int32", "candidate": "int32", "logprob": "float32", "tokens": "int32", "finished": "int8"}


def answers(rows: Iterable[tuple[int, int, str, str, float, int, int]]) -> Answers:
    """Answers from rows (problem, candidate, source, text, logprob, tokens, finished)."""
    columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * 7
    names = [f.name for f in fields(Answers)]
    arrays = {
        name: np.array(column, dtype=_TYPES[name]) if name in _TYPES else tuple(column)
        for name, column in zip(names, columns, strict=True)
    }
    return Answers(**arrays)  # type: ignore[arg-type]


def to_parquet(found: Answers) -> bytes:
    """The answers as one Parquet file."""
    import pyarrow as pa

    columns = {f.name: getattr(found, f.name) for f in fields(Answers)}
    arrays = {n: pa.array(c, pa.string()) if isinstance(c, tuple) else pa.array(c) for n, c in columns.items()}
    return _bytes(pa.table(arrays))


def read_answers(folder: Path) -> Answers:
    """The answers of a finished stage: all its shards in order. Raises `UserError` if a shard cannot be read."""
    table = _read(sorted(folder.glob("answers-*.parquet")), folder)
    return Answers(
        **{  # type: ignore[arg-type]
            f.name: table[f.name].to_numpy() if f.name in _TYPES else tuple(table[f.name].to_pylist())
            for f in fields(Answers)
        }
    )


def grades_to_parquet(grades: Grades) -> bytes:
    """The grades as one Parquet file: two columns per scorer."""
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for name in grades.scorers:
        columns[f"{name}.final"] = pa.array(grades.final[name], pa.string())
        columns[f"{name}.right"] = pa.array(grades.right[name])
    facts = {
        f"{name}.{what}": str(value)
        for name, version in zip(grades.scorers, grades.versions, strict=True)
        for what, value in (("version", version), ("timeouts", grades.timeouts[name]))
    }
    return _bytes(pa.table(columns).replace_schema_metadata(facts))


def read_grades(folder: Path) -> Grades:
    """The grades of a finished stage."""
    table = _read([folder / "grades.parquet"], folder)
    names = tuple(name.removesuffix(".final") for name in table.column_names if name.endswith(".final"))
    facts = {key.decode(): int(value) for key, value in (table.schema.metadata or {}).items() if b"." in key}
    return Grades(
        scorers=names,
        versions=tuple(facts[f"{name}.version"] for name in names),
        final={name: tuple(table[f"{name}.final"].to_pylist()) for name in names},
        right={name: table[f"{name}.right"].to_numpy() for name in names},
        timeouts={name: facts[f"{name}.timeouts"] for name in names},
    )


def _bytes(table: pa.Table) -> bytes:
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _read(paths: Sequence[Path], folder: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for path in paths:
        try:
            tables.append(pq.read_table(path))
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{path}: cannot be read ({type(error).__name__}); {again(path, folder)}") from error
    if not tables:
        raise UserError(f"{folder}: has no shards; remove {folder / 'status.json'} and run again")
    return pa.concat_tables(tables)


def again(path: Path, folder: Path) -> str:
    """What to do about one lost or damaged shard of a finished stage."""
    return f"remove it and {folder / 'status.json'} and run the same command: only this shard is made again"

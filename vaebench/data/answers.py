"""Answers to problems and what they are worth, as columns, stored in Parquet."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vaebench.data.shards import again, loaded
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


_COLUMNS = {
    **{"problem": "int32", "candidate": "int32", "source": "string", "text": "string"},
    **{"logprob": "float32", "tokens": "int32", "finished": "int8"},
}


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


def answers(rows: Iterable[tuple[int, int, str, str, float, int, int]]) -> Answers:
    """Answers from rows (problem, candidate, source, text, logprob, tokens, finished)."""
    columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(_COLUMNS)
    found: list[Any] = [
        tuple(column) if kind == "string" else np.array(column, kind)
        for column, kind in zip(columns, _COLUMNS.values(), strict=True)
    ]
    return Answers(*found)


def to_parquet(found: Answers) -> bytes:
    """The answers as one Parquet file."""
    import pyarrow as pa

    return _bytes(pa.table({name: pa.array(getattr(found, name), kind) for name, kind in _COLUMNS.items()}))


def read_answers(paths: Sequence[Path], folder: Path) -> Answers:
    """The answers in the shards of a run's folder, in order. Raises `UserError` if one cannot be read."""
    table = _read(paths, folder, lambda names: _COLUMNS)
    return Answers(*(_column(table, name) for name in _COLUMNS))


def grades_to_parquet(grades: Grades) -> bytes:
    """The grades as one Parquet file: two columns per scorer."""
    import pyarrow as pa

    columns: dict[str, Any] = {}
    facts: dict[str, str] = {}
    for name, version in zip(grades.scorers, grades.versions, strict=True):
        columns[f"{name}.final"] = pa.array(grades.final[name], pa.string())
        columns[f"{name}.right"] = pa.array(grades.right[name])
        facts |= {f"{name}.version": str(version), f"{name}.timeouts": str(grades.timeouts[name])}
    return _bytes(pa.table(columns).replace_schema_metadata(facts))


def read_grades(path: Path, folder: Path) -> Grades:
    """The grades of a run. Raises `UserError` if they cannot be read."""
    table = _read([path], folder, _grades_columns)
    names = tuple(name.removesuffix(".final") for name in table.column_names if name.endswith(".final"))
    try:
        facts = {key.decode(): int(value) for key, value in (table.schema.metadata or {}).items() if b"." in key}
        versions = tuple(facts[f"{name}.version"] for name in names)
        timeouts = {name: facts[f"{name}.timeouts"] for name in names}
    except (ValueError, KeyError) as error:
        raise UserError(f"{path}: has not the facts of its scorers ({error}); {again(folder)}") from error
    final, right = ({name: _column(table, f"{name}.{what}") for name in names} for what in ("final", "right"))
    return Grades(names, versions, final, right, timeouts)


def _grades_columns(found: Sequence[str]) -> dict[str, str]:
    """Which columns a file of grades has to have, with those it has: two for each scorer."""
    scorers = dict.fromkeys(name.rpartition(".")[0] for name in found) or {"": None}
    return {f"{name}.{what}": kind for name in scorers for what, kind in (("final", "string"), ("right", "bool"))}


def _column(table: pa.Table, name: str) -> Any:
    texts = str(table[name].type) == "string"
    return tuple(table[name].to_pylist()) if texts else table[name].to_numpy()


def _bytes(table: pa.Table) -> bytes:
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _read(paths: Sequence[Path], folder: Path, wanted: Callable[[Sequence[str]], Mapping[str, str]]) -> pa.Table:
    """The shards as one table. ``wanted``: the columns it has to have, of which types, by those it has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = loaded(paths, folder, pq.read_table, pa.ArrowException)
    for path, table in zip(paths, tables, strict=True):
        for name, kind in wanted(table.column_names).items():
            if table.column_names.count(name) != 1:
                raise UserError(f"{path}: has no column {name!r}; {again(folder)}")
            if table[name].type != pa.type_for_alias(kind) or table[name].null_count:
                held = "nulls" if table[name].null_count else str(table[name].type)
                raise UserError(f"{path}: column {name!r} holds {held}, not {kind}; {again(folder)}")
    return pa.concat_tables(tables)

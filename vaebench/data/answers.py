"""Answers to problems and what they are worth, as columns, stored in Parquet."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vaebench.data.shards import again, check_some, unreadable
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


_FINAL = ".final"
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


def read_answers(paths: Sequence[Path], folder: Path) -> Answers:
    """The answers in the shards of a run's folder, in order. Raises `UserError` if one cannot be read."""
    kinds = {name: _TYPES.get(name, "string") for name in (f.name for f in fields(Answers))}
    table = _read(paths, folder, lambda names: kinds)
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


def read_grades(path: Path, folder: Path) -> Grades:
    """The grades of a run. Raises `UserError` if they cannot be read."""
    table = _read([path], folder, _grades_columns)
    names = tuple(name.removesuffix(_FINAL) for name in table.column_names if name.endswith(_FINAL))
    try:
        facts = {key.decode(): int(value) for key, value in (table.schema.metadata or {}).items() if b"." in key}
        versions = tuple(facts[f"{name}.version"] for name in names)
        timeouts = {name: facts[f"{name}.timeouts"] for name in names}
    except (ValueError, KeyError) as error:
        raise UserError(f"{path}: has not the facts of its scorers ({error}); {again(path, folder)}") from error
    return Grades(
        scorers=names,
        versions=versions,
        final={name: tuple(table[f"{name}.final"].to_pylist()) for name in names},
        right={name: table[f"{name}.right"].to_numpy() for name in names},
        timeouts=timeouts,
    )


def _grades_columns(found: Sequence[str]) -> dict[str, str]:
    """Which columns a file of grades has to have, with those it has: two for each scorer."""
    scorers = dict.fromkeys(name.rpartition(".")[0] for name in found) or {"": None}
    return {f"{name}{end}": kind for name in scorers for end, kind in ((_FINAL, "string"), (".right", "bool"))}


def _bytes(table: pa.Table) -> bytes:
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _read(paths: Sequence[Path], folder: Path, wanted: Callable[[Sequence[str]], Mapping[str, str]]) -> pa.Table:
    """The shards as one table. ``wanted``: the columns it has to have, of which types, by those it has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_some(paths, folder)
    tables = []
    for path in paths:
        try:
            table = pq.read_table(path)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise unreadable(path, folder, error) from error
        for name, kind in wanted(table.column_names).items():
            if table.column_names.count(name) != 1:
                raise UserError(f"{path}: has no column {name!r}; {again(path, folder)}")
            if table[name].type != pa.type_for_alias(kind) or table[name].null_count:
                held = "nulls" if table[name].null_count else str(table[name].type)
                raise UserError(f"{path}: column {name!r} holds {held}, not {kind}; {again(path, folder)}")
        tables.append(table)
    return pa.concat_tables(tables)

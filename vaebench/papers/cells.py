"""``results/<paper>/cells.csv``: one line per measured number, with all it takes to read it.

A number has a seed, or it is over all seeds at once: then ``seed`` is -1, ``low`` and ``high`` are its 95 % interval
and ``by_seed`` the value each seed gives by itself.

What is read is data: names that become parts of files and folders are names, and no text holds control characters.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.config import rehearsal
from vaebench.contracts.infinite import number
from vaebench.disk import write_bytes
from vaebench.errors import UserError, printable

if TYPE_CHECKING:
    from pandas import DataFrame

_NUMBERS = {"seed": "int64", "value": "float64", "count": "int64", "stand_in": "int64", "epochs": "float64"}
_NUMBERS |= {"train_images": "int64", "low": "float64", "high": "float64"}
COLUMNS = (
    *("paper", "table", "row", "column", "seed", "value", "low", "high", "by_seed"),
    *("count", "unit", "measurement", "protocol"),
    *("protocol_digest", "run", "eval", "dataset", "dataset_digest", "stand_in", "scale", "epochs", "train_images"),
    *("commit", "device"),
)
POOLED = -1  # the seed of a number over all seeds at once
KEY = ("paper", "table", "row", "column", "seed", "scale", "dataset")
# What becomes a part of the name of a file or folder; a number over all seeds belongs to no run.
_NAMES = (*(name for name in KEY if name != "seed"), "run", "eval")
_NAME = re.compile(r"\w[\w.@+-]*")


@dataclass(frozen=True)
class Cells:
    """The measured numbers of a paper as a frame with `COLUMNS`, one line per `KEY`, sorted by it."""

    frame: DataFrame

    @classmethod
    def read(cls, path: Path) -> Cells:
        """The cells of a file; none if there is no file. Raises `UserError` if it is no such file or a name is none."""
        import pandas as pd

        if not os.path.lexists(path):
            types = {name: _NUMBERS.get(name, "str") for name in COLUMNS}
            return cls(pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in types.items()}))
        try:
            # All as text first: hexadecimal keys such as 12e4567 are no numbers, and float() reads back exactly.
            frame = pd.read_csv(path, dtype="str", keep_default_na=False)
            if tuple(frame.columns) != COLUMNS:
                raise UserError(f"{path}: has other columns than {', '.join(COLUMNS)}; remove it and run again")
            frame = _checked(path, frame)
            numbers = {n: frame[n].map(_float if t == "float64" else int).astype(t) for n, t in _NUMBERS.items()}
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); remove it and run again") from error
        except (ValueError, OverflowError, RecursionError) as error:
            reason = printable((str(error).splitlines() or [type(error).__name__])[0][:200])
            raise UserError(f"{path}: is damaged ({reason}); remove it and run again") from error
        _check_sort(path, frame)
        return cls(frame.assign(**numbers))

    def current(self, evaluations: Mapping[tuple[Any, ...], str]) -> Cells:
        """These cells without those that another evaluation measured than is asked for now, by `KEY`."""
        keys = zip(*(self.frame[name] for name in KEY), strict=True)
        kept = [evaluations.get(key, own) == own for key, own in zip(keys, self.frame["eval"], strict=True)]
        return Cells(self.frame.loc[kept].reset_index(drop=True))

    def merged(self, found: Iterable[Mapping[str, Any]]) -> Cells:
        """These cells and the ``found`` ones, which take the place of those with the same key."""
        import pandas as pd

        new = pd.DataFrame(list(found), columns=list(COLUMNS))
        if new.empty:
            return self
        new = new.astype({name: _NUMBERS.get(name, "str") for name in COLUMNS})
        frame = pd.concat([self.frame, new]) if len(self.frame) else new
        frame = frame.drop_duplicates(list(KEY), keep="last").sort_values(list(KEY), kind="stable")
        return Cells(frame.reset_index(drop=True))

    def write(self, path: Path) -> None:
        """Write the file whole or not at all; numbers in the shortest form that reads back exactly.

        Raises `UserError` if they are of a rehearsal and the file is not for such.
        """
        _check_sort(path, self.frame)
        text = io.StringIO()
        self.frame.to_csv(text, index=False, lineterminator="\n")
        write_text(path, text.getvalue())


def no_name(kind: str, value: str) -> str:
    """Why a text cannot be the name of a ``kind`` (table, row, column); empty if it can."""
    return "" if _NAME.fullmatch(value) else f"{value!r:.60} is no {kind} (letters, digits, then . @ + - too)"


def _checked(path: Path, frame: DataFrame) -> DataFrame:
    """The file's texts `printable`. Raises `UserError` for a name that is none, `ValueError` for what is no JSON."""
    for column in _NAMES:
        for entry, value in enumerate(frame[column], 1):
            if (line := no_name(column, value)) and (column != "run" or value):
                raise UserError(f"{path}: entry {entry}: {line}; remove the entry and run again")
    protocol = [_printable_json(text, dict) for text in frame["protocol"]]
    by_seed = [_printable_json(text, list) for text in frame["by_seed"]]
    for text in set(by_seed):
        number(json.loads(text))
    return frame.apply(lambda column: column.map(printable)).assign(protocol=protocol, by_seed=by_seed)


def _check_sort(path: Path, frame: DataFrame) -> None:
    """Raise `UserError` for rehearsed numbers in a folder ``results``, or beside measured ones."""
    rehearsed = [rehearsal.MARK in json.loads(text) for text in frame["protocol"]]
    if any(rehearsed) and path.parent.parent.name == "results":
        raise UserError(f"{path}: takes no numbers of a rehearsal; give them a folder of their own (results=FOLDER)")
    if any(rehearsed) and not all(rehearsed):
        raise UserError(
            f"{path}: numbers of a rehearsal and measured ones do not stand in one file; give another folder"
        )


def _printable_json(text: str, kind: type) -> str:
    """JSON of a ``kind`` (dict or list) whose texts are `printable`. Raises `ValueError` if it is something else."""
    found = json.loads(text)
    if not isinstance(found, kind):
        raise ValueError(f"{text!r:.40} is no {kind.__name__}")
    return json.dumps(_printable(found), sort_keys=True)


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_printable(item) for item in value]
    if isinstance(value, dict):
        return {printable(name): _printable(item) for name, item in value.items()}
    return value


def _float(text: str) -> float:
    """An empty field (the interval of a number that has none) is NaN."""
    return float(text or "nan")


def cells_path(results: Path, paper: str) -> Path:
    """Where the cells of a paper are."""
    return results / paper / "cells.csv"


def digest(data: Mapping[str, Any]) -> str:
    """The first 12 hex digits of the sha256 over plain data, in any order of its keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=dict).encode()).hexdigest()[:12]


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    write_bytes(path, text.encode("utf-8"))

"""Files of records (JSON lines, or one JSON list) that may be damaged: a record is read, or its place and fault named.

What is read is plain data; nothing in it is ever run.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaebench.errors import UserError

_SHOWN = 3  # how many faults a message names
_QUOTES = re.compile("[\"'`\u0301\u2018-\u201f\u2039\u203a\u00ab\u00bb\u2032\u2033]+")
_DASHES = re.compile("[-\u2010-\u2015\u2212\ufe58\ufe63\uff0d]+")
_UNSEEN = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")  # soft hyphens and blanks without width


class Unusable(Exception):  # noqa: N818 (not an error: the record is left out and the rest is used)
    """Why a record cannot be used."""


@dataclass(frozen=True)
class Record:
    """One line of a file, or one item of its list.

    ``row``: which one, from 0. ``where``: ``file:line``, or ``file#item`` counted from 0. ``fault``: why it is no JSON
    object; empty if it is one.
    """

    row: int
    where: str
    value: Mapping[str, Any]
    fault: str


def read(path: Path) -> Iterator[Record]:
    """The records of a file in order: items of a JSON list if its name ends in ``.json``, else lines that hold any.

    Raises `UserError` if the file cannot be read, or is no JSON list although its name says so.
    """
    try:
        for row, (where, value, fault) in enumerate(_items(path) if path.suffix == ".json" else _lines(path)):
            if not fault and not isinstance(value, Mapping):
                fault = f"is {kind(value)} and should be an object"
            yield Record(row, where, {} if fault else value, fault)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def paths(value: Any, name: str) -> list[Path]:
    """The files that an option of this name names: one, or a list of several. Raises `UserError` if it names none."""
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, list | tuple) or not several or not all(isinstance(one, str) and one for one in several):
        raise UserError(f"{name}={value}: expected the name of a file, or a list of them")
    return [Path(one).expanduser() for one in several]


def text(record: Mapping[str, Any], *names: str) -> str:
    """The text in the first of these fields that the record has.

    Raises `Unusable` if it has none of them, or the field is not text that can be stored.
    """
    name = next((name for name in names if name in record), None)
    if name is None:
        raise Unusable(f"no field {' or '.join(names)}")
    return whole_text(record[name], name)


def whole_text(value: Any, name: str) -> str:
    """``value`` if it is text that can be stored. Raises `Unusable`."""
    if not isinstance(value, str):
        raise Unusable(f"{name} is {kind(value)} and should be text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Unusable(f"{name} holds half a surrogate pair, which is no character") from None
    return value


def kind(value: Any) -> str:
    """What a value read from JSON is, in a word."""
    kinds = {bool: "a truth value", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return kinds.get(type(value), "null")


def same(question: str) -> str:
    """What two spellings of one question have in common: its characters without white space and case.

    All quotation marks are one, and so are all dashes.
    """
    text = _UNSEEN.sub("", "".join(unicodedata.normalize("NFKC", question).casefold().split()))
    return _DASHES.sub("-", _QUOTES.sub("'", text))


def some(items: Sequence[str]) -> str:
    """The first few of the items, for a message."""
    return ", ".join(items[:_SHOWN]) + (f" and {len(items) - _SHOWN:,} more" if len(items) > _SHOWN else "")


def _lines(path: Path) -> Iterator[tuple[str, Any, str]]:
    """Where each line that holds anything is, its value and its fault."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield f"{path.name}:{number}", *_parse(line)


def _items(path: Path) -> Iterator[tuple[str, Any, str]]:
    """The same of each item of a list."""
    items, fault = _parse(path.read_bytes())
    if fault or not isinstance(items, list):
        raise UserError(
            f"{path}: {fault or f'is {kind(items)}'}; it should be one JSON list of objects (it was cut off, or is "
            "another file)"
        )
    for number, item in enumerate(items):
        yield f"{path.name}#{number}", item, ""


def _parse(content: bytes) -> tuple[Any, str]:
    """The value, or why there is none."""
    try:
        decoded = content.decode("utf-8-sig")
        return json.loads(decoded), ""
    except UnicodeDecodeError as error:
        return None, f"byte {error.start} is not UTF-8"
    except json.JSONDecodeError as error:
        length = len(decoded.rstrip())
        if not length:
            return None, "is empty"
        # Text without an end is reported where it begins, and all else that is not there behind the end.
        if error.pos >= length or error.msg.startswith("Unterminated"):
            return None, f"not JSON (cut off after character {length})"
        return None, f"not JSON (character {error.pos + 1})"
    except RecursionError:
        return None, "not JSON that can be read (nested too deep)"
    except ValueError:  # an integer of more digits than Python converts
        return None, "not JSON that can be read (a number has too many digits)"

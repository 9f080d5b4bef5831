"""Pictures of the library `datasets`: ``dataset=hf dataset.path=NAME_OR_DIR dataset.column=image``.

A name on the Hugging Face hub, at a commit that is part of a run's key; a folder of Parquet files or pictures; or what
``save_to_disk`` wrote. The library finds, downloads and reads the set; its pictures are decoded as those of any folder
(`vaebench.data.folders`). No code that comes with a set is run.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

from vaebench.config.signatures import Count, CountOrNone, Seed, checked, require
from vaebench.data import contents as known
from vaebench.data import hub
from vaebench.data.contents import Item, Listing, TestShare
from vaebench.data.folders import image_data
from vaebench.data.images import ImageData
from vaebench.data.own import follows, made
from vaebench.data.places import NAMED, BadFile, opened, shown_path
from vaebench.errors import UserError, printable, unknown

_ROW = ", row "


@checked("dataset")
def pictures(
    *,
    name: str,
    path: str | None,
    config: str | None,
    revision: str | None,
    column: str,
    label: str | None,
    train_split: str | None,
    test_split: str | None,
    size: Count,
    channels: Literal[1, 3],
    shape: Sequence[int],
    test_share: TestShare | None,
    split_seed: Seed | None,
    bad_files: CountOrNone,
    contents: str | None = None,
) -> ImageData:
    """The pictures in a ``column`` of a set, with the classes in the column ``label`` (null: without).

    ``path``: a folder, or a name on the hub at ``revision``; ``config``: which of the set's configurations.
    ``train_split``: null for a set that is only tested on. ``test_split``: null to hold out a part of the other one.
    ``contents``: the digest of a folder's files, or name and commit. The others are those of
    `vaebench.data.own.pictures`.

    Raises `UserError` if the set cannot be had, has no such split or column, or the column holds no pictures.
    """
    require(
        follows(shape, [channels, size, size], "dataset.channels and dataset.size"),
        None if train_split or test_split else "dataset.train_split=null, dataset.test_split=null: name one of them",
    )
    place = str(known.hf_folder(path, revision, contents) or path)
    found = _loaded(place, config, revision)
    chosen = {role: split for role, split in (("train", train_split), ("test", test_split)) if split is not None}
    rows = {split: _split(found, split, role, place) for role, split in chosen.items()}
    for table in rows.values():
        _check_columns(table, column, label)
    known_as = f"{contents or place} {config} {column}"
    items = {role: _items(rows[split], split, label, known_as) for role, split in chosen.items()}
    files = Listing({"train": (), "test": (), **items}, {})
    also = []
    if test_split is None:
        files = known.held_out(files, test_share, split_seed)
        also = [made(files, test_share, split_seed)]
    stored = {split: _undecoded(table, column) for split, table in rows.items()}

    def opens(item: Path) -> BinaryIO:
        split, _, row = str(item).rpartition(_ROW)
        return _stream(stored[split][int(row)][column])

    return image_data(name, files, source=NAMED, opens=opens, shape=shape, bad_files=bad_files, small=True, also=also)


def _loaded(place: str, config: str | None, revision: str | None) -> Mapping[str, Any]:
    """The splits of a set, by name."""
    import datasets

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        if any(Path(place, name).is_file() for name in ("dataset_dict.json", "state.json")):  # of save_to_disk
            if config is not None:
                raise UserError(f"dataset.config={config}: {shown_path(place)} has no configurations; leave it out")
            found = datasets.load_from_disk(place)
        else:
            found = datasets.load_dataset(place, name=config, revision=revision)
    except UserError:
        raise
    except Exception as error:  # the library fails in many ways, of files and of the network
        where = f", dataset.config={config}" if config else ""
        raise UserError(f"dataset.path={shown_path(place)}{where}: cannot be loaded ({hub.reason(error)})") from error
    return found if isinstance(found, Mapping) else {"train": found}


def _split(found: Mapping[str, Any], split: str, role: str, place: str) -> Any:
    if split in found:
        return found[split]
    option = f"dataset.{role}_split"
    advice = " (null: some of the training split are held out)" if role == "test" else ""
    raise UserError(f"{option}={split}: {shown_path(place)} has the splits {', '.join(map(str, found))}{advice}")


def _check_columns(table: Any, column: str, label: str | None) -> None:
    """Raise `UserError` if there are no such columns, or they do not hold pictures and classes."""
    import datasets

    kinds: Mapping[str, Any] = table.features
    fitting = [name for name, kind in kinds.items() if _holds_pictures(kind)]
    pictured = f"; pictures are in {', '.join(map(printable, fitting))}" if fitting else "; no column holds pictures"
    require(
        *(
            unknown(f"dataset.{option}", name, kinds)
            for option, name in (("column", column), ("label", label))
            if name is not None and name not in kinds
        )
    )
    if not _holds_pictures(kinds[column]):
        raise UserError(f"dataset.column={column}: holds {_described(kinds[column])}, no pictures{pictured}")
    if label is None or isinstance(kinds[label], datasets.ClassLabel):
        return
    if not (
        isinstance(kinds[label], datasets.Value)
        and kinds[label].dtype.startswith(("int", "uint", "str", "bool", "large_str"))
    ):
        raise UserError(f"dataset.label={label}: holds {_described(kinds[label])}, no classes; null: without classes")


def _holds_pictures(kind: Any) -> bool:
    """Whether a column can hold pictures: it says so, or holds bytes."""
    import datasets

    if isinstance(kind, dict):
        return "bytes" in kind
    return isinstance(kind, datasets.Image) or (isinstance(kind, datasets.Value) and "binary" in kind.dtype)


def _described(kind: Any) -> str:
    import datasets

    return printable(str(kind.dtype) if isinstance(kind, datasets.Value) else type(kind).__name__)


def _items(table: Any, split: str, label: str | None, known_as: str) -> tuple[Item, ...]:
    """A split's rows as files in a folder for each class, whose contents follow from what the set is known as."""
    labels = [""] * len(table) if label is None else _labels(table, label)
    rows = ((f"{row:09}", f"{one}{os.sep}" if one else "") for row, one in enumerate(labels))
    digest = hashlib.sha256(f"{known_as} {split}".encode())
    return tuple(Item(Path(f"{split}{_ROW}{int(row)}"), f"{of}{row}", _digest(digest, row)) for row, of in rows)


def _digest(of_split: Any, row: str) -> str:
    found = of_split.copy()
    found.update(row.encode())
    return str(found.hexdigest()[:32])


def _labels(table: Any, label: str) -> list[str]:
    """The class of each row as the name of a folder; empty for none. Numbers are written so that they sort."""
    names = getattr(table.features[label], "names", None)
    values = list(table.select_columns([label])[label])
    numbers = [value for value in values if isinstance(value, int)]
    width = len(str(max(numbers, default=0)))

    def written(value: Any) -> str:
        if value is None or (names is not None and not 0 <= value < len(names)):
            return ""  # not labelled; -1 where the library has no null
        text = names[value] if names else f"{value:0{width}}" if isinstance(value, int) else str(value)
        return str(text).replace(os.sep, "_")

    return [written(value) for value in values]


def _undecoded(table: Any, column: str) -> Any:
    """The column as the library stores it: ``bytes``, or the ``path`` of a file."""
    import datasets

    return table.select_columns([column]).cast_column(column, datasets.Image(decode=False))


def _stream(stored: Mapping[str, Any] | None) -> BinaryIO:
    if stored and stored.get("bytes") is not None:
        return io.BytesIO(stored["bytes"])
    if stored and stored.get("path"):
        return opened(Path(stored["path"]))
    raise BadFile("it holds no picture")

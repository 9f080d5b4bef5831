"""Datasets of ordinary folders of image or audio files, ``$VAEBENCH_DATA/<name>/train`` and ``.../test`` for one.

Sub-folders are allowed; for images and audio alike an item's label is the number of the one it lies in, counted over
both splits in the order of their names. A set of which any file lies in none has no classes. Another such set is one
YAML like ``conf/dataset/coco.yaml`` or ``conf/dataset/librispeech.yaml``.

Files are decoded once, into arrays in the cache that are mapped into memory. They lie in
``$VAEBENCH_CACHE/decoded/<name>-<key>/``, one ``<split>.npy`` of all values end to end and one ``<split>_items.npy`` of
lengths and labels for each split, and ``index.json`` with the checksums of both. The key is of the files' names and
contents, and of the options: a changed file is decoded anew, beside the old arrays, which can be deleted. The folder is
there whole or not at all; while one process makes it, others wait.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Annotated, Any, BinaryIO

import numpy as np
import torch
from annotated_types import Interval
from filelock import FileLock
from torch import Tensor

from vaebench.config.signatures import CountOrNone, checked
from vaebench.data.audio import AudioData, Clips
from vaebench.data.contents import Item, Listing, checksums, digest_of, listing
from vaebench.data.fetch import obtain_folders
from vaebench.data.images import ImageData
from vaebench.data.pictures import picture
from vaebench.data.places import READ, BadFile, Splits, Tree, cache, endings, opened, shown_path
from vaebench.data.waves import FULL_SCALE, HIGHEST_RATE, read, resampled, to_int16, to_mono
from vaebench.errors import UserError

_MODES = {1: "L", 3: "RGB"}
_SILENT = 2.0**-10  # a clip with no sample above this (-60 dB) is called silent
_CLIPPED = 1e-3  # a clip with more than this share of its samples at full scale is called clipped
_FULL = (FULL_SCALE - 1) / FULL_SCALE
_LAYOUT = 2  # of the folder of arrays; raised if what is in it changes
_AT_ONCE = 16  # files per thread that are decoded before any is written
_WORTH_A_LINE = 500  # files whose decoding takes long enough to say so


@dataclass(frozen=True)
class _Form:
    """How the files of a set become arrays.

    ``options``: all that ``decode`` depends on, as plain data. ``row``, ``dtype``: of one value; () for samples.
    ``decode``: a file -> its values ``[n *row]`` (None: it is left out), and a remark to count ("" for none); raises
    `BadFile`; called from several threads.
    """

    options: Mapping[str, Any]
    row: tuple[int, ...]
    dtype: type[np.generic]
    decode: Callable[[Path], tuple[np.ndarray | None, str]]


@dataclass(frozen=True)
class _Decoded:
    """The arrays of a set, by split; a split without files is empty.

    ``values``: of all items, end to end ``[n *row]``, mapped from disk and only to be read. ``lengths``, ``labels``:
    int64 ``[c]``, how many of the values are an item's, and the number of its sub-folder. ``index``: what
    `_make` says of the content, as JSON. ``bad``: what cannot be read, "path: reason".
    """

    values: Mapping[str, Tensor]
    lengths: Mapping[str, Tensor]
    labels: Mapping[str, Tensor]
    index: Mapping[str, Any]
    bad: tuple[str, ...]

    def facts(self, source: str, note: str) -> dict[str, Any]:
        """What the set says of itself; it has no classes if any item lies in no sub-folder."""
        classes = () if self.index["loose"] else tuple(self.index["classes"])
        found = {"source": source, "digest": self.index["digest"], "note": note, "class_names": classes}
        return {**found, "place": torch.device("cpu")}


@checked("dataset")
def images(
    *, name: str, shape: Sequence[int], splits: Splits, bad_files: CountOrNone, contents: str | None = None
) -> ImageData:
    """Pictures of any size: the shortest side resized (bicubic, without aliases), the square in the middle cut out.

    What becomes of transparency, orientation and 16 bits says `vaebench.data.pictures.picture`. ``shape``: (3, side,
    side), or (1, side, side) for grey ones; smaller pictures are enlarged. ``splits``: ``train`` and ``test``, each a
    list of sub-folders of ``name`` under ``$VAEBENCH_DATA`` or the cache; ``a|b`` is the first of the two that is
    there. Without a training split the set can be evaluated on only. ``bad_files``: how many files that cannot be read
    are left out before that is an error. ``contents``: the digest of the files that are expected
    (`vaebench.data.contents`); None for what there is. Raises `UserError` if a folder is missing or has no picture, too
    many cannot be read, or the files are others than expected.
    """
    tree = obtain_folders(name=name, splits=splits, kind="images")
    files = _files(name, tree, "images", contents)
    return image_data(name, files, source=tree.source, shape=shape, bad_files=bad_files)


def image_data(
    name: str,
    files: Listing,
    *,
    source: str,
    shape: Sequence[int],
    bad_files: int,
    opens: Callable[[Path], BinaryIO] = opened,
    small: bool = False,
    also: Sequence[str] = (),
) -> ImageData:
    """The pictures of a folder, as `images` says.

    ``opens``: gives the bytes of a file. ``small``: whether it is noted how many had to be enlarged; ``also``: what
    else is noted.
    """
    if len(shape) != 3 or shape[0] not in _MODES or shape[1] != shape[2] or shape[1] < 1:
        raise UserError(f"dataset.shape={list(shape)}: pictures from folders are (3, side, side) or (1, side, side)")
    decode = partial(picture, mode=_MODES[shape[0]], side=shape[1], small=small, opens=opens)
    options = {"kind": "images"} | ({"small": "noted"} if small else {})
    found = _decoded(files, name, _Form(options, tuple(shape), np.uint8, decode))
    loose, count = found.index["loose"], found.index["files"]
    unlabelled = [f"{loose} of {count} files in no class folder, so there are no classes"]
    notes = [*also, *(unlabelled if found.index["classes"] and loose else ())]
    note = _note(name, found, bad_files, files, notes)
    train, test = ((found.values[split], found.labels[split]) for split in ("train", "test"))
    return ImageData(name, *train, *test, **found.facts(source, note))


@checked("dataset")
def audio(
    *,
    name: str,
    shape: Sequence[int],
    sample_rate: Annotated[int, Interval(ge=1, le=HIGHEST_RATE)],
    splits: Splits,
    shortest: Annotated[float, Interval(ge=0, lt=3600)],
    bad_files: CountOrNone,
    contents: str | None = None,
) -> AudioData:
    """Audio files of any rate and number of channels, as clips of one channel at one rate.

    WAV is read as it is; FLAC, MP3 and OGG by soundfile, of the extra ``audio``. ``shape``: (1, samples) of a training
    crop. ``sample_rate``: in Hz; what has another is resampled. ``shortest``: seconds; shorter files are left out, and
    counted in ``note`` as are empty, silent and clipped ones. The other options are those of `images`, and so are the
    errors; another is that soundfile is needed and missing.
    """
    tree = obtain_folders(name=name, splits=splits, kind="audio")
    files = _files(name, tree, "audio", contents)
    return audio_data(name, files, shape, sample_rate, shortest, source=tree.source, bad_files=bad_files)


def audio_data(
    name: str,
    files: Listing,
    shape: Sequence[int],
    sample_rate: int,
    shortest: float,
    *,
    source: str,
    bad_files: int,
    also: Sequence[str] = (),
) -> AudioData:
    """The sounds of a folder, as `audio` says. ``also``: what else is noted of them."""
    options = {"kind": "audio", "sample_rate": sample_rate, "shortest": shortest, "silent": "once mixed"}
    decode = partial(_clip, sample_rate=sample_rate, shortest=shortest)
    found = _decoded(files, name, _Form(options, (), np.int16, decode))
    note = _note(name, found, bad_files, files, also)
    train, test = (Clips.of(found.values[it], found.lengths[it], found.labels[it]) for it in ("train", "test"))
    return AudioData(name, shape, sample_rate, train, test, **found.facts(source, note))


def _files(name: str, tree: Tree, kind: str, contents: str | None) -> Listing:
    """The files of a set. Raises `UserError` if there is none to test on, or if they are others than expected."""
    found = listing(tree, kind)
    if not found.files["test"]:
        raise UserError(
            f"{shown_path(tree.splits['test'][0])}: has no file that ends in {', '.join(READ[kind])}, "
            f"and {name} needs a test split"
        )
    if contents is not None and contents != found.digest:
        raise UserError(
            f"{shown_path(tree.root)}: its files are not those of this request any more (their digest is "
            f"{found.digest} and was {contents}); put those back, or give the command again for what there is now"
        )
    return found


def _note(name: str, found: _Decoded, bad_files: int, files: Listing, also: Sequence[str] = ()) -> str:
    """What was left out or looks wrong, in words; an error if more files than allowed cannot be read."""
    bad, count = len(found.bad), found.index["files"]
    if bad > bad_files:
        raise UserError(
            f"{name}: {bad} of {count} files cannot be read, the first is {found.bad[0]}; mend or "
            f"remove what is bad, or leave out so many with dataset.bad_files={bad} (test_on.bad_files={bad} for a set "
            "that is only tested on)"
        )
    notes = [f"{bad} of {count} files unreadable and left out"] if bad else []
    notes += [f"{number} of {count} files {remark}" for remark, number in sorted(found.index["remarks"].items())]
    if not len(found.labels["test"]):
        raise UserError(f"{name}: nothing of the test split can be used ({', '.join(notes)})")
    notes += also
    if files.not_read:
        notes.append(f"{sum(files.not_read.values()):,} more files not read ({endings(files.not_read)})")
    return ", ".join(notes if len(found.labels["train"]) else [*notes, "no training split"])


def _clip(path: Path, *, sample_rate: int, shortest: float) -> tuple[np.ndarray | None, str]:
    """One clip, int16 ``[t]``, and what is to be said of it."""
    values, rate = read(path)
    if not len(values):
        return None, "empty and left out"
    if len(values) < shortest * rate:
        return None, f"shorter than {shortest:g} s and left out"
    loudness, mixed = np.abs(values), to_mono(values)
    remark = "clipped" if (loudness >= _FULL).mean() > _CLIPPED else ""
    if np.abs(mixed).max() <= _SILENT:  # channels in opposite phase cancel out
        remark = "silent" if loudness.max() <= _SILENT else "silent once the channels are mixed"
    return to_int16(resampled(mixed, rate, sample_rate)), remark


def _decoded(found: Listing, name: str, form: _Form) -> _Decoded:
    """The set's files as arrays: from the cache, or decoded into it now.

    Raises `UserError` if the cache cannot be written or read, or is damaged.
    """
    key = json.dumps([_LAYOUT, dict(form.options), form.row, found.digest], sort_keys=True)
    folder = cache("decoded") / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(folder.with_name(f".{folder.name}.lock"))):
            if not (folder / "index.json").is_file():
                _make(folder, found.files, form)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror or error}); set VAEBENCH_CACHE to a folder with room for "
            f"{name}, decoded"
        ) from error
    return _load(folder, found)


def _make(folder: Path, files: Mapping[str, Sequence[Item]], form: _Form) -> None:
    """Decode all files into a folder beside ``folder`` that takes its place at the end."""
    count = sum(map(len, files.values()))
    if count >= _WORTH_A_LINE:
        sys.stderr.write(f"note: decoding {count:,} files into {folder}, once\n")
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a killed process: the lock is ours
    part.mkdir()
    classes = sorted({item.label for found in files.values() for item in found if item.label})
    numbers = {"": 0} | {label: number for number, label in enumerate(classes)}
    content, remarks, bad, loose = hashlib.sha256(), Counter[str](), [], 0
    try:
        for split, found in files.items():
            content.update(f"{split} {form.dtype.__name__} {form.row}".encode())
            items = []
            with (part / f"{split}.npy").open("wb+") as stream:
                written = _header(stream, form, 0)
                for number, (item, result) in enumerate(_results(found, form)):
                    if isinstance(result, BadFile):
                        bad.append((split, number, str(result)))
                        continue
                    values, remark = result
                    remarks.update([remark] if remark else [])
                    if values is not None:
                        values = np.ascontiguousarray(values, form.dtype)
                        stream.write(values.data)
                        content.update(values.data)
                        items.append((len(values), numbers[item.label]))
                        loose += not item.label
                _header(stream, form, sum(length for length, _ in items), expected=written)
            table = np.array(items, np.int64).reshape(-1, 2)
            content.update(table.data)
            np.save(part / f"{split}_items.npy", table)
        index = {"digest": content.hexdigest()[:16], "remarks": dict(remarks), "bad": bad, "files": count}
        index |= {"classes": classes, "loose": loose}
        index |= {"checksums": {path.name: digest_of(path) for path in part.glob("*.npy")}}
        (part / "index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _header(stream: IO[bytes], form: _Form, count: int, expected: int = 0) -> int:
    """Write the header of an array of ``count`` rows at the beginning; its length.

    numpy leaves room in it for the first dimension to grow, so the count can be put in when it is known.
    """
    stream.seek(0)
    described = {"descr": np.dtype(form.dtype).str, "fortran_order": False, "shape": (count, *form.row)}
    np.lib.format.write_array_header_1_0(stream, described)
    if expected and stream.tell() != expected:
        raise RuntimeError(f"the header of an array grew from {expected} to {stream.tell()} bytes")
    return stream.tell()


def _results(files: Sequence[Item], form: _Form) -> Iterator[tuple[Item, BadFile | tuple[np.ndarray | None, str]]]:
    """What ``decode`` makes of each file, in order; several are decoded at once, and few are held."""

    def attempt(item: Item) -> BadFile | tuple[np.ndarray | None, str]:
        try:
            return form.decode(item.path)
        except BadFile as error:
            return error

    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a decoder's name no file; what is wrong with one is said in the note
        for start in range(0, len(files), _AT_ONCE * threads):
            some = files[start : start + _AT_ONCE * threads]
            yield from zip(some, pool.map(attempt, some), strict=True)


def _load(folder: Path, found: Listing) -> _Decoded:
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        arrays = checksums(folder, sorted(folder.glob("*.npy")))
        if index["checksums"] != {path.name: digest for path, digest in arrays.items()}:
            raise ValueError("its arrays are not those that were stored")
        lengths, labels, values = {}, {}, {}
        for split in ("train", "test"):
            table = torch.from_numpy(np.load(folder / f"{split}_items.npy"))
            lengths[split], labels[split] = table[:, 0].clone(), table[:, 1].clone()
            with warnings.catch_warnings():  # that the array cannot be written: nothing writes to a dataset
                warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
                values[split] = torch.from_numpy(np.load(folder / f"{split}.npy", mmap_mode="r"))
        for name, kind in (("digest", str), ("remarks", dict), ("classes", list), ("loose", int), ("files", int)):
            if not isinstance(index[name], kind):
                raise ValueError(f"its {name} is {index[name]!r}")
        bad = ((found.files[split][number].path, reason) for split, number, reason in index["bad"])
        return _Decoded(values, lengths, labels, index, tuple(f"{shown_path(path)}: {why}" for path, why in bad))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{folder}: cannot be read ({error}); delete it, and it is made again") from error

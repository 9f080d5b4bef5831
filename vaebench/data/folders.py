"""Datasets of ordinary folders of image or audio files, ``$VAEBENCH_DATA/<name>/train`` and ``.../test`` for one.

Sub-folders are allowed; for images and audio alike an item's label is the number of the one it lies in, counted over
both splits in the order of their names. A set of which any file lies in none has no classes. Another such set is one
YAML like ``conf/dataset/coco.yaml`` or ``conf/dataset/librispeech.yaml``.

Files are decoded once, into arrays that are mapped into memory (`vaebench.data.decoded`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO

import numpy as np
from annotated_types import Interval

from vaebench.config.signatures import CountOrNone, checked
from vaebench.data.audio import AudioData, Clips
from vaebench.data.contents import Listing, listing
from vaebench.data.decoded import Decoded, Form, decoded
from vaebench.data.fetch import obtain_folders
from vaebench.data.images import ImageData
from vaebench.data.pictures import picture
from vaebench.data.places import READ, Splits, Tree, endings, opened, shown_path
from vaebench.data.waves import FULL_SCALE, HIGHEST_RATE, read, resampled, to_int16, to_mono
from vaebench.errors import UserError

_MODES = {1: "L", 3: "RGB"}
_SILENT = 2.0**-10  # a clip with no sample above this (-60 dB) is called silent
_CLIPPED = 1e-3  # a clip with more than this share of its samples at full scale is called clipped
_FULL = (FULL_SCALE - 1) / FULL_SCALE


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
    found = decoded(files, name, Form(options, tuple(shape), np.uint8, decode))
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
    found = decoded(files, name, Form(options, (), np.int16, decode))
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


def _note(name: str, found: Decoded, bad_files: int, files: Listing, also: Sequence[str] = ()) -> str:
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

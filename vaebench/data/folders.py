"""Datasets of ordinary folders of image or audio files, ``$VAEBENCH_DATA/<name>/train`` and ``.../test`` for one.

Sub-folders are allowed; for images and audio alike an item's label is the number of the one it lies in, counted over
both splits in the order of their names. A set of which any file lies in none has no classes. Another such set is one
YAML like ``conf/dataset/coco.yaml`` or ``conf/dataset/librispeech.yaml``. Files are decoded once
(`vaebench.data.decoded`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Interval

from vaebench.config.signatures import CountOrNone, checked
from vaebench.data.audio import AudioData, Clips, assemble, laid_out
from vaebench.data.contents import Listing, listing
from vaebench.data.decoded import Decoded, decoded
from vaebench.data.fetch import obtain_folders
from vaebench.data.files import Splits
from vaebench.data.images import ImageData
from vaebench.data.pictures import picture
from vaebench.data.places import READ, Tree, shown_path
from vaebench.data.status import endings
from vaebench.data.waves import FULL_SCALE, HIGHEST_RATE, read, resampled, to_int16, to_mono
from vaebench.errors import UserError

_MODES = {1: "L", 3: "RGB"}
_SILENT = 2.0**-10  # a clip with no sample above this (-60 dB) is called silent
_CLIPPED = 1e-3  # a clip with more than this share of its samples at full scale is called clipped
_FULL = (FULL_SCALE - 1) / FULL_SCALE
_CPU = torch.device("cpu")


@checked("dataset")
def images(
    *, name: str, shape: Sequence[int], splits: Splits, bad_files: CountOrNone, contents: str | None = None
) -> ImageData:
    """Pictures of any size: the shortest side resized (bicubic, without aliases), the square in the middle cut out.

    What becomes of transparency, orientation and 16 bits says `vaebench.data.pictures.picture`.

    Args:
        name: the folder of the set under ``$VAEBENCH_DATA`` or the cache.
        shape: (3, side, side), or (1, side, side) for grey ones; smaller pictures are enlarged.
        splits: ``train`` and ``test``, each a list of sub-folders; ``a|b`` is the first of the two that is there.
            Without a training split the set can be evaluated on only.
        bad_files: how many files that cannot be read are left out before that is an error.
        contents: the digest of the files that are expected (`vaebench.data.contents`); None for what there is.

    Raises:
        UserError: a folder is missing or has no picture, too many cannot be read, the files are others than expected,
            or an option is out of range.
    """
    if len(shape) != 3 or shape[0] not in _MODES or shape[1] != shape[2] or shape[1] < 1:
        raise UserError(f"dataset.shape={list(shape)}: pictures from folders are (3, side, side) or (1, side, side)")
    tree = obtain_folders(name=name, splits=splits, kind="images")
    files = _files(name, tree, "images", contents)
    channels, side = shape[0], shape[1]
    found = decoded(
        files,
        name=name,
        options={"kind": "images"},
        row=(channels, side, side),
        dtype=np.uint8,
        decode=partial(picture, mode=_MODES[channels], side=side),
    )
    unlabelled = (f"{found.loose} of {found.files} files in no class folder, so there are no classes",)
    return ImageData(
        name=name,
        train_x=found.values["train"],
        train_y=found.labels["train"],
        test_x=found.values["test"],
        test_y=found.labels["test"],
        source=tree.source,
        digest=found.digest,
        note=_note(name, found, bad_files, files, unlabelled if found.classes and found.loose else ()),
        stand_in=False,
        place=_CPU,
        class_names=() if found.loose else found.classes,
    )


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

    WAV is read as it is; FLAC, MP3 and OGG by soundfile, of the extra ``audio``.

    Args:
        name: the folder of the set under ``$VAEBENCH_DATA`` or the cache.
        shape: (1, samples) of a training crop.
        sample_rate: in Hz; what has another is resampled.
        splits: ``train`` and ``test``, each a list of sub-folders; ``a|b`` is the first of the two that is there.
            Without a training split the set can be evaluated on only.
        shortest: seconds; shorter files are left out, and counted in ``note`` as are empty, silent and
            clipped ones.
        bad_files: how many files that cannot be read are left out before that is an error.
        contents: the digest of the files that are expected (`vaebench.data.contents`); None for what there is.

    Raises:
        UserError: a folder is missing or has no audio, too many cannot be read, the files are others than expected,
            soundfile is needed and missing, or an option is out of range.
    """
    tree = obtain_folders(name=name, splits=splits, kind="audio")
    files = _files(name, tree, "audio", contents)
    found = decoded(
        files,
        name=name,
        options={"kind": "audio", "sample_rate": sample_rate, "shortest": shortest, "silent": "once mixed"},
        row=(),
        dtype=np.int16,
        decode=partial(_clip, sample_rate=sample_rate, shortest=shortest),
    )
    note = _note(name, found, bad_files, files)
    train, test = (_clips(found, split) for split in ("train", "test"))
    data = assemble(
        name=name,
        shape=shape,
        sample_rate=sample_rate,
        train=train,
        test=test,
        source=tree.source,
        digest=found.digest,
        note=note,
        place=_CPU,
    )
    return replace(data, class_names=() if found.loose else found.classes)


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


def _clips(found: Decoded, split: str) -> Clips:
    return laid_out(found.values[split], found.lengths[split], found.labels[split])


def _note(name: str, found: Decoded, bad_files: int, files: Listing, also: Sequence[str] = ()) -> str:
    """What was left out or looks wrong, in words; an error if more files than allowed cannot be read."""
    if len(found.bad) > bad_files:
        raise UserError(
            f"{name}: {len(found.bad)} of {found.files} files cannot be read, the first is {found.bad[0]}; mend or "
            f"remove what is bad, or leave out so many with dataset.bad_files={len(found.bad)} "
            f"(test_on.bad_files={len(found.bad)} for a set that is only tested on)"
        )
    if not len(found.labels["test"]):
        raise UserError(f"{name}: nothing of the test split can be used ({', '.join(_counts(found))})")
    notes = [*_counts(found), *also]
    if files.not_read:
        notes.append(f"{sum(files.not_read.values()):,} more files not read ({endings(files.not_read)})")
    return ", ".join([*notes, *([] if len(found.labels["train"]) else ["no training split"])])


def _counts(found: Decoded) -> list[str]:
    bad = [f"{len(found.bad)} of {found.files} files unreadable and left out"] if found.bad else []
    return bad + [f"{count} of {found.files} files {remark}" for remark, count in sorted(found.remarks.items())]


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

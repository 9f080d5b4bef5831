"""Datasets of ordinary folders of image or audio files, ``$VAEBENCH_DATA/<name>/train`` and ``.../test`` for one.

Sub-folders are allowed; for images and audio alike an item's label is the number of the one it lies in, counted over
both splits in the order of their names. Another such set is one YAML like ``conf/dataset/coco.yaml`` or
``conf/dataset/librispeech.yaml``. Files are decoded once (`vaebench.data.decoded`).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from vaebench.data.audio import AudioData, Clips, assemble, laid_out
from vaebench.data.decoded import Decoded, decoded
from vaebench.data.fetch import obtain_folders
from vaebench.data.files import Splits
from vaebench.data.images import ImageData
from vaebench.data.waves import FULL_SCALE, BadFile, read, resampled, to_int16, to_mono
from vaebench.errors import UserError

_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_AUDIO = (".wav", ".flac", ".mp3", ".ogg")
_MODES = {1: "L", 3: "RGB"}
_SILENT = 2.0**-10  # a clip with no sample above this (-60 dB) is called silent
_CLIPPED = 1e-3  # a clip with more than this share of its samples at full scale is called clipped
_FULL = (FULL_SCALE - 1) / FULL_SCALE
_CPU = torch.device("cpu")


def images(*, name: str, shape: Sequence[int], splits: Splits, bad_files: int) -> ImageData:
    """Pictures of any size: the shortest side resized (bicubic, without aliases), the square in the middle cut out.

    Args:
        name: the folder of the set under ``$VAEBENCH_DATA`` or the cache.
        shape: (3, side, side), or (1, side, side) for grey ones; smaller pictures are enlarged.
        splits: ``train`` and ``test``, each a list of sub-folders; ``a|b`` is the first of the two that is there.
            Without a training split the set can be evaluated on only.
        bad_files: how many files that cannot be read are left out before that is an error.

    Raises:
        UserError: a folder is missing or has no picture, too many cannot be read, or an option is out of range.
    """
    if len(shape) != 3 or shape[0] not in _MODES or shape[1] != shape[2] or shape[1] < 1:
        raise UserError(f"dataset.shape={list(shape)}: pictures from folders are (3, side, side) or (1, side, side)")
    _check_bad_files(bad_files)
    tree = obtain_folders(name=name, splits=splits)
    channels, side = shape[0], shape[1]
    found = decoded(
        tree,
        name=name,
        suffixes=_IMAGES,
        options={"kind": "images"},
        row=(channels, side, side),
        dtype=np.uint8,
        decode=partial(_picture, mode=_MODES[channels], side=side),
    )
    return ImageData(
        name=name,
        train_x=found.values["train"],
        train_y=found.labels["train"],
        test_x=found.values["test"],
        test_y=found.labels["test"],
        source=tree.source,
        digest=found.digest,
        note=_note(name, found, bad_files),
        stand_in=False,
        place=_CPU,
    )


def audio(
    *, name: str, shape: Sequence[int], sample_rate: int, splits: Splits, shortest: float, bad_files: int
) -> AudioData:
    """Audio files of any rate and number of channels, as clips of one channel at one rate.

    WAV is read as it is; FLAC, MP3 and OGG by soundfile, of the extra ``audio``.

    Args:
        name: the folder of the set under ``$VAEBENCH_DATA`` or the cache.
        shape: (1, samples) of a training crop.
        sample_rate: in Hz, 1 or more; what has another is resampled.
        splits: ``train`` and ``test``, each a list of sub-folders; ``a|b`` is the first of the two that is there.
            Without a training split the set can be evaluated on only.
        shortest: seconds, 0 or more; shorter files are left out, and counted in ``note`` as are empty, silent and
            clipped ones.
        bad_files: how many files that cannot be read are left out before that is an error.

    Raises:
        UserError: a folder is missing or has no audio, too many cannot be read, soundfile is needed and missing, or an
            option is out of range.
    """
    if sample_rate < 1 or not 0 <= shortest < 3600:
        raise UserError(
            f"dataset.sample_rate={sample_rate}, dataset.shortest={shortest}: expected 1 Hz or more, and seconds from 0"
        )
    _check_bad_files(bad_files)
    tree = obtain_folders(name=name, splits=splits)
    found = decoded(
        tree,
        name=name,
        suffixes=_AUDIO,
        options={"kind": "audio", "sample_rate": sample_rate, "shortest": shortest, "silent": "once mixed"},
        row=(),
        dtype=np.int16,
        decode=partial(_clip, sample_rate=sample_rate, shortest=shortest),
    )
    note = _note(name, found, bad_files)
    train, test = (_clips(found, split) for split in ("train", "test"))
    return assemble(
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


def _check_bad_files(count: int) -> None:
    if count < 0:
        raise UserError(f"dataset.bad_files={count}: expected a whole number, 0 or more")


def _clips(found: Decoded, split: str) -> Clips:
    return laid_out(found.values[split], found.lengths[split], found.labels[split])


def _note(name: str, found: Decoded, bad_files: int) -> str:
    """What was left out or looks wrong, in words; an error if more files than allowed cannot be read."""
    if len(found.bad) > bad_files:
        raise UserError(
            f"{name}: {len(found.bad)} of {found.files} files cannot be read, the first is {found.bad[0]}; mend or "
            f"remove what is bad, or leave out so many with dataset.bad_files={len(found.bad)} "
            f"(test_on.bad_files={len(found.bad)} for a set that is only tested on)"
        )
    if not len(found.labels["test"]):
        raise UserError(f"{name}: nothing of the test split can be used ({', '.join(_counts(found))})")
    return ", ".join([*_counts(found), *([] if len(found.labels["train"]) else ["no training split"])])


def _counts(found: Decoded) -> list[str]:
    bad = [f"{len(found.bad)} of {found.files} files unreadable and left out"] if found.bad else []
    return bad + [f"{count} of {found.files} files {remark}" for remark, count in sorted(found.remarks.items())]


def _picture(path: Path, *, mode: str, side: int) -> tuple[np.ndarray, str]:
    """One picture, uint8 ``[1 c side side]``: torchvision's Resize and CenterCrop, in Pillow alone."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            picture = file.convert(mode)
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise BadFile(str(error) or type(error).__name__) from error
    width, height = picture.size
    scaled = side * max(width, height) // min(width, height)
    picture = picture.resize((side, scaled) if width <= height else (scaled, side), Image.Resampling.BICUBIC)
    left, top = (round((size - side) / 2) for size in picture.size)
    square = np.asarray(picture.crop((left, top, left + side, top + side)))
    return square.reshape(1, side, side, -1).transpose(0, 3, 1, 2), ""


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

"""Data of one's own in a folder that ``dataset.path`` names: ``dataset=folder`` (pictures), ``dataset=audio_folder``.

The folder is as one has it. With sub-folders ``train`` and ``test`` (or ``val``) these are the splits; without them a
share of the files is held out. The sub-folders of a split are its classes. A run's key has the contents of the files
and not the path (`vaebench.data.contents`); files are read and decoded as those of any folder
(`vaebench.data.folders`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

from annotated_types import Interval

from vaebench.config.signatures import Count, CountOrNone, Seed, checked, require
from vaebench.data import contents as known
from vaebench.data.audio import AudioData
from vaebench.data.contents import TestShare
from vaebench.data.folders import audio_data, image_data
from vaebench.data.images import ImageData
from vaebench.data.named import unused
from vaebench.data.places import READ, Tree, endings, shown_path, walk
from vaebench.data.waves import HIGHEST_RATE

_NAMED = 3  # classes


@checked("dataset")
def pictures(
    *,
    name: str,
    path: str | None,
    size: Count,
    channels: Literal[1, 3],
    shape: Sequence[int],
    test_share: TestShare | None,
    split_seed: Seed | None,
    bad_files: CountOrNone,
    contents: str | None = None,
) -> ImageData:
    """Pictures in the folder ``path``, cut and resized as `vaebench.data.folders.images` does it.

    ``size``: of a side, in pixels; ``channels``: 1 for grey, 3 for colour; ``shape`` follows from them. ``test_share``:
    of the pictures that are held out to test on where there is no test split, drawn with ``split_seed``; null where
    there is one. ``bad_files``, ``contents``: as there. ``note`` says what was held out, enlarged or left out.

    Raises `UserError` if the folder is not usable, has too many files that cannot be read, or others than expected.
    """
    require(follows(shape, [channels, size, size], "dataset.channels and dataset.size"))
    tree, files = known.own(path, "images", test_share, split_seed, contents)
    also = _also(tree, files, "images", test_share, split_seed)
    return image_data(name, files, source=tree.source, shape=shape, bad_files=bad_files, small=True, also=also)


@checked("dataset")
def sounds(
    *,
    name: str,
    path: str | None,
    sample_rate: Annotated[int, Interval(ge=1, le=HIGHEST_RATE)],
    length: Count,
    shape: Sequence[int],
    shortest: Annotated[float, Interval(ge=0, lt=3600)],
    test_share: TestShare | None,
    split_seed: Seed | None,
    bad_files: CountOrNone,
    contents: str | None = None,
) -> AudioData:
    """Sounds in the folder ``path``, mixed to one channel and resampled as `vaebench.data.folders.audio` does it.

    ``length``: of a training clip, in samples at ``sample_rate`` Hz; ``shape`` follows from it. ``shortest``: as there;
    the others as those of `pictures`, and so are the errors.
    """
    require(follows(shape, [1, length], "dataset.length"))
    tree, files = known.own(path, "audio", test_share, split_seed, contents)
    also = _also(tree, files, "audio", test_share, split_seed)
    sound = (shape, sample_rate, shortest)
    return audio_data(name, files, *sound, source=tree.source, bad_files=bad_files, also=also)


def follows(shape: Sequence[int], wanted: list[int], options: str) -> str | None:
    """One line if the shape is not the one of the other options."""
    if list(shape) == wanted:
        return None
    return f"dataset.shape={list(shape)}: follows from {options}, here {wanted}; leave it out and set these"


def made(files: known.Listing, share: float | None, seed: int | None) -> str:
    """How a test split was made, in words."""
    count = {split: len(items) for split, items in files.files.items()}
    return f"{count['test']} of {sum(count.values())} files held out to test on (test_share={share}, seed {seed})"


def _also(tree: Tree, files: known.Listing, kind: str, share: float | None, seed: int | None) -> list[str]:
    """What is worth knowing of a folder: what was held out, classes of one file, and what in it is not used."""
    labels = Counter(item.label for items in files.files.values() for item in items)
    single = sorted(label for label, count in labels.items() if label and count == 1)
    named = ", ".join([*map(shown_path, single[:_NAMED]), *(["..."] if single[_NAMED:] else [])])
    beside = unused(tree, kind)
    suffixes = [path.suffix.lower() for folders in tree.splits.values() for each in folders for path in walk(each)]
    others = {one for each, those in READ.items() if each != kind for one in those}
    foreign = Counter(suffix for suffix in suffixes if suffix in others)
    return [
        *([] if tree.splits["test"] else [made(files, share, seed)]),
        *([f"{len(single)} of {len(labels)} classes with one file each ({named})"] if single else []),
        *([f"{', '.join(beside)} not used"] if beside else []),
        *([f"{sum(foreign.values()):,} files of another kind not used ({endings(foreign)})"] if foreign else []),
    ]

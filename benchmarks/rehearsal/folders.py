"""Folders as the real data sets have them once they are unpacked, a few made-up pictures and sounds in each."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

TRAIN, TEST = 16, 4  # pictures of a set
CODED = 18  # pictures of COCO: 16,384 codes are made of 1,024 latents of each
# The first ten of ImageNet's; as many as the choices of conf/model know beside 1,000.
NUMBERS = (1440764, 1443537, 1484850, 1491361, 1494475, 1496331, 1498041, 1514668, 1514859, 1518878)
CLASSES = tuple(f"n{number:08d}" for number in NUMBERS)
SPOKEN, HEARD = 14, 3  # clips to train on: 16,384 codes are made of some 1,250 latents of each; clips to test on
RATE, LONG, SHORT = 16_000, 7.5, 2.0  # Hz; seconds: a training crop has 7.2
DIGITS = {"train": 600, "t10k": 128}


def write_pictures(root: Path) -> None:
    """Pictures, below ``root``; what is there already stays."""
    for name, paths in pictures().items():
        for path in (root / name / one for one in paths):
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                picture(np.random.default_rng(seed(path))).save(path, quality=90)
    idx(root / "mnist")


def write_sounds(root: Path) -> None:
    """Sounds, below ``root``; what is there already stays."""
    for name, clips in sounds().items():
        for file, seconds in clips:
            if not (path := root / name / file).exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, sound(np.random.default_rng(seed(path)), seconds), RATE)


def seed(path: Path) -> list[int]:
    """A seed that follows from the name of a file."""
    return list("/".join(path.parts[-3:]).encode())


def pictures() -> dict[str, list[str]]:
    """The files of each set of pictures."""
    extra = [CLASSES[0]] * (TRAIN - len(CLASSES))  # a reference can be of one class, and needs some
    imagenet = [f"train/{name}/{name}_{number}.JPEG" for number, name in enumerate((*CLASSES, *extra))]
    test = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, TEST + 1)]
    imagenet += [f"val/{CLASSES[number % 2]}/{name}" for number, name in enumerate(test)]
    faces = [f"train/{number:05d}.jpg" for number in range(TRAIN)] + [
        f"test/{number:05d}.jpg" for number in range(TEST)
    ]
    coco = [f"train2017/{number:012d}.jpg" for number in range(CODED)]
    coco += [f"val2017/{number:012d}.jpg" for number in range(TEST)]
    return {"imagenet": imagenet, "celebahq": faces, "coco": coco}


def sounds() -> dict[str, list[tuple[str, float]]]:
    """The files of each set of sounds, with their seconds."""
    train = [(f"train/{19 + n % 2}/198/{19 + n % 2}-198-{n:04d}.flac", LONG) for n in range(SPOKEN)]
    test = [(f"test/61/70968/61-70968-{n:04d}.flac", SHORT) for n in range(HEARD)]
    ending = "mp3" if "MP3" in soundfile.available_formats() else "flac"
    clips = [(f"test/common_voice_en_{n}.{ending}", SHORT) for n in range(HEARD)]
    return {"librispeech": train + test, "common_voice": clips}


def picture(random: np.random.Generator) -> Image.Image:
    """Coloured clouds, of another size each time."""
    width, height = (int(side) for side in random.integers(260, 400, 2))
    coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    clouds = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.float64)
    return Image.fromarray(np.clip(clouds + random.normal(0, 12, clouds.shape), 0, 255).astype(np.uint8))


def sound(random: np.random.Generator, seconds: float) -> np.ndarray:
    """A voice of sorts: harmonics of a moving pitch in syllables, in [-1, 1]."""
    time = np.arange(round(seconds * RATE)) / RATE
    pitch = 120 + 40 * random.random() + 20 * np.sin(2 * np.pi * (0.5 + random.random()) * time)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    voice = sum(np.sin(number * phase) / number for number in range(1, 12))
    syllables = np.clip(np.sin(2 * np.pi * 3 * time + random.random()), 0, None)
    return np.asarray(0.2 * voice * syllables + random.normal(0, 0.005, len(time)))


def idx(folder: Path) -> None:
    """MNIST's four files: boxes whose height says which digit they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in DIGITS.items():
        random = np.random.default_rng(count)
        labels = np.arange(count, dtype=np.uint8) % 10
        images = random.integers(0, 40, (count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[4 : 6 + 2 * int(label), 8:20] += 200
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            path = folder / f"{split}-{name}-ubyte.gz"
            if not path.exists():
                path.write_bytes(gzip.compress(b"".join(_idx(array)), mtime=0))


def _idx(array: np.ndarray) -> Iterator[bytes]:
    yield bytes((0, 0, 8, array.ndim))
    yield from (side.to_bytes(4, "big") for side in array.shape)
    yield array.tobytes()

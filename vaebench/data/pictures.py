"""One picture file as bytes of one size, whatever it holds: depth, transparency, orientation, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vaebench.data.places import BadFile, opened

# By content, whatever the name says. Pillow itself would hand PostScript to an interpreter.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
_MOST_PIXELS = 1 << 28  # 16,384 x 16,384, about 1 GB in memory; a telephone's picture of 200 million is read
_LONGEST = 16  # a picture longer than so many times its shorter side is cut to that before it is resized
_ORIENTATION = 0x0112  # a tag of EXIF
# Pillow takes large pictures for an attack and prints that as a raw warning; the bound above takes its place.
Image.MAX_IMAGE_PIXELS = None


def picture(
    path: Path, *, mode: str, side: int, small: bool = False, opens: Callable[[Path], BinaryIO] = opened
) -> tuple[np.ndarray, str]:
    """The middle of a picture, uint8 ``[1 c side side]``, and what is to be said of it.

    Torchvision's Resize (bicubic, of the shorter side) and CenterCrop, in Pillow alone, after this: it is turned as its
    EXIF data say, what is transparent is white, of 16 bits the upper 8 are taken, of an animation the first picture.

    ``path``: a JPEG, PNG, WebP or BMP file. ``mode``: ``L`` or ``RGB``. ``side``: of the square, in pixels.
    ``small``: whether it is said of a picture that it has to be enlarged. ``opens``: gives the bytes of ``path``.
    Raises `BadFile` if it is no such picture, is cut off or damaged, or has too many pixels.
    """
    with opens(path) as stream:
        try:
            with Image.open(stream, formats=_FORMATS) as file:
                if file.width * file.height > _MOST_PIXELS:
                    raise BadFile(
                        f"it has {file.width:,} x {file.height:,} pixels, more than the {_MOST_PIXELS:,} in all that "
                        "are read; scale it down"
                    )
                animated = file.format != "MPO" and getattr(file, "n_frames", 1) > 1
                file.load()
                opaque = _opaque(_cut(_upright(file)), mode)
        except BadFile:
            raise
        except UnidentifiedImageError as error:
            empty = not stream.seek(0, 2)
            raise BadFile("it is empty" if empty else "it is no JPEG, PNG, WebP or BMP picture") from error
        except Exception as error:  # a decoder can fail on damaged data in any way
            raise BadFile(" ".join(str(error).split()) or type(error).__name__) from error
    width, height = opaque.size
    scaled = side * max(width, height) // min(width, height)
    resized = opaque.resize((side, scaled) if width <= height else (scaled, side), Image.Resampling.BICUBIC)
    left, top = (round((size - side) / 2) for size in resized.size)
    square = np.asarray(resized.crop((left, top, left + side, top + side)))
    found = square.reshape(1, side, side, -1).transpose(0, 3, 1, 2)
    enlarged = f"smaller than {side} x {side} and enlarged" if small and min(width, height) < side else ""
    return found, enlarged or ("animated, of which the first picture is taken" if animated else "")


def _upright(file: Image.Image) -> Image.Image:
    """Turned as its EXIF data say; damaged ones say nothing."""
    try:
        turned = file.getexif().get(_ORIENTATION, 1) != 1
        if turned:
            ImageOps.exif_transpose(file, in_place=True)
    except Exception:  # a decoder can fail on damaged data in any way
        return file
    return file


def _cut(file: Image.Image) -> Image.Image:
    """The middle of a very long picture: resized whole, a line of pixels would fill the memory."""
    width, height = file.size
    longest = _LONGEST * min(width, height)
    if max(width, height) <= longest:
        return file
    left, top = (max(0, size - longest) // 2 for size in (width, height))
    return file.crop((left, top, left + min(width, longest), top + min(height, longest)))


def _opaque(file: Image.Image, mode: str) -> Image.Image:
    """In ``mode``, white where it is transparent."""
    if file.mode.startswith("I"):  # grey of 16 bits, which Pillow would cut at 255
        values = np.asarray(file)
        grey = (values >> 8).astype(np.uint8)
        grey[values == file.info.get("transparency", -1)] = 255
        return Image.fromarray(grey).convert(mode)
    if file.has_transparency_data:
        layer = file.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", file.size, "white"), layer).convert("RGB").convert(mode)
    return file if file.mode == mode else file.convert(mode)

"""How large a picture is, so that a page keeps its room until it is there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

_SVG = re.compile(rb'<svg\b[^>]*\bviewBox="0 0 ([\d.]+) ([\d.]+)"')


def size(folder: Path) -> Callable[[str], tuple[int, int] | None]:
    """Of pictures in ``folder``: width and height in pixels; None where that cannot be told."""

    def of(name: str) -> tuple[int, int] | None:
        path = folder / name
        return _of_svg(path) if path.suffix == ".svg" else _of_pixels(path)

    return of


def _of_svg(path: Path) -> tuple[int, int] | None:
    try:
        with path.open("rb") as file:
            found = _SVG.search(file.read(4096))
    except OSError:
        return None
    return (round(float(found[1])), round(float(found[2]))) if found else None


def _of_pixels(path: Path) -> tuple[int, int] | None:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.size
    except OSError:
        return None

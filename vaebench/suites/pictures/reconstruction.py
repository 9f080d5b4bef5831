"""What the suite reconstruction has to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaebench.contracts.pictures import Images, Picture
from vaebench.suites.pictures.common import RECONSTRUCTIONS, beside

if TYPE_CHECKING:
    from vaebench.report.stored import Shown


def _images(shown: Shown) -> Images | None:
    return beside(shown, shown.arrays(), "test images", "inputs", "reconstructions")


PICTURES = (Picture(kind="reconstructions", caption=RECONSTRUCTIONS, draw=_images, colours="all", place=10),)

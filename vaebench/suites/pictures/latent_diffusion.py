"""What the suite latent_diffusion has to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaebench.contracts.pictures import Images, Picture
from vaebench.suites.pictures.common import BESIDE
from vaebench.suites.pictures.generation import SAMPLES

if TYPE_CHECKING:
    from vaebench.report.stored import Shown


def _samples(shown: Shown) -> Images | None:
    """Of models that were trained to the end; every other image, as they lie in the order of their classes."""
    if any(column.snapshot for column in shown.section.table.columns.values()):
        return None
    found = {label: arrays["samples"][::2][:20] for label, arrays in shown.labelled().items()}
    return Images(found, per_line=10)


PICTURES = (Picture(kind="samples", caption=SAMPLES, draw=_samples, colours="all", place=20), BESIDE)

"""What the suite generation has to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaebench.contracts.pictures import Images, Picture

if TYPE_CHECKING:
    from vaebench.report.stored import Shown

SAMPLES = "Generated images"


def _samples(shown: Shown) -> Images | None:
    found = {label: arrays["samples"][:20] for label, arrays in shown.labelled().items()}
    return Images(found, per_line=10)


PICTURES = (Picture(kind="samples", caption=SAMPLES, draw=_samples, colours="all", place=20),)

"""Images that suites have to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaebench.contracts.pictures import Images, Picture

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaebench.report.stored import Arrays, Shown

RECONSTRUCTIONS = "Test images (top) and their reconstructions"
_SAMPLES = "Generated images"


def beside(shown: Shown, found: Mapping[str, Arrays], title: str, above: str, below: str) -> Images | None:
    """The array ``above`` of the first of the rows ``found``, then every row's ``below``."""
    if not found:
        return None
    lines = {title: next(iter(found.values()))[above]}
    return Images(lines | {shown.rows[row].label: arrays[below] for row, arrays in found.items()})


def _reconstructions(shown: Shown) -> Images | None:
    return beside(shown, shown.arrays(), "test images", "inputs", "reconstructions")


def _samples(shown: Shown) -> Images | None:
    return Images({label: arrays["samples"][:20] for label, arrays in shown.labelled().items()}, per_line=10)


def _sorted_samples(shown: Shown) -> Images | None:
    """Of models that were trained to the end; every other image, as they lie in the order of their classes."""
    if any(column.snapshot for column in shown.section.table.columns.values()):
        return None
    return Images({label: arrays["samples"][::2][:20] for label, arrays in shown.labelled().items()}, per_line=10)


PICTURES = (
    Picture("reconstructions", RECONSTRUCTIONS, _reconstructions, place=10, suites=("reconstruction",)),
    Picture("samples", _SAMPLES, _samples, place=20, suites=("generation",)),
    Picture("samples", _SAMPLES, _sorted_samples, place=20, suites=("latent_diffusion",)),
)

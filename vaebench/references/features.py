"""Latents of a trained tokenizer as a reference: features of an encoder, brought to few dimensions by its head.

DMVAE (arXiv 2512.07778, Section 4.1): those of a self-supervised encoder, of a classifier, or of a few classes only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from annotated_types import Len
from torch import Tensor

from vaebench.config.signatures import CountOrNone, checked
from vaebench.contracts import ReferenceInputs, ReferenceItems
from vaebench.errors import UserError
from vaebench.nn.sampling import own_draws

if TYPE_CHECKING:
    from vaebench.data.latents import LatentData

_AT_ONCE = 4096


@checked("reference")
@dataclass(kw_only=True, eq=False)
class Features:
    """``(z - features_mean) / features_std`` of each image's latents z, by the tokenizer that made them.

    ``classes``: the labels whose images are taken, and the items then have no labels: the other classes of images are
    to match this law too. Null: all, with their labels.
    """

    classes: Annotated[Sequence[CountOrNone], Len(1)] | None

    def __post_init__(self) -> None:
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise UserError(f"reference.classes={list(self.classes)}: names a class twice")

    def draw(self, given: ReferenceInputs) -> ReferenceItems:
        """One item per image, in their order. Raises `UserError` for latents of another shape or no such class."""
        latents = latents_of(given)
        labels = latents.labels.cpu()
        rows = torch.arange(len(labels)) if self.classes is None else _of(self.classes, labels)
        with seeded(given.seed):
            z = standardised(latents, rows, given.features_mean, given.features_std)
        return ReferenceItems(z, labels if self.classes is None else None)


def latents_of(given: ReferenceInputs) -> LatentData:
    """The latents a reference is made of. Raises `UserError` for none, or of another shape than what is matched."""
    if given.features is None:
        raise UserError("reference: is made of latents, and none were given")
    found, wanted = list(given.features.shape), list(given.latent_shape)
    if found != wanted:
        raise UserError(
            f"reference: its latents are {found} and those to be matched {wanted}; choose the same channels and grid "
            "for both models"
        )
    return given.features


def standardised(latents: LatentData, rows: Tensor, mean: Tensor | float, std: Tensor | float) -> Tensor:
    """``(z - mean) / std`` of these images, float32 ``[n l h w]`` on the CPU; z is drawn from q(z|x)."""
    z = torch.empty(len(rows), *latents.shape)
    for place, some in zip(z.split(_AT_ONCE), rows.split(_AT_ONCE), strict=True):
        place.copy_((latents.batch(some).x.cpu() - mean) / std)
    return z


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside it the global generators begin at ``seed``; afterwards they are as if nothing had been drawn."""
    with own_draws():
        torch.manual_seed(seed)
        yield


def _of(classes: Sequence[int], labels: Tensor) -> Tensor:
    """The rows of these classes, all of which must be there."""
    there = labels.unique().tolist()
    missing = sorted(set(classes) - set(there))
    if missing:
        known = f"{there[0]} to {there[-1]}" if there == list(range(there[0], there[-1] + 1)) else str(there)
        raise UserError(f"reference.classes={list(classes)}: no image has the label {missing[0]}; there are {known}")
    return torch.isin(labels, torch.tensor(list(classes))).nonzero()[:, 0]

"""Encoders of features trained here: by contrast of two views (SimCLR, arXiv 2002.05709), or to tell classes apart.

Small stand-ins for the pretrained encoders of DMVAE (arXiv 2512.07778), DINOv2 and ResNet-34.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor, nn

from vaebench.config.signatures import Count, CountOrNone, Fraction, NonNegative, Positive, checked
from vaebench.contracts import Batch, LossOutput, Phase, TrainingData
from vaebench.errors import UserError
from vaebench.nn import across
from vaebench.nn.networks import features
from vaebench.nn.sampling import highest_label


class FeatureLearner(nn.Module):
    """An encoder with a small head on its features' mean over positions, of which only the encoder is of use later.

    ``objective`` simclr: `nt_xent` at ``temperature`` of two views of each image, through Linear, ReLU and Linear to
    ``projection_width``; ``crop``, ``rotation``, ``contrast``, ``noise``, ``flip``: of the `random_view`. ``objective``
    classes: the cross entropy of ``classes`` labels, through Linear, of the images as they are. ``encoder``: a file of
    ``conf/encoder``. Raises `UserError`: an option out of range.
    """

    @checked("model")
    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        encoder: Mapping[str, Any],
        objective: Literal["simclr", "classes"],
        classes: CountOrNone,
        temperature: Positive,
        projection_width: Count,
        crop: Annotated[float, Interval(gt=0, le=1)],
        rotation: Annotated[float, Interval(ge=0, le=180)],
        contrast: Fraction,
        noise: NonNegative,
        flip: bool,
    ) -> None:
        super().__init__()
        if objective == "classes" and classes < 2:
            raise UserError(f"model.classes={classes}: expected a whole number, at least 2")
        self.objective = objective
        self.classes = classes
        self.temperature = temperature
        self.view = partial(random_view, crop=crop, rotation=rotation, contrast=contrast, noise=noise, flip=flip)
        self.encoder: Any = features.encoder(encoder, input_shape=input_shape)
        width = self.encoder.outputs
        self.head: nn.Module = (
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, projection_width))
            if objective == "simclr"
            else nn.Linear(width, classes)
        )

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase over all parameters."""
        return (Phase(self.objective, tuple(self.parameters()), self.loss),)

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """In nats; of classes the term ``accuracy`` of the batch, in [0, 1]."""
        if self.objective == "simclr":
            # Both views at once: half the calls, and a normalisation over the batch would see all of them.
            views = torch.cat([self.view(batch.x) for _ in range(2)])
            one, other = map(across.gathered, self._answers(views).chunk(2))
            return LossOutput(nt_xent(one, other, self.temperature))
        logits = self._answers(batch.x)
        accuracy = (logits.detach().argmax(dim=1) == batch.y).float().mean()
        return LossOutput(F.cross_entropy(logits, batch.y), {"accuracy": accuracy})

    def look(self, data: TrainingData) -> None:
        """Draws from no global generator. Raises `UserError` if there are labels that ``classes`` does not count."""
        if self.objective != "classes":
            return
        highest = highest_label(data)
        if highest >= self.classes:
            raise UserError(f"model.classes={self.classes}: {data.name} has labels up to {highest}; give their number")

    def encode(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` in [0, 1] -> features ``[b c' h' w']``, float32."""
        return self.encoder(x).float()

    def load_pretrained(self) -> None:
        """Fetch the encoder's weights, if it is one that others have trained. Raises `UserError` if there are none."""
        self.encoder.load_pretrained()

    def _answers(self, x: Tensor) -> Tensor:
        """What the head makes of images, float32 ``[b projection_width or classes]``."""
        return self.head(self.encoder(x).mean((2, 3))).float()


def random_view(x: Tensor, *, crop: float, rotation: float, contrast: float, noise: float, flip: bool) -> Tensor:
    """Images ``[b c h w]`` in [0, 1] -> cut, turned and in other light, each by draws of its own; in [0, 1].

    A rectangle of ``crop`` to 1 of the area (uniform), sides in a ratio of 3/4 to 4/3 (log-uniform), somewhere inside,
    turned by up to ``rotation`` degrees, brought to the whole size (bilinear; black where it reaches outside).
    ``contrast``: values times U(1 - contrast, 1 + contrast). ``noise``: deviation of Gaussian noise. ``flip``: half of
    the views are mirror images. Draws from the global generator.
    """
    grid = F.affine_grid(_affine(x, crop, rotation, flip), list(x.shape), align_corners=False)
    view = F.grid_sample(x, grid, align_corners=False)
    view = view * (1 + contrast * _signed(len(x), x.device))[:, None, None, None]
    return (view + noise * torch.randn_like(view)).clamp(0, 1)


def nt_xent(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Cross entropy of finding the other view of an image among all 2b - 1 others; a scalar, in nats.

    ``one``, ``other``: ``[b d]``, row i of both shows image i. Similarity: cosine over ``temperature``. Eq. 1, arXiv
    2002.05709.
    """
    z = F.normalize(torch.cat([one, other]).float(), dim=1)
    count = len(one)
    similarity = z @ z.T / temperature
    similarity.fill_diagonal_(-math.inf)
    partner = torch.arange(2 * count, device=z.device).roll(count)
    return F.cross_entropy(similarity, partner)


def _affine(x: Tensor, crop: float, rotation: float, flip: bool) -> Tensor:
    """Where the output's points lie in the input, both in [-1, 1], as matrices ``[b 2 3]``."""
    count, device = len(x), x.device
    area = crop + (1 - crop) * torch.rand(count, device=device)
    stretch = (math.log(4 / 3) / 2 * _signed(count, device)).exp()
    # Half sides of the rectangle, at most the whole image's.
    width, height = ((area.sqrt() * factor).clamp(max=1.0) for factor in (stretch, 1 / stretch))
    right, down = ((1 - half) * _signed(count, device) for half in (width, height))
    angle = math.radians(rotation) * _signed(count, device)
    mirrored = torch.where(torch.rand(count, device=device) < 0.5, -1.0, 1.0) if flip else torch.ones_like(angle)
    first = torch.stack([mirrored * width * angle.cos(), -height * angle.sin(), right], dim=1)
    second = torch.stack([mirrored * width * angle.sin(), height * angle.cos(), down], dim=1)
    return torch.stack([first, second], dim=1)


def _signed(count: int, device: torch.device) -> Tensor:
    """``[count]`` from U(-1, 1)."""
    return 2 * torch.rand(count, device=device) - 1

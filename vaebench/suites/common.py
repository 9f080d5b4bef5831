"""What the suites share: test images batch by batch, those that stand in pictures, and the latents of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vaebench.contracts import DrawsCodes, GivesLatents, Reconstructs, SuiteInputs
from vaebench.data.images import ImageData
from vaebench.errors import UserError
from vaebench.metrics.two_samples import require_finite

EightBits = Literal["cut", "round"]
Code = Literal["draw"]  # at test time, in place of the model's own: a draw of the posterior
_CODE_SEED = 1  # not that of a suite's noise: the two would be the same numbers


def image_data(inputs: SuiteInputs, suite: str) -> ImageData:
    """The data of a suite that works on images only. Raises `UserError` if it is none."""
    if isinstance(inputs.data, ImageData):
        return inputs.data
    raise UserError(f"suite {suite} needs images, {inputs.data.name} holds audio; use suite=tokens")


def batches(images: Tensor, size: int) -> Iterator[Tensor]:
    """A uint8 split ``[n c h w]`` in order, as float32 in [0, 1]."""
    for chunk in images.split(size):
        yield chunk.float().div_(255)


def walk(inputs: SuiteInputs, images: Tensor, size: int) -> Iterator[Tensor]:
    """As `batches`, on the model's device; progress is reported after each."""
    done = 0
    for x in batches(images, size):
        yield x.to(inputs.device)
        done += len(x)
        inputs.track(done, len(images))


def one_per_class(data: ImageData) -> Tensor:
    """Rows of the first test image of each class, for pictures."""
    labels = data.test_y.cpu()
    return torch.tensor([int((labels == label).nonzero()[0]) for label in labels.unique()])


def some_of_each(labels: Tensor, most: int) -> Tensor:
    """Rows for pictures and sounds: the first of each label, then the first of the rest, ``most`` of them, in order."""
    labels = labels.cpu()
    firsts = [int((labels == label).nonzero()[0]) for label in labels.unique()[:most]]
    rest = [row for row in range(min(len(labels), 2 * most)) if row not in firsts]
    return torch.tensor(sorted([*firsts, *rest][:most]))


def picture(images: Tensor) -> np.ndarray:
    """Images ``[n c h w]`` in any range, clipped to [0, 1], as uint8 ``[n h w c]``."""
    return images.clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def reconstructed(inputs: SuiteInputs, images: Tensor, rows: Tensor, code: Code | None = None) -> dict[str, np.ndarray]:
    """Pictures of the images ``rows`` of a uint8 split, and of what the model makes of them through such codes."""
    x = images[rows.to(images.device)].float().div(255).to(inputs.device)
    codes = encoder(inputs.model, code)(x)
    return {"inputs": picture(x), "reconstructions": picture(inputs.model.decode(codes))}


def eight_bits(images: Tensor, how: EightBits | None) -> Tensor:
    """Float images as a file of 8 bits holds them, in [0, 1]: the next level below, or the nearest; None: as they are.

    NaN and infinity stay what they are, for others to find.
    """
    if how is None:
        return images
    levels = images.clamp(0, 1) * 255
    stored = (levels.floor() if how == "cut" else levels.round()) / 255
    return torch.where(images.isfinite(), stored, images)


def in_eight_bits(how: EightBits | None) -> dict[str, str]:
    """What a protocol has to say of `eight_bits`."""
    return {} if how is None else {"eight_bits": how}


def coded_by(code: Code | None) -> tuple[type, ...]:
    """What a suite asks of a model that reconstructs from such codes."""
    return (Reconstructs,) if code is None else (Reconstructs, DrawsCodes)


def encoder(model: Any, code: Code | None) -> Callable[[Tensor], Tensor]:
    """What turns images into codes: the model's own, or draws of its posterior."""
    if code is None:
        found: Callable[[Tensor], Tensor] = model.encode
        return found
    random = seeded(_CODE_SEED)
    return lambda x: model.encode_drawn(x, random)


def in_code(code: Code | None) -> dict[str, Any]:
    """What a protocol has to say of `encoder`."""
    return {} if code is None else {"code": code, "code_seed": _CODE_SEED}


def seeded(seed: int) -> torch.Generator:
    """A generator on the CPU whatever the device, so that a seed gives the same draws everywhere."""
    return torch.Generator().manual_seed(seed)


def silhouette(points: Tensor, labels: Tensor) -> float:
    """Mean silhouette, in [-1, 1], of ``points`` ``[n d]`` on the CPU with 2 to n - 1 different ``labels``."""
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(points.numpy(), labels.numpy()))


@dataclass(frozen=True)
class Latents:
    """``values``: the means of q(z|x) of n images, float32 ``[n l h w]``; ``mean``, ``std``: of each channel.

    These are over images and positions, float32 ``[l 1 1]``; the (population) deviation is 0 where a channel does not
    vary. All on the CPU: the latents of a large set are larger than the set.
    """

    values: Tensor
    mean: Tensor
    std: Tensor

    def standardised(self, rows: Tensor | slice) -> Tensor:
        """``rows`` ``[n l h w]`` with mean 0 and deviation 1 per channel; 0 where one does not vary."""
        return (self.values[rows] - self.mean) / torch.where(self.std > 0, self.std, 1.0)


@torch.no_grad()
def latents_of(model: GivesLatents, images: Tensor, batch_size: int, device: torch.device) -> Latents:
    """Latents of ``images``, uint8 ``[n c h w]``. Raises `UserError` for latents that are not finite."""
    found = [model.latent_moments(x.to(device))[0].float().cpu() for x in batches(images, batch_size)]
    values = torch.cat(found)
    require_finite(values, "latents")
    # One channel at a time in float64; a constant one has a deviation of exactly 0.
    moments = [torch.var_mean(channel.double(), correction=0) for channel in values.unbind(1)]
    variance, mean = (torch.stack(each)[:, None, None] for each in zip(*moments, strict=True))
    return Latents(values, mean.float(), variance.sqrt().float())

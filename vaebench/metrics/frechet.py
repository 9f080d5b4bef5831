"""Frechet distance between Gaussians fitted to two sets of features (FID when the features are Inception's).

``||m1 - m2||^2 + Tr S1 + Tr S2 - 2 Tr (S1 S2)^(1/2)`` (Heusel et al. 2017). With a root ``S1 = B B'`` the last trace is
that of the symmetric ``(B' S2 B)^(1/2)``: one real eigenvalue problem instead of the root of an asymmetric matrix, and
``B`` is kept with the reference. With fewer samples than features ``S2`` is singular; then the singular values of
``X2 B`` (``X2`` centred and scaled, ``S2 = X2' X2``) give the same trace without square roots of rounding errors.

Features are ``[n d]`` of any floating dtype and device; all of it is float64 on the CPU. `UserError` is raised for
fewer than two samples and for values that are not finite.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from vaebench.disk import write_bytes
from vaebench.errors import UserError
from vaebench.metrics.two_samples import require_finite

_BLOCK = 512  # columns at a time in a symmetric product


@dataclass(frozen=True)
class Moments:
    """``mean`` ``[d]`` and unbiased ``covariance`` ``[d d]`` (divided by count - 1) of ``count`` samples, float64."""

    mean: Tensor
    covariance: Tensor
    count: int


@dataclass(frozen=True)
class Reference:
    """The side to keep: ``mean`` ``[d]``, ``root`` ``[d r]`` (covariance root root') of ``count`` samples, float64."""

    mean: Tensor
    root: Tensor
    count: int

    def save(self, path: Path) -> None:
        """Write a safetensors file, whole or not at all."""
        write_tensors(path, {"mean": self.mean, "root": self.root, "count": torch.tensor(self.count)})

    @classmethod
    def load(cls, path: Path) -> Reference:
        """Read what ``save`` wrote; errors are those of `read_tensors`."""
        tensors = read_tensors(path, "Frechet reference", ("mean", "root", "count"))
        return cls(tensors["mean"], tensors["root"], int(tensors["count"]))


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, whole or not at all."""
    write_bytes(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}))


def read_tensors(path: Path, what: str, names: Sequence[str]) -> dict[str, Tensor]:
    """The tensors ``names`` of a safetensors file. Raises `UserError` where it is damaged or holds no ``what``."""
    try:
        tensors = load_file(path)
        return {name: tensors[name] for name in names}
    except (OSError, SafetensorError, KeyError) as error:
        raise UserError(f"{path} holds no {what} ({error}); delete it and evaluate again") from error


def moments(features: Tensor, name: str = "features") -> Moments:
    """Mean and unbiased covariance of ``features``, which errors call by their ``name``."""
    mean, centred = _centre(features, name)
    return Moments(mean, _gram(centred) / (len(features) - 1), len(features))


def reference(features: Tensor | Moments) -> Reference:
    """A reference of features, or of their moments; worth keeping, for its root is the dearer half."""
    name = "reference features"
    if isinstance(features, Tensor) and len(features) <= features.shape[-1]:
        mean, centred = _centre(features, name)
        # Contiguous, as it comes back from the disk: another layout may differ in the last bit of a product.
        root = (centred.T / math.sqrt(len(features) - 1)).contiguous()
        return Reference(mean, root, len(features))
    given = _moments_of(features, name)
    values, vectors = torch.linalg.eigh(given.covariance)
    kept = values > values[-1].clamp(min=0) * torch.finfo(values.dtype).eps  # the rest is lost in rounding
    return Reference(given.mean, (vectors[:, kept] * values[kept].sqrt()).contiguous(), given.count)


def frechet_distance(reference: Reference, features: Tensor | Moments) -> float:
    """Squared Frechet distance of features, or of their moments, from ``reference``, at least 0.

    With fewer samples than features prefer features to moments: those eigenvalues of a covariance that should be 0 are
    rounding errors, and their square roots add up to some 1e-7 of the trace. Raises `UserError` for another width than
    the reference's too.
    """
    require_finite(reference.mean[:, None], "mean of the reference")
    require_finite(reference.root, "root of the reference")
    width = (features if isinstance(features, Tensor) else features.mean).shape[-1]
    if width != len(reference.mean):
        raise UserError(
            f"the features are {width} wide, the reference's {len(reference.mean)}; both sides need the same extractor"
        )
    if isinstance(features, Tensor) and len(features) <= width:
        mean, centred = _centre(features, "features")
        centred /= math.sqrt(len(features) - 1)
        trace = centred.square().sum()
        cross = torch.linalg.svdvals(centred @ reference.root).sum()
    else:
        other = _moments_of(features, "features")
        mean, trace = other.mean, other.covariance.trace()
        product = reference.root.T @ (other.covariance @ reference.root)
        cross = torch.linalg.eigvalsh(product).clamp(min=0).sqrt().sum()
    distance = (mean - reference.mean).square().sum() + reference.root.square().sum() + trace - 2 * cross
    return distance.clamp(min=0).item()  # equal sets come out as a rounding error of either sign


def _moments_of(given: Tensor | Moments, name: str) -> Moments:
    """Moments whose numbers are finite."""
    if isinstance(given, Tensor):
        return moments(given, name)
    require_finite(given.mean[:, None], f"mean of the {name}")
    require_finite(given.covariance, f"covariance of the {name}")
    return given


def _gram(x: Tensor) -> Tensor:
    """``x' x`` of ``[n d]``; only blocks on and above the diagonal are multiplied, which halves the work."""
    width = x.shape[1]
    result = x.new_empty(width, width)
    for start in range(0, width, _BLOCK):
        stop = start + _BLOCK
        block = x[:, start:stop].T @ x[:, start:]
        result[start:stop, start:] = block
        result[start:, start:stop] = block.T
    return result


def _centre(features: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Mean ``[d]`` and ``features - mean`` ``[n d]`` of checked features."""
    if features.ndim != 2:
        raise ValueError(f"expected {name} of shape [n d], got {tuple(features.shape)}")
    if len(features) < 2:
        raise UserError(f"{name}: {len(features)} sample(s); a covariance needs at least 2")
    require_finite(features, name)
    x = features.to("cpu", torch.float64, copy=True)
    mean = x.mean(0)
    x -= mean
    return mean, x

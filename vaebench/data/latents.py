"""What an autoencoder makes of a training set: shards of means and log-variances, and draws from them for training.

A shard holds ``mean`` (and ``logvar``, where the encoder is not deterministic) ``[n v l h w]`` of n images, v views of
each (the image, and with ``flip`` its mirror image), and ``labels`` int64 ``[n]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from vaebench.data.batch import Batch, Held, sent
from vaebench.data.shards import again, tensors
from vaebench.errors import UserError

DTYPES = {"float32": torch.float32, "float16": torch.float16}
_IN_MEMORY = 4 << 30  # bytes; what is more stays in its files, mapped into memory


def to_bytes(mean: Tensor, logvar: Tensor | None, labels: Tensor) -> bytes:
    """One shard as a safetensors file."""
    parts = {"mean": mean, "labels": labels} | ({} if logvar is None else {"logvar": logvar})
    return save({name: tensor.cpu().contiguous() for name, tensor in parts.items()})


@dataclass(frozen=True)
class LatentData(Held):
    """Latents of a training set. A batch is drawn anew from q(z|x) at each reading, of one of the views.

    ``means`` and ``logvars``: by shard, ``[n v l h w]``, or all in one; ``logvars`` is empty for a deterministic
    encoder. ``digest``: of the images behind.
    """

    means: tuple[Tensor, ...]
    logvars: tuple[Tensor, ...]
    labels: Tensor
    name: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """(l, h, w) of a latent."""
        channels, height, width = self.means[0].shape[2:]
        return channels, height, width

    def __len__(self) -> int:
        """The number of training images."""
        return len(self.labels)

    def batch(self, rows: Tensor) -> Batch:
        """``x``: draws from q(z|x), float32 ``[b l h w]``, by the global generator; ``y``: labels."""
        views = self.means[0].shape[1]
        view = torch.randint(views, rows.shape, device=self.place) if views > 1 else torch.zeros_like(rows)
        z = _gather(self.means, rows, view).to(self.place).float()
        if self.logvars:
            deviation = (_gather(self.logvars, rows, view).to(self.place).float() / 2).exp()
            z = torch.addcmul(z, deviation, torch.randn_like(z))
        return Batch(z, self.labels[rows.to(self.labels.device)].to(self.place))

    @property
    def mapped(self) -> bool:
        """Whether the latents stay in their files."""
        return len(self.means) > 1

    def fetched(self, rows: Tensor) -> LatentData:
        """The latents of these images alone, all views, as `vaebench.contracts.Fetches` says."""
        means, logvars = (
            (sent(_gather(parts, rows), self.device),) if parts else () for parts in (self.means, self.logvars)
        )
        return replace(self, means=means, logvars=logvars, labels=sent(self.labels[rows], self.device))

    def to(self, device: torch.device | str) -> LatentData:
        """The same data with its batches on ``device``; the latents themselves too, if they are in memory."""
        place = torch.device(device)
        if len(self.means) > 1:
            return replace(self, place=place)
        means, logvars = (tuple(part.to(place) for part in parts) for parts in (self.means, self.logvars))
        return replace(self, means=means, logvars=logvars, labels=self.labels.to(place), place=place)


def _gather(parts: Sequence[Tensor], rows: Tensor, view: Tensor | None = None) -> Tensor:
    """Of each row one view, ``[b l h w]``, or all, ``[b v l h w]``; all parts but the last are equally long."""
    index = [one.to(parts[0].device) for one in ((rows,) if view is None else (rows, view))]
    if len(parts) == 1:
        return parts[0][tuple(index)]
    length = len(parts[0])
    found = parts[0].new_empty((len(rows), *parts[0].shape[len(index) :]))
    which = index[0] // length
    for number in which.unique().tolist():
        here = (which == number).nonzero()[:, 0]
        place, *of = (one[here] for one in index)
        found[here] = parts[number][(place - number * length, *of)]
    return found


def read(paths: Sequence[Path], folder: Path, facts: Mapping[str, object]) -> LatentData:
    """The latents in the shards of a run's folder, on the CPU.

    ``facts``: name, source, digest, note, stand_in of the images. Raises `UserError` if a shard cannot be read or does
    not fit the others.
    """
    shards = tensors(paths, folder)
    for path, shard in zip(paths, shards, strict=True):
        _check(shard, path, folder)
        if _form(shard) != _form(shards[0]):
            raise UserError(f"{path}: its tensors do not fit those of {paths[0].name}; {again(folder)}")
    labels = torch.cat([shard["labels"] for shard in shards])
    parts = {name: tuple(shard[name] for shard in shards if name in shard) for name in ("mean", "logvar")}
    if sum(part.nbytes for both in parts.values() for part in both) <= _IN_MEMORY:
        parts = {name: (torch.cat(both),) if both else () for name, both in parts.items()}
    return LatentData(
        means=parts["mean"],
        logvars=parts["logvar"],
        labels=labels,
        place=torch.device("cpu"),
        **facts,  # type: ignore[arg-type]
    )


def _check(found: Mapping[str, Tensor], path: Path, folder: Path) -> None:
    mean, labels, logvar = (found.get(name) for name in ("mean", "labels", "logvar"))
    if mean is None or mean.ndim != 5 or mean.dtype not in DTYPES.values():
        raise UserError(f"{path}: holds no latents; {again(folder)}")
    if labels is None or labels.dtype != torch.int64 or list(labels.shape) != [len(mean)]:
        raise UserError(f"{path}: holds no latents with their labels; {again(folder)}")
    if logvar is not None and (logvar.shape, logvar.dtype) != (mean.shape, mean.dtype):
        raise UserError(f"{path}: its means and variances do not fit; {again(folder)}")


def _form(shard: Mapping[str, Tensor]) -> tuple[object, ...]:
    """What is the same for all shards of a run."""
    return shard["mean"].shape[1:], shard["mean"].dtype, "logvar" in shard

"""Shards of a finished run's folder: read, or what to do about one that is lost or damaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from safetensors import SafetensorError

from vaebench.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

_Held = TypeVar("_Held")


def again(folder: Path) -> str:
    """What to do about one lost or damaged shard."""
    return f"remove it and {folder / 'status.json'} and run the same command: only this shard is made again"


def loaded(
    paths: Sequence[Path], folder: Path, load: Callable[[Path], _Held], *failures: type[Exception]
) -> list[_Held]:
    """What ``load`` makes of each of the shards. Raises `UserError` if there is none, or for a damaged one.

    ``failures``: errors of ``load``'s own that say that a file is damaged.
    """
    if not paths:
        raise UserError(f"{folder}: has no shards; remove {folder / 'status.json'} and run the same command")
    damage: tuple[type[Exception], ...] = (OSError, ValueError, LookupError, SafetensorError, *failures)
    found = []
    for path in paths:
        try:
            found.append(load(path))
        except damage as error:
            raise UserError(f"{path}: cannot be read ({type(error).__name__}); {again(folder)}") from error
    return found


def tensors(paths: Sequence[Path], folder: Path, *names: str) -> list[dict[str, Tensor]]:
    """What each of the shards holds, mapped from its file, ``names`` and maybe more. Raises as `loaded`."""
    from safetensors.torch import load_file

    def load(path: Path) -> dict[str, Tensor]:
        held = load_file(path)
        return held | {name: held[name] for name in names}

    return loaded(paths, folder, load)

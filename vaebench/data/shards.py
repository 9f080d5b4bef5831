"""Shards of a finished run's folder: read, or what to do about one that is lost or damaged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from vaebench.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


def again(path: Path, folder: Path) -> str:
    """What to do about one lost or damaged shard."""
    return f"remove it and {folder / 'status.json'} and run the same command: only this shard is made again"


def unreadable(path: Path, folder: Path, error: Exception) -> UserError:
    """The one line for a shard that cannot be read."""
    return UserError(f"{path}: cannot be read ({type(error).__name__}); {again(path, folder)}")


def tensors(paths: Sequence[Path], folder: Path, *names: str) -> list[dict[str, Tensor]]:
    """What each of the shards holds, mapped from its file, ``names`` and maybe more.

    Raises `UserError` if there is no shard, or one is damaged or has not these.
    """
    from safetensors.torch import load_file

    check_some(paths, folder)
    found = []
    for path in paths:
        try:
            held = load_file(path)
            found.append(held | {name: held[name] for name in names})
        except (OSError, SafetensorError, KeyError) as error:
            raise unreadable(path, folder, error) from error
    return found


def check_some(paths: Sequence[Path], folder: Path) -> None:
    """Raise `UserError` if there are no shards."""
    if not paths:
        raise UserError(f"{folder}: has no shards; remove {folder / 'status.json'} and run the same command")

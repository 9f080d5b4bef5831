"""Checkpoints and weights on disk: ``weights_only`` and safetensors, so that reading one never runs code."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from vaebench.errors import UserError
from vaebench.store import write_bytes


def save_checkpoint(path: Path, key: str, state: dict[str, Any]) -> None:
    """Store the state of a training under the key of its request, replacing the previous checkpoint in one rename."""
    buffer = io.BytesIO()
    torch.save({"key": key, **state}, buffer)
    write_bytes(path, buffer.getvalue())


def load_checkpoint(path: Path, key: str) -> dict[str, Any] | None:
    """The stored state on the CPU, or None. Raises `UserError` for a broken file or one of another run."""
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
        raise UserError(
            f"{path}: is no readable checkpoint ({type(error).__name__}); remove it to start over"
        ) from error
    if not isinstance(state, dict) or state.get("key") != key:
        other = state.get("key", "none") if isinstance(state, dict) else "none"
        raise UserError(
            f"{path}: belongs to another run (its key is {other}, this run's is {key}); remove it to start over"
        )
    return state


def save_weights(path: Path, model: nn.Module) -> str:
    """Write the model's state as safetensors; returns the sha256 of the file."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    content = save(state)
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def load_weights(path: Path, model: nn.Module) -> None:
    """Load weights written by `save_weights`. Raises `UserError` for a missing, broken or foreign file."""
    try:
        model.load_state_dict(load_file(path), strict=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: is missing; remove the run's folder and train again") from error
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: does not hold this model's weights ({reason}); remove the folder and train again"
        ) from error

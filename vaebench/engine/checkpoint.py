"""Checkpoints and weights on disk: ``weights_only`` and safetensors, so that reading one never runs code."""

from __future__ import annotations

import copy
import hashlib
import io
import pickle
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from vaebench import disk
from vaebench.contracts import parts
from vaebench.errors import UserError

# A checkpoint begins with the sha256 of what follows: torch does not compare the checksums in its own format.
_BEGINS = b"vaebench checkpoint, sha256 "
_DIGITS = 64
_ZIP = b"PK"  # how a checkpoint began before 0.6, which had no checksum
_FORM = {
    **{"step": int, "model": dict, "optimizers": dict, "window": dict, "best": (dict, type(None))},
    **{"rng": Tensor, "cuda_rng": list, "log?": str, "snapshots?": dict},
}


def checkpoint_bytes(key: str, state: dict[str, Any]) -> bytes:
    """The state of a training under the key of its request, as a file with its own checksum."""
    buffer = io.BytesIO()
    torch.save({"key": key, **state}, buffer)
    content = buffer.getvalue()
    return _BEGINS + hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def load_checkpoint(path: Path, key: str) -> dict[str, Any] | None:
    """The stored state on the CPU, or None. Raises `UserError` for a broken file or one of another run."""
    if not path.exists():
        return None
    content = _checked(path)
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError, TypeError, OSError) as error:
        raise UserError(
            f"{path}: is no readable checkpoint ({type(error).__name__}); remove it to start over"
        ) from error
    if not isinstance(state, dict) or state.get("key") != key:
        other = state.get("key", "none") if isinstance(state, dict) else "none"
        raise UserError(
            f"{path}: belongs to another run (its key is {str(other)[:40]}, this run's is {key}); "
            "remove it to start over"
        )
    wrong = disk.mistake(state, _FORM)
    if wrong:
        raise UserError(f"{path}: is no checkpoint of a training ({wrong}); remove it to start over")
    return state


def _checked(path: Path) -> bytes:
    """A checkpoint without its checksum, which is compared."""
    try:
        content = disk.content(path)
    except UserError as error:
        raise UserError(f"{error}; remove it to start over") from error
    if content.startswith(_ZIP):
        return content
    wanted, content = content[len(_BEGINS) :][: _DIGITS + 1], content[len(_BEGINS) + _DIGITS + 1 :]
    if wanted != hashlib.sha256(content).hexdigest().encode() + b"\n":
        raise UserError(f"{path}: is no readable checkpoint (its checksum is another); remove it to start over")
    return content


def weights_bytes(weights: Mapping[str, Tensor]) -> bytes:
    """A model's state as a safetensors file."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})


def load_weights(path: Path, model: nn.Module) -> None:
    """Load what `weights_bytes` made. Raises `UserError` for a missing, broken or foreign file."""
    try:
        found, wanted = load_file(path), model.state_dict()
        other = [name for name, tensor in found.items() if name in wanted and tensor.dtype != wanted[name].dtype]
        if other:
            raise RuntimeError(f"{other[0]} is {found[other[0]].dtype}, not {wanted[other[0]].dtype}")
        model.load_state_dict(found, strict=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: is missing; remove the run's folder and train again") from error
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: does not hold this model's weights ({reason}); remove the folder and train again"
        ) from error


def restore_optimizer(optimizer: torch.optim.Optimizer, states: Mapping[int, Mapping[str, Any]]) -> None:
    """Put an optimiser's moments back; its rates and other options are the request's, not the checkpoint's.

    Raises `ValueError` for moments that are not those of its parameters, with which it would read beyond them.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    wanted = _state_names(optimizer)
    for number, state in states.items():
        shape = parameters[number].shape
        if set(state) != wanted or any(part.shape not in (shape, ()) for part in state.values()):
            raise ValueError(f"moments of another shape for parameter {number}, {list(shape)}")
    cut = {number: parts.like(state, dict.fromkeys(wanted, parameters[number])) for number, state in states.items()}
    optimizer.load_state_dict({"state": cut, "param_groups": optimizer.state_dict()["param_groups"]})


def _state_names(optimizer: torch.optim.Optimizer) -> set[str]:
    """What such an optimiser remembers of a parameter."""
    twin = copy.copy(optimizer)
    one = nn.Parameter(torch.zeros(1))
    one.grad = torch.zeros(1)
    twin.state, twin.param_groups = defaultdict(dict), [{**optimizer.param_groups[0], "params": [one]}]
    twin.step()
    return set(twin.state[one])


def fitting(model: nn.Module, best: dict[str, Any]) -> dict[str, Any]:
    """The best weights so far with their step and loss, if they are this model's. Raises `ValueError` if not."""
    own = {name: value.shape for name, value in model.state_dict().items()}
    if best["weights"] and {name: value.shape for name, value in best["weights"].items()} != own:
        raise ValueError("best weights of another model")
    return {"loss": float(best["loss"]), "step": int(best["step"]), "weights": best["weights"]}

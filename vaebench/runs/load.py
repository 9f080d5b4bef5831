"""Models of finished runs, with what they need of the runs they build on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from vaebench.runs import build
from vaebench.engine.checkpoint import load_weights
from vaebench.contracts import (
    Generates,
    GivesLatents,
    LoadsPretrained,
    NormalisesLike,
    Perceives,
    Starts,
    TakesEncoder,
    TakesTeacher,
)
from vaebench.errors import UserError
from vaebench.runs.store import Run, Store

if TYPE_CHECKING:
    from vaebench.data.images import ImageData


def parents(run: Run, store: Store) -> dict[str, Path]:
    """The folders of the runs this one builds on, by role."""
    return {role: store.root / key for role, key in run.request().data.get("parents", {}).items()}


def check_parents(run: Run, store: Store) -> None:
    """Raise `UserError` if a run that this one builds on is not there or not finished."""
    for role, folder in parents(run, store).items():
        status = Run(folder).status()
        if status["status"] != "done":
            reason = status["reason"] if status["status"] == "damaged" else status["status"]
            raise UserError(f"{role} {folder.name} is not finished ({reason}); the command that makes it goes on")


def load_model(run: Run, device: torch.device, snapshot: int | None = None) -> nn.Module:
    """The trained model of a finished run, in eval mode on ``device``; a generator of latents with its decoder.

    ``snapshot``: as it was after that part of its training.
    """
    if not run.done:
        raise UserError(f"run {run.key} is not finished ({run.status()['status']}); train it first")
    store = Store(run.folder.parent)
    model = build.model(run.request(), latent_shape=_latent_shape(run, store))
    load_weights(run.intact("model.safetensors" if snapshot is None else snapshot_name(snapshot)), model)
    if isinstance(model, Generates):
        model.decode_with(load_model(Run(parents(run, store)["autoencoder"]), device))
    return model.to(device).eval()


def dataset_of(run: Run) -> ImageData:
    """The dataset a finished run was trained on. Raises `UserError` if it holds something else now."""
    data = build.dataset(run.request())
    if run.result()["dataset_digest"] != data.digest:
        raise UserError(
            f"run {run.key} was trained on other contents of {data.name} than are here now (a part of it?); "
            f"remove {run.folder} and train again"
        )
    return data


def with_grid(model: object, whose: str) -> GivesLatents:
    """``model``, whose latents a diffusion model can take. Raises `UserError`, beginning with ``whose``, if not."""
    if not isinstance(model, GivesLatents):
        raise UserError(
            f"{whose}: the latents of {type(model).__name__} are no grid; a diffusion model is trained on those of "
            "grid_ae, dae, vae, sdvae, vmae (parent.experiment=ldmae/vmae), feature_ae or dmvae"
        )
    return model


def fresh_model(run: Run, store: Store, device: torch.device) -> nn.Module:
    """The model of a run that is about to be trained, with what it takes from its parents."""
    model = build.model(run.request(), latent_shape=_latent_shape(run, store))
    folders = parents(run, store)
    if "start" in folders:
        trained = load_model(Run(folders["start"]), torch.device("cpu"))
        if not isinstance(model, Starts):
            raise UserError(f"{type(model).__name__} cannot start from another run; leave parent out")
        model.start(trained)
    elif isinstance(model, LoadsPretrained):
        model.load_pretrained()
    if "encoder" in folders and isinstance(model, TakesEncoder):
        model.take_encoder(load_model(Run(folders["encoder"]), torch.device("cpu")))
    if "teacher" in folders and isinstance(model, TakesTeacher):
        model.teach(load_model(Run(folders["teacher"]), device))
    if "latents" in folders and isinstance(model, NormalisesLike):
        model.normalise_like(load_model(Run(folders["autoencoder"]), torch.device("cpu")))
    if "perceptual" in folders and isinstance(model, Perceives):
        model.perceive(load_model(Run(folders["perceptual"]), device))
    return model.to(device)


def reference_run(run: Run, store: Store) -> Run | None:
    """The stage that drew from the distribution that a run's latents were matched with, if they were."""
    folders = parents(run, store)
    if "teacher" in folders:
        return Run(parents(Run(folders["teacher"]), store)["latents"])
    return reference_run(Run(folders["start"]), store) if "start" in folders else None


def snapshot_name(number: int) -> str:
    """The file of a run in which its weights after that part of the training lie."""
    return f"snapshots/{number}.safetensors"


def _latent_shape(run: Run, store: Store) -> list[int] | None:
    """(l, h, w) of the latents a run is trained on, if it is."""
    folders = parents(run, store)
    if "latents" not in folders:
        return None
    shape: Any = Run(folders["latents"]).result()["shape"]
    return list(shape)

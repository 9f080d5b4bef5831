"""Models of finished runs, with what they need of the runs they build on. torch is imported when one is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaebench.contracts import GivesLatents, LoadsPretrained
from vaebench.errors import UserError
from vaebench.runs import build
from vaebench.runs.store import Run

if TYPE_CHECKING:
    import torch
    from torch import nn

    from vaebench.data.images import ImageData


def check_parents(run: Run) -> None:
    """Raise `UserError` if a run that this one builds on is not there or not finished."""
    for role, parent in run.parents().items():
        status = parent.status()
        if status["status"] != "done":
            reason = status["reason"] if status["status"] == "damaged" else status["status"]
            raise UserError(f"{role} {parent.key} is not finished ({reason}); the command that makes it goes on")


def load_model(run: Run, device: torch.device, snapshot: int | None = None) -> nn.Module:
    """The trained model of a finished run, in eval mode on ``device``, with the parents that it keeps.

    ``snapshot``: as it was after that part of its training.
    """
    from vaebench.engine.checkpoint import load_weights

    if not run.done:
        raise UserError(f"run {run.key} is not finished ({run.status()['status']}); train it first")
    model = build.model(run.request(), latent_shape=_latent_shape(run))
    load_weights(run.intact("model.safetensors" if snapshot is None else snapshot_name(snapshot)), model)
    for role, parent in run.parents().items():
        if role in getattr(model, "keeps", ()):
            build.adopt(model, role, load_model(parent, device))
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
        fitting = ", ".join(build.models_with("latent_moments"))
        raise UserError(
            f"{whose}: the latents of {type(model).__name__} are no grid; a diffusion model is trained on those of "
            f"{fitting} (parent.experiment=NAME)"
        )
    return model


def fresh_model(run: Run, device: torch.device) -> nn.Module:
    """The model of a run that is about to be trained, with what it takes from its parents."""
    model = build.model(run.request(), latent_shape=_latent_shape(run))
    parents = run.parents()
    if "start" not in parents and isinstance(model, LoadsPretrained):
        model.load_pretrained()
    # In the request's order, and none that is not needed: building a parent draws first weights, which its stored ones
    # replace at once, from the generator that the training goes on with. Another order, or a parent opened in vain,
    # leaves another random state, so the same request would give other numbers. The file of a request keeps the order
    # of its parents; the key does not depend on it.
    for role, parent in parents.items():
        if role in getattr(model, "adopts", ()) or role not in build.TRAINED_ON:
            build.adopt(model, role, load_model(parent, device))
    return model.to(device)


def reference_run(run: Run) -> Run | None:
    """The run that drew from the distribution that a run's latents were matched with, if they were."""
    if run.request()["verb"] == "reference":
        return run
    parents = run.parents()
    looked_at = sorted(parents.keys() - {"autoencoder"}, key=lambda role: (role == "start", role))
    found = (reference_run(parents[role]) for role in looked_at)
    return next((one for one in found if one is not None), None)


def snapshot_name(number: int) -> str:
    """The file of a run in which its weights after that part of the training lie."""
    return f"snapshots/{number}.safetensors"


def _latent_shape(run: Run) -> list[int] | None:
    """(l, h, w) of the latents a run is trained on, if it is."""
    parents = run.parents()
    shape: Any = parents["latents"].result()["shape"] if "latents" in parents else None
    return shape

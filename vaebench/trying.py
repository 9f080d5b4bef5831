"""Every part of a chain of requests built once, so that a bad value is an error before anything is made."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vaebench import build
from vaebench.config import Request
from vaebench.contracts import GivesLatents, Starts, TakesTeacher
from vaebench.errors import UserError, unknown
from vaebench.targets import called

_MOST_LAYERS = 3_000  # the largest model of the papers has 750


def try_out(chain: Iterable[Request], *, remote_code: bool = False) -> dict[str, Any]:
    """Build what each request names, so that a bad value is an error before anything is made.

    ``remote_code``: whether the command allows code that comes with a model.

    Returns the models by the request's key. Raises `UserError` with the mistakes of all requests at once.
    """
    models: dict[str, Any] = {}
    lines: list[str] = []
    for request in chain:
        try:
            built = _try(request, models, remote_code)
        except UserError as error:
            lines += error.lines
            continue
        if built is not None:
            models[request.key] = built
    if lines:
        raise UserError(*dict.fromkeys(lines))
    return models


def _try(request: Request, models: Mapping[str, Any], remote_code: bool) -> Any:
    """``models``: those of the requests before, by key."""
    verb = request["verb"]
    parents = request.data.get("parents", {})
    if verb == "latents":
        _check_latents(request, models.get(parents["autoencoder"]))
    elif verb == "train":
        from vaebench.schedules import check_spec

        check_spec(request["train"])
        autoencoder = models.get(parents.get("autoencoder", ""))
        if "latents" in parents and not isinstance(autoencoder, GivesLatents):
            return None  # its mistake has been noted
        latent_shape = autoencoder.latent_shape if autoencoder else None
        _check_size(request, latent_shape)
        model: Any = build.model(request, latent_shape=latent_shape)
        if "start" in parents and not isinstance(model, Starts):
            name = called(request["model"])
            raise UserError(f"model {name} cannot start from another run; leave parent.experiment and parent.run out")
        if models.get(parents.get("start", "")) is not None:
            model.start(models[parents["start"]])  # fits, or says why not
        if models.get(parents.get("teacher", "")) is not None and isinstance(model, TakesTeacher):
            model.teach(models[parents["teacher"]])
        build.optimizers(request, model)
        return model
    elif verb == "reference":
        build.reference(request)
        if "embedder" in request.data:
            build.embedder(request)
    elif verb == "answers":
        build.source(request, remote_code=remote_code)
    elif verb == "embed":
        build.embedder(request)
    elif verb == "grade":
        from vaebench.metrics.answers import check

        check(request["scorers"])
    return None


def _check_size(request: Request, latent_shape: Sequence[int] | None) -> None:
    """Raise `UserError` if the model's weights are more than the memory that is free; none of it is taken."""
    import torch
    from torch.nn.modules.module import register_module_module_registration_hook

    from vaebench.costs import free_bytes
    from vaebench.metrics.cost import weightless

    layers = itertools.count()

    def count(module: Any, name: str, layer: Any) -> None:
        del module, name, layer
        if next(layers) == _MOST_LAYERS:
            raise UserError(build.too_large("model", request["model"], f"more than {_MOST_LAYERS:,} layers"))

    hook = register_module_module_registration_hook(count)
    try:
        with weightless(), warnings.catch_warnings(action="ignore"):
            model = build.model(request, latent_shape=latent_shape)
    except UserError:
        raise
    except Exception:  # a constructor that needs values, like those of a file: it is built with them next
        return
    finally:
        hook.remove()
    size, free = sum(one.nbytes for one in (*model.parameters(), *model.buffers())), free_bytes(torch.device("cpu"))
    if size > free:
        why = f"its weights take {size / 1e9:,.0f} GB and {free / 1e9:,.0f} GB are free"
        raise UserError(build.too_large("model", request["model"], why))


def _check_latents(request: Request, autoencoder: Any) -> None:
    """Raise `UserError` if these latents cannot be made."""
    from vaebench.data.latents import DTYPES
    from vaebench.trained import with_grid

    dtype = request["latents"]["dtype"]
    if dtype not in DTYPES:
        raise UserError(unknown("latents.dtype", dtype, DTYPES))
    if autoencoder is not None:
        with_grid(autoencoder, "parent")

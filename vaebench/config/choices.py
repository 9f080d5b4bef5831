"""What can be chosen: the YAML files in ``conf/``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from vaebench.errors import UserError, unknown

LATENTS = "latents"  # the ``data`` of a model that is trained on what an autoencoder makes of images


def conf_dir() -> Path:
    """The folder of the YAML files: inside an installed package, beside it in a checkout."""
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "conf", here.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise UserError(f"the configuration folder is missing: neither {here / 'conf'} nor {here.parent / 'conf'} exists")


def choices(group: str) -> list[str]:
    """What can be chosen of a group: its YAML files, subfolders with a slash."""
    folder = conf_dir() / group
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))


def leaf(group: str, name: str) -> dict[str, Any]:
    """What a choice's YAML says, before composition.

    Raises:
        UserError: there is no such choice, or its file is no YAML or no mapping.
    """
    where = f"conf/{group}/{name}.yaml"
    try:
        found = yaml.safe_load((conf_dir() / group / f"{name}.yaml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(unknown(group, name, choices(group))) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{where}: is not YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(found, dict):
        raise UserError(f"{where}: must be a mapping with a name")
    return found


def kind_of(name: str) -> str:
    """Which kind of data a dataset holds: ``images``, ``audio``, ``text`` or ``tokens``."""
    found = leaf("dataset", name)
    composed = any("/answers@answers" in entry for entry in found.get("defaults", ()))
    return "text" if composed else str(found.get("data", "images"))


def kinds_of_model(name: str) -> tuple[str, ...]:
    """Which kinds of data a model works on, its usual one first."""
    return kinds(leaf("model", name).get("data"))


def kinds(data: Any) -> tuple[str, ...]:
    """A model's ``data`` field: nothing (images), one kind, or several. Latents are made of images."""
    if data in (None, LATENTS):
        return ("images",)
    return (data,) if isinstance(data, str) else tuple(data)


@cache
def about(dataset: str) -> Mapping[str, Any]:
    """What a dataset's YAML tells readers; nothing of it reaches a request or the code that reads the data.

    ``title``; ``embedded``: what comes without a file; ``items``: how many it trains on; ``classes``: what to call
    them, each with its article, or the dataset that has the same. Empty for what is no dataset.
    """
    found: Mapping[str, Any] = leaf("dataset", dataset).get("about", {}) if dataset in choices("dataset") else {}
    return found

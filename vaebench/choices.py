"""What can be chosen: the YAML files of conf/, as they are written, before anything is composed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from vaebench.errors import UserError, unknown


def conf_dir() -> Path:
    """The folder of the YAML files: inside an installed package, beside it in a checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "conf", here.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise UserError(f"the configuration folder is missing: neither {here / 'conf'} nor {here.parent / 'conf'} exists")


def choices(group: str) -> list[str]:
    """What can be chosen of a group: its YAML files, subfolders with a slash."""
    folder = conf_dir() / group
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))


def leaf(group: str, name: str) -> dict[str, Any]:
    """What a choice's YAML says.

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

"""Where choices come from: vaebench's own ``conf/``, those of installed plug-ins, and folders that a command names.

A plug-in is a package with a folder ``conf`` and an entry point ``vaebench.plugins``. ``VAEBENCH_CONF`` (or ``--conf``)
names such packages that are not installed, or plain folders of groups, separated as in ``PATH``. Each adds files to the
groups that there are, under names of its own, and its files may name the code that comes with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import Distribution, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vaebench.errors import UserError, shown, unknown

OWN = "vaebench"
PLUGINS = "vaebench.plugins"
FOLDERS = "VAEBENCH_CONF"
_DIGITS = 12


@dataclass(frozen=True)
class Origin:
    """A folder ``conf`` of groups. ``name``: of the plug-in, or of the folder; ``code``: where its Python code lies.

    ``packages``: the top-level modules that its files may name. ``version``: of what is installed. ``edited``: whether
    the code is that of a checkout (an editable installation) or of a folder, and may change without a new version.
    ``root``: where Python finds the code of what is not installed.
    """

    name: str
    conf: Path
    code: Path
    packages: frozenset[str]
    version: str = ""
    edited: bool = False
    root: Path | None = None

    def file(self, group: str, name: str) -> Path:
        """Where a choice of a group would stand."""
        return self.conf / group / f"{name}.yaml"

    @cache  # noqa: B019 (as few origins as there are plug-ins)
    def choices(self, group: str) -> tuple[str, ...]:
        """Its files of a group, subfolders with a slash."""
        folder = self.conf / group
        return tuple(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))

    @cached_property
    def identity(self) -> dict[str, str]:
        """What enters the key of a run that its code makes: version, and of edited code the commit or its digest."""
        found = {"version": self.version} if self.version else {}
        if self.edited:
            at = commit(self.code)
            found |= {"commit": at} if at and not at.endswith("+") else {"code": self._digest()}
        return found

    def _digest(self) -> str:
        """Of all Python files: uncommitted code that changes makes other runs."""
        found = hashlib.sha256()
        for path in sorted(self.code.rglob("*.py")):
            found.update(f"{path.relative_to(self.code)}\n".encode() + path.read_bytes() + b"\0")
        return found.hexdigest()[:_DIGITS]


@cache
def conf_dir() -> Path:
    """The folder of vaebench itself: inside an installed package, beside it in a checkout."""
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "conf", here.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise UserError(f"the configuration folder is missing: neither {here / 'conf'} nor {here.parent / 'conf'} exists")


def origins() -> tuple[Origin, ...]:
    """All of them, vaebench's own first.

    Raises:
        UserError: a plug-in or a folder has no ``conf`` as it should be, or a name that there is already.
    """
    return _origins(conf_dir(), os.environ.get(FOLDERS, ""))


def groups() -> list[str]:
    """The folders of vaebench's ``conf/``."""
    return sorted(path.name for path in conf_dir().iterdir() if path.is_dir())


def of(group: str, name: str) -> Origin | None:
    """Where a choice comes from; None if there is no such choice."""
    return next((one for one in origins() if one.file(group, name).is_file()), None)


def owner(target: str) -> Origin | None:
    """The plug-in whose code a ``_target_`` names; None for vaebench's own and for what belongs to none."""
    top = target.partition(".")[0]
    return next((one for one in origins()[1:] if top in one.packages), None)


def behind(parts: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The plug-ins whose code a request's leaves and their parts name, by name with their `Origin.identity`."""
    found: dict[str, dict[str, str]] = {}
    for part in parts.values():
        if isinstance(part, Mapping):
            for target in (part.get("_target_"), part.get("kind")):
                one = owner(target) if isinstance(target, str) and "." in target else None
                found |= {} if one is None else {one.name: one.identity}
            found |= behind(part)
    return found


def importable(origin: Origin) -> None:
    """Let Python find the code of what is not installed, after all that is."""
    if origin.root is not None and str(origin.root) not in sys.path:
        sys.path.append(str(origin.root))


@cache
def commit(folder: Path, *parts: str) -> str:
    """The commit of the checkout that a folder lies in, ``+`` after it for uncommitted changes in it; empty if none.

    ``parts``: what of the folder counts, all of it if nothing is named.
    """
    git = ["git", "-C", str(folder)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--", *(parts or ".")], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+" if changes.stdout.strip() else "")


@cache
def _origins(own: Path, folders: str) -> tuple[Origin, ...]:
    found = [Origin(OWN, own, own.parent, frozenset({OWN}))]
    for point in sorted(entry_points(group=PLUGINS), key=lambda point: point.name):
        found.append(_installed(point.name, point.value, point.dist))
        _check(found[-1], found[:-1])
    for folder in dict.fromkeys(filter(None, folders.split(os.pathsep))):
        found.append(_named(folder))
        _check(found[-1], found[:-1])
    return tuple(found)


def _installed(name: str, package: str, distribution: Distribution | None) -> Origin:
    """The plug-in behind an entry point. Nothing of it is imported."""
    where = f"plug-in {shown(name)}"
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"{where}: there is no package {shown(package)}; install it again, or remove it")
    code = Path(next(iter(spec.submodule_search_locations)))
    if not (code / "conf").is_dir():
        raise UserError(f"{where}: its package {package} has no folder conf; install it again, or remove it")
    about = json.loads((distribution and distribution.read_text("direct_url.json")) or "{}")
    edited = bool(about.get("dir_info", {}).get("editable"))
    version = distribution.version if distribution else "0"
    return Origin(name, code / "conf", code, frozenset({package.partition(".")[0]}), version, edited)


def _named(folder: str) -> Origin:
    """A folder that a command or the environment names."""
    here = Path(folder).expanduser().resolve()
    if not here.is_dir():
        raise UserError(f"--conf {shown(folder)}: there is no such folder (--conf DIR, or {FOLDERS})")
    if (here / "__init__.py").is_file() and (here / "conf").is_dir():
        return Origin(here.name, here / "conf", here, frozenset({here.name}), edited=True, root=here.parent)
    code = {path.stem for path in here.glob("*.py")} | {path.parent.name for path in here.glob("*/__init__.py")}
    return Origin(here.name, here, here, frozenset(code), edited=True, root=here)


def _check(one: Origin, before: Iterable[Origin]) -> None:
    """Raise `UserError` if an origin has files outside the groups, or names that others have."""
    lines, valid = [], groups()
    where = f"{'plug-in ' if one.version else ''}{one.name}"
    lines += [
        f"{where}: {path.name}: stands in no group; valid folders: {', '.join(valid)}"
        for path in sorted(one.conf.glob("*.yaml"))
    ]
    for folder in sorted(path for path in one.conf.iterdir() if path.is_dir() and any(path.rglob("*.yaml"))):
        if folder.name not in valid:
            lines.append(f"{where}: {unknown('group', folder.name, valid)}")
            continue
        for name in sorted(one.choices(folder.name)):
            other = next((each for each in before if each.file(folder.name, name).is_file()), None)
            if other:
                whose = "vaebench" if other.name == OWN else f"plug-in {other.name}"
                lines.append(f"{where}: {folder.name}/{name}.yaml: {whose} has a {folder.name} of that name; rename it")
    if one.file("paper", "all").is_file():
        lines.append(f"{where}: paper/all.yaml: `paper=all` stands for every paper; rename it")
    for other in before:
        lines += [
            f"{where}: its module {name} is one of {other.name}, too; rename it"
            for name in sorted(one.packages & other.packages)
        ]
        if other.name == one.name:
            lines.append(f"{where}: {other.conf} has the same name; rename one of them")
    if lines:
        raise UserError(*lines)

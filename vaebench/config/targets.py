"""Which code a configuration, or a request on disk, may name.

A stored request is data, whoever wrote it. So a ``_target_`` is compared, as a whole, with those that the files of its
group in ``conf/`` name (and with torch's optimisers) before anything is imported for it, and what has that name has to
be defined under it. No attribute of an attribute is ever looked up.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from reprlib import repr as shortened
from typing import TYPE_CHECKING, Any

from vaebench.config.choices import choices, conf_dir, leaf
from vaebench.errors import UserError

if TYPE_CHECKING:
    from vaebench.contracts.pictures import Picture

# The group of a leaf whose place has another name.
_GROUPS = {"dataset.problems": "problems", "dataset.answers": "answers", "test_on": "dataset"}


def find(where: str, target: Any) -> Callable[..., Any]:
    """The class or function named by ``target``, for the leaf at ``where`` (``model``, ``dataset.answers``).

    Raises:
        UserError: no choice of that kind of leaf names it, it cannot be imported, or it is not defined under that name.
    """
    # As a whole, because no part of a name is enough. A module shows all that it imports: `vaebench.disk.os.system`
    # begins like ours and ends anywhere, and the import that looks for it runs code already. So the texts in conf/,
    # which come with the code, are the list; and what they name has to be defined in that module, not imported there.
    group = _GROUPS.get(where, where)
    if group == "optim" and isinstance(target, str) and target in _optimizers():
        return _optimizers()[target]
    if not isinstance(target, str) or target not in _named(conf_dir() / group):
        raise UserError(
            f"{where}._target_={shortened(target)}: is not built, no file of conf/{group} names it; valid is what "
            f"these name: {', '.join(choices(group))}; choose one, or remove the stored run that asks for it"
        )
    module, _, name = target.rpartition(".")
    try:
        found = vars(import_module(module)).get(name)
    except Exception as error:
        raise UserError(f"{where}._target_={target!r}: cannot be imported ({type(error).__name__})") from error
    if not (inspect.isclass(found) or inspect.isfunction(found)) or (found.__module__, found.__qualname__) != (
        module,
        name,
    ):
        raise UserError(f"{where}._target_={target!r}: {module} defines no class or function {name}")
    return found


@cache
def pictures(suite: str) -> tuple[Picture, ...]:
    """The pictures of a suite: those in ``<its package>.pictures`` that name its module, or stand in one of that name.

    What is imported is beside what a file of ``conf/suite`` names.
    """
    if suite not in choices("suite"):
        return ()
    package, module, _ = leaf("suite", suite)["_target_"].rsplit(".", 2)
    if find_spec(f"{package}.pictures") is None:
        return ()
    found: list[Picture] = []
    for name in (one.name for one in iter_modules(import_module(f"{package}.pictures").__path__)):
        pictures = getattr(import_module(f"{package}.pictures.{name}"), "PICTURES", ())
        found += [picture for picture in pictures if module in (picture.suites or (name,))]
    return tuple(found)


def called(leaf: Mapping[str, Any]) -> str:
    """What to call what a leaf makes, by its target: ``vaebench.models.NAME.CLASS`` is NAME. Any leaf has a name."""
    target = leaf.get("_target_") if isinstance(leaf, Mapping) else None
    named = re.fullmatch(r"\w+\.\w+\.(\w+)(\.\w+)*", target) if isinstance(target, str) else None
    return named[1] if named else "unknown"


@cache
def _named(folder: Path) -> frozenset[str]:
    """The targets that the files of a group name."""
    found = set()
    for name in choices(folder.name):
        try:
            target = leaf(folder.name, name).get("_target_")
        except UserError:
            continue  # a file with a mistake names nothing; who chooses it hears of it
        found |= {target} if isinstance(target, str) else set()
    return frozenset(found)


@cache
def _optimizers() -> dict[str, Callable[..., Any]]:
    """Those of torch, as ``torch.optim.Adam`` and as ``torch.optim.adam.Adam``."""
    from torch import optim

    own = [
        kind
        for name, kind in vars(optim).items()
        if inspect.isclass(kind) and issubclass(kind, optim.Optimizer) and kind is not optim.Optimizer
    ]
    return {f"{module}.{kind.__qualname__}": kind for kind in own for module in ("torch.optim", kind.__module__)}

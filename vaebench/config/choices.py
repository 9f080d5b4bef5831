"""What can be chosen, the YAML files in ``conf/``, and the code that they name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from reprlib import repr as shortened
from typing import TYPE_CHECKING, Any

import yaml

from vaebench.config import origins
from vaebench.errors import UserError, printable, shown, unknown

if TYPE_CHECKING:
    from vaebench.contracts.pictures import Picture

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same values, the C one several times faster
LATENTS = "latents"  # the ``data`` of a model that is trained on what an autoencoder makes of images
# What a leaf's YAML says of the code behind it: no argument, and not up to a command.
DESCRIPTION = frozenset({"version", "data", "needs", "extra", "builds_on", "about"})
# The group of a leaf whose place has another name.
_GROUPS = {"dataset.problems": "problems", "dataset.answers": "answers", "test_on": "dataset"}
_GROUPS |= {f"model.{part}": part for part in ("network", "autoencoder", "encoder", "decoder")}


def choices(group: str) -> list[str]:
    """What can be chosen of a group: the YAML files that it has anywhere, subfolders with a slash."""
    return sorted(name for origin in origins.origins() for name in origin.choices(group))


class _Loader(LOADER):
    """YAML in which no mapping has a key twice, apart from those that it merges."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._seen: set[int] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Look at the keys once, before those of other mappings are merged in."""
        if id(node) not in self._seen:
            self._seen.add(id(node))
            there = set()
            for key, _ in node.value:
                name = (key.tag, str(key.value))
                if name in there and key.tag != "tag:yaml.org,2002:merge":
                    problem = f"the key {key.value!r} stands twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                there.add(name)
        super().flatten_mapping(node)


def read(path: Path) -> Any:
    """What a YAML file says. Raises `OSError`, `YAMLError`, `UnicodeDecodeError`."""
    return _Loader(path.read_text(encoding="utf-8")).get_single_data()


def settings(name: str) -> Any:
    """What a YAML file of vaebench's own ``conf/`` says that stands in no group: ``usual``, ``train``."""
    return read(origins.conf_dir() / f"{name}.yaml")


def leaf(group: str, name: str) -> dict[str, Any]:
    """What a choice's YAML says, and those of its group that it is a variant of, before composition.

    Raises:
        UserError: there is no such choice, or its file is no YAML or no mapping.
    """
    origin = origins.of(group, name)
    if origin is None:
        raise UserError(unknown(group, name, choices(group)))
    plugin = "" if origin.name == origins.OWN else f"{origin.name}: "
    found = mapping(origin.file(group, name), f"{plugin}conf/{group}/{name}.yaml")
    bases = [base for base in found.get("defaults") or () if isinstance(base, str) and base not in ("_self_", name)]
    for base in reversed(bases):  # a variant of other choices of the group
        found = {**leaf(group, base), **found}
    return found


def mapping(path: Path, where: str) -> dict[str, Any]:
    """What a YAML file says; ``where``: what to call it. Raises `UserError` if it is no YAML or no mapping."""
    try:
        found = read(path)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{where}: is not YAML ({place}{printable(reason)})") from error
    if not isinstance(found, dict):
        raise UserError(f"{where}: must be a mapping with a name")
    return found


def kind_of(name: str) -> str:
    """Which kind of data a dataset holds: ``images``, ``audio``, ``text`` or ``tokens``."""
    found = leaf("dataset", name)
    composed = any("/answers@answers" in entry for entry in found.get("defaults", ()))
    return "text" if composed else str(found.get("data", "images"))


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


def usual(name: str, words: Iterable[str], images: Callable[[], str] | None = None) -> list[str]:
    """The choices that the configuration ``name`` takes where its overrides and their experiment choose nothing.

    They go with the kind of data (``conf/usual.yaml``) or with the model. ``images``: says which set of images.
    """
    given = {key.lstrip("+~"): value for key, _, value in (word.partition("=") for word in words)}
    chosen = {**experiment_choices(given.get("experiment")), **given}
    model, dataset = (chosen[g] if chosen.get(g) in choices(g) else "" for g in ("model", "dataset"))
    about = leaf("model", model) if model else {}
    of_model = kinds(about.get("data")) if model else ()
    kind = kind_of(dataset) if dataset else (*of_model, "images")[0]
    by_kind: dict[str, dict[str, str]] = settings("usual")
    found = dict(by_kind.get(LATENTS if about.get("data") == LATENTS else kind, {}))
    if kind == "images" and "audio" in of_model:
        found = {"suite": by_kind["audio"]["suite"]}
    if "builds_on" in about and "chain" not in chosen:
        found |= dict(zip(("chain", "link"), about["builds_on"].split("/"), strict=True))
    unfit = {"suite"} if name != "eval" else set()
    if "model" in chosen and kind not in of_model:  # it does not have the part that would be chosen
        unfit |= {group for group in found if "@model." in group}
    first = (*of_model, "images")[0]
    found["dataset"] = by_kind[first]["dataset"] if first in by_kind else ""
    if first == "images" and images and "dataset" not in chosen:
        found["dataset"] = images()
    return [f"{group}={choice}" for group, choice in found.items() if choice and group not in {*chosen, *unfit}]


def experiment_choices(name: str | None) -> dict[str, str]:
    """What an experiment chooses of each group."""
    if name not in choices("experiment"):
        return {}
    defaults = leaf("experiment", str(name)).get("defaults", ())
    return {key.removeprefix("override /"): value for entry in defaults for key, value in entry.items()}


def find(where: str, target: Any, *, key: str = "_target_") -> Callable[..., Any]:
    """The class or function named by ``target``, for the leaf at ``where`` (``model``, ``dataset.answers``).

    ``key``: under which it stands there; a part of a model (``model.network``) names its class as its ``kind``.

    Raises:
        UserError: no choice of that kind of leaf names it, it cannot be imported, or it is not defined under that name.
    """
    # As a whole, because no part of a name is enough. A module shows all that it imports: `vaebench.disk.os.system`
    # begins like ours and ends anywhere, and the import that looks for it runs code already. So the texts in conf/,
    # which come with the code, are the list; and what they name has to be defined in that module, not imported there.
    # No attribute of an attribute is ever looked up.
    group = _GROUPS.get(where, where)
    if group == "optim" and isinstance(target, str) and target in _optimizers():
        return _optimizers()[target]
    if not isinstance(target, str) or not _is_named(target, group):
        named = repr(shown(target)) if isinstance(target, str) else shortened(target)
        raise UserError(f"{where}.{key}={named}: {_refusal(target, group)}")
    module, _, name = target.rpartition(".")
    if plugin := origins.owner(target):
        origins.importable(plugin)
    try:
        there = import_module(module)
        found = vars(there).get(name)
    except Exception as error:
        reason = f"{type(error).__name__}: {printable(str(error))}" if plugin else type(error).__name__
        raise UserError(f"{where}.{key}={target!r}: cannot be imported ({reason})") from error
    file = Path(getattr(there, "__file__", None) or "")
    if plugin and not file.is_relative_to(plugin.code):
        raise UserError(f"{where}.{key}={target!r}: {module} is {file}, and not of {plugin.code}; rename yours")
    if not (inspect.isclass(found) or inspect.isfunction(found)) or (found.__module__, found.__qualname__) != (
        module,
        name,
    ):
        raise UserError(f"{where}.{key}={target!r}: {module} defines no class or function {name}")
    return found


@cache
def pictures(suite: str) -> tuple[Picture, ...]:
    """The pictures of a suite: those in ``<its package>.pictures`` that name its module, or stand in one of that name.

    What is imported is beside what a file of ``conf/suite`` names.
    """
    target = leaf("suite", suite).get("_target_") if suite in choices("suite") else None
    if not isinstance(target, str) or not _is_named(target, "suite"):
        return ()
    if plugin := origins.owner(target):
        origins.importable(plugin)
    package, _, module = target.rpartition(".")[0].rpartition(".")
    if not package or find_spec(f"{package}.pictures") is None:
        return ()
    found: list[Picture] = []
    for name in (one.name for one in iter_modules(import_module(f"{package}.pictures").__path__)):
        pictures = getattr(import_module(f"{package}.pictures.{name}"), "PICTURES", ())
        found += [picture for picture in pictures if module in (picture.suites or (name,))]
    return tuple(found)


def called(leaf: Mapping[str, Any]) -> str:
    """What to call what a leaf makes, by its target: ``vaebench.models.NAME.CLASS`` is NAME. Any leaf has a name."""
    target = leaf.get("_target_") if isinstance(leaf, Mapping) else None
    named = re.fullmatch(r"\w+\.(\w+\.)?(\w+)(\.\w+)*", target) if isinstance(target, str) else None
    return named[2] if named else "unknown"


@cache
def _targets(origin: origins.Origin, group: str) -> frozenset[str]:
    """What an origin's files of a group name; those of a model's parts as their ``kind``."""
    found = set()
    for name in origin.choices(group):
        try:
            file = mapping(origin.file(group, name), name)
        except UserError:
            continue  # a file with a mistake names nothing; who chooses it hears of it
        found |= {target for target in (file.get("_target_"), file.get("kind")) if isinstance(target, str)}
    return frozenset(found)


def _is_named(target: str, group: str) -> bool:
    """Whether a file names this code, and it is that of the file's own plug-in, or of vaebench."""
    top = target.partition(".")[0]
    return any(top in one.packages and target in _targets(one, group) for one in origins.origins())


def _refusal(target: Any, group: str) -> str:
    """Why what a ``_target_`` names is not built."""
    for plugin in origins.origins()[1:]:
        if isinstance(target, str) and target in _targets(plugin, group):
            return f"is not built, it is no code of {plugin.name}, whose file names it; a plug-in names its own"
    return (
        f"is not built, no file of conf/{group} names it; install the plug-in it comes from (or name its folder: "
        f"--conf DIR), or remove the stored run that asks for it; valid is what these name: {', '.join(choices(group))}"
    )


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

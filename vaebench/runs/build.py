"""From a request's plain data to objects: the only place where a ``_target_`` becomes code.

A stored request is data from disk, so only what `choices` finds is built, from plain values that are passed on as they
are (Hydra's instantiate, which resolves ``${...}`` and obeys words like ``_partial_``, is not used). Every mistake of a
request (unknown target, unknown, missing or ill-typed argument) is collected and shown at once.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Len

from vaebench.compat import need
from vaebench.config import signatures
from vaebench.config.choices import DESCRIPTION, called, choices, find, leaf
from vaebench.config.request import Request
from vaebench.config.signatures import Fraction, NonNegative, Positive
from vaebench.contracts import Adopts, ChecksModel
from vaebench.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from vaebench.contracts import AnswerSource, Embedder, Executor, Reference, Suite, Tracker
    from vaebench.data.images import ImageData
    from vaebench.data.problems import Problems
    from vaebench.metrics.cost import Design

# What PyTorch and NumPy say of an array beyond memory or beyond 64 bits.
_TOO_LARGE = re.compile("allocate|overflow|array is too big|maximum allowed|exceeds the limit", re.IGNORECASE)
_SHOWN = 3  # options of a leaf that is too large
# Fields of a leaf that describe it and are not arguments of its constructor.
_DESCRIPTION = DESCRIPTION | {"_target_", "language_model", "scorers", "decay_on"}
# What a thing made of a leaf has; what has not is of another kind.
_MADE = {"model": "phases", "dataset": "batch", "dataset.problems": "test", "dataset.answers": "answer"}
_MADE |= {"embedder": "embed", "reference": "draw", "suite": "run", "optim": "param_groups", "tracker": "curves"}
_MADE |= {"executor": "submit"}
_REMOTE_CODE = "trust_remote_code"
# Roles of parents that a model is trained on: it may have a use for their models, or not.
TRAINED_ON = frozenset({"latents", "autoencoder", "pairs", "answers"})
# Of an optimiser: the annotations of PyTorch's cannot be read, and its messages name no option.
_OPTIM: dict[str, Any] = {
    "decay_on": Literal["matrices"] | None,
    "betas": Annotated[Sequence[Fraction], Len(2, 2)],
    "lr": Positive,
    "eps": NonNegative,
    "weight_decay": NonNegative,
}
_OPTIM |= dict.fromkeys(("fused", "foreach", "amsgrad", "maximize", "capturable", "differentiable"), bool | None)


def model(request: Request, latent_shape: Sequence[int] | None = None) -> nn.Module:
    """The request's model with freshly initialised weights (from the global generator).

    ``latent_shape``: (l, h, w) of the latents it is trained on, for a model that is; its autoencoder knows it.
    """
    options = _leaf(request, "model")
    if latent_shape is not None and "latent_shape" in options:
        options = {**options, "latent_shape": list(latent_shape)}
    return _build("model", options)


def dataset(request: Request) -> ImageData:
    """The request's dataset, on the CPU."""
    return _build("dataset", _leaf(request, "dataset"))


def problems(request: Request) -> Problems:
    """The request's set of problems."""
    return _build("dataset.problems", _leaf(request, "problems"))


def source(request: Request, *, remote_code: bool) -> AnswerSource:
    """Where the request's answers come from. ``remote_code``: whether the command allows code that a model brings."""
    return _build("dataset.answers", _leaf(request, "answers"), remote_code=remote_code)


def prompt(request: Request, *, remote_code: bool) -> str:
    """The exact prompt of the request's first problem and how answers are sampled. ``remote_code``: as of `source`."""
    from vaebench.sources.prompts import describe

    check({"dataset.answers": request["answers"]}, remote_code=remote_code)
    return describe(problems(request), request["answers"])


def embedder(request: Request) -> Embedder:
    """The request's embedder, not loaded yet."""
    return _build("embedder", _leaf(request, "embedder"))


def embedder_name(leaf: Mapping[str, Any]) -> str:
    """What to call an embedder: its kind or its model, and its width."""
    return f"{leaf.get('model') or leaf.get('package') or called(leaf)}, {leaf['dim']} dimensions"


def reference(request: Request) -> Reference:
    """The request's reference distribution."""
    return _build("reference", _leaf(request, "reference"))


def suite(request: Request) -> Suite:
    """The request's evaluation suite."""
    return _build("suite", _leaf(request, "suite"))


def tracker(leaf: Mapping[str, Any]) -> Tracker:
    """What shows runs while they are made. Raises `UserError` for a package that is missing, too."""
    return _build("tracker", leaf)


def executor(leaf: Mapping[str, Any]) -> Executor:
    """Where jobs run. Raises `UserError` for a package that is missing, too."""
    return _build("executor", leaf)


def optimizers(request: Request, built: nn.Module) -> dict[str, torch.optim.Optimizer]:
    """One optimiser per phase of the model, by the phase's name."""
    spec = request["optim"]
    signatures.require(
        *(signatures.mistake(f"optim.{name}", spec[name], hint) for name, hint in _OPTIM.items() if name in spec)
    )
    if "betas" in spec:  # PyTorch wants no whole numbers here
        spec = {**spec, "betas": [float(beta) for beta in spec["betas"]]}
    group = _matrices_apart if spec.get("decay_on") else list
    try:
        return {phase.name: _build("optim", spec, params=group(phase.parameters)) for phase in built.phases}  # type: ignore[union-attr]
    except (ValueError, RuntimeError, TypeError) as error:  # two options that do not go together
        raise UserError(f"optim: {str(error).splitlines()[0]}") from error


def adopt(model: nn.Module, role: str, parent: nn.Module) -> None:
    """Hand a model the one of a run it builds on. Raises `UserError` if it has no use for it, or it does not fit."""
    if isinstance(model, Adopts) and role in model.adopts:
        model.adopt(role, parent)
    elif role not in TRAINED_ON:
        raise UserError(
            f"model {type(model).__name__} cannot take another run as its {role}; leave parent.experiment and "
            "parent.run out"
        )


def design(
    request: Request,
    shape: Sequence[int],
    *,
    latents: bool = False,
    parents: Mapping[str, Request] | None = None,
    device: torch.device | None = None,
) -> Design:
    """A training's model before it is trained, as its loss needs it; ``device``: it would be trained on (else a CPU).

    ``shape``: (c, h, w) of an item, of a latent with ``latents``. ``parents``: by role, the requests of the models that
    it adopts, with fresh weights too.
    """
    import torch

    from vaebench.metrics.cost import Design

    behind = dict(parents or {})
    spec = {name: request["train"][name] for name in ("batch_size", "precision")}
    about = {"model": request["model"], "optim": request["optim"], "shape": tuple(shape), **spec}
    return Design(
        build=partial(_designed, request, tuple(shape) if latents else None, behind),
        optimizers=partial(optimizers, request),
        shape=tuple(shape),
        latents=latents,
        device=device or torch.device("cpu"),
        about=about | {"parents": {role: parent["model"] for role, parent in behind.items()}},
        **spec,
    )


def _designed(request: Request, latent_shape: Sequence[int] | None, parents: Mapping[str, Request]) -> nn.Module:
    """A new model. In place of LPIPS there is a network of the same size, so that no file is needed."""
    from vaebench.metrics.cost import Vgg16

    leaf = request["model"]
    lpips = leaf.get("perceptual") == "lpips"
    built = model(Request({"model": {**leaf, "perceptual": "classifier"}}) if lpips else request, latent_shape)
    if lpips:
        adopt(built, "perceptual", Vgg16())
    for role, parent in parents.items():
        adopt(built, role, model(parent, getattr(built, "latent_shape", None)))
    return built


def _matrices_apart(parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
    """Weight decay on matrices and kernels only, none on biases, norms and other vectors."""
    both: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for parameter in parameters:
        both[parameter.ndim > 1].append(parameter)
    return [{"params": both[True]}, {"params": both[False], "weight_decay": 0.0}]


def check(leaves: Mapping[str, Mapping[str, Any]], *, remote_code: bool = False) -> None:
    """Bind every leaf (by name: model, dataset, optim, suite) to its target's signature; raise all mistakes at once.

    ``remote_code``: whether the command allows code that comes with a model. Nothing that is stored does.
    """
    mistakes = [line for name, leaf in leaves.items() for line in _mistakes(name, leaf, remote_code)]
    if mistakes:
        raise UserError(*mistakes)


def check_capabilities(suite_name: str, built: Suite, built_model: nn.Module) -> None:
    """Raise `UserError` if the suite asks for something the model cannot do."""
    missing = [need.__name__ for need in built.requires if not isinstance(built_model, need)]
    if missing:
        raise UserError(
            f"suite {suite_name} cannot run on {type(built_model).__name__}: it needs a model that "
            f"{' and '.join(missing)} (vaebench/contracts/); `vaebench list` shows the suites"
        )
    if isinstance(built, ChecksModel):
        built.check(built_model)


def adopts(options: Mapping[str, Any], role: str) -> bool:
    """Whether a model takes something of a run in that role."""
    return role in getattr(find("model", options["_target_"]), "adopts", ())


def completed(
    options: Mapping[str, Any], parents: Mapping[str, Request], reference: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A model's options with those that follow from what it builds on, by role (`Completed`)."""
    method = find("model", options["_target_"])
    if not hasattr(method, "completed"):
        return dict(options)
    return method.completed(options, parents, reference)


def models_with(method: str) -> list[str]:
    """The choices of conf/model whose class has a method."""
    return [name for name in choices("model") if hasattr(find("model", leaf("model", name)["_target_"]), method)]


# What to call a leaf whose target does not say it in its second or third part.
_NAMED = {"embedder": embedder_name}
_NAMED |= dict.fromkeys(("tracker", "executor"), lambda leaf: leaf["_target_"].split(".")[-2])


def _leaf(request: Request, name: str) -> Mapping[str, Any]:
    """A part of the request that describes an object. Raises `UserError` if there is none."""
    found = request.data.get(name)
    if not isinstance(found, Mapping):
        raise UserError(f"request {request.key}: has no {name} with a _target_; remove its run and run again")
    return found


def _build(name: str, leaf: Mapping[str, Any], *, remote_code: bool = False, **extra: Any) -> Any:
    check({name: leaf}, remote_code=remote_code)
    instead = ", or take embedder=lsa" if name == "embedder" else ""
    what = _NAMED.get(name, called)(leaf)
    alone = leaf.get("distribution")
    need(f"{name} {what}", leaf.get("needs") or (), leaf.get("extra", "reasoning"), instead, alone)
    callee = find(name, leaf["_target_"])
    given = copy.deepcopy(_arguments(leaf))
    try:
        built = callee(**given, **signatures.nulls({**given, **extra}, callee), **extra)
    except (MemoryError, RuntimeError, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, MemoryError) or _TOO_LARGE.search(str(error)):
            raise UserError(too_large(name, leaf, "more than this machine can hold")) from error
        raise
    if not hasattr(built, _MADE[name]):
        raise UserError(
            f"{name}._target_={leaf['_target_']}: makes a {type(built).__name__}, which is of another kind "
            f"(it has no {_MADE[name]})"
        )
    return built


def too_large(name: str, leaf: Mapping[str, Any], why: str) -> str:
    """One line for a leaf that takes too much memory: its largest numbers, one of which it will be."""
    numbers = [(where, one) for where, _, one in _inside(name, _arguments(leaf)) if isinstance(one, int | float)]
    found = sorted(numbers, key=lambda one: one[1], reverse=True)[:_SHOWN]
    return f"{name}: {why}; look at {', '.join(f'{where}={value}' for where, value in found)}"


def _arguments(leaf: Mapping[str, Any]) -> dict[str, Any]:
    """What of a leaf its constructor takes."""
    return {key: value for key, value in leaf.items() if key not in _DESCRIPTION}


def _mistakes(name: str, leaf: Any, remote_code: bool) -> list[str]:
    if not isinstance(leaf, Mapping):
        return [f"{name}={leaf!r}: cannot be built; choose one ({name}=NAME)"]
    try:
        callee = find(name, leaf.get("_target_"))
    except UserError as error:
        return list(error.lines)
    inside = list(_inside(name, leaf))
    if any(key == "_target_" and where != f"{name}._target_" for where, key, _ in inside):
        return [f"{name}: a _target_ inside another is not allowed"]
    if not remote_code and any(key == _REMOTE_CODE and value not in (False, None) for _, key, value in inside):
        return [
            f"{name}.{_REMOTE_CODE}=true: code that comes with a model runs only where the command itself says so; "
            f"add runtime.{_REMOTE_CODE}=true if you trust it"
        ]
    # The parameters of a model are given to its optimiser when it is built.
    return signatures.mistakes(name, _arguments(leaf), callee, needed_by=leaf["_target_"], provided={"params"})


def _inside(name: str, node: Any) -> Iterable[tuple[str, Any, Any]]:
    """All that stands in a leaf, at any depth: where, its key (in a list its number), its value."""
    if isinstance(node, Mapping):
        entries = [(f"{name}.{key}", key, value) for key, value in node.items()]
    else:
        entries = [(f"{name}[{n}]", n, value) for n, value in enumerate(node if isinstance(node, list | tuple) else ())]
    for where, key, value in entries:
        yield where, key, value
        yield from _inside(where, value)

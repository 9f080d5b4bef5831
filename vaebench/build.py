"""From a request's plain data to objects: the only caller of instantiate.

A stored request is data from disk, so only targets under ``vaebench.`` and ``torch.optim.`` are built, and every
mistake of a request (unknown target, unknown, missing or ill-typed argument) is collected and shown at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate

from vaebench import signatures
from vaebench.config import Request
from vaebench.contracts import ChecksModel
from vaebench.errors import UserError, shown, unknown
from vaebench.nn.options import fraction, non_negative, positive, require

if TYPE_CHECKING:
    import torch
    from torch import nn

    from vaebench.contracts import AnswerSource, Embedder, Reference, Suite
    from vaebench.data.images import ImageData
    from vaebench.data.problems import Problems

ALLOWED = ("vaebench.", "torch.optim.")
# What PyTorch and NumPy say of an array beyond memory or beyond 64 bits.
_TOO_LARGE = re.compile("allocate|overflow|array is too big|maximum allowed|exceeds the limit", re.IGNORECASE)
_SHOWN = 3  # options of a leaf that is too large
# Fields of a leaf that describe it and are not arguments of its constructor.
_DESCRIPTION = frozenset(
    {"_target_", "version", "data", "needs", "extra", "language_model", "scorers", "contents", "decay_on", "builds_on"}
)


def model(request: Request, latent_shape: Sequence[int] | None = None) -> nn.Module:
    """The request's model with freshly initialised weights (from the global generator).

    ``latent_shape``: (l, h, w) of the latents it is trained on, for a model that is; its autoencoder knows it.
    """
    leaf = request["model"]
    extra = {"latent_shape": list(latent_shape)} if latent_shape is not None and "latent_shape" in leaf else {}
    built: nn.Module = _build("model", {**leaf, **extra})
    return built


def dataset(request: Request) -> ImageData:
    """The request's dataset, on the CPU."""
    data: ImageData = _build("dataset", request["dataset"])
    return data


def problems(request: Request) -> Problems:
    """The request's set of problems."""
    found: Problems = _build("dataset.problems", request["problems"])
    return found


def source(request: Request) -> AnswerSource:
    """Where the request's answers come from."""
    built: AnswerSource = _build("dataset.answers", request["answers"])
    return built


def prompt(request: Request) -> str:
    """The exact prompt of the request's first problem and how answers are sampled."""
    from vaebench.sources.prompts import describe

    return describe(problems(request), request["answers"])


def embedder(request: Request) -> Embedder:
    """The request's embedder, not loaded yet."""
    built: Embedder = _build("embedder", request["embedder"])
    return built


def embedder_name(leaf: Mapping[str, Any]) -> str:
    """What to call an embedder: its kind or its model, and its width."""
    kind = str(leaf["_target_"]).rsplit(".", 1)[-1].lower()
    return f"{leaf.get('model') or leaf.get('package') or kind}, {leaf['dim']} dimensions"


def reference(request: Request) -> Reference:
    """The request's reference distribution."""
    built: Reference = _build("reference", request["reference"])
    return built


def suite(request: Request) -> Suite:
    """The request's evaluation suite."""
    built: Suite = _build("suite", request["suite"])
    return built


def optimizers(request: Request, built: nn.Module) -> dict[str, torch.optim.Optimizer]:
    """One optimiser per phase of the model, by the phase's name."""
    spec = request["optim"]
    require(*_optim_mistakes(spec))
    if "betas" in spec:  # PyTorch wants no whole numbers here
        spec = {**spec, "betas": [float(beta) for beta in spec["betas"]]}
    group = _matrices_apart if spec.get("decay_on") else list
    try:
        return {phase.name: _build("optim", spec, params=group(phase.parameters)) for phase in built.phases}  # type: ignore[union-attr]
    except InstantiationException as error:  # two options that PyTorch's optimiser does not take together
        raise UserError(f"optim: {str(error.__cause__ or error).splitlines()[0]}") from error


def _optim_mistakes(spec: Mapping[str, Any]) -> Iterator[str | None]:
    """Of the numbers of an optimiser: the annotations of PyTorch's cannot be read, and its messages name no option."""
    decay_on, betas = spec.get("decay_on"), spec.get("betas", [0.0, 0.0])
    if decay_on not in (None, "matrices"):
        yield unknown("optim.decay_on", str(decay_on), ("matrices", "null"))
    if not isinstance(betas, list | tuple) or len(betas) != 2:
        yield f"optim.betas={shown(betas)}: expected two numbers from 0 up to, not including, 1"
        betas = []
    given = {"optim.betas": [(fraction, beta) for beta in betas], "optim.lr": [(positive, spec.get("lr", 1))]}
    given |= {f"optim.{name}": [(non_negative, spec.get(name, 0))] for name in ("eps", "weight_decay")}
    for name, checks in given.items():
        for check_of, value in checks:
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            yield check_of(name, value) if is_number else f"{name}={shown(value)}: expected a number"
    for name in ("fused", "foreach", "amsgrad", "maximize", "capturable", "differentiable"):
        if spec.get(name) not in (None, True, False):
            yield f"optim.{name}={shown(spec[name])}: expected true or false"


def _matrices_apart(parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
    """Weight decay on matrices and kernels only, none on biases, norms and other vectors."""
    both: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for parameter in parameters:
        both[parameter.ndim > 1].append(parameter)
    return [{"params": both[True]}, {"params": both[False], "weight_decay": 0.0}]


def check(leaves: Mapping[str, Mapping[str, Any]]) -> None:
    """Bind every leaf (by name: model, dataset, optim, suite) to its target's signature; raise all mistakes at once."""
    mistakes = [line for name, leaf in leaves.items() for line in _mistakes(name, leaf)]
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


def _build(name: str, leaf: Mapping[str, Any], **extra: Any) -> Any:
    check({name: leaf})
    arguments = {key: value for key, value in leaf.items() if key == "_target_" or key not in _DESCRIPTION}
    arguments |= signatures.nulls({**arguments, **extra}, get_object(leaf["_target_"]))
    try:
        return instantiate(arguments, _convert_="all", **extra)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):  # a value its constructor refuses
            raise cause from None
        if isinstance(cause, MemoryError) or _TOO_LARGE.search(str(cause)):
            raise UserError(too_large(name, leaf, "more than this machine can hold")) from error
        raise


def too_large(name: str, leaf: Mapping[str, Any], why: str) -> str:
    """One line for a leaf that takes too much memory: its largest numbers, one of which it will be."""
    numbers = [
        one for key, value in leaf.items() if key not in _DESCRIPTION for one in _numbers(f"{name}.{key}", value)
    ]
    found = sorted(numbers, key=lambda one: one[1], reverse=True)[:_SHOWN]
    return f"{name}: {why}; look at {', '.join(f'{key}={value}' for key, value in found)}"


def _numbers(name: str, value: Any) -> Iterable[tuple[str, float]]:
    """The numbers in an option, and where they stand."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(f"{name}.{key}", inner)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _numbers(f"{name}[{number}]", inner)
    elif isinstance(value, int | float):
        yield name, value


def _mistakes(name: str, leaf: Mapping[str, Any]) -> list[str]:
    target = leaf.get("_target_")
    if not isinstance(target, str) or not target.startswith(ALLOWED):
        return [f"{name}._target_={target!r}: only targets under {' and '.join(ALLOWED)} are built"]
    nested = [key for key, value in _walk(leaf) if key == "_target_" and value is not target]
    if nested:
        return [f"{name}: a _target_ inside another is not allowed"]
    try:
        callee: Callable[..., Any] = get_object(target)
    except Exception as error:
        return [f"{name}._target_={target!r}: cannot be imported ({type(error).__name__})"]
    given = {key: value for key, value in leaf.items() if key not in _DESCRIPTION}
    # The parameters of a model are given to its optimiser when it is built.
    return signatures.mistakes(name, given, callee, needed_by=target, provided={"params"})


def _walk(node: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield key, value
            yield from _walk(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _walk(value)

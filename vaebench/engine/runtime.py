"""The machine: device, threads, seeds, precision and provenance. No other module chooses any of these."""

from __future__ import annotations

import os
import platform
import re
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import torch

from vaebench import __version__
from vaebench.config import origins
from vaebench.errors import UserError, shown, unknown

T = TypeVar("T")

DEVICES = ("auto", "cpu", "cuda", "mps")


def setup(*, device: str, threads: int) -> torch.device:
    """Set the thread count, flush denormal numbers (they slow a nearly converged network down) and pick the device.

    Raises `UserError` for a device that this machine has not. ``threads``: within the bounds of `RuntimeSpec`.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    return resolve_device(device)


def resolve_device(name: str) -> torch.device:
    """``auto``: CUDA if there is one, else the CPU. MPS only by name: it lacks float64, which the FID needs."""
    kind, colon, number = name.partition(":")
    if kind not in DEVICES:
        raise UserError(unknown("runtime.device", name, DEVICES))
    if colon and (kind == "auto" or not re.fullmatch("[0-9]{1,2}", number)):
        raise UserError(f"runtime.device={shown(name)}: after the colon comes the number of a device, like cuda:0")
    if kind == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    counts = {"cpu": 1, "cuda": cuda, "mps": int(torch.backends.mps.is_available())}
    if int(number or 0) >= counts[kind]:
        raise UserError(
            f"runtime.device={name}: this machine has no such device (torch {torch.__version__}). "
            "Use runtime.device=cpu or auto"
        )
    return torch.device(name)


def own_device(device: torch.device, rank: int) -> torch.device:
    """The device of one of several processes on a machine, a GPU each; ``rank``: of those on this machine.

    Raises `UserError` if there is none for it.
    """
    if device.type == "mps" or ":" in str(device):
        raise UserError(f"runtime.device={device}: several processes train on cpu, or on cuda with a GPU each")
    if device.type != "cuda":
        return device
    if rank >= torch.cuda.device_count():
        raise UserError(
            f"runtime.processes: {rank + 1} or more on a machine with {torch.cuda.device_count()} GPUs, and each needs "
            "one; start fewer, or take runtime.device=cpu"
        )
    own = torch.device("cuda", rank)
    torch.cuda.set_device(own)
    return own


def gpus(name: str) -> list[str]:
    """The GPUs that runs of ``runtime.device`` may use, each as CUDA_VISIBLE_DEVICES calls it; none on a CPU."""
    found = resolve_device(name)
    if found.type != "cuda":
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    names = visible if visible != [""] else [str(number) for number in range(torch.cuda.device_count())]
    return names if found.index is None else [names[found.index]]


def seed_all(seed: int) -> None:
    """Seed the global generators: initial weights and the noise of training come from them."""
    torch.manual_seed(seed)


def compiled(function: Callable[..., T], mode: str) -> Callable[..., T]:
    """The function as `torch.compile` makes it, with the random numbers of one that is not compiled.

    Raises `UserError` where there is no C++ compiler, which PyTorch calls for a GPU too.
    """
    from torch._inductor import config, cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler:
        raise UserError(
            f"runtime.compile={mode}: no C++ compiler is installed; install g++ or clang++, name one in CXX, or leave "
            "runtime.compile out"
        ) from None
    config.fallback_random = True
    return torch.compile(function, mode=mode)


def device_name(device: torch.device) -> str:
    """What the device calls itself: the GPU's name or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}: {_processor()}"


@lru_cache
def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@lru_cache
def commit() -> str:
    """The commit of the checkout vaebench runs from, ``+`` after it for uncommitted changes; else its version."""
    here = Path(__file__).resolve().parents[2]
    # Results are what a run writes: they do not make the code that wrote them another code.
    found = origins.commit(here, "vaebench", "conf") if (here / ".git").exists() else ""
    return found or f"v{__version__}"


def provenance(device: torch.device) -> dict[str, Any]:
    """Where and with what a number was made, as plain data."""
    return {
        "commit": commit(),
        "device": device_name(device),
        "host": socket.gethostname(),
        "threads": torch.get_num_threads(),
        "python": sys.version.split()[0],
        "packages": _versions("torch", "torchvision", "numpy", "scikit-learn", "transformers"),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _versions(*names: str) -> dict[str, str]:
    """Of those that are installed: some come with an extra only."""
    found = {}
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def overload_warning(workers: int, threads: int) -> str | None:
    """One line when the machine is too busy for ``workers`` x ``threads``; None when it is not, or cannot be told."""
    try:
        load, cores = os.getloadavg()[0], os.cpu_count() or 1
    except OSError:
        return None
    if load + workers * threads <= cores * 1.5:
        return None
    fewer = " (fewer: executor.workers, runtime.threads)" if workers * threads > 1 else ""
    return (
        f"warning: {cores} cores, load {load:.1f}, and this run wants {workers} x {threads} threads: "
        f"expect it to be slow{fewer}"
    )


def free_bytes(device: torch.device) -> int:
    """The memory of the GPU that is free, or what this machine can give a new process."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024

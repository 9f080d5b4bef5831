"""One training on several processes: who leads has the run and writes; the others do every step along with it.

``runtime.processes=N`` starts N - 1 others on this machine. Under torchrun, srun, or with the environment that they set
(RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT), they are there already, on one machine or several; then the first one runs
the command, and the others wait for the trainings in it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.errors import Interrupted, UserError, printable
from vaebench.stopping import end_with_parent

if TYPE_CHECKING:
    from vaebench.contracts import Job
    from vaebench.engine.ranks import Ranks

_PATIENCE = timedelta(minutes=30)  # of a process with the others; a large checkpoint takes minutes
_TO_END = 10.0  # seconds that a process has when the training is over
_SLURM = {"RANK": "SLURM_PROCID", "WORLD_SIZE": "SLURM_NTASKS", "LOCAL_RANK": "SLURM_LOCALID"}


def started(environment: Mapping[str, str]) -> tuple[int, int]:
    """Rank and number of the processes that something else has started for this command; 0 of 1 if nothing has.

    Raises `UserError` if the environment says it in part.
    """
    given = {name: environment.get(name, environment.get(slurm, "")) for name, slurm in _SLURM.items()}
    if "RANK" not in environment and "SLURM_STEP_ID" not in environment:
        return 0, 1
    try:
        rank, size = int(given["RANK"]), int(given["WORLD_SIZE"])
    except ValueError:
        raise UserError(
            f"RANK={given['RANK']} and WORLD_SIZE={given['WORLD_SIZE']} in the environment: expected two whole "
            "numbers, as torchrun sets them; leave both out for one process"
        ) from None
    if not 0 <= rank < size:
        raise UserError(f"RANK={rank}, WORLD_SIZE={size} in the environment: expected a rank from 0 to {size - 1}")
    return rank, size


def lead(size: int, command: Callable[[], int]) -> int:
    """Run a command as the first of ``size`` processes, which are told of its trainings and then that it is over."""
    _meet(0, size)
    try:
        return command()
    finally:
        with suppress(RuntimeError):  # one of them is dead
            _tell(None)


def follow(rank: int, size: int) -> int:
    """Wait for the trainings of the first process, and do them along with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first one hears it, and tells
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with _quietly(rank):
        _meet(rank, size)
        while (told := _tell()) is not None:
            job, machine = told
            _do(job, machine, rank, size)
    return 0


@contextmanager
def together(job: Job, machine: Mapping[str, Any]) -> Iterator[Ranks]:
    """The processes that do a job: this one leads.

    Raises `UserError` in place of what PyTorch says when one of the others has died.
    """
    from torch import distributed

    from vaebench.engine.ranks import ALONE, Ranks

    count = int(machine.get("processes") or 1)
    if distributed.is_available() and distributed.is_initialized():
        size = distributed.get_world_size()
        if count not in (1, size):
            raise UserError(f"runtime.processes={count}: {size} processes were started; leave it out")
        _tell((job, dict(machine)))
        with _naming(()):
            yield Ranks(0, size)
    elif count == 1:
        yield ALONE
    else:
        with tempfile.TemporaryDirectory() as folder, _others(job, machine, count, Path(folder)) as others:
            _meet(0, count, f"file://{folder}/meet")
            try:
                with _naming(others):
                    yield Ranks(0, count)
            finally:
                distributed.destroy_process_group()


@contextmanager
def _others(job: Job, machine: Mapping[str, Any], count: int, folder: Path) -> Iterator[list[Any]]:
    """The other processes, which have ended when this is left."""
    context = get_context("spawn")
    found = [
        context.Process(target=_other, args=(job, dict(machine), rank, count, str(folder)), daemon=True)
        for rank in range(1, count)
    ]
    for process in found:
        process.start()
    try:
        yield found
    finally:
        for process in found:
            process.join(_TO_END)
            process.kill()
            process.join()


def _other(job: Job, machine: dict[str, Any], rank: int, size: int, folder: str) -> None:
    """One of them on its own side."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent()
    with _quietly(rank):
        _meet(rank, size, f"file://{folder}/meet")
        _do(job, machine, rank, size)


@contextmanager
def _quietly(rank: int) -> Iterator[None]:
    """End with a line in place of a traceback, and without one if another process has died: the first one says so."""
    try:
        yield
    except Exception as error:
        if not _is_lost(error):
            first = next(iter(str(error).strip().splitlines()), "")
            sys.stderr.write(printable(f"process {rank} of the training: {type(error).__name__}: {first}") + "\n")
        os._exit(1)


def _is_lost(error: Exception) -> bool:
    """Whether PyTorch complains of a process that it does not hear any more."""
    return any(words in str(error) for words in ("closed by peer", "reset by peer", "Broken pipe"))


def _do(job: Job, machine: Mapping[str, Any], rank: int, size: int) -> None:
    """Take part in a training. What is wrong with it the first process says."""
    from vaebench.engine import runtime
    from vaebench.engine.ranks import Ranks
    from vaebench.runs.kinds import train
    from vaebench.runs.store import Run

    device = runtime.setup(device=machine["device"], threads=machine["threads"])
    with suppress(UserError, Interrupted):
        train.along(
            Run(job.folder), runtime.own_device(device, int(os.environ.get("LOCAL_RANK", rank))), Ranks(rank, size)
        )


def _meet(rank: int, size: int, where: str = "env://") -> None:
    """Connect with the others. Raises `UserError` if they cannot be found."""
    import torch
    from torch import distributed

    if where == "env://":
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size)}
        os.environ.setdefault("MASTER_ADDR", _first_host())
        os.environ.setdefault("MASTER_PORT", "29400")
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    try:
        distributed.init_process_group(backend, where, rank=rank, world_size=size, timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"process {rank} of {size} does not find the others at {os.environ.get('MASTER_ADDR', 'this machine')} "
            f"({str(error).splitlines()[0][:200]})"
        ) from error


def _first_host() -> str:
    """The machine of the first process, as Slurm says."""
    nodes = os.environ.get("SLURM_STEP_NODELIST", "")
    if not nodes:
        return "127.0.0.1"
    out = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True).stdout
    return out.split()[0]


def _tell(what: Any = None) -> Any:
    """What the first process has to say, in all of them."""
    from torch import distributed

    said = [what]
    distributed.broadcast_object_list(said, src=0)
    return said[0]


@contextmanager
def _naming(others: Any) -> Iterator[None]:
    """Say which process has died, in place of what is seen of it here: a closed connection."""
    try:
        yield
    except RuntimeError as error:
        dead = [number for number, one in enumerate(others, start=1) if not one.is_alive()]
        if not (dead or _is_lost(error)):
            raise
        who = f"process {', '.join(map(str, dead))} of the training" if dead else "a process of the training"
        raise UserError(f"{who} has died; the same command goes on from the last checkpoint") from error

"""One run on several processes, a training or latents: who leads has it and writes; the others do their part along.

``runtime.processes=N`` starts N - 1 others on this machine. Under torchrun, srun, or with the environment that they set
(RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT), they are there already, on one machine or several; then the first one runs
the command, and the others wait for the trainings in it.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.errors import Interrupted, UserError, in_a_line, printable
from vaebench.stopping import end_with_parent

if TYPE_CHECKING:
    import torch

    from vaebench.contracts import Job
    from vaebench.engine.ranks import Ranks

_PATIENCE = timedelta(minutes=30)  # of a process with the others in a step; a large checkpoint takes minutes
_FOR_EVER = timedelta(days=365)  # between two trainings of a command, the first one may do anything
_TO_END = 10.0  # seconds that a process has when the training is over
_LOOK = 0.05  # seconds between two looks at whether all have started
_SPECIAL_STEP = 4_294_967_000  # Slurm's steps that are no srun (batch script, interactive shell) have numbers from here
_talk: Any = None  # `_group`
_broken = False  # after a training that not all have ended together, nothing more can be said to the others


def started(environment: Mapping[str, str]) -> tuple[int, int]:
    """Rank and number of the processes that something else has started for this command; 0 of 1 if nothing has.

    Raises `UserError` if the environment says it in part.
    """
    if "RANK" in environment:
        given = environment["RANK"], environment.get("WORLD_SIZE", "")
    elif "SLURM_PTY_PORT" not in environment and 0 <= _number(environment.get("SLURM_STEP_ID", "")) < _SPECIAL_STEP:
        given = environment.get("SLURM_PROCID", "0"), environment.get("SLURM_STEP_NUM_TASKS", "1")
    else:
        return 0, 1
    rank, size = map(_number, given)
    if min(rank, size) < 0:
        raise UserError(
            f"RANK={given[0]} and WORLD_SIZE={given[1]} in the environment: expected two whole numbers, as torchrun "
            "sets them; leave both out for one process"
        )
    if rank >= size:
        raise UserError(f"RANK={rank}, WORLD_SIZE={size} in the environment: expected a rank from 0 to {size - 1}")
    return rank, size


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else -1


def lead(size: int, command: Callable[[], int]) -> int:
    """Run a command as the first of ``size`` processes, which are told of its trainings and then that it is over."""
    _meet(0, size)
    try:
        return command()
    finally:
        if not _broken:
            with suppress(RuntimeError):  # one of them is dead
                _tell(None)
            _leave()


def follow(rank: int, size: int) -> int:
    """Wait for the trainings of the first process, and do them along with it."""
    _leave_signals()
    with _quietly(rank):
        _meet(rank, size)
        while (told := _tell()) is not None:
            job, machine = told
            _do(job, machine, rank, size)
        _leave()
    return 0


@contextmanager
def together(job: Job, machine: Mapping[str, Any]) -> Iterator[Ranks]:
    """The processes that do a job: this one leads.

    Raises `UserError` in place of what PyTorch says when one of the others has died.
    """
    from torch import distributed

    count, (_, size) = int(machine.get("processes") or 1), started(os.environ)
    if max(count, size) == 1 and machine.get("shard"):
        raise UserError("runtime.shard=true: there is one process, which needs all; add runtime.processes=N")
    if max(count, size) > 1 and machine.get("compile"):  # compiled code would draw numbers past `Ranks.drawing`
        raise UserError(f"runtime.compile={machine['compile']}: is for a training on one process; leave it out")
    if size > 1:
        if count not in (1, size):
            raise UserError(f"runtime.processes={count}: {size} processes were started; leave it out")
        if _broken or not distributed.is_initialized():
            raise UserError("the other processes have ended with a training before; the same command goes on")
        own_device(machine)
        _tell((job, dict(machine)))
        with _naming(()), _or_broken():
            yield _ranks(0, size, machine)
    elif count == 1:
        yield _ranks(0, 1, machine)
    else:
        own_device(machine)
        with tempfile.TemporaryDirectory() as folder, _others(job, machine, count, Path(folder)) as others:
            _meet(0, count, f"file://{folder}/meet")
            try:
                with _naming(others):
                    yield _ranks(0, count, machine)
            finally:
                _leave()


def _ranks(rank: int, size: int, machine: Mapping[str, Any]) -> Ranks:
    from vaebench.engine.ranks import Ranks

    given: dict[str, Any] = {name: machine[name] for name in ("shard", "recompute", "compile") if name in machine}
    return Ranks(rank, size, talk=_group() if size > 1 else None, **given)


def own_device(machine: Mapping[str, Any]) -> torch.device:
    """The device of this process. Raises `UserError` if there is none for it."""
    from vaebench.engine import runtime

    local = _number(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")))
    return runtime.own_device(runtime.setup(device=machine["device"], threads=machine["threads"]), local)


@contextmanager
def _or_broken() -> Iterator[None]:
    """After an error that only this process has, leave the others, which are in a step: they see that, and end."""
    global _broken
    from vaebench.engine.ranks import SharedError

    try:
        yield
    except (Interrupted, SharedError):
        raise
    except BaseException:
        _broken = True
        _leave()
        raise


@contextmanager
def _others(job: Job, machine: Mapping[str, Any], count: int, folder: Path) -> Iterator[list[Any]]:
    """The other processes, which have started; when this is left they have ended.

    Raises `UserError` if one does not start.
    """
    context = get_context("spawn")
    found = [
        context.Process(target=_other, args=(job, dict(machine), rank, count, str(folder)), daemon=True)
        for rank in range(1, count)
    ]
    try:
        for process in found:
            process.start()
        while len(list(folder.glob("ready-*"))) < len(found):
            if dead := [rank for rank, process in enumerate(found, 1) if process.exitcode is not None]:
                raise UserError(
                    f"process {dead[0]} of the training did not start (exit code {found[dead[0] - 1].exitcode})"
                )
            time.sleep(_LOOK)
        yield found
        for process in found:
            process.join(_TO_END)
    finally:
        for process in found:
            process.kill()
        for process in found:
            process.join()


def _other(job: Job, machine: dict[str, Any], rank: int, size: int, folder: str) -> None:
    """One of them on its own side."""
    _leave_signals()
    end_with_parent()
    os.environ["LOCAL_RANK"] = str(rank)
    with _quietly(rank):
        Path(folder, f"ready-{rank}").touch()
        _meet(rank, size, f"file://{folder}/meet")
        _do(job, machine, rank, size)
        _leave()


def _leave_signals() -> None:
    """The first process hears them, and tells."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextmanager
def _quietly(rank: int) -> Iterator[None]:
    """End with a line in place of a traceback, and without one if another process has died: the first one says so."""
    try:
        yield
    except Exception as error:
        if not _is_lost(error):
            sys.stderr.write(f"process {rank} of the training: {in_a_line(error, most=None)}\n")
        os._exit(1)


def _is_lost(error: Exception) -> bool:
    """Whether PyTorch complains of a process that it does not hear any more."""
    return any(words in str(error) for words in ("closed by peer", "reset by peer", "Broken pipe"))


def _do(job: Job, machine: Mapping[str, Any], rank: int, size: int) -> None:
    """Take part in a run. What is wrong with it for all the first process says."""
    from vaebench.engine.ranks import SharedError
    from vaebench.runs import kinds
    from vaebench.runs.store import Run

    device, kind = own_device(machine), kinds.of(job.verb)
    assert isinstance(kind, kinds.Shared)
    with suppress(SharedError, Interrupted):
        kind.along(Run(job.folder), device, _ranks(rank, size, machine))


def _meet(rank: int, size: int, where: str = "env://") -> None:
    """Connect with the others. Raises `UserError` if they cannot be found."""
    import torch
    from torch import distributed

    if where == "env://":
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size)}
        if "MASTER_ADDR" not in os.environ:
            os.environ |= {"MASTER_ADDR": _first_host(), "MASTER_PORT": str(_port())}
    # What is said between steps goes by gloo, which notices a process that dies; a GPU's numbers by nccl.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        distributed.init_process_group(backend, where, rank=rank, world_size=size, timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"process {rank} of {size} does not find the others at {os.environ.get('MASTER_ADDR', 'this machine')} "
            f"({printable(str(error).splitlines()[0][:200])})"
        ) from error


def _first_host() -> str:
    """The machine of the first process, as Slurm says. Raises `UserError` if it does not."""
    nodes = os.environ.get("SLURM_STEP_NODELIST", "")
    if not nodes:
        return "127.0.0.1"
    try:
        out = subprocess.run(
            ["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(
            f"{nodes}: Slurm does not say which machines these are; set MASTER_ADDR and MASTER_PORT"
        ) from error
    return out.split()[0]


def _port() -> int:
    """Another one for each step of Slurm."""
    return (
        20_000
        + (_number(os.environ.get("SLURM_JOB_ID", "0")) * 7 + _number(os.environ.get("SLURM_STEP_ID", "0"))) % 20_000
    )


def _tell(what: Any = None) -> Any:
    """What the first process has to say, in all of them; they wait as long as it takes."""
    import torch
    from torch import distributed

    said = [what]
    distributed.broadcast_object_list(said, src=0, group=_group(), device=torch.device("cpu"))
    return said[0]


def _group() -> Any:
    """All processes, who may wait for each other as long as it takes."""
    from torch import distributed

    global _talk
    if _talk is None:
        _talk = distributed.new_group(backend="gloo", timeout=_FOR_EVER)
    return _talk


def _leave() -> None:
    """Part from the others."""
    from torch import distributed

    global _talk
    distributed.destroy_process_group()
    _talk = None
    # Gloo's threads end with the last reference to their group. One that still runs while the interpreter ends aborts
    # the process, whose work is done.
    gc.collect()


@contextmanager
def _naming(others: Any) -> Iterator[None]:
    """Say which process has died, in place of what is seen of it here: a closed connection."""
    try:
        yield
    except RuntimeError as error:
        for one in others if _is_lost(error) else ():
            one.join(1.0)  # one that has been killed is alive until it is looked at
        dead = [number for number, one in enumerate(others, start=1) if not one.is_alive()]
        if not (dead or _is_lost(error)):
            raise
        who = f"process {', '.join(map(str, dead))} of the training" if dead else "a process of the training"
        raise UserError(f"{who} has died; the same command goes on from the last checkpoint") from error

"""Slurm's own commands, and what they say. Nothing is asked of its accounting, which many clusters do without."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vaebench.errors import UserError, printable

_PATIENCE = 60.0  # seconds that a command may take
_OVER = frozenset(
    "BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED REVOKED TIMEOUT GONE".split()
)
# Why a task waits that will have its turn.
_USUAL = frozenset({"", "None", "Priority", "Resources", "Dependency", "BeginTime", "JobArrayTaskLimit"})
_MOST_TASKS = 1000  # of an array, where the cluster does not say


_NO_SLURM = (
    "executor=slurm: there is no sinfo or sbatch on this machine; run the command where jobs are submitted, or choose "
    "executor=local"
)


class SilentError(Exception):
    """The cluster does not answer at the moment."""


@dataclass(frozen=True)
class State:
    """A task in the queue, in Slurm's words."""

    name: str
    node: str = ""
    reason: str = ""

    @property
    def over(self) -> bool:
        """Whether it has ended, however."""
        return self.name in _OVER

    @property
    def held(self) -> bool:
        """Whether a node could not start it: then Slurm keeps it in the queue until somebody lets it go."""
        return self.name == "PENDING" and self.reason.startswith("launch failed")

    @property
    def stuck(self) -> str:
        """Why it waits, if that is not a matter of time alone."""
        return self.reason if self.name == "PENDING" and self.reason not in _USUAL else ""


def states() -> dict[str, State]:
    """The user's tasks, also those that ended in the last minutes, by name (``123_4``).

    Raises `SilentError` if the cluster does not answer.
    """
    form = "%i|%T|%N|%r"
    try:
        out = _asked("squeue", "-h", "-r", "-a", "-t", "all", "-u", str(os.geteuid()), "-o", form)
    except FileNotFoundError as error:
        raise UserError(_NO_SLURM) from error
    except (subprocess.SubprocessError, OSError) as error:
        raise SilentError from error
    found = {}
    for line in out.splitlines():
        name, state, node, reason = (*line.split("|", 3), "", "", "")[:4]
        found[name.strip()] = State(state, "" if node == "(null)" else node, reason.strip("()"))
    return found


def exit_code(name: str) -> str:
    """How a task's process ended, in words; empty if nobody knows any more."""
    try:
        out = _asked("scontrol", "show", "job", name, "-o")
    except (subprocess.SubprocessError, OSError):
        return ""
    found = re.search(r" ExitCode=(\d+):(\d+)", out)
    if not found or found.groups() == ("0", "0"):
        return ""
    code, number = found.groups()
    if number == "0":
        return f"ended with exit code {code}"
    return f"was killed by signal {number}" + (": out of memory?" if number == "9" else "")


def check(where: Sequence[tuple[str | None, str | None]], folder: Path, python: str) -> str:
    """Raise `UserError` for what would fail on every node, before anything is submitted.

    ``where``: partitions, each with the account. ``folder`` has to be seen there, and vaebench by this ``python``.
    Returns what could not be looked at, empty if all could.
    """
    try:
        found = _asked("sinfo", "-h", "-a", "-o", "%R")
    except FileNotFoundError as error:
        raise UserError(_NO_SLURM) from error
    except (subprocess.SubprocessError, OSError) as error:
        raise UserError(f"executor=slurm: the cluster does not answer ({_said(error)}); is slurmctld up?") from error
    there = sorted(set(found.split()))
    asked = dict.fromkeys(partition for partition, _ in where)
    unknown = [name for name in asked if name is not None and not set(name.split(",")) <= {*there}]
    if unknown:
        raise UserError(
            *(f"executor.partition={name}: there is no such partition; valid: {', '.join(there)}" for name in unknown)
        )
    return next(filter(None, (_unseen(*one, folder, python) for one in where)), "")


def _unseen(partition: str | None, account: str | None, folder: Path, python: str) -> str:
    """Look from a node of a partition whether it sees what a task needs."""
    options = {"partition": partition, "account": account}
    words = [f"--{name}={value}" for name, value in options.items() if value is not None]
    script = (
        'test -e "$1" || echo "missing $1"; "$2" -c "import vaebench" 2>/dev/null || echo "missing $2"; echo looked'
    )
    try:
        out = _asked(
            "srun", "-Q", "-n1", "-N1", "-t1", "--immediate=15", *words, "sh", "-c", script, "sh", str(folder), python
        )
    except (subprocess.SubprocessError, OSError) as error:
        return f"it could not be looked whether nodes see the store ({_said(error)})"
    missing = [line.removeprefix("missing ") for line in out.splitlines() if line.startswith("missing ")]
    if missing:
        raise UserError(
            *(
                f"{place}: a node of the cluster does not see it"
                f"{' with vaebench in it' * (place == python)}; the store and the environment that vaebench is "
                "installed in have to lie on a file system that all nodes share (store=FOLDER)"
                for place in missing
            )
        )
    return "" if "looked" in out else "it could not be looked whether nodes see the store"


def submit(words: Sequence[str]) -> str:
    """Submit an array; what it is called. Raises `UserError` with what sbatch says."""
    try:
        return _asked("sbatch", "--parsable", *words).strip().partition(";")[0]
    except (subprocess.SubprocessError, OSError) as error:
        raise UserError(f"sbatch: {_said(error)}") from error


def cancel(names: Sequence[str]) -> None:
    """Take them out of the queue, if they are in it."""
    if names:
        with suppress(subprocess.SubprocessError, OSError):
            subprocess.run(["scancel", *names], capture_output=True, check=False, timeout=_PATIENCE)


def release(name: str) -> None:
    """Let a task go that Slurm holds."""
    with suppress(subprocess.SubprocessError, OSError):
        _asked("scontrol", "release", name)


def most_tasks() -> int:
    """How many tasks an array may have here."""
    try:
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _asked("scontrol", "show", "config"), re.MULTILINE)
    except (subprocess.SubprocessError, OSError):
        found = None
    return max(1, int(found[1]) - 1) if found else _MOST_TASKS


def _asked(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=_PATIENCE).stdout


def _said(error: Exception) -> str:
    """What a command complained of, in a line."""
    said = getattr(error, "stderr", "") or str(error)
    lines = [re.sub(r"^\w+: (error: )?", "", line) for line in str(said).splitlines() if line.strip()]
    return printable((lines or [type(error).__name__])[0])

"""The command line as tests give it words, in this process and in others."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from vaebench.cli import main as cli

ROOT = Path(__file__).resolve().parent.parent
DEADLINE = 300.0  # seconds, of what takes a few on a machine that is not busy
VAEBENCH = ("-m", "vaebench")


class Said(NamedTuple):
    """How a command ended and what it printed; of its errors, all but warnings about the machine."""

    code: int
    out: str
    err: str


class Command:
    """``run(*words)`` runs a command; ``done``, ``failed`` and ``refused`` also say how it must end."""

    def __init__(self, capsys: Any) -> None:
        self.capsys = capsys

    def __call__(self, *words: str) -> Said:
        code = cli.main(list(words))
        out, err = self.capsys.readouterr()
        return Said(code, out, "".join(line for line in err.splitlines(True) if not line.startswith("warning: ")))

    def done(self, *words: str) -> str:
        """What a command that must work prints."""
        said = self(*words)
        assert said.code == 0, said.err
        return said.out

    def failed(self, *words: str) -> str:
        """What a command says on standard error that ends with 2."""
        said = self(*words)
        assert said.code == 2, said
        return said.err

    def refused(self, *words: str, lines: int = 1) -> str:
        """What is said of so many mistakes: a line each, and nothing beside them."""
        found = self.failed(*words).splitlines()
        assert len(found) == lines, found
        assert all(line.startswith("error: ") for line in found)
        return "\n".join(found)


def python(*words: str, path: Path = ROOT, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Python on these words, to its end, with the modules of ``path``; ``env`` is added to the environment."""
    env = {**os.environ, "PYTHONPATH": str(path), **options.pop("env", {})}
    options = {"capture_output": True, "text": True, "timeout": DEADLINE, "check": False, **options}
    return subprocess.run([sys.executable, *words], env=env, **options)


def site(source: Path, folder: Path) -> Path:
    """A folder that holds what `pip install SOURCE` would put into site-packages."""
    python("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=source, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def begin(*words: str, **options: Any) -> subprocess.Popen[str]:
    """Python on these words, which goes on beside the test; ``env`` is added to the environment."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *words], env=env, text=True, **pipes, **options)


def ended(process: subprocess.Popen[str]) -> Said:
    """How a process ended, and what it printed."""
    out, err = process.communicate(timeout=DEADLINE)
    return Said(process.returncode, out, err)


def until(found: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> Any:
    """Poll until something is found, and return it; the process must not end before."""
    end = time.monotonic() + DEADLINE
    while not (value := found()):
        assert time.monotonic() < end
        ended = process is not None and process.poll() is not None
        assert not ended or found(), process and process.communicate()
        time.sleep(0.005)
    return value


def holding(folder: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock of a run, until it is killed or its input ends."""
    code = "import sys, pathlib; from vaebench.runs.store import Run\n"
    code += "with Run(pathlib.Path(sys.argv[1])).lock() as held:\n    print(held, flush=True); sys.stdin.read()"
    holder = begin("-c", code, str(folder))
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "True"
    return holder


@contextmanager
def beside(do: Callable[[], None]) -> Iterator[None]:
    """``do`` in a thread, which must end well."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            do()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join(DEADLINE)
    assert not thread.is_alive()
    assert not errors, errors

"""A worker process on its own side: does the jobs it is sent, and does not outlive its parent.

Nothing heavy is imported before it watches its parent: importing torch takes seconds, on a busy machine many.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from vaebench.stopping import SIGNALS, signal_group, stop_on_signal, when_parent_ends

if TYPE_CHECKING:
    from vaebench.contracts import Job, Outcome

# From the death of its parent a worker has these seconds to store what it does, then these to drop it.
_TO_STORE, _TO_DROP = 4.0, 3.0


def serve(connection: Connection, machine: dict[str, Any]) -> None:
    """A worker's life: jobs come in, lines for the user and outcomes go out, until the connection is closed."""
    with suppress(OSError):
        os.setpgid(0, 0)
    with stop_on_signal() as asked:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        when_parent_ends(_store_and_end)
        try:
            while True:
                connection.send(_outcome(connection.recv(), machine, connection.send, asked))
        except (EOFError, OSError, KeyboardInterrupt):
            pass
    parent = parent_process()
    if parent is not None and not parent.is_alive():
        signal_group(os.getpid(), signal.SIGKILL)


def _store_and_end() -> None:
    """Nobody waits for this process any more: ask it to store, to stop at once, and then end it."""
    for seconds in (_TO_STORE, _TO_DROP):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(seconds)
    signal_group(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _outcome(job: Job, machine: dict[str, Any], note: Callable[[str], None], asked: Callable[[], bool]) -> Outcome:
    from vaebench.contracts import Outcome
    from vaebench.worker import work

    try:
        return Outcome(job, "interrupted", "not started") if asked() else work(job, machine, note=note, stop=asked)
    except KeyboardInterrupt:
        return Outcome(job, "interrupted")
    except Exception as error:
        return Outcome(job, "lost" if _out_of_memory(error) else "failed", f"{type(error).__name__}: {error}")


def _out_of_memory(error: Exception) -> bool:
    """Whether it may be for the other jobs' sake that there was too little."""
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)

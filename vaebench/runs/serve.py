"""A worker process on its own side: does the jobs it is sent, and does not outlive its parent.

Nothing heavy is imported before it watches its parent: importing torch takes seconds, on a busy machine many.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from vaebench.stopping import SIGNALS, signal_group, stop_on_signal, when_parent_ends

if TYPE_CHECKING:
    from vaebench.contracts import Job, Outcome

# From the death of its parent a worker has these seconds to store what it does, then these to drop it.
_TO_STORE, _TO_DROP = 4.0, 3.0
BEGUN = True  # said of a job whose process has started and has all it needs: what happens now may be the job's doing


# A worker leads a process group of its own. So Ctrl-C in a terminal reaches the parent alone, which lets each worker
# store what it has; and one signal to the group ends a worker with all that it started. The price is that the terminal
# no longer ends it either. A parent that is killed sends no signal, so a thread waits for its end instead, and starts
# before torch is imported: a worker whose parent dies in these seconds would otherwise begin its job for nobody.
# Signals that come in these seconds wait (`local._signals_wait`) until they are listened to here.
def serve(connection: Connection, machine: dict[str, Any], gpu: str | None = None) -> None:
    """A worker's life: jobs come in, lines for the user and outcomes go out, until the connection is closed.

    ``gpu``: the one it sees, or several, as CUDA_VISIBLE_DEVICES calls it; None: all that its parent sees.
    """
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before torch is imported
    with suppress(OSError):
        os.setpgid(0, 0)
    working = threading.Event()
    with stop_on_signal() as asked:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        when_parent_ends(lambda: _end(working))
        try:
            while True:
                job = connection.recv()
                from vaebench.runs.worker import work

                working.set()
                connection.send(BEGUN)
                connection.send(_outcome(job, partial(work, job, machine, note=connection.send, stop=asked), asked))
                working.clear()
        except (EOFError, OSError, KeyboardInterrupt):
            pass
    parent = parent_process()
    if parent is not None and not parent.is_alive():
        signal_group(os.getpid(), signal.SIGKILL)


def _end(working: threading.Event) -> None:
    """Nobody waits for this process any more: if it works, ask it to store, then to stop at once; then end it."""
    for seconds in (_TO_STORE, _TO_DROP) if working.is_set() else ():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(seconds)
    signal_group(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _outcome(job: Job, work: Callable[[], Outcome], asked: Callable[[], bool]) -> Outcome:
    from vaebench.contracts import Outcome

    try:
        return Outcome(job, "interrupted", "not started") if asked() else work()
    except KeyboardInterrupt:
        return Outcome(job, "interrupted")
    except Exception as error:
        return Outcome(job, "lost" if _out_of_memory(error) else "failed", f"{type(error).__name__}: {error}")


def _out_of_memory(error: Exception) -> bool:
    """Whether it may be for the other jobs' sake that there was too little."""
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)

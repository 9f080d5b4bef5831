"""A worker: given (verb, run folder), it reads the request there, does the work and leaves a status."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch

from vaebench.contracts import Job, Outcome
from vaebench.engine import runtime
from vaebench.engine.schedules import every
from vaebench.errors import Interrupted, UserError
from vaebench.runs import alive, along, build, kinds, records
from vaebench.runs.kinds import Setup, Stop, Track
from vaebench.runs.load import check_parents
from vaebench.runs.store import CHECKPOINT, Run
from vaebench.stopping import STOPPING, stop_on_signal

Note = Callable[[str], None]
_PATIENCE = 2.0  # seconds between two looks at a run that another machine makes


def work(
    job: Job,
    machine: dict[str, Any],
    track: Track | None = None,
    *,
    note: Note | None = None,
    stop: Stop | None = None,
) -> Outcome:
    """Do one job, once: the run's lock is held, a finished run is left alone, a failure is a status and an outcome.

    ``machine``: the plain data of a `RuntimeSpec`, and the leaf of a ``tracker`` if there is one.
    ``track(done, total)`` reports progress, ``note`` for whom it waits and that a tracker is given up.
    ``stop``: whether the process was asked to stop; without it this looks after the signals itself.
    """
    run = Run(job.folder)
    waiting = _waiting(run, note, stop)
    try:
        with run.lock(waiting=waiting):
            while alive.elsewhere(status := run.status(), run.folder):  # whose lock is not seen here
                waiting(alive.holder(status))
                time.sleep(_PATIENCE)
            with alive.touching(run.folder):
                outcome = _locked(job, run, machine, track, note, stop)
            if run.status()["status"] != "running":  # by another one that has taken the run over
                run.remove(alive.FILE)
            return outcome
    except Interrupted as error:
        return Outcome(job, "interrupted", str(error))
    except WaitedError as error:
        return Outcome(job, "failed", str(error))


class TakenOverError(Interrupted):
    """Another machine has the run now, which took this process for dead."""


class WaitedError(UserError):
    """Who has the run hangs."""


def _waiting(run: Run, note: Note | None, stop: Stop | None) -> Callable[[str], None]:
    """Says once who has the run, and again when it is another; raises `Interrupted` when asked to stop.

    An owner that has shown no sign of life for a while is dead if it is of another machine: the lock is taken from it.
    One of this machine hangs: raises `WaitedError`.
    """
    said, watch = "", alive.Watch(run.folder)

    def wait(holder: str) -> None:
        nonlocal said
        if stop and stop():
            raise Interrupted("stopped while it waited; the same command goes on")
        if note and holder != said:
            said = holder
            note(f"waiting for {holder}, which makes the same run")
        if watch.silent() > alive.SILENCE:
            for_so_long = f"{holder} has shown no sign of life for {alive.SILENCE / 60:g} minutes"
            if not alive.surely_dead(run.status()):
                raise WaitedError(f"{for_so_long} and has the run; end it, and the same command goes on")
            if note:
                note(f"{for_so_long}; its run goes on here")
            run.remove(".lock")

    return wait


# The order is what makes a run safe to share and to kill. The status is read under the lock: who waited for it may find
# the run done. What killed writes left goes now, when no writer can be alive. Then the status says who works here,
# before anything slow begins, because others who wait read it there. Before `done` the folder is compared with the one
# it began in: if it was removed and made again meanwhile, it is another process's. `done` and the checksums are one
# write, so that no crash leaves a run that is done and cannot be verified, and removing that file takes both back. The
# checkpoint goes last: until `done` is on disk it is all there is.
def _locked(
    job: Job, run: Run, machine: dict[str, Any], track: Track | None, note: Note | None, stop: Stop | None
) -> Outcome:
    status = run.status()
    if status["status"] == "done":
        return Outcome(job, "done")
    if status["status"] == "damaged":
        return Outcome(job, "failed", status["reason"])
    run.remove_unfinished()
    place, taken = run.place(), _stopwatch(status)
    try:
        heartbeat = _heartbeat(run, place, track, taken())  # first: who waits reads there who has it
        device = runtime.setup(device=machine["device"], threads=machine["threads"])
        heartbeat(0, 0)
        _do(job, run, device, machine, heartbeat, note, stop)
        _check_place(run, place)
        run.finish(spent=taken())
    except TakenOverError as error:
        return Outcome(job, "interrupted", str(error))
    except (Interrupted, KeyboardInterrupt) as error:
        outcome = Outcome(job, "interrupted", str(error) or "stopped at once")  # a KeyboardInterrupt says nothing
    except UserError as error:
        outcome = Outcome(job, "failed", str(error))
    except Exception as error:
        if run.place() == place:
            run.set_status("failed", reason=f"{type(error).__name__}: {error}", spent=taken())
        raise
    else:
        run.remove(CHECKPOINT)
        return Outcome(job, "done")
    if run.place() == place:
        run.set_status(outcome.status, reason=outcome.reason, spent=taken())
    return outcome


def _stopwatch(status: Mapping[str, Any]) -> Callable[[], float]:
    """How many seconds went into a run so far, those before it was interrupted or killed among them."""
    before, begun = records.spent(status), time.monotonic()
    return lambda: round(before + time.monotonic() - begun, 3)


def _check_place(run: Run, place: tuple[int, int] | None) -> None:
    """Raise `UserError` if the run's folder was removed meanwhile; another process may have begun in a new one."""
    if run.place() != place:
        raise run.gone()


def _do(
    job: Job,
    run: Run,
    device: torch.device,
    machine: dict[str, Any],
    track: Track,
    note: Note | None,
    stop: Stop | None,
) -> None:
    kind, tracker = kinds.of(job.verb), machine.get("tracker")
    check_parents(run)
    with (
        stop_on_signal(STOPPING) if stop is None and kind.STOPS else nullcontext(stop) as asked,
        along.together(job, machine) if isinstance(kind, kinds.Shared) else nullcontext() as ranks,
    ):
        setup = Setup(
            device,
            track,
            asked or (lambda: False),
            checkpoint_seconds=machine["checkpoint_seconds"],
            remote_code=machine.get("trust_remote_code") is True,  # by the command itself
            tracker=build.tracker(tracker) if tracker else None,
            tags=dict(job.tags),
            note=note or (lambda line: None),
            ranks=ranks,
        )
        kind.work(run, setup)


def _heartbeat(run: Run, place: tuple[int, int] | None, track: Track | None, spent: float) -> Track:
    """Report progress, and write it into the status at most once a second."""
    due = every(1.0)
    facts = {"host": socket.gethostname(), "pid": os.getpid(), "started": time.time(), "spent": spent}
    run.set_status("running", **facts)

    def mine() -> bool:
        """Whether nobody took the run from this process, which may have been suspended."""
        status = run.status()
        return all(status.get(name, facts[name]) == facts[name] for name in ("host", "pid"))

    def beat(done: int, total: int) -> None:
        if track:
            track(done, total)
        if due():
            _check_place(run, place)
            if not mine():
                raise TakenOverError(f"{alive.holder(run.status())} has taken the run over")
            run.set_status("running", **facts, step=done, total=total, heartbeat=time.time())

    return beat

"""A worker: given (verb, run folder), it reads the request there, does the work and leaves a status."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch

from vaebench.runs import build, records, staged, stages
from vaebench.engine import runtime
from vaebench.engine.checkpoint import checkpoint_bytes, load_checkpoint, weights_bytes
from vaebench.contracts import Exports, Job, Outcome, TrainingData
from vaebench.data import embeddings
from vaebench.errors import Interrupted, UserError
from vaebench.runs.evaluate import evaluate
from vaebench.engine.schedules import check_spec, training_count
from vaebench.stopping import STOPPING, stop_on_signal
from vaebench.runs.store import Run, Store
from vaebench.engine.loop import Hooks, fit
from vaebench.runs.load import check_parents, fresh_model, parents, snapshot_name

_CHECKPOINT, _LOG = "checkpoint.pt", "metrics.jsonl"

Track = Callable[[int, int], None]
Stop = Callable[[], bool]


def work(
    job: Job,
    machine: dict[str, Any],
    track: Track | None = None,
    *,
    note: Callable[[str], None] | None = None,
    stop: Stop | None = None,
) -> Outcome:
    """Do one job, once: the run's lock is held, a finished run is left alone, a failure is a status and an outcome.

    ``machine``: the plain data of a `RuntimeSpec`. ``track(done, total)`` reports progress, ``note`` for whom it waits.
    ``stop``: whether the process was asked to stop; without it this looks after the signals itself.
    """
    run = Run(job.folder)
    try:
        with run.lock(waiting=_waiting(note, stop)):
            return _locked(job, run, machine, track, stop)
    except Interrupted as error:
        return Outcome(job, "interrupted", str(error))


def _waiting(note: Callable[[str], None] | None, stop: Stop | None) -> Callable[[str], None]:
    """Says once who has the run, and again when it is another; raises `Interrupted` when asked to stop."""
    said = ""

    def wait(holder: str) -> None:
        nonlocal said
        if stop and stop():
            raise Interrupted("stopped while it waited; the same command goes on")
        if note and holder != said:
            said = holder
            note(f"waiting for {holder}, which makes the same run")

    return wait


def _locked(job: Job, run: Run, machine: dict[str, Any], track: Track | None, stop: Stop | None) -> Outcome:
    status = run.status()
    if status["status"] == "done":
        return Outcome(job, "done")
    if status["status"] == "damaged":
        return Outcome(job, "failed", status["reason"])
    run.remove_unfinished()
    place = run.place()
    try:
        heartbeat = _heartbeat(run, place, track)  # first of all: who waits for the lock reads there who has it
        device = runtime.setup(device=machine["device"], threads=machine["threads"])
        heartbeat(0, 0)
        _do(job.verb, run, device, machine, heartbeat, stop)
        _check_place(run, place)
        run.finish()
    except (Interrupted, KeyboardInterrupt) as error:
        outcome = Outcome(job, "interrupted", str(error) or "stopped at once")  # a KeyboardInterrupt says nothing
    except UserError as error:
        outcome = Outcome(job, "failed", str(error))
    except Exception as error:
        if run.place() == place:
            run.set_status("failed", reason=f"{type(error).__name__}: {error}")
        raise
    else:
        run.remove(_CHECKPOINT)
        return Outcome(job, "done")
    if run.place() == place:
        run.set_status(outcome.status, reason=outcome.reason)
    return outcome


def _check_place(run: Run, place: tuple[int, int] | None) -> None:
    """Raise `UserError` if the run's folder was removed meanwhile; another process may have begun in a new one."""
    if run.place() != place:
        raise run.gone()


def _do(verb: str, run: Run, device: torch.device, machine: dict[str, Any], track: Track, asked: Stop | None) -> None:
    store = _store(run)
    check_parents(run, store)
    if verb == "eval":
        evaluate(run, store, device=device, track=track)
        return
    if verb == "grade":
        stages.grade(run, store, device=device, track=track)
        return
    with nullcontext(asked) if asked else stop_on_signal(STOPPING) as stop:
        if verb == "train":
            seconds = machine["checkpoint_seconds"]
            train(run, store, device=device, checkpoint_seconds=seconds, track=track, stop=stop)
        elif verb == "answers":
            allowed = machine.get("trust_remote_code") is True  # by the command itself
            stages.answers(run, store, device=device, track=track, stop=stop, remote_code=allowed)
        elif verb == "latents":
            stages.latents(run, store, device=device, track=track, stop=stop)
        elif verb == "reference":
            stages.reference(run, store, device=device, track=track, stop=stop)
        else:
            stages.embed(run, store, device=device, track=track, stop=stop)


def _store(run: Run) -> Store:
    """The store a run lies in: at its top, or inside another run."""
    nested = run.folder.parent.name == "evals"
    return Store(run.folder.parents[2] if nested else run.folder.parent)


def train(run: Run, store: Store, *, device: torch.device, checkpoint_seconds: float, track: Track, stop: Stop) -> None:
    """Train the request in ``run`` from its checkpoint, if there is one; write weights and ``result.json``."""
    request = run.request()
    spec = request["train"]
    check_spec(spec)
    runtime.seed_all(request["seed"])
    model = fresh_model(run, store, device)
    data = _training_data(run, store).to(device)
    optimizers = build.optimizers(request, model)
    state = load_checkpoint(run.path(_CHECKPOINT), run.key)
    log = _Log(run, _logged(run, state))
    snapshots = _kept_snapshots(run, state)

    def keep(number: int) -> None:
        content = weights_bytes(model)
        run.write(snapshot_name(number), content)
        snapshots[snapshot_name(number)] = hashlib.sha256(content).hexdigest()

    def save(found: dict[str, Any]) -> None:
        run.write(_CHECKPOINT, checkpoint_bytes(run.key, {**found, "log": log.text, "snapshots": dict(snapshots)}))

    steps = fit(
        model,
        data,
        optimizers=optimizers,
        seed=request["seed"],
        state=state,
        hooks=Hooks(log=log.append, track=track, save=save, due=_every(checkpoint_seconds), stop=stop, snapshot=keep),
        **{name: value for name, value in spec.items() if value is not None},
    )
    run.write("model.safetensors", weights_bytes(model))
    if isinstance(model, Exports):
        run.remove("pretrained")
        model.export(run.path("pretrained"))
    items = training_count(len(data), spec.get("keep"))
    per_epoch = items // spec["batch_size"]
    run.write_json(
        "result.json",
        {
            "steps": steps,
            "epochs": round(steps / per_epoch, 4),
            "train_items": items,
            "parameters": sum(p.numel() for p in model.parameters()),
            "dataset_digest": data.digest,
        },
    )
    run.write_json("provenance.json", runtime.provenance(device) | {"dataset": data.source, "note": data.note})


def _training_data(run: Run, store: Store) -> TrainingData:
    """The dataset of the request, or the latents or embedded pairs it is a child of."""
    request = run.request()
    folders = parents(run, store)
    if "latents" in folders:
        return staged.latents_of(folders["latents"])
    if "pairs" not in folders:
        return build.dataset(request)
    facts = Run(folders["pairs"]).result()
    questions, solutions = staged.vectors_of(folders["pairs"])
    return embeddings.Pairs(
        name=facts["problems"],
        questions=questions,
        solutions=solutions,
        source=facts["source"],
        digest=embeddings.digest(questions, solutions),
        note=facts["note"],
        stand_in=facts["stand_in"],
    )


class _Log:
    """``metrics.jsonl``, one entry a line. Each checkpoint holds a copy, so that a resumed log is the same."""

    def __init__(self, run: Run, begun: str) -> None:
        self.run = run
        self.lines = begun.splitlines(keepends=True)
        run.write(_LOG, begun.encode())

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.lines)

    def append(self, record: dict[str, Any]) -> None:
        """One more entry."""
        self.lines.append(json.dumps(record) + "\n")
        self.run.append(_LOG, self.lines[-1])


def _logged(run: Run, state: dict[str, Any] | None) -> str:
    """What was logged up to the checkpoint; what came after it will be logged again, to the same numbers."""
    if state is None:
        return ""
    if "log" in state:
        return str(state["log"])
    try:
        old = records.content(run.path(_LOG)).decode(errors="replace")
    except UserError as error:
        raise UserError(f"{error}; remove {run.path(_CHECKPOINT)} to start over") from error
    kept = []  # a checkpoint from before 0.6
    for line in old.splitlines():
        try:
            step = json.loads(line)["step"]
            if step > state["step"]:
                continue
        except (ValueError, TypeError, KeyError, RecursionError):  # the line a killed process was writing
            break
        kept.append(line + "\n")
    return "".join(kept)


def _kept_snapshots(run: Run, state: dict[str, Any] | None) -> dict[str, str]:
    """The sha256 of the snapshots up to the checkpoint, by name. Raises `UserError` if one is not as it was."""
    sums: dict[str, str] = (state or {}).get("snapshots", {})
    for name, wanted in sums.items():
        if not run.path(name).is_file() or records.checksum(run.path(name)) != wanted:
            raise UserError(f"{run.path(name)}: is missing or damaged; remove {run.path(_CHECKPOINT)} to start over")
    return dict(sums)


def _every(seconds: float) -> Callable[[], bool]:
    """True once each time ``seconds`` have passed."""
    last = time.monotonic()

    def due() -> bool:
        nonlocal last
        now = time.monotonic()
        if now - last < seconds:
            return False
        last = now
        return True

    return due


def _heartbeat(run: Run, place: tuple[int, int] | None, track: Track | None) -> Track:
    """Report progress, and write it into the status at most once a second."""
    due = _every(1.0)
    facts = {"host": socket.gethostname(), "pid": os.getpid(), "started": time.time()}
    run.set_status("running", **facts)

    def beat(done: int, total: int) -> None:
        if track:
            track(done, total)
        if due():
            _check_place(run, place)
            run.set_status("running", **facts, step=done, total=total, heartbeat=time.time())

    return beat

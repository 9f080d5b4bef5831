"""A worker: given (verb, run folder), it reads the request there, does the work and leaves a status."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from vaebench import build, runtime, stages
from vaebench.checkpoint import load_checkpoint, save_checkpoint, save_weights
from vaebench.contracts import Exports, Job, Outcome, TrainingData
from vaebench.data import embeddings
from vaebench.errors import Interrupted, UserError
from vaebench.evaluate import evaluate
from vaebench.schedules import check_spec, training_count
from vaebench.stopping import STOPPING, stop_on_signal
from vaebench.store import Run, Store, write_json
from vaebench.train import Hooks, fit
from vaebench.trained import fresh_model, parents, snapshot_name

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
    if run.done:
        return Outcome(job, "done")
    try:
        heartbeat = _heartbeat(run, track)  # first of all: who waits for the lock reads there who has it
        device = runtime.setup(device=machine["device"], threads=machine["threads"])
        heartbeat(0, 0)
        _do(job.verb, run, device, machine["checkpoint_seconds"], heartbeat, stop)
    except (Interrupted, KeyboardInterrupt) as error:
        reason = str(error) or "stopped at once"  # a KeyboardInterrupt says nothing
        run.set_status("interrupted", reason=reason)
        return Outcome(job, "interrupted", reason)
    except UserError as error:
        run.set_status("failed", reason=str(error))
        return Outcome(job, "failed", str(error))
    except Exception as error:
        run.set_status("failed", reason=f"{type(error).__name__}: {error}")
        raise
    run.set_status("done")
    return Outcome(job, "done")


def _do(verb: str, run: Run, device: torch.device, checkpoint_seconds: float, track: Track, asked: Stop | None) -> None:
    store = _store(run)
    if verb == "eval":
        evaluate(run, store, device=device, track=track)
        return
    if verb == "grade":
        stages.grade(run, store, device=device, track=track)
        return
    with nullcontext(asked) if asked else stop_on_signal(STOPPING) as stop:
        if verb == "train":
            train(run, store, device=device, checkpoint_seconds=checkpoint_seconds, track=track, stop=stop)
        elif verb == "answers":
            stages.answers(run, store, device=device, track=track, stop=stop)
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
    checkpoint = run.path("checkpoint.pt")
    state = load_checkpoint(checkpoint, run.key)
    _trim_log(run, state["step"] if state else 0)
    steps = fit(
        model,
        data,
        optimizers=optimizers,
        seed=request["seed"],
        state=state,
        hooks=Hooks(
            log=lambda record: _append(run, record),
            track=track,
            save=lambda snapshot: save_checkpoint(checkpoint, run.key, snapshot),
            due=_every(checkpoint_seconds),
            stop=stop,
            snapshot=lambda number: _keep_snapshot(run, model, number),
        ),
        **{name: value for name, value in spec.items() if value is not None},
    )
    digest = save_weights(run.path("model.safetensors"), model)
    if isinstance(model, Exports):
        model.export(run.path("pretrained"))
    items = training_count(len(data), spec.get("keep"))
    per_epoch = items // spec["batch_size"]
    write_json(
        run.path("result.json"),
        {
            "steps": steps,
            "epochs": round(steps / per_epoch, 4),
            "train_items": items,
            "parameters": sum(p.numel() for p in model.parameters()),
            "dataset_digest": data.digest,
            "weights_sha256": digest,
        },
    )
    write_json(run.path("provenance.json"), runtime.provenance(device) | {"dataset": data.source, "note": data.note})
    checkpoint.unlink(missing_ok=True)


def _training_data(run: Run, store: Store) -> TrainingData:
    """The dataset of the request, or the latents or embedded pairs it is a child of."""
    request = run.request()
    folders = parents(run, store)
    if "latents" in folders:
        return stages.latents_of(folders["latents"])
    if "pairs" not in folders:
        return build.dataset(request)
    facts = Run(folders["pairs"]).result()
    questions, solutions = stages.vectors_of(folders["pairs"])
    return embeddings.Pairs(
        name=facts["problems"],
        questions=questions,
        solutions=solutions,
        source=facts["source"],
        digest=embeddings.digest(questions, solutions),
        note=facts["note"],
        stand_in=facts["stand_in"],
    )


def _keep_snapshot(run: Run, model: nn.Module, number: int) -> None:
    save_weights(run.path(snapshot_name(number)), model)


def _append(run: Run, record: dict[str, Any]) -> None:
    with run.path("metrics.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")


def _trim_log(run: Run, step: int) -> None:
    """Drop what was logged after the checkpoint: it will be logged again, to the same numbers."""
    path = run.path("metrics.jsonl")
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # the line a killed process was writing
            break
        if record["step"] <= step:
            kept.append(line + "\n")
    path.write_text("".join(kept))


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


def _heartbeat(run: Run, track: Track | None) -> Track:
    """Report progress, and write it into the status at most once a second."""
    due = _every(1.0)
    facts = {"host": socket.gethostname(), "pid": os.getpid(), "started": time.time()}
    run.set_status("running", **facts)

    def beat(done: int, total: int) -> None:
        if track:
            track(done, total)
        if due():
            run.set_status("running", **facts, step=done, total=total, heartbeat=time.time())

    return beat

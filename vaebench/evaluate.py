"""Load a run, run a suite on it, write the result."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from vaebench import build, runtime
from vaebench.checkpoint import load_weights
from vaebench.contracts import SuiteInputs
from vaebench.errors import UserError
from vaebench.store import Run, Store, write_bytes, write_json


def load_model(run: Run, device: torch.device) -> torch.nn.Module:
    """The trained model of a finished run, in eval mode on ``device``."""
    if not run.done:
        raise UserError(f"run {run.key} is not finished ({run.status()['status']}); train it first")
    model = build.model(run.request())
    load_weights(run.path("model.safetensors"), model)
    return model.to(device).eval()


def evaluate(run: Run, store: Store, *, device: torch.device, track: Callable[[int, int], None]) -> None:
    """Compute the evaluation whose request lies in ``run`` and write ``result.json`` and ``arrays.npz``."""
    request = run.request()
    parents = request["parents"]
    trained = Run(store.root / parents["run"])
    model = load_model(trained, device)
    suite = build.suite(request)
    build.check_capabilities(type(suite).__name__.lower(), suite, model)
    classifier = load_model(Run(store.root / parents["classifier"]), device) if suite.needs_classifier else None
    data = build.dataset(trained.request()).to(device)
    if trained.result()["dataset_digest"] != data.digest:
        raise UserError(
            f"run {trained.key} was trained on other contents of {data.name} than are here now (a part of it?); "
            f"remove {trained.folder} and train again"
        )
    inputs = SuiteInputs(
        model=model,
        data=data,
        device=device,
        cache=store.root / "cache",
        classifier=classifier,
        classifier_key=parents.get("classifier", ""),
        track=track,
    )
    with torch.no_grad():
        result = suite.run(inputs)
    for found in result.measurements:
        if not math.isfinite(found.value):
            raise UserError(
                f"run {trained.key}: {found.name} is {found.value}; the model's output is not usable for it"
            )
    _write_arrays(run.path("arrays.npz"), dict(result.arrays))
    write_json(
        run.path("result.json"),
        {
            "measurements": [asdict(m) | {"protocol": dict(m.protocol)} for m in result.measurements],
            "dataset": {
                "name": data.name,
                "digest": data.digest,
                "stand_in": data.stand_in,
                "note": data.note,
                "source": data.source,
                "train_images": len(data.train_x),
                "test_images": len(data.test_x),
            },
            "provenance": runtime.provenance(device),
        },
    )


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())

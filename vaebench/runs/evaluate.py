"""Load a run, run a suite on it, write the result."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from vaebench.runs import build, staged
from vaebench.engine import runtime
from vaebench.config.request import Request
from vaebench.contracts import AnswerInputs, DesignInputs, Measurement, SuiteInputs, SuiteResult
from vaebench.reproduce.costs import Design
from vaebench.errors import UserError
from vaebench.contracts.infinite import spelled
from vaebench.runs.store import Run, Store
from vaebench.runs.load import dataset_of, load_model, parents, reference_run
from vaebench.writing import remove_unfinished

_A_DAY = 86_400.0  # seconds: what another evaluation has been writing into the cache for longer has no writer


def evaluate(run: Run, store: Store, *, device: torch.device, track: Callable[[int, int], None]) -> None:
    """Compute the evaluation whose request lies in ``run`` and write ``result.json`` and ``arrays.npz``."""
    request = run.request()
    if "shape" in request.data:
        result, dataset = _on_design(run, device, track)
    else:
        on = _on_data if "run" in request["parents"] else _on_answers
        with torch.no_grad():
            result, dataset = on(run, store, device, track)
    measured, left_out = _told_apart(result)
    if not measured:
        reasons = (f"{names}: {why}" for names, why in _by_reason(left_out).items())
        raise UserError(f"evaluation {run.key}: nothing could be measured ({'; '.join(reasons)})")
    run.write("arrays.npz", _packed(dict(result.arrays)))
    run.write_json(
        "result.json",
        {
            "measurements": [spelled(asdict(m) | {"protocol": dict(m.protocol)}) for m in measured],
            **({"left_out": left_out} if left_out else {}),
            "dataset": dataset,
            "provenance": runtime.provenance(device),
        },
    )


def _told_apart(result: SuiteResult) -> tuple[list[Measurement], dict[str, str]]:
    """The measurements that are numbers, and by name why the others are left out."""
    measured, left_out = [], dict(result.left_out)
    for found in result.measurements:
        numbers = [number for number in (found.value, found.low, found.high, *found.by_seed) if number is not None]
        usable = math.isfinite if "infinite" not in found.protocol else (lambda number: not math.isnan(number))
        wrong = [number for number in numbers if not usable(number)]
        if wrong:
            left_out[found.name] = f"is {wrong[0]}; the model's output is not usable for it"
        else:
            measured.append(found)
    return measured, left_out


def _by_reason(left_out: Mapping[str, str]) -> dict[str, str]:
    """Names that share a reason stand together."""
    names: dict[str, list[str]] = {}
    for name, why in left_out.items():
        names.setdefault(why, []).append(name)
    return {", ".join(those): why for why, those in names.items()}


def _on_data(
    run: Run, store: Store, device: torch.device, track: Callable[[int, int], None]
) -> tuple[SuiteResult, dict[str, Any]]:
    """One trained model on its dataset, or on the one the request names."""
    request = run.request()
    judges = request["parents"]
    trained = Run(store.root / judges["run"])
    model = load_model(trained, device, request.data.get("snapshot"))
    suite = build.suite(request)
    build.check_capabilities(type(suite).__name__.lower(), suite, model)
    classifier = load_model(Run(store.root / judges["classifier"]), device) if suite.needs_classifier else None
    data = (build.dataset(request) if "dataset" in request.data else dataset_of(trained)).to(device)
    remove_unfinished(store.root / "cache", older_than=_A_DAY)
    drawn = reference_run(trained, store) if getattr(suite, "needs_reference", False) else None
    inputs = SuiteInputs(
        model=model,
        data=data,
        device=device,
        cache=store.root / "cache",
        classifier=classifier,
        classifier_key=judges.get("classifier", ""),
        reference=staged.latents_of(drawn.folder) if drawn is not None else None,
        track=track,
    )
    dataset = {
        "name": data.name,
        "digest": data.digest,
        "stand_in": data.stand_in,
        "note": data.note,
        "source": data.source,
        "train_images": trained.result().get("train_items", len(data)),
    }
    result = suite.run(inputs)
    if "snapshot" in request.data:
        part = {"snapshot": f"{request['snapshot']} of {trained.request()['train']['snapshots']}"}
        measured = (replace(found, protocol={**found.protocol, **part}) for found in result.measurements)
        result = replace(result, measurements=tuple(measured))
    return result, dataset


def _on_design(run: Run, device: torch.device, track: Callable[[int, int], None]) -> tuple[SuiteResult, dict[str, Any]]:
    """A model with fresh weights, on no data: what it is and what a step of it costs."""
    request = run.request()
    suite = build.suite(request)
    runtime.seed_all(0)
    judge = Request({"model": request["judge"]}) if "judge" in request.data else None
    design = Design(request, tuple(request["shape"]), judge, latents=False)
    inputs = DesignInputs(
        build=design.build,
        optimizers=design.optimizers,
        input_shape=tuple(request["shape"]),
        batch_size=request["train"]["batch_size"],
        precision=request["train"]["precision"],
        device=device,
        track=track,
    )
    dataset = {"name": "none", "digest": "", "stand_in": False, "note": "", "source": "none", "train_images": 0}
    return suite.run(inputs), dataset


def _on_answers(
    run: Run, store: Store, device: torch.device, track: Callable[[int, int], None]
) -> tuple[SuiteResult, dict[str, Any]]:
    """One trained model per seed (or none) on graded answers."""
    request = run.request()
    folders = parents(run, store)
    seeds = {role: Run(folder) for role, folder in folders.items() if role.startswith("seed")}
    models = [
        load_model(seeds[role], device) for role in sorted(seeds, key=lambda role: int(role.removeprefix("seed")))
    ]
    suite = build.suite(request)
    for model in models:
        build.check_capabilities(type(suite).__name__.lower(), suite, model)
    answered = Run(folders["answers"])
    problems = build.problems(request)
    facts = answered.result()
    if facts["problems_digest"] != problems.digest:
        raise UserError(
            f"run {answered.key} answered other problems than {problems.name} holds now; "
            f"remove {answered.folder} and run again"
        )
    answers, grades = staged.answers_of(answered.folder), staged.grades_of(folders["grades"], facts["answers"])
    questions = solutions = None
    protocol: dict[str, Any] = {"problems": problems.name, "train_pairs": len(problems.train)}
    if models:
        questions, solutions = staged.vectors_of(folders["embeddings"])
        embedded = Run(folders["embeddings"])
        cut = embedded.result()["truncated"]["solutions"] / max(1, len(solutions))
        trained = next(iter(seeds.values()))
        protocol |= {
            "embedder": build.embedder_name(embedded.request()["embedder"]),
            "cut_by_embedder": f"{cut:.1%}",
            "epochs": trained.result()["epochs"],
        }
    inputs = AnswerInputs(
        problems=problems,
        answers=answers,
        grades=grades,
        models=models,
        questions=questions,
        solutions=solutions,
        device=device,
        track=track,
    )
    result = suite.run(inputs)
    measured = [replace(found, protocol={**protocol, **found.protocol}) for found in result.measurements]
    dataset = {
        "name": problems.name,
        "digest": answered.key,
        "stand_in": problems.stand_in,
        "note": "; ".join(filter(None, [problems.note, *facts["notes"], *_grading(Run(folders["grades"]).result())])),
        "source": problems.source,
    }
    return replace(result, measurements=tuple(measured)), dataset


def _grading(facts: Mapping[str, Any]) -> list[str]:
    """What is worth knowing of the grades: answers without a final answer, and those a scorer gave up on."""
    lines = []
    for what, counts in (("have no final answer", facts["no_final_answer"]), ("took too long", facts["timeouts"])):
        some = [f"{count} by {name}" for name, count in counts.items() if count]
        if some:
            lines.append(f"of {facts['answers']} answers {what}: {', '.join(some)}")
    return lines


def _packed(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()

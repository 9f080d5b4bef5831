"""An evaluation: a suite on one trained model, on the answers that several pick from, or on a design."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.config.request import Request
from vaebench.config.targets import called
from vaebench.contracts.infinite import spelled
from vaebench.data.contents import dataset_leaf
from vaebench.errors import UserError
from vaebench.runs.kinds import Setup
from vaebench.runs.kinds.answers import problems_leaf
from vaebench.runs.store import Run

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from vaebench.config.spine import TrainConfig
    from vaebench.contracts import Measurement, SuiteResult

VERB = "eval"
ROLE = "evaluation"
STOPS = False
_NUMBER = (int, float)
_LEAF = {"_target_": str}
_VALUE = (*_NUMBER, str)  # infinity is a text
_MEASUREMENT = {
    **{"name": str, "value": _VALUE, "count": int, "unit": str, "protocol": dict},
    **{"low?": (*_VALUE, type(None)), "high?": (*_VALUE, type(None)), "by_seed?": [_VALUE]},
}
REQUEST = {"suite": _LEAF, "parents": dict, "snapshot?": int, "shape?": [int], "model?": _LEAF, "train?": dict}
RESULT = {
    "measurements": [_MEASUREMENT],
    "left_out?": dict,
    "dataset": {"name": str, "digest": str, "note": str, "stand_in": bool},
    "provenance": {"commit": str, "device": str},
}
_A_DAY = 86_400.0  # seconds: what another evaluation has been writing into the cache for longer has no writer


def request(cfg: TrainConfig, parents: Mapping[str, Request]) -> Request:
    """``cfg.suite`` on the runs it looks at: ``run`` (and ``classifier``), or ``answers`` and who picks among them."""
    if "run" in parents:
        other = None if cfg.test_on is None else dataset_leaf(cfg.test_on)
        return of_run(cfg.suite, parents["run"], parents.get("classifier"), other, cfg.snapshot)
    keys = {role: parent.key for role, parent in parents.items()}
    return Request({"verb": VERB, "suite": cfg.suite, "problems": problems_leaf(cfg), "parents": keys})


def of_run(
    suite: Mapping[str, Any],
    run: Request,
    classifier: Request | None = None,
    dataset: Mapping[str, Any] | None = None,
    snapshot: int | None = None,
) -> Request:
    """A suite on a training.

    ``dataset``: what is tested on, if that is not the set the run was trained on. ``snapshot``: which one of the run is
    looked at, if not its last weights.
    """
    parents = {"run": run.key} | ({"classifier": classifier.key} if classifier else {})
    other: dict[str, Any] = {} if dataset is None else {"dataset": dict(dataset)}
    other |= {} if snapshot is None else {"snapshot": int(snapshot)}
    if suite.get("reference_file"):
        from vaebench.disk import sha256_of

        path = Path(suite["reference_file"]).expanduser()
        if not path.is_file():
            raise UserError(f"suite.reference_file={suite['reference_file']}: there is no such file")
        other["reference_sha256"] = sha256_of(path)
    return Request({"verb": VERB, "suite": dict(suite), **other, "parents": parents})


def of_design(suite: Mapping[str, Any], cfg: TrainConfig, judge: Mapping[str, Any] | None = None) -> Request:
    """A suite on a training's design alone: nothing is trained, no data is read.

    ``judge``: the classifier (a model's leaf) that the loss perceives with, if it does.
    """
    design: dict[str, Any] = {"model": cfg.model, "optim": cfg.optim}
    design["train"] = {name: getattr(cfg.train, name) for name in ("batch_size", "precision")}
    design |= {} if judge is None else {"judge": dict(judge)}
    return Request({"verb": VERB, "suite": dict(suite), **design, "shape": list(cfg.dataset["shape"]), "parents": {}})


def check(request: Request, models: Mapping[str, nn.Module], *, remote_code: bool) -> None:
    """Build the suite and ask whether the model can do what it needs."""
    del remote_code
    from vaebench.runs import build

    suite = build.suite(request)
    model = models.get(request["parents"].get("run", ""))
    if model is not None:
        build.check_capabilities(called(request["suite"]), suite, model)


def title(request: Request) -> str:
    """``SUITE of KEY``."""
    suite = called(request["suite"])
    if "dataset" in request.data:
        suite += f" on {request['dataset']['name']}"
    if "shape" in request.data:
        return f"{suite} of {called(request['model'])} at {'x'.join(map(str, request['shape']))}"
    return f"{suite} of {request['parents'].get('run', request['parents'].get('answers'))}"


def seconds(request: Request) -> float:
    """A rough guess."""
    return 10.0 if "problems" in request.data else 6.0


def work(run: Run, setup: Setup) -> None:
    """Run the suite and write ``result.json`` and ``arrays.npz``."""
    import torch

    from vaebench.engine.runtime import provenance

    request = run.request()
    if "shape" in request.data:
        result, dataset = _on_design(run, setup)
    else:
        on = _on_data if "run" in request["parents"] else _on_answers
        with torch.no_grad():
            result, dataset = on(run, setup)
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
            "provenance": provenance(setup.device),
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


def _on_data(run: Run, setup: Setup) -> tuple[SuiteResult, dict[str, Any]]:
    """One trained model on its dataset, or on the one the request names."""
    from vaebench.contracts import SuiteInputs
    from vaebench.disk import remove_unfinished
    from vaebench.runs import build
    from vaebench.runs.kinds import latents
    from vaebench.runs.load import dataset_of, load_model, reference_run

    request, store, device = run.request(), setup.store, setup.device
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
        device=setup.device,
        cache=store.root / "cache",
        classifier=classifier,
        classifier_key=judges.get("classifier", ""),
        reference=latents.opened(drawn.folder) if drawn is not None else None,
        track=setup.track,
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


def _on_design(run: Run, setup: Setup) -> tuple[SuiteResult, dict[str, Any]]:
    """A model with fresh weights, on no data: what it is and what a step of it costs."""
    from vaebench.contracts import DesignInputs
    from vaebench.engine import runtime
    from vaebench.runs import build
    from vaebench.runs.design import Design

    request = run.request()
    suite = build.suite(request)
    runtime.seed_all(0)
    judge = {"perceptual": Request({"model": request["judge"]})} if "judge" in request.data else {}
    design = Design(request, tuple(request["shape"]), parents=judge)
    inputs = DesignInputs(
        build=design.build,
        optimizers=design.optimizers,
        input_shape=tuple(request["shape"]),
        batch_size=request["train"]["batch_size"],
        precision=request["train"]["precision"],
        device=setup.device,
        track=setup.track,
    )
    dataset = {"name": "none", "digest": "", "stand_in": False, "note": "", "source": "none", "train_images": 0}
    return suite.run(inputs), dataset


def _on_answers(run: Run, setup: Setup) -> tuple[SuiteResult, dict[str, Any]]:
    """One trained model per seed (or none) on graded answers."""
    from vaebench.contracts import AnswerInputs
    from vaebench.runs import build
    from vaebench.runs.kinds import answers, embed, grade
    from vaebench.runs.load import load_model, parents

    request, device = run.request(), setup.device
    folders = parents(run, setup.store)
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
    given, grades = answers.opened(answered.folder), grade.opened(folders["grades"], facts["answers"])
    questions = solutions = None
    protocol: dict[str, Any] = {"problems": problems.name, "train_pairs": len(problems.train)}
    if models:
        questions, solutions = embed.opened(folders["embeddings"])
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
        answers=given,
        grades=grades,
        models=models,
        questions=questions,
        solutions=solutions,
        device=setup.device,
        track=setup.track,
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
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()

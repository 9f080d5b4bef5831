"""An evaluation: a suite on one trained model, on the answers that several pick from, or on a design."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.config.choices import called
from vaebench.config.request import Request
from vaebench.contracts import AnswerInputs, SuiteInputs
from vaebench.contracts.infinite import spelled
from vaebench.data.leaves import dataset_leaf
from vaebench.disk import remove_unfinished, sha256_of
from vaebench.errors import UserError
from vaebench.runs import build, kinds
from vaebench.runs.kinds import LEAF, NUMBER, Setup, answers, asked, embed, grade, latents, train
from vaebench.runs.load import dataset_of, load_model, reference_run
from vaebench.runs.store import Run

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from vaebench.config.spine import TrainConfig
    from vaebench.contracts import Measurement, SuiteResult

VERB = "eval"
ROLE = "evaluation"
STOPS = False
_VALUE = (*NUMBER, str)  # infinity is a text
_MEASUREMENT = {
    **{"name": str, "value": _VALUE, "count": int, "unit": str, "protocol": dict},
    **{"low?": (*_VALUE, type(None)), "high?": (*_VALUE, type(None)), "by_seed?": [_VALUE]},
}
REQUEST = {"suite": LEAF, "parents": dict, "snapshot?": int, "shape?": [int], "model?": LEAF, "train?": dict}
RESULT = {
    "measurements": [_MEASUREMENT],
    "left_out?": dict,
    "dataset": {"name": str, "digest": str, "note": str, "stand_in": bool},
    "provenance": {"commit": str, "device": str},
}
_A_DAY = 86_400.0  # seconds: what another evaluation has been writing into the cache for longer has no writer


def request(cfg: TrainConfig, parents: Mapping[str, Request]) -> Request:
    """``cfg.suite`` on the runs it looks at: ``run`` (and ``classifier``), or ``answers`` and who picks among them."""
    if "run" not in parents:
        return asked(VERB, parents, suite=cfg.suite, problems=answers.problems_leaf(cfg))
    other = None if cfg.test_on is None else dataset_leaf(cfg.test_on)
    return of_run(cfg.suite, parents["run"], parents.get("classifier"), other, cfg.snapshot)


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
    other: dict[str, Any] = {} if dataset is None else {"dataset": dict(dataset)}
    other |= {} if snapshot is None else {"snapshot": int(snapshot)}
    if suite.get("reference_file"):
        path = Path(suite["reference_file"]).expanduser()
        if not path.is_file():
            raise UserError(f"suite.reference_file={suite['reference_file']}: there is no such file")
        other["reference_sha256"] = sha256_of(path)
    parents = {"run": run} | ({"classifier": classifier} if classifier else {})
    return asked(VERB, parents, suite=dict(suite), **other)


def of_design(suite: Mapping[str, Any], cfg: TrainConfig, judge: Mapping[str, Any] | None = None) -> Request:
    """A suite on a training's design alone: nothing is trained, no data is read.

    ``judge``: the classifier (a model's leaf) that the loss perceives with, if it does.
    """
    design: dict[str, Any] = {"model": cfg.model, "optim": cfg.optim}
    design["train"] = {name: getattr(cfg.train, name) for name in ("batch_size", "precision")}
    design |= {} if judge is None else {"judge": dict(judge)}
    return asked(VERB, {}, suite=dict(suite), **design, shape=list(cfg.dataset["shape"]))


def check(request: Request, models: Mapping[str, nn.Module], *, remote_code: bool) -> None:
    """Build the suite and ask whether the model can do what it needs."""
    del remote_code
    suite = build.suite(request)
    model = models.get(request["parents"].get("run", ""))
    if model is not None:
        build.check_capabilities(called(request["suite"]), suite, model)


def title(request: Request) -> str:
    """``SUITE of KEY``."""
    suite = called(request["suite"])
    if "dataset" in request.data:
        suite += f" on {train.set_name(request['dataset'])}"
    if "shape" in request.data:
        return f"{suite} of {called(request['model'])} at {'x'.join(map(str, request['shape']))}"
    return f"{suite} of {request['parents'].get('run', request['parents'].get('answers'))}"


def seconds(request: Request) -> float:
    """A rough guess."""
    return 10.0 if "problems" in request.data else 6.0


def work(run: Run, setup: Setup) -> None:
    """Run the suite and write ``result.json`` and ``arrays.npz``."""
    trained = run.parents().get("run")
    suite, steps = called(run.request()["suite"]), trained.result()["steps"] if trained else 0
    name = f"{suite} of {kinds.title(trained.request())}" if trained else title(run.request())
    with setup.tracking(run, name, trained=trained) as tracking:
        measured = _measured(run, setup)
        tracking.final(steps, {found.name: found.value for found in measured})


def _measured(run: Run, setup: Setup) -> list[Measurement]:
    """What the suite measures, which is written down."""
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
    return measured


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
    request, parents, device = run.request(), run.parents(), setup.device
    trained, cache = parents["run"], run.root / "cache"
    model = load_model(trained, device, request.data.get("snapshot"))
    suite = build.suite(request)
    build.check_capabilities(type(suite).__name__.lower(), suite, model)
    classifier = load_model(parents["classifier"], device) if suite.needs_classifier else None
    data = (build.dataset(request) if "dataset" in request.data else dataset_of(trained)).to(device)
    remove_unfinished(cache, older_than=_A_DAY)
    drawn = reference_run(trained) if getattr(suite, "needs_reference", False) else None
    inputs = SuiteInputs(
        model=model,
        data=data,
        device=device,
        cache=cache,
        classifier=classifier,
        classifier_key=request["parents"].get("classifier", ""),
        reference=latents.opened(drawn) if drawn is not None else None,
        track=setup.track,
    )
    result = suite.run(inputs)
    if "snapshot" in request.data:
        part = {"snapshot": f"{request['snapshot']} of {trained.request()['train']['snapshots']}"}
        measured = (replace(found, protocol={**found.protocol, **part}) for found in result.measurements)
        result = replace(result, measurements=tuple(measured))
    return result, latents.about(data) | {"train_images": trained.result().get("train_items", len(data))}


def _on_design(run: Run, setup: Setup) -> tuple[SuiteResult, dict[str, Any]]:
    """A model with fresh weights, on no data: what it is and what a step of it costs."""
    from vaebench.engine.runtime import seed_all

    request = run.request()
    seed_all(0)
    judge = {"perceptual": Request({"model": request["judge"]})} if "judge" in request.data else {}
    design = build.design(request, request["shape"], parents=judge, device=setup.device)
    dataset = {"name": "none", "digest": "", "stand_in": False, "note": "", "source": "none", "train_images": 0}
    return build.suite(request).run(design), dataset


def _on_answers(run: Run, setup: Setup) -> tuple[SuiteResult, dict[str, Any]]:
    """One trained model per seed (or none) on graded answers."""
    request, parents, device = run.request(), run.parents(), setup.device
    roles = sorted((role for role in parents if role.startswith("seed")), key=lambda role: int(role[len("seed") :]))
    models = [load_model(parents[role], device) for role in roles]
    suite = build.suite(request)
    for model in models:
        build.check_capabilities(type(suite).__name__.lower(), suite, model)
    answered, graded = parents["answers"], parents["grades"]
    problems = build.problems(request)
    facts = answered.result()
    if facts["problems_digest"] != problems.digest:
        raise UserError(
            f"run {answered.key} answered other problems than {problems.name} holds now; "
            f"remove {answered.folder} and run again"
        )
    given, grades = answers.opened(answered), grade.opened(graded, facts["answers"])
    questions = solutions = None
    protocol: dict[str, Any] = {"problems": problems.name, "train_pairs": len(problems.train)}
    if models:
        embedded = parents["embeddings"]
        questions, solutions = embed.opened(embedded)
        cut = embedded.result()["truncated"]["solutions"] / max(1, len(solutions))
        protocol |= {
            "embedder": build.embedder_name(embedded.request()["embedder"]),
            "cut_by_embedder": f"{cut:.1%}",
            "epochs": parents[roles[0]].result()["epochs"],
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
        "note": "; ".join(filter(None, [problems.note, *facts["notes"], *_grading(graded.result())])),
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

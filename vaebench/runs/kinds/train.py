"""A training: a model, its optimiser, the loop and the data, or the latents or vectors it is a child of."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from vaebench.config.choices import about, called, choices, leaf
from vaebench.config.request import Request
from vaebench.contracts import Exports, GivesLatents
from vaebench.data.leaves import dataset_leaf
from vaebench.errors import UserError, printable
from vaebench.runs import build, records
from vaebench.runs.kinds import LEAF, NUMBER, Setup, asked, embed, latents
from vaebench.runs.kinds.answers import folder_digest
from vaebench.runs.load import fresh_model, snapshot_name
from vaebench.runs.store import CHECKPOINT, Run
from vaebench.runs.trainlog import Log, Speed, logged

if TYPE_CHECKING:
    import torch
    from torch import nn

    from vaebench.config.spine import TrainConfig
    from vaebench.contracts import TrainingData
    from vaebench.engine.loop import Hooks
    from vaebench.engine.ranks import Ranks

VERB = "train"
ROLE = "run"
STOPS = True
_LOOP = {
    "batch_size": int,
    "precision": str,
    "schedule": str,
    "log_every": int,
    "keep?": (str, type(None)),
    "clip_norm?": (*NUMBER, type(None)),
    **{f"{name}?": (int, type(None)) for name in ("epochs", "max_steps", "watch_every", "warmup_steps", "snapshots")},
    "accumulate?": (int, type(None)),
}
REQUEST = {"model": LEAF, "optim": LEAF, "train": _LOOP, "dataset": {"name": str}, "seed": int}
RESULT = {"steps": int, "epochs": NUMBER, "parameters": int, "dataset_digest": str}
_MOST_LAYERS = 3_000  # the largest model of the papers has 750
_ITEMS = 60_000  # of a set that nothing is known of
_A_STEP, _A_NUMBER = 2e-3, 2e-7  # seconds of a small network on a core, by step and by number in a batch
_ALWAYS_SHOWN = ("latent_dim", "k", "codebook_size")  # of a model's options, in its title
_MOST_SHOWN = 4  # of those that differ from its choice's


def request(cfg: TrainConfig, parents: Mapping[str, Request]) -> Request:
    """All that decides a training's numbers, and nothing of the machine. ``parents``: by role."""
    dataset = {"name": cfg.dataset["problems"]["name"]} if cfg.on_texts else dataset_leaf(cfg.dataset)
    parts = {"model": cfg.model, "optim": cfg.optim, "train": asdict(cfg.train), "dataset": dataset}
    if path := cfg.model.get("path"):  # is no part of the key: what lies there is, or what it is called on the hub
        parts["model_digest"] = folder_digest(path) or f"{path}@{cfg.model.get('revision') or 'main'}"
    return asked(VERB, parents or None, **parts, seed=int(cfg.seed))


def check(request: Request, models: Mapping[str, nn.Module], *, remote_code: bool) -> nn.Module | None:
    """Build the model and its optimisers, and let the model adopt its parents; nothing is trained."""
    del remote_code
    from vaebench.engine.schedules import check_spec

    check_spec(request["train"])
    parents = request.data.get("parents", {})
    autoencoder = models.get(parents.get("autoencoder", ""))
    if "latents" in parents and not isinstance(autoencoder, GivesLatents):
        return None  # its mistake has been noted
    shape = autoencoder.latent_shape if isinstance(autoencoder, GivesLatents) else None
    _check_size(request, shape)
    model = build.model(request, latent_shape=shape)
    for role, key in parents.items():
        if key in models:
            build.adopt(model, role, models[key])
    build.optimizers(request, model)
    return model


def _check_size(request: Request, latent_shape: Sequence[int] | None) -> None:
    """Raise `UserError` if the model's weights are more than the memory that is free; none of it is taken."""
    import torch
    from torch.nn.modules.module import register_module_module_registration_hook

    from vaebench.engine.runtime import free_bytes

    layers = itertools.count()

    def count(module: Any, name: str, layer: Any) -> None:
        del module, name, layer
        if next(layers) == _MOST_LAYERS:
            raise UserError(build.too_large("model", request["model"], f"more than {_MOST_LAYERS:,} layers"))

    hook = register_module_module_registration_hook(count)
    try:
        with torch.device("meta"), warnings.catch_warnings(action="ignore"):
            model = build.model(request, latent_shape=latent_shape)
    except UserError:
        raise
    except Exception:  # a constructor that needs values, like those of a file: it is built with them next
        return
    finally:
        hook.remove()
    size, free = sum(one.nbytes for one in (*model.parameters(), *model.buffers())), free_bytes(torch.device("cpu"))
    if size > free:
        why = f"its weights take {size / 1e9:,.0f} GB and {free / 1e9:,.0f} GB are free"
        raise UserError(build.too_large("model", request["model"], why))


def title(request: Request) -> str:
    """``MODEL OPTION=VALUE on DATASET seed=0``, and what it builds on."""
    parents = request.data.get("parents", {})
    place = f"on {set_name(request['dataset'])}"
    place += f", latents of {parents['autoencoder']}" if "latents" in parents else ""
    place += "".join(
        f", from {key}" if role == "start" else f", {role} {key}"
        for role, key in parents.items()
        if role not in ("latents", "autoencoder", "pairs", "perceptual")
    )
    return f"{_named(request['model'])} {place} seed={request['seed']}"


def set_name(dataset: Mapping[str, Any]) -> str:
    """The name of a dataset; of one's own with what its path ends in."""
    path = dataset.get("path")
    names = [str(dataset["name"]), *([printable(PurePath(path).name)] if isinstance(path, str) else [])]
    return " ".join(dict.fromkeys(names))


def _named(model: Mapping[str, Any]) -> str:
    """The name of the choice in conf/model that a model is nearest to, and how it differs; the longest part is cut."""
    always = [f"{key}={model[key]}" for key in _ALWAYS_SHOWN if key in model]
    differing = {
        name: [
            f"{key}={model[key]}"
            for key, usual in options.items()
            if key not in _ALWAYS_SHOWN
            and isinstance(usual, bool | int | float)
            and model.get(key) not in (None, usual)
        ]
        for name, options in _models().items()
        if options["_target_"] == model.get("_target_")
    }
    if not differing:  # of a stored run whose model is gone
        return " ".join([called(model), *always])
    name = min(differing, key=lambda one: len(differing[one]))
    return " ".join([name, *always, *differing[name][:_MOST_SHOWN]])


@cache
def _models() -> dict[str, dict[str, Any]]:
    return {name: leaf("model", name) for name in choices("model")}


def seconds(request: Request) -> float:
    """A rough guess for a small network on a core, within a factor of three for most; finished runs tell better."""
    from vaebench.engine.schedules import total_steps

    spec = request["train"]
    steps = total_steps(items(request), spec["batch_size"], spec["epochs"], spec["max_steps"])
    return 1.0 + steps * (_A_STEP + _A_NUMBER * spec["batch_size"] * math.prod(request["dataset"].get("shape", ())))


def items(request: Request) -> int:
    """How many items the training set holds, by its YAML; MNIST's number where that does not say."""
    return int(about(request["dataset"]["name"]).get("items", _ITEMS))


def work(run: Run, setup: Setup) -> None:
    """Train from the checkpoint, if there is one; write weights and ``result.json``."""
    from vaebench.engine.checkpoint import checkpoint_bytes, weights_bytes
    from vaebench.engine.loop import Hooks
    from vaebench.engine.schedules import every
    from vaebench.runs.grids import grids

    begins = _begin(run, setup.device, setup.ranks)
    request, data, optimizers, state = begins.request, begins.data, begins.optimizers, begins.state
    snapshots = _kept_snapshots(run, state)

    def keep(number: int, weights: Mapping[str, torch.Tensor]) -> None:
        content = weights_bytes(weights)
        run.write(snapshot_name(number), content)
        snapshots[snapshot_name(number)] = hashlib.sha256(content).hexdigest()

    def save(found: dict[str, Any]) -> None:
        run.write(CHECKPOINT, checkpoint_bytes(run.key, {**found, "log": log.text, "snapshots": dict(snapshots)}))

    def append(record: dict[str, Any]) -> None:
        log.append(record)
        rates = {name: one.param_groups[0]["lr"] for name, one in optimizers.items() if f"{name}/loss" in record}
        tracking.log({**record, **{f"{name}/learning_rate": rate for name, rate in rates.items()}})

    def look(step: int, model: nn.Module = begins.model) -> None:
        tracking.look(step, partial(grids, model, data, request["seed"]))

    if setup.ranks and setup.ranks.shard and not begins.ranks.shard:
        setup.note("runtime.shard=true: this model has no weights that can be cut; each process holds all of them")
    log = Log(run, begun := logged(run, state))
    step = 0 if state is None else int(state["step"])
    with setup.tracking(run, title(request), step=step, history=map(json.loads, begun.splitlines())) as tracking:
        speed = Speed(tracking.log, setup.note)
        hooks = Hooks(
            log=append,
            lap=speed.lap,
            track=setup.track,
            save=save,
            due=every(setup.checkpoint_seconds),
            stop=setup.stop,
            snapshot=keep,
            look=look,
            look_every=None if begins.ranks.shard else tracking.sample_every,
        )
        steps = begins.fit(hooks)
        model = begins.whole(run)
        look(steps, model)
        tracking.final(steps, _write(run, setup, model, data, steps, speed))


def along(run: Run, device: torch.device, ranks: Ranks) -> None:
    """Do every step of a training with the process that makes it; nothing is written."""
    from vaebench.engine.loop import Hooks

    begins = _begin(run, device, ranks)
    begins.fit(Hooks())
    begins.whole(run)


@dataclass(frozen=True)
class _Begins:
    """A training as it begins, or goes on, in each of its processes."""

    request: Request
    model: nn.Module
    data: TrainingData
    optimizers: Mapping[str, torch.optim.Optimizer]
    state: dict[str, Any] | None
    ranks: Ranks

    def fit(self, hooks: Hooks) -> int:
        """Train; the number of steps."""
        from vaebench.config.spine import TrainSpec
        from vaebench.engine.loop import fit

        return fit(
            self.model,
            self.data,
            optimizers=self.optimizers,
            spec=TrainSpec(**self.request["train"]),
            seed=self.request["seed"],
            state=self.state,
            hooks=hooks,
            ranks=self.ranks,
        )

    def whole(self, run: Run) -> nn.Module:
        """The trained model; on the processor, where its weights were in parts."""
        import torch

        if not self.ranks.shard:
            return self.model
        weights = self.ranks.whole(self.model.state_dict())
        model = fresh_model(run, torch.device("cpu"))
        model.load_state_dict(weights)
        return model.eval()


def _begin(run: Run, device: torch.device, ranks: Ranks | None) -> _Begins:
    from vaebench.engine import runtime
    from vaebench.engine.checkpoint import load_checkpoint
    from vaebench.engine.ranks import ALONE
    from vaebench.engine.schedules import check_spec
    from vaebench.engine.sharding import lightened

    ranks = ranks or ALONE
    with ranks.agreeing() as facts:
        request = run.request()
        check_spec(request["train"])
        runtime.seed_all(request["seed"])
        model = fresh_model(run, device)
        data = _data(run).to(device)
        state = load_checkpoint(run.path(CHECKPOINT), run.key)
        facts |= {"code": runtime.commit(), "data": data.digest, "step": 0 if state is None else state["step"]}
    ranks = lightened(model, ranks, device)
    optimizers = build.optimizers(request, model)
    return _Begins(request, model, data, optimizers, state, ranks)


def _write(run: Run, setup: Setup, model: nn.Module, data: TrainingData, steps: int, speed: Speed) -> dict[str, Any]:
    """Write down a finished training; returns what is in ``result.json``."""
    from vaebench.engine.checkpoint import weights_bytes
    from vaebench.engine.schedules import training_count

    spec = run.request()["train"]
    run.write("model.safetensors", weights_bytes(model.state_dict()))
    if isinstance(model, Exports):
        run.remove("pretrained")
        model.export(run.path("pretrained"))
    count = training_count(len(data), spec.get("keep"))
    result = {
        "steps": steps,
        "epochs": round(steps / (count // spec["batch_size"]), 4),
        "train_items": count,
        "parameters": sum(p.numel() for p in model.parameters()),
        "dataset_digest": data.digest,
    }
    how = {"compile": setup.ranks.compile} if setup.ranks and setup.ranks.compile else {}
    setup.finish(run, result, dataset=data.source, note=data.note, speed=speed.facts(), **how)
    return result


def _data(run: Run) -> TrainingData:
    """The dataset of the request, or the latents or embedded pairs it is a child of."""
    parents = run.parents()
    if "latents" in parents:
        return latents.opened(parents["latents"])
    if "pairs" not in parents:
        return build.dataset(run.request())
    from vaebench.data import embeddings

    facts = parents["pairs"].result()
    questions, solutions = embed.opened(parents["pairs"])
    return embeddings.Pairs(
        name=facts["problems"],
        questions=questions,
        solutions=solutions,
        source=facts["source"],
        digest=embeddings.digest(questions, solutions),
        note=facts["note"],
        stand_in=facts["stand_in"],
    )


def _kept_snapshots(run: Run, state: dict[str, Any] | None) -> dict[str, str]:
    """The sha256 of the snapshots up to the checkpoint, by name. Raises `UserError` if one is not as it was."""
    sums: dict[str, str] = (state or {}).get("snapshots", {})
    for name, wanted in sums.items():
        if not run.path(name).is_file() or records.checksum(run.path(name)) != wanted:
            raise UserError(f"{run.path(name)}: is missing or damaged; remove {run.path(CHECKPOINT)} to start over")
    return dict(sums)

"""Requests that belong together: a run and all it builds on, parents before children.

Images: training -> evaluation, judged by the dataset's classifier. Texts: answers -> grades, and training pairs ->
embeddings -> one training per seed; an evaluation looks at all of them. A changed option renames what depends on it and
nothing else: another beta asks no language model again and embeds no text again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vaebench import build
from vaebench.compose import compose
from vaebench.config import Request, choices, dataset_leaf, freeze, freeze_eval, kind_of, kinds, plain
from vaebench.contracts import Suite
from vaebench.data.download import sha256_of
from vaebench.errors import UserError

# Seconds a scorer may spend on one answer before it counts as wrong.
_SECONDS_PER_ANSWER = 1.0


def is_text(cfg: DictConfig) -> bool:
    """Whether the chosen dataset is a set of problems and who answered them."""
    return "answers" in cfg.dataset


def checked(cfg: DictConfig) -> list[Request]:
    """The training request of a configuration behind its parents, every leaf bound to its signature.

    Raises all mistakes at once.
    """
    _check_kinds(cfg)
    leaves = {name: plain(cfg[name]) for name in ("model", "dataset", "optim")}
    if is_text(cfg):
        dataset = leaves.pop("dataset")
        leaves |= {"embedder": plain(cfg.embedder)}
        leaves |= {f"dataset.{part}": dataset[part] for part in ("problems", "answers")}
        _check_width(leaves["model"], leaves["embedder"])
    if cfg.suite is not None:
        leaves["suite"] = plain(cfg.suite)
    if cfg.test_on is not None:
        leaves["test_on"] = plain(cfg.test_on)
        _check_fits(plain(cfg.dataset), leaves["test_on"])
    build.check(leaves)
    return training(cfg)


def training(cfg: DictConfig) -> list[Request]:
    """The training, behind what it needs."""
    if not is_text(cfg):
        return [freeze(cfg)]
    pairs = _pairs(cfg)
    return [pairs, _on_pairs(cfg, pairs, int(cfg.seed))]


def classifier(cfg: DictConfig) -> Request:
    """The classifier of the configuration's dataset: trained once, the same for every model and scale."""
    other = compose("train", ["experiment=classifier"])
    other.dataset = cfg.dataset
    return freeze(other)


def evaluation(cfg: DictConfig, seeds: Iterable[int] | None = None) -> tuple[list[Request], Suite]:
    """The evaluation of ``cfg.suite``, behind what it needs, and the suite itself.

    ``seeds``: a suite on texts looks at these seeds' trainings together (by default at the configuration's own).
    """
    leaf = plain(cfg.suite)
    suite = build.suite(Request({"suite": leaf}))
    if is_text(cfg):
        return _selection(cfg, leaf, suite, [int(cfg.seed)] if seeds is None else list(seeds)), suite
    run = freeze(cfg)
    other = dataset_leaf(cfg.test_on) if cfg.test_on is not None else None
    if other and suite.needs_classifier:
        raise UserError(
            f"dataset@test_on={other['name']}: this suite's judge is a classifier of the training set; "
            "use suite=tokens or suite=reconstruction"
        )
    judge = classifier(cfg) if suite.needs_classifier else None
    return [run, *([judge] if judge else []), freeze_eval(leaf, run, judge, other)], suite


def answers(cfg: DictConfig) -> list[Request]:
    """The answers of a text dataset, behind the language model that gives them if it is trained here."""
    leaf = plain(cfg.dataset.answers)
    model = language_model(cfg)
    parents = {"language_model": model.key} if model else {}
    leaf = _fingerprinted(_without(leaf, "language_model"))
    parts = {"answers": leaf, "problems": _problems(cfg), "model_digest": _folder_digest(leaf.get("model"))}
    if leaf.get("model", "") is None and model is None:
        raise UserError("dataset.answers.model=null: name a model, a folder or a name on the Hugging Face hub")
    asked = Request({"verb": "answers", **parts, "parents": parents})
    return [*([model] if model else []), asked]


def language_model(cfg: DictConfig) -> Request | None:
    """The training of the language model that answers, if it is one of our own."""
    name = plain(cfg.dataset.answers).get("language_model")
    return freeze(compose("train", [f"experiment={name}"])) if name else None


def _selection(cfg: DictConfig, leaf: Mapping[str, Any], suite: Suite, seeds: list[int]) -> list[Request]:
    asked = answers(cfg)
    scorers = plain(cfg.dataset.problems).get("scorers")
    if not scorers:
        raise UserError("dataset.problems.scorers: names no scorer (name: version); docs/scoring.md has them")
    parts = {"problems": _problems(cfg), "scorers": scorers, "seconds": _SECONDS_PER_ANSWER}
    graded = Request({"verb": "grade", **parts, "parents": {"answers": asked[-1].key}})
    before, parents = [*asked, graded], {"answers": asked[-1].key, "grades": graded.key}
    if getattr(suite, "needs_model", False):
        pairs = _pairs(cfg)
        both = {"pairs": pairs.key, "answers": asked[-1].key}
        embedded = Request({**pairs.data, "parents": both})
        runs = [_on_pairs(cfg, pairs, seed) for seed in seeds]
        before += [pairs, embedded, *runs]
        parents |= {"embeddings": embedded.key}
        parents |= {f"seed{seed}": run.key for seed, run in zip(seeds, runs, strict=True)}
    return [*before, Request({"verb": "eval", "suite": dict(leaf), "problems": _problems(cfg), "parents": parents})]


def _pairs(cfg: DictConfig) -> Request:
    leaf = plain(cfg.embedder)
    parts = {"embedder": leaf, "problems": _problems(cfg), "model_digest": _folder_digest(leaf.get("model"))}
    return Request({"verb": "embed", **parts})


def _on_pairs(cfg: DictConfig, pairs: Request, seed: int) -> Request:
    parts = {name: plain(cfg[name]) for name in ("model", "optim", "train")}
    dataset = {"name": pairs["problems"]["name"]}
    return Request(
        {"verb": "train", **parts, "dataset": dataset, "seed": seed, "parents": {"pairs": pairs.key}},
    )


def _problems(cfg: DictConfig) -> dict[str, Any]:
    return _without(plain(cfg.dataset.problems), "scorers")


def _fingerprinted(leaf: dict[str, Any]) -> dict[str, Any]:
    """A file of the user's own is known by what it holds, not by where it lies."""
    if not leaf.get("path"):
        return leaf
    path = Path(leaf["path"]).expanduser().absolute()
    if not path.is_file():
        raise UserError(f"dataset.answers.path={leaf['path']}: there is no such file")
    return {**leaf, "path": str(path), "sha256": leaf["sha256"] or sha256_of(path)}


def _folder_digest(model: str | None) -> str | None:
    """Of a model in a local folder: 16 hex digits over its files, so that a changed model is another run."""
    folder = Path(model).expanduser() if model else None
    if folder is None or not folder.is_dir():
        return None
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(f"{path.relative_to(folder)} {sha256_of(path)}\n".encode())
    return found.hexdigest()[:16]


def _without(leaf: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in leaf.items() if key != name}


def _check_width(model: Mapping[str, Any], embedder: Mapping[str, Any]) -> None:
    wanted, given = model.get("embedding_dim", embedder["dim"]), embedder["dim"]
    if wanted != given:
        raise UserError(
            f"model.embedding_dim={wanted}: the embedder gives {given} dimensions ({build.embedder_name(embedder)}); "
            "leave model.embedding_dim out, or choose another embedder"
        )


def _check_kinds(cfg: DictConfig) -> None:
    """Raise `UserError` if the model works on another kind of data than the dataset holds."""
    held = "text" if is_text(cfg) else str(OmegaConf.select(cfg, "dataset.data", default="images"))
    wanted = kinds(OmegaConf.select(cfg, "model.data"))
    if held not in wanted:
        fitting = [name for name in choices("dataset") if kind_of(name) in wanted]
        name = cfg.model["_target_"].split(".")[2]
        raise UserError(
            f"model {name} works on {' and '.join(wanted)} and dataset={cfg.dataset.name} holds {held}; "
            f"datasets for it: {', '.join(fitting)}"
        )


def _check_fits(trained: Mapping[str, Any], tested: Mapping[str, Any]) -> None:
    """Raise `UserError` if what a model is tested on has not the form of what it was trained on."""
    for what in ("shape", "sample_rate"):
        one, other = trained.get(what), tested.get(what)
        if one != other and not (what == "shape" and "sample_rate" in trained):  # clips have any length
            raise UserError(
                f"dataset@test_on={tested.get('name')}: its {what} is {other}, and {trained.get('name')}'s is {one}; "
                "a model is tested on data of the form it was trained on"
            )


def title(request: Request) -> str:
    """What to call a request on the screen."""
    verb = request["verb"]
    if verb == "train":
        model = request["model"]
        options = [f"{key}={model[key]}" for key in ("latent_dim", "k", "codebook_size") if key in model]
        place = f"on {request['dataset']['name']}"
        return " ".join([model["_target_"].split(".")[2], *options, place, f"seed={request['seed']}"])
    if verb == "answers":
        leaf = request["answers"]
        own = "the language model trained here" if request.data.get("parents") else leaf["_target_"].split(".")[2]
        who = leaf.get("model") or leaf.get("name") or own
        how = f", {leaf['decoding']}" if "decoding" in leaf else ""
        return f"{who} on {request['problems']['name']}{how}"
    if verb == "embed":
        what = "answers" if "answers" in request.data.get("parents", {}) else "training pairs"
        return f"{what} of {request['problems']['name']} by {build.embedder_name(request['embedder'])}"
    if verb == "grade":
        return f"answers to {request['problems']['name']} by {', '.join(request['scorers'])}"
    suite = str(request["suite"]["_target_"].split(".")[2])
    if "dataset" in request.data:
        suite += f" on {request['dataset']['name']}"
    return f"{suite} of {request['parents'].get('run', request['parents'].get('answers'))}"


def missing(leaf: Mapping[str, Any]) -> list[str]:
    """The packages that a leaf needs and that are not installed."""
    return [name for name in leaf.get("needs") or () if find_spec(name) is None]


def try_out(chain: Iterable[Request]) -> dict[str, Any]:
    """Build what each request names, so that a bad value is an error before anything is made.

    Returns the models by the request's key. Raises `UserError` with the mistakes of all requests at once.
    """
    models: dict[str, Any] = {}
    lines: list[str] = []
    for request in chain:
        try:
            built = _try(request)
        except UserError as error:
            lines += error.lines
            continue
        if built is not None:
            models[request.key] = built
    if lines:
        raise UserError(*dict.fromkeys(lines))
    return models


def _try(request: Request) -> Any:
    verb = request["verb"]
    if verb == "train":
        from vaebench.train import check_spec

        check_spec(request["train"])
        model = build.model(request)
        build.optimizers(request, model)
        return model
    if verb == "answers":
        build.source(request)
    elif verb == "embed":
        build.embedder(request)
        lacking = missing(request["embedder"])
        if lacking:
            extra = request["embedder"].get("extra", "reasoning")
            raise UserError(
                f"embedder {build.embedder_name(request['embedder'])}: needs {', '.join(lacking)}; "
                f"pip install 'vaebench[{extra}]', or take embedder=lsa"
            )
    elif verb == "grade":
        from vaebench.metrics.answers import check

        check(request["scorers"])
    return None

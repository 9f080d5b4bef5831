"""Requests on texts: answers -> grades, and training pairs -> embeddings -> one training per seed.

An evaluation looks at all of them. A changed option renames what depends on it and nothing else: another beta asks no
language model again and embeds no text again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from vaebench.config.compose import compose
from vaebench.config.request import Request, freeze, plain
from vaebench.contracts import Suite
from vaebench.data.download import sha256_of
from vaebench.data.files import check_fields
from vaebench.data.lines import paths
from vaebench.errors import UserError
from vaebench.runs import build

# Seconds a scorer may spend on one answer before it counts as wrong.
_SECONDS_PER_ANSWER = 1.0


def is_text(cfg: DictConfig) -> bool:
    """Whether the chosen dataset is a set of problems and who answered them."""
    return "answers" in cfg.dataset


def training(cfg: DictConfig) -> list[Request]:
    """The training on embedded pairs, behind these."""
    pairs = _pairs(cfg)
    return [pairs, _on_pairs(cfg, pairs, int(cfg.seed))]


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


def selection(cfg: DictConfig, leaf: Mapping[str, Any], suite: Suite, seeds: list[int]) -> list[Request]:
    """The evaluation of the trainings of all seeds together, behind all it needs."""
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
    leaf = _without(plain(cfg.dataset.problems), "scorers")
    check_fields(leaf)
    return leaf


def _fingerprinted(leaf: dict[str, Any]) -> dict[str, Any]:
    """A file of the user's own is known by what it holds, not by where it lies."""
    if not leaf.get("path"):
        return leaf
    named = paths(leaf["path"], "dataset.answers.path")
    missing = [f"dataset.answers.path={path}: there is no such file" for path in named if not path.is_file()]
    if missing:
        raise UserError(*missing)
    found = [path.absolute() for path in named]
    sha256 = leaf["sha256"] or [sha256_of(path) for path in found]
    if isinstance(leaf["path"], str):
        return {**leaf, "path": str(found[0]), "sha256": sha256 if leaf["sha256"] else sha256[0]}
    return {**leaf, "path": [str(path) for path in found], "sha256": sha256}


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


def check_width(model: Mapping[str, Any], embedder: Mapping[str, Any]) -> None:
    """Raise `UserError` if the model takes vectors of another width than the embedder's."""
    wanted, given = model.get("embedding_dim", embedder["dim"]), embedder["dim"]
    if wanted != given:
        raise UserError(
            f"model.embedding_dim={wanted}: the embedder gives {given} dimensions ({build.embedder_name(embedder)}); "
            "leave model.embedding_dim out, or choose another embedder"
        )

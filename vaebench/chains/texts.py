"""Chains on texts: answers -> grades, and training pairs -> embeddings -> one training per seed.

An evaluation looks at all of them. A changed option renames what depends on it and nothing else: another beta asks no
language model again and embeds no text again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vaebench.config.compose import compose
from vaebench.config.request import Request
from vaebench.config.spine import TrainConfig
from vaebench.contracts import Suite
from vaebench.errors import UserError
from vaebench.runs import build
from vaebench.runs.kinds import answers as asked
from vaebench.runs.kinds import embed, grade, train
from vaebench.runs.kinds import eval as evaluations


def training(cfg: TrainConfig) -> list[Request]:
    """The embedded pairs and the training on them."""
    pairs = embed.request(cfg, {})
    return [pairs, train.request(cfg, {"pairs": pairs})]


def answers(cfg: TrainConfig) -> list[Request]:
    """The answers of a text dataset, after the language model that gives them if it is trained here."""
    name = cfg.dataset["answers"].get("language_model")
    model = {"language_model": train.request(compose("train", [f"experiment={name}"]), {})} if name else {}
    return [*model.values(), asked.request(cfg, model)]


def evaluation(cfg: TrainConfig, suite: Suite, seeds: list[int]) -> list[Request]:
    """The evaluation of the trainings of all seeds together, after all it needs."""
    *before, given = answers(cfg)
    graded = grade.request(cfg, {"answers": given})
    chain, parents = [*before, given, graded], {"answers": given, "grades": graded}
    if getattr(suite, "needs_model", False):
        pairs = embed.request(cfg, {})
        embedded = embed.request(cfg, {"pairs": pairs, "answers": given})
        runs = {f"seed{seed}": train.request(replace(cfg, seed=seed), {"pairs": pairs}) for seed in seeds}
        chain += [pairs, embedded, *runs.values()]
        parents |= {"embeddings": embedded, **runs}
    return [*chain, evaluations.request(cfg, parents)]


def check_width(model: Mapping[str, Any], embedder: Mapping[str, Any]) -> None:
    """Raise `UserError` if the model takes vectors of another width than the embedder's."""
    wanted, given = model.get("embedding_dim", embedder["dim"]), embedder["dim"]
    if wanted != given:
        raise UserError(
            f"model.embedding_dim={wanted}: the embedder gives {given} dimensions ({build.embedder_name(embedder)}); "
            "leave model.embedding_dim out, or choose another embedder"
        )

"""Evaluations after all they need: of a training, of the trainings on texts together, or of a design.

On texts there are answers -> grades, and training pairs -> embeddings -> one training per seed. A changed option
renames what depends on it and nothing else: another beta asks no language model again and embeds no text again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from vaebench.chains import chain, check
from vaebench.config.choices import called, choices, leaf
from vaebench.config.compose import compose
from vaebench.config.request import Request
from vaebench.config.spine import TrainConfig
from vaebench.contracts import Suite
from vaebench.data.leaves import moved
from vaebench.errors import UserError
from vaebench.runs import build
from vaebench.runs.kinds import answers as asked
from vaebench.runs.kinds import embed, grade, train
from vaebench.runs.kinds import eval as evaluations


def design(cfg: TrainConfig, suite: Mapping[str, Any]) -> Request:
    """The evaluation of a training's design alone."""
    judge = chain.judging(cfg, chain.PERCEIVING_SEED).model if chain.perceives(cfg) else None
    return evaluations.of_design(suite, cfg, judge)


def evaluation(cfg: TrainConfig, seeds: Iterable[int] | None = None) -> tuple[list[Request], Suite]:
    """The evaluation of ``cfg.suite``, after what it needs, and the suite itself.

    ``seeds``: a suite on texts looks at these seeds' trainings together (by default at the configuration's own).
    """
    suite = build.suite(Request({"suite": cfg.suite}))
    if cfg.on_texts:
        return _of_texts(cfg, suite, [cfg.seed] if seeds is None else list(seeds)), suite
    if getattr(suite, "of_design", False):
        return [design(cfg, cfg.suite)], suite
    *before, run = chain.training(cfg)
    return [*before, *_of_training(cfg, suite, run)], suite


def of_stored(cfg: TrainConfig, run: Request) -> tuple[list[Request], Suite]:
    """The evaluation of ``cfg.suite`` on a finished training, after what it needs besides, and the suite itself.

    Raises `UserError` for a training on texts, which the suites look at together with others.
    """
    suite = build.suite(Request({"suite": cfg.suite}))
    if "_target_" not in run["dataset"] or getattr(suite, "of_design", False):
        what = "is for designs" if getattr(suite, "of_design", False) else "looks at all seeds on texts together"
        raise UserError(
            f"run={run.key}: suite {called(cfg.suite)} {what}; give the command the options of the training"
        )
    spec = replace(cfg.train, snapshots=run["train"].get("snapshots"))
    name, path = cfg.dataset["name"], cfg.dataset.get("path")
    given = name in choices("dataset") and path != leaf("dataset", name).get("path")
    dataset = moved(run["dataset"], path if given else None)
    return _of_training(replace(cfg, dataset=dataset, train=spec), suite, run), suite


def _of_training(cfg: TrainConfig, suite: Suite, run: Request) -> list[Request]:
    """The evaluation of a run of such a configuration, after the run and the judge that it needs."""
    _check_snapshot(cfg)
    if cfg.test_on is not None and suite.needs_classifier:
        raise UserError(
            f"dataset@test_on={cfg.test_on['name']}: this suite's judge is a classifier of the training set; "
            "use suite=tokens or suite=reconstruction"
        )
    judge = chain.judge(cfg, suite, run, cfg.snapshot)
    looked_at = {"run": run} | ({"classifier": judge} if judge else {})
    return [*looked_at.values(), evaluations.request(cfg, looked_at)]


def _check_snapshot(cfg: TrainConfig) -> None:
    """Raise `UserError` if the training keeps no such snapshot."""
    kept = cfg.train.snapshots or 0
    if cfg.snapshot is not None and not 1 <= cfg.snapshot <= kept:
        raise UserError(
            f"snapshot={cfg.snapshot}: train.snapshots={cfg.train.snapshots} keeps "
            f"{f'1 to {kept}' if kept else 'none'}; leave snapshot out for the last weights, or train with "
            f"train.snapshots={max(4, cfg.snapshot)}"
        )


def answers(cfg: TrainConfig) -> list[Request]:
    """The answers of a text dataset, after the language model that gives them if it is trained here."""
    if not cfg.on_texts:
        raise UserError(f"dataset={cfg.dataset['name']} holds no questions; try dataset=tiny or dataset=gsm8k")
    check.by_itself(cfg)
    name = cfg.dataset["answers"].get("language_model")
    model = {"language_model": train.request(compose("train", [f"experiment={name}"]), {})} if name else {}
    return [*model.values(), asked.request(cfg, model)]


def _of_texts(cfg: TrainConfig, suite: Suite, seeds: list[int]) -> list[Request]:
    """The evaluation of the trainings of all seeds together, after all it needs."""
    offered, asked_for = cfg.suite.get("k"), cfg.dataset["answers"].get("k")
    if offered and asked_for and offered > asked_for:
        raise UserError(f"suite.k={offered}: dataset.answers.k={asked_for} are there to each problem; choose no more")
    *before, given = answers(cfg)
    graded = grade.request(cfg, {"answers": given})
    found, parents = [*before, given, graded], {"answers": given, "grades": graded}
    if getattr(suite, "needs_model", False):
        pairs = embed.request(cfg, {})
        embedded = embed.request(cfg, {"pairs": pairs, "answers": given})
        runs = {f"seed{seed}": train.request(replace(cfg, seed=seed), {"pairs": pairs}) for seed in seeds}
        found += [pairs, embedded, *runs.values()]
        parents |= {"embeddings": embedded, **runs}
    return [*found, evaluations.request(cfg, parents)]

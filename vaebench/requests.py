"""Requests that belong together: a training, its evaluations, and the classifier that judges them."""

from __future__ import annotations

from omegaconf import DictConfig

from vaebench import build
from vaebench.compose import compose
from vaebench.config import Request, freeze, freeze_eval, plain
from vaebench.contracts import Suite


def checked(cfg: DictConfig) -> Request:
    """The training request of a configuration, every leaf bound to its signature. Raises all mistakes at once."""
    request = freeze(cfg)
    leaves = {name: request[name] for name in ("model", "dataset", "optim")}
    if cfg.suite is not None:
        leaves["suite"] = plain(cfg.suite)
    build.check(leaves)
    return request


def classifier(cfg: DictConfig) -> Request:
    """The classifier of the configuration's dataset: trained once, the same for every model and scale."""
    other = compose("train", ["experiment=classifier"])
    other.dataset = cfg.dataset
    return freeze(other)


def evaluation(cfg: DictConfig, run: Request) -> tuple[Request, Request | None, Suite]:
    """The evaluation request of ``cfg.suite`` on ``run``, the classifier it needs (if any), and the suite itself."""
    leaf = plain(cfg.suite)
    suite = build.suite(Request({"suite": leaf}))
    judge = classifier(cfg) if suite.needs_classifier else None
    return freeze_eval(leaf, run, judge), judge, suite

"""A request: the resolved configuration of one run as plain data, and the key that names its folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vaebench.config import bounds
from vaebench.config.choices import kinds
from vaebench.errors import UserError, shown

KEY_LENGTH = 12
# Where a file is fetched from does not change what it holds (its sha256 stands beside it), so it is no part of the key.
# ``needs`` and ``data`` describe a leaf: which packages it takes, which kind of data it is for. A ``path`` has its
# sha256 beside it too.
_NOT_IN_KEY = frozenset({"mirrors", "needs", "extra", "data", "path", "builds_on"})


@dataclass(frozen=True)
class Request:
    """The resolved configuration of one training or one evaluation, as plain data; its `key` names its folder."""

    data: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """The first 12 hex digits of the sha256 over the canonical form of the data."""
        text = json.dumps(_canonical(self.data), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]

    def __getitem__(self, name: str) -> Any:
        return self.data[name]


def _canonical(value: Any) -> Any:
    """``None`` is absence (a new optional field must not rename every run) and 1.0 is 1."""
    if isinstance(value, Mapping):
        items = {str(k): v for k, v in value.items() if v is not None and k not in _NOT_IN_KEY}
        return {k: _canonical(v) for k, v in items.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def plain(node: Any) -> Any:
    """An OmegaConf node as dicts and lists, interpolations resolved; any other value as it is."""
    if not OmegaConf.is_config(node):
        return node
    try:
        return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key or 'configuration'}: {shown(bounds.first_line(error))}") from error


def dataset_leaf(node: Any) -> dict[str, Any]:
    """A dataset as plain data; of ordinary folders with their ``contents``: changed files make another request.

    Raises `UserError` for a name or a shape that cannot be one.
    """
    from vaebench.data.contents import contents
    from vaebench.data.files import check_fields, split_names

    found: dict[str, Any] = plain(node)
    check_fields(found)
    if "splits" not in found:
        return found

    name = str(found["name"])
    return {**found, "contents": contents(name, split_names(name, found["splits"]), kinds(found.get("data"))[0])}


def freeze(cfg: DictConfig, parents: Mapping[str, Request] | None = None) -> Request:
    """The request of a training: all that decides its numbers, and nothing of the machine. ``parents``: by role."""
    parts = {name: plain(cfg[name]) for name in ("model", "optim", "train")}
    data = {"verb": "train", **parts, "dataset": dataset_leaf(cfg.dataset), "seed": int(cfg.seed)}
    keys = {role: parent.key for role, parent in (parents or {}).items()}
    return Request(data | ({"parents": keys} if keys else {}))


def freeze_eval(
    suite: Mapping[str, Any],
    run: Request,
    classifier: Request | None = None,
    dataset: Mapping[str, Any] | None = None,
    snapshot: int | None = None,
) -> Request:
    """The request of an evaluation: the suite and the runs it looks at, by key.

    ``dataset``: what is tested on, if that is not the set the run was trained on. ``snapshot``: which one of the run is
    looked at, if not its last weights.
    """
    parents = {"run": run.key} | ({"classifier": classifier.key} if classifier else {})
    other: dict[str, Any] = {} if dataset is None else {"dataset": dict(dataset)}
    other |= {} if snapshot is None else {"snapshot": int(snapshot)}
    if suite.get("reference_file"):
        from vaebench.data.download import sha256_of

        path = Path(suite["reference_file"]).expanduser()
        if not path.is_file():
            raise UserError(f"suite.reference_file={suite['reference_file']}: there is no such file")
        other["reference_sha256"] = sha256_of(path)
    return Request({"verb": "eval", "suite": dict(suite), **other, "parents": parents})


def freeze_design(suite: Mapping[str, Any], cfg: DictConfig, judge: Mapping[str, Any] | None = None) -> Request:
    """The request of an evaluation of a training's design alone: nothing is trained, no data is read.

    ``judge``: the classifier (a model's leaf) that the loss perceives with, if it does.
    """
    design: dict[str, Any] = {name: plain(cfg[name]) for name in ("model", "optim")}
    design["train"] = {name: cfg.train[name] for name in ("batch_size", "precision")}
    design |= {} if judge is None else {"judge": dict(judge)}
    shape = list(cfg.dataset.shape)
    return Request({"verb": "eval", "suite": dict(suite), **design, "shape": shape, "parents": {}})

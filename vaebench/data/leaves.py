"""A dataset's YAML as a part of a request: with what the files hold where they have no checksums of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vaebench.compat import need
from vaebench.config.choices import kinds
from vaebench.data import contents as known
from vaebench.data import hub
from vaebench.data.files import check_fields, is_own, split_names
from vaebench.data.places import Splits, Tree, shown_path
from vaebench.errors import UserError

_NOT_MADE = {"test_share": None, "split_seed": None}  # of a set that has a test split


def dataset_leaf(leaf: Mapping[str, Any]) -> dict[str, Any]:
    """A dataset's YAML; of ordinary folders with their ``contents``: changed files make another request.

    Raises `UserError` for a name or a shape that cannot be one, and for a ``dataset.path`` that cannot be used.
    """
    check_fields(leaf)
    leaf = {name: value for name, value in leaf.items() if name != "about"}
    if is_own(leaf):
        return _hf_leaf(leaf) if "column" in leaf else _folder_leaf(leaf)
    if "splits" not in leaf:
        return leaf
    return {**leaf, "contents": known.contents(*_named(leaf))}


def highest_label(leaf: Mapping[str, Any]) -> int | None:
    """The highest label among the training items of a set of folders; None where it is not known before it is read."""
    if is_own(leaf):
        return None if "column" in leaf else _own_of(leaf)[1].highest_label
    found = known.named(*_named(leaf)) if "splits" in leaf else None
    return None if found is None else found.highest_label


def _named(leaf: Mapping[str, Any]) -> tuple[str, Splits, str]:
    """What a set of ordinary folders is found by: its name, its splits, and the kind of its files."""
    name = str(leaf["name"])
    return name, split_names(name, leaf["splits"]), kinds(leaf.get("data"))[0]


def _folder_leaf(leaf: dict[str, Any]) -> dict[str, Any]:
    """Of a folder of files; one with a test split needs no options of how to make one."""
    tree, found = _own_of(leaf)
    known.remember(found.digest, tree.root)
    made = not tree.splits["test"]
    return {**(leaf if made else leaf | _NOT_MADE), "path": str(tree.root), "contents": found.digest}


def _hf_leaf(leaf: dict[str, Any]) -> dict[str, Any]:
    """Of a set for the library `datasets`: a folder with the digest of its files, a name with the commit it is now."""
    need(f"dataset {leaf['name']}", leaf["needs"], leaf["extra"])
    leaf = leaf if leaf.get("test_split") is None else leaf | _NOT_MADE
    folder = known.hf_folder(leaf["path"], leaf["revision"], leaf.get("contents"))
    if folder is None:
        commit = hub.commit(leaf["path"], leaf["revision"])
        return {**leaf, "revision": commit, "contents": f"{leaf['path']}@{commit}"}
    found = known.all_files(folder)
    known.remember(found, folder)
    return {**leaf, "path": str(folder), "contents": found}


def _own_of(leaf: Mapping[str, Any]) -> tuple[Tree, known.Listing]:
    share, seed = leaf["test_share"], leaf["split_seed"]
    return known.own(leaf["path"], kinds(leaf.get("data"))[0], share, seed, leaf.get("contents"))


def moved(leaf: Mapping[str, Any], path: str | None) -> dict[str, Any]:
    """A finished run's dataset, in ``path`` if one is given; raises `UserError` if that holds something else."""
    if path in (None, leaf.get("path")) or not is_own(leaf):
        return dict(leaf)
    there = dataset_leaf({**leaf, "path": path, "contents": None})
    if there["contents"] != leaf["contents"]:
        raise UserError(f"dataset.path={path}: does not hold what the run was trained on, {leaf['path']}")
    return there


def require_classes(leaf: Mapping[str, Any]) -> None:
    """Raise `UserError` if data of one's own have no classes that a classifier could tell apart."""
    why = _unclassed(leaf) if is_own(leaf) else ""
    if why:
        raise UserError(
            f"dataset={leaf['name']}: {why}, so there are no classes, and a classifier is needed here; take another "
            "suite, or model.perceptual=none where the model wants it"
        )


def _unclassed(leaf: Mapping[str, Any]) -> str:
    if "column" in leaf:
        return "" if leaf["label"] else "dataset.label=null"
    tree, found = _own_of(leaf)
    labels = {item.label for items in found.files.values() for item in items}
    if "" in labels:
        return f"{shown_path(tree.root)} has files in no sub-folder" if len(labels) > 1 else "there are no sub-folders"
    return f"{shown_path(tree.root)} has one sub-folder" if len(labels) < 2 else ""

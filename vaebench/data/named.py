"""A folder of one's own, named by ``dataset.path`` and lying anywhere: which of its sub-folders are splits."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from vaebench.data.places import NAMED, READ, Tree, endings, shown_path, walk
from vaebench.errors import UserError

_TRAIN, _TESTS = "train", ("test", "val", "valid", "validation")  # of several to test on, the first that is there
_READ_BY = {"images": ("pictures", "folder"), "audio": ("sounds", "audio_folder")}


def own_tree(path: str | None, kind: str) -> Tree:
    """The folder as a set of this kind (``images``, ``audio``); without a test split where one has to be made.

    It has splits if ``train`` and ``test`` (or ``val``) are there, or one of them and no other file of the kind beside
    it. Otherwise all of it is one, in which the sub-folders are classes. Raises `UserError` if there is no such folder,
    it cannot be listed, or it has no file of this kind.
    """
    root = _folder(path, kind)
    try:
        below = [one for one in root.iterdir() if one.name[0] != "."]
        folders = [one for one in sorted(below) if one.is_dir() and next(walk(one, READ[kind]), None)]
        loose = any(one.is_file() and one.suffix.lower() in READ[kind] for one in below)
    except OSError as error:
        raise _unusable(root, f"cannot be listed ({error.strerror}); make it readable") from error
    if not folders and not loose:
        raise UserError(_nothing(root, kind))
    names = [one.name for one in folders]
    train = [root / _TRAIN] if _TRAIN in names else []
    test = [root / name for name in _TESTS if name in names][:1]
    alone = not loose and {*names} <= {_TRAIN, *_TESTS}
    splits = (train, test) if (train and test) or alone else ([root], [])
    return Tree(root, dict(zip(("train", "test"), map(tuple, splits), strict=True)), {}, NAMED)


def unused(tree: Tree, kind: str) -> list[str]:
    """The sub-folders that hold files of this kind and are in no split, where the folder has splits."""
    used = [folder for folders in tree.splits.values() for folder in folders]
    if tree.root in used:
        return []
    beside = (one for one in sorted(tree.root.iterdir()) if one.is_dir() and one not in used and one.name[0] != ".")
    return [f"{shown_path(one.name)}/" for one in beside if next(walk(one, READ[kind]), None)]


def _folder(path: str | None, kind: str) -> Path:
    what, name = _READ_BY[kind]
    if path is None or not path.strip():
        raise UserError(
            f"dataset={name}: which folder? Name the one that holds your {what}: dataset.path=DIR "
            "(test_on.path=DIR for a set that is only tested on)"
        )
    root = Path(path).expanduser().absolute()
    if not str(root).isprintable():  # it is stored with the run, and shown
        raise _unusable(root, "has characters in its name that cannot be printed; rename it")
    try:
        state = "a folder" if root.is_dir() else "a file" if root.exists() else ""
    except OSError as error:
        raise _unusable(root, f"cannot be opened ({error.strerror}); make it readable") from error
    if not state:
        raise _unusable(root, "there is no such folder")
    if state == "a file":
        raise _unusable(root, f"is a file; name the folder that holds your {what}")
    return root


def _unusable(root: Path, why: str) -> UserError:
    return UserError(f"dataset.path={shown_path(root)}: {why}")


def _nothing(root: Path, kind: str) -> str:
    """What to say of a folder without a file of this kind."""
    there = Counter(path.suffix.lower() for path in walk(root))
    what = f"has only {endings(there)}, and none" if there else "is empty: no file"
    other = next(one for one in _READ_BY if one != kind)
    advice = f"; {_READ_BY[other][0]} are read by dataset={_READ_BY[other][1]}" if {*there} & {*READ[other]} else ""
    return f"dataset.path={shown_path(root)}: {what} that ends in {', '.join(READ[kind])}{advice}"

"""``vaebench data``: where the datasets are, and how they get here."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from vaebench.cli.terminal import Terminal
from vaebench.config.choices import choices
from vaebench.data.fetch import fetch, status, verify
from vaebench.data.places import DatasetStatus, FileStatus, shown_path
from vaebench.errors import UserError, unknown


def command(words: list[str]) -> int:
    """``vaebench data status|fetch|verify [dataset ...]``: act, and print a table of the files.

    ``status`` and ``verify`` look at every dataset if none is named.

    Returns:
        0, or 1 if a file is corrupt, or missing (or not read) from a dataset that ``verify`` was asked for by name.
    """
    verbs = {"status": status, "fetch": fetch, "verify": verify}
    verb, named = (words[0], words[1:]) if words else ("status", [])
    names = choices("dataset")
    if verb not in verbs:
        raise UserError(unknown("data command", verb, verbs))
    if bad := [name for name in named if name not in names]:
        raise UserError(*(unknown("dataset", name, names) for name in bad))
    if verb == "fetch" and not named:
        raise UserError(f"vaebench data fetch: which dataset? Valid: {', '.join(names)}")
    found = [verbs[verb](name) for name in named or names]
    _show(found)
    states = {entry.state for item in found for entry in item.files}
    return int("corrupt" in states or (verb == "verify" and bool(named) and bool({"missing", "not read"} & states)))


def _show(found: Sequence[DatasetStatus]) -> None:
    """Print a table of the files."""
    table = Table()
    table.add_column("dataset", no_wrap=True)
    table.add_column("from")
    table.add_column("file", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("folder", overflow="fold")
    for item in found:
        origin = f"{item.origin} (a part of it)" if item.partial else item.origin
        before = ""
        for number, entry in enumerate(item.files or (FileStatus("-", "present", None),)):
            folder = shown_path(entry.where.parent) if entry.where else "-"
            row = (*(("", "") if number else (item.name, origin)), shown_path(entry.file), entry.state)
            table.add_row(*row, "" if folder == before else folder)
            before = folder
    Terminal().print(table)

"""``vaebench list`` and ``data``: what can be chosen, what has been run, where the datasets are; without torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.table import Column, Table

from vaebench.cli.terminal import Terminal
from vaebench.config import origins
from vaebench.config.choices import choices, leaf
from vaebench.config.spine import LinkSpec
from vaebench.data.places import DatasetStatus, FileStatus
from vaebench.errors import UserError, unknown
from vaebench.runs.store import Store, store_root

_NO_OPTIONS = frozenset({"_target_", "version", "input_shape", "sample_rate", "data", "needs", "extra", "defaults"})
_NO_OPTIONS |= {"name", "about", "parents", "embedded", "law", "builds_on", "templates", "fillers"}


def show(words: list[str]) -> int:
    """Print the named sections, or all of them; with ``--json`` as a list of objects each.

    ``where=FIELD=VALUE`` (several), ``sort=FIELD`` and ``columns=A,B`` are for the runs.
    """
    given = [word.partition("=")[::2] for word in words if "=" in word]
    if odd := [name for name, _ in given if name not in ("where", "sort", "columns")]:
        raise UserError(*(unknown("option", name, ("where", "sort", "columns")) for name in odd))
    as_json, words = "--json" in words, [word for word in words if "=" not in word and word != "--json"]
    if given and words != ["runs"]:
        raise UserError(f"{given[0][0]}=...: is for `vaebench list runs`; leave it out")
    options = dict(given)
    where = [value for name, value in given if name == "where"]
    sections = {**_CHOICES, "runs": lambda: _runs(where, options.get("sort", ""), options.get("columns", ""))}
    bad = [word for word in words if word not in sections]
    if bad:
        raise UserError(*(unknown("section", word, sections) for word in bad))
    chosen = words or [name for name in sections if name not in ("experiments", "answers", "problems")]
    if as_json:
        sys.stdout.write(json.dumps({name: _objects(sections[name]()) for name in chosen}, indent=1) + "\n")
        return 0
    console = Terminal()
    for name in chosen:
        console.print(sections[name]())
    return 0


def _objects(table: Table) -> list[dict[str, str]]:
    """The rows of a table, by its headings."""
    names = [str(column.header) for column in table.columns]
    return [dict(zip(names, map(str, row), strict=True)) for row in zip(*(c.cells for c in table.columns), strict=True)]


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*row)
    return table


def _leaves(group: str, choose: str = "") -> Table:
    """A group's choices with the options each takes; ``choose``: how, where the group's name is not enough."""
    options = choose.partition("@")[2] or group
    found = {name: [one for one in leaf(group, name).items() if one[0] not in _NO_OPTIONS] for name in choices(group)}
    rows = (
        (_from(group, name), ", ".join(option for one in given for option in _given(*one)))
        for name, given in found.items()
    )
    return _table(f"{group}s: {choose or group}=NAME, {options}.OPTION=VALUE", (group, "options (defaults)"), rows)


def _given(name: str, value: Any) -> Iterator[str]:
    """An option as a command takes it; those inside it each by its path, alike ones in one: ``a.{b, c}=1``."""
    if not isinstance(value, Mapping):
        yield f"{name}={value if isinstance(value, str) else json.dumps(value)}"
        return
    alike: dict[str, list[str]] = {}
    for inner, content in value.items():
        alike.setdefault(json.dumps(content), []).append(inner)
    for content, names in alike.items():
        these = f"{{{', '.join(names)}}}" if len(names) > 1 else names[0]
        yield from _given(f"{name}.{these}", json.loads(content))


def _chains() -> Table:
    """Of every chain its links, each with the links that it builds on."""
    rows = []
    for name in choices("chain"):
        for link, about in leaf("chain", name).items():
            on = ", ".join(f"{role} {parent}" for role, parent in about.get("parents", {}).items())
            rows.append((_from("chain", name), link, about.get("experiment") or about.get("kind", LinkSpec.kind), on))
    return _table("chains: chain=NAME link=LINK, chain.LINK.OPTION=VALUE", ("chain", "link", "run", "on"), rows)


def _named(group: str, title: str) -> Table:
    return _table(title, (group,), ((_from(group, name),) for name in choices(group)))


def _from(group: str, name: str) -> str:
    """A choice, with the plug-in that it comes from."""
    origin = origins.of(group, name)
    if origin is None or origin.name == origins.OWN:
        return name
    return f"{name} ({' '.join(filter(None, [origin.name, origin.version]))})"


def _datasets() -> Table:
    from vaebench.data.fetch import whence

    rows = ((_from("dataset", name), _holds(name), whence(name)) for name in choices("dataset"))
    return _table("datasets: dataset=NAME", ("dataset", "holds", "here"), rows)


def _holds(name: str) -> str:
    """A set's images by their shape, or its problems and who answered them."""
    from vaebench.data.files import parts

    chosen, found = parts(name), leaf("dataset", name)
    if chosen:
        return f"{chosen['problems']}, answered by {chosen['answers']}"
    if "sample_rate" in found:
        return f"audio, {found['sample_rate']} Hz"
    return "x".join(_size(found, size) for size in found["shape"]) if "shape" in found else str(found["data"])


def _size(leaf: Mapping[str, Any], size: Any) -> str:
    """A size in a shape, which may be that of another option: ``${..size}``."""
    return str(leaf[size.strip("${.}")] if isinstance(size, str) else size)


def _papers() -> Table:
    from vaebench.papers.tables import captions

    rows = [(_from("paper", name), *table) for name in choices("paper") for table in captions(name).items()]
    return _table("papers: vaebench reproduce paper=NAME table=TABLE", ("paper", "table", "caption"), rows)


def _scales() -> Table:
    keys = ("seeds", "epochs", "max_steps")
    rows = ([name, *(str(leaf("scale", name)[key] or "-") for key in keys)] for name in ("smoke", "small", "paper"))
    return _table("scales: scale=NAME", ("scale", "seeds", "epochs", "at most steps"), rows)


def _runs(where: Sequence[str] = (), sort: str = "", columns: str = "") -> Table:
    from vaebench.runs import listed

    store = Store(store_root())
    rows = listed.rows(store, where, sort)
    shown = listed.columns(rows, columns, picked=bool(where))
    lines = ([_written(row.get(name)) for name in shown] for row in rows)
    return _table(f"runs in {store.root.name}/", shown, lines)


def _written(value: Any) -> str:
    return "" if value is None else str(value)


_CHOICES: dict[str, Callable[[], Table]] = {
    "models": lambda: _leaves("model"),
    "datasets": _datasets,
    "references": lambda: _leaves("reference"),
    "chains": _chains,
    "networks": lambda: _leaves("network", "network@model.network"),
    "encoders": lambda: _leaves("encoder", "encoder@model.encoder"),
    "decoders": lambda: _leaves("decoder", "decoder@model.decoder"),
    "autoencoders": lambda: _leaves("autoencoder", "autoencoder@model.autoencoder"),
    "suites": lambda: _leaves("suite"),
    "embedders": lambda: _leaves("embedder"),
    "trackers": lambda: _leaves("tracker"),
    "executors": lambda: _leaves("executor"),
    "answers": lambda: _named("answers", "who answers: answers@dataset.answers=NAME with dataset=gsm8k or math"),
    "problems": lambda: _named("problems", "sets of problems: problems@dataset.problems=NAME"),
    "papers": _papers,
    "scales": _scales,
    "experiments": lambda: _named("experiment", "experiments: vaebench train experiment=NAME"),
}
SECTIONS = (*_CHOICES, "runs")


def data(words: list[str]) -> int:
    """``vaebench data status|fetch|verify [dataset ...]``: act, and print a table of the files.

    ``status`` and ``verify`` look at every dataset if none is named.

    Returns:
        0, or 1 if a file is corrupt, or missing (or not read) from a dataset that ``verify`` was asked for by name.
    """
    from vaebench.data.fetch import fetch, status, verify

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
    Terminal().print(_files(found))
    states = {entry.state for item in found for entry in item.files}
    return int("corrupt" in states or (verb == "verify" and bool(named) and bool({"missing", "not read"} & states)))


def _files(found: Sequence[DatasetStatus]) -> Table:
    """Which files of each dataset are where; what is as in the line above is left out."""
    from vaebench.data.places import shown_path

    table = Table(
        Column("dataset", no_wrap=True),
        Column("from"),
        Column("file", overflow="fold"),
        Column("state", no_wrap=True),
        Column("folder", overflow="fold"),
    )
    for item in found:
        origin = f"{item.origin} (a part of it)" if item.partial else item.origin
        before = ""
        for number, entry in enumerate(item.files or (FileStatus("-", "present", None),)):
            folder = shown_path(entry.where.parent) if entry.where else "-"
            row = (*(("", "") if number else (item.name, origin)), shown_path(entry.file), entry.state)
            table.add_row(*row, "" if folder == before else folder)
            before = folder
    return table

"""``vaebench list`` and ``data``: what can be chosen, what has been run, where the datasets are; without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rich.table import Column, Table

from vaebench.cli.terminal import Terminal
from vaebench.config import origins
from vaebench.config.choices import called, choices, leaf
from vaebench.config.spine import LinkSpec
from vaebench.data.places import DatasetStatus, FileStatus
from vaebench.errors import UserError, unknown
from vaebench.runs.store import Run, Store, store_root

_NO_OPTIONS = frozenset({"_target_", "version", "input_shape", "sample_rate", "data", "needs", "extra", "defaults"})
_NO_OPTIONS |= {"name", "about", "parents", "embedded", "law", "builds_on", "templates", "fillers"}


def show(words: list[str]) -> int:
    """Print the named sections, or all of them."""
    sections: dict[str, Callable[[], Table]] = {
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
        "answers": lambda: _named("answers", "who answers: answers@dataset.answers=NAME with dataset=gsm8k or math"),
        "problems": lambda: _named("problems", "sets of problems: problems@dataset.problems=NAME"),
        "papers": _papers,
        "scales": _scales,
        "experiments": lambda: _named("experiment", "experiments: vaebench train experiment=NAME"),
        "runs": _runs,
    }
    bad = [word for word in words if word not in sections]
    if bad:
        raise UserError(*(unknown("section", word, sections) for word in bad))
    console = Terminal()
    for name in words or [name for name in sections if name not in ("experiments", "answers", "problems")]:
        console.print(sections[name]())
    return 0


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*row)
    return table


def _leaves(group: str, choose: str = "") -> Table:
    """A group's choices with the options each takes; ``choose``: how, where the group's name is not enough."""
    options = choose.partition("@")[2] or group
    found = {name: [one for one in leaf(group, name).items() if one[0] not in _NO_OPTIONS] for name in choices(group)}
    rows = ((_from(group, name), ", ".join(f"{key}={value}" for key, value in given)) for name, given in found.items())
    return _table(f"{group}s: {choose or group}=NAME, {options}.OPTION=VALUE", (group, "options (defaults)"), rows)


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
    from vaebench.data.fetch import available

    rows = ((_from("dataset", name), _holds(name), available(name)) for name in choices("dataset"))
    return _table("datasets: dataset=NAME", ("dataset", "holds", "here"), rows)


def _holds(name: str) -> str:
    """A set's images by their shape, or its problems and who answered them."""
    from vaebench.data.files import parts

    chosen, found = parts(name), leaf("dataset", name)
    if chosen:
        return f"{chosen['problems']}, answered by {chosen['answers']}"
    if "sample_rate" in found:
        return f"audio, {found['sample_rate']} Hz"
    return "x".join(map(str, found["shape"])) if "shape" in found else str(found["data"])


def _papers() -> Table:
    from vaebench.papers.tables import load

    rows = [
        (_from("paper", name), key, one.caption) for name in choices("paper") for key, one in load(name).tables.items()
    ]
    return _table("papers: vaebench reproduce paper=NAME table=TABLE", ("paper", "table", "caption"), rows)


def _scales() -> Table:
    keys = ("seeds", "epochs", "max_steps")
    rows = ([name, *(str(leaf("scale", name)[key] or "-") for key in keys)] for name in ("smoke", "small", "paper"))
    return _table("scales: scale=NAME", ("scale", "seeds", "epochs", "at most steps"), rows)


def _runs() -> Table:
    from vaebench.runs.kinds import title

    store = Store(store_root())
    table = Table("run", "verb", "what", "status", "evaluations", title=f"runs in {store.root.name}/")
    for run in store.runs():
        try:
            request = run.request()
            state, evaluations = run.state(), _evaluations(run)
        except UserError as error:
            table.add_row(run.key, "?", " ".join(error.lines), "damaged", "")
            continue
        what = run.status()["reason"] if state == "damaged" else title(request)
        table.add_row(run.key, request["verb"], what, state, evaluations)
    return table


def _evaluations(run: Run) -> str:
    """The suites that were run on a training; one whose request cannot be read is named."""
    names = []
    for path in sorted(run.path("evals").glob("*/request.yaml")):
        try:
            names.append(called(Run(path.parent).request()["suite"]))
        except UserError:
            names.append(f"{path.parent.name} (damaged)")
    return " ".join(dict.fromkeys(sorted(names)))


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

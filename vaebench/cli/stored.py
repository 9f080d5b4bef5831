"""``vaebench runs show|remove|pack|unpack|push|pull`` and ``vaebench export``: single runs of the store."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from vaebench import __version__
from vaebench.cli.terminal import Terminal
from vaebench.config.choices import choices
from vaebench.config.signatures import require
from vaebench.errors import UserError, shown, unknown
from vaebench.runs import packed
from vaebench.runs.kinds import title
from vaebench.runs.listed import named, training
from vaebench.runs.store import Run, Store, store_root

# What an evaluation of a finished run is told.
_OF_STORED = ("suite", "snapshot", "runtime", "tracker", "store", "quiet")
VERBS = {"show": "KEY", "remove": "KEY", "pack": "KEY [FILE.zip]", "unpack": "FILE.zip"}
VERBS |= {"push": "URL [KEY ...]", "pull": "URL [KEY ...]"}


def runs(words: list[str]) -> int:
    """Act on a run, which the beginning of its key names. Raises `UserError` if there is none, or several."""
    as_json, words = "--json" in words, [word for word in words if word != "--json"]
    verb, *rest = words or [""]
    if verb not in VERBS:
        raise UserError(unknown("runs command", verb, VERBS) if verb else f"vaebench runs: which? {', '.join(VERBS)}")
    if not rest or (len(rest) > 1 + (verb == "pack") and verb not in ("push", "pull")):
        raise UserError(f"vaebench runs {verb} {VERBS[verb]}: expected these words")
    store = Store(store_root())
    if verb == "unpack":
        new, there = packed.unpack(Path(rest[0]).expanduser(), store)
        _say(f"unpacked: {', '.join(new) or 'nothing new'}" + (f"; here already: {', '.join(there)}" if there else ""))
        return 0
    if verb in ("push", "pull"):
        _copy(verb, rest[0], rest[1:], store)
        return 0
    run = named(store, rest[0])
    if verb == "show":
        _show(run, as_json)
    elif verb == "remove":
        packed.remove(run, store)
        _say(f"removed: {run.key}")
    else:
        target = Path(rest[1] if rest[1:] else f"{run.key}.zip").expanduser()
        _say(f"packed: {', '.join(packed.pack(run, target))} into {target} ({target.stat().st_size:,} bytes)")
    return 0


def _copy(verb: str, url: str, keys: Sequence[str], store: Store) -> None:
    """Push runs into a store elsewhere, or pull them: those that are named, or all that are finished."""
    from vaebench.runs import remote

    say, elsewhere = Terminal(stderr=True, soft_wrap=True).print, remote.Remote.at(url)
    if verb == "push":
        wanted = [named(store, key) for key in keys] or list(_whole(store, say))
        if not wanted:
            raise UserError(f"store {store.root}: holds no finished run")
        new, there = remote.push(elsewhere, wanted, say)
    else:
        new, there = remote.pull(elsewhere, store, keys, say)
    past = {"push": "pushed", "pull": "pulled"}[verb]
    _say(f"{past}: {', '.join(new) or 'nothing new'}" + (f"; there already: {', '.join(there)}" if there else ""))


def _whole(store: Store, say: Callable[[str], None]) -> Iterator[Run]:
    """The finished runs that can be pushed with all they build on; of the others it is said why not."""
    for run in (one for one in store.runs() if one.done):
        try:
            lacking = [one.key for one in packed.behind(run) if "files" not in one.status()]
        except UserError as error:
            say(f"left out: {error}")
            continue
        if lacking:
            say(f"left out: run {run.key}, with {', '.join(lacking)} from before 0.6; `vaebench runs pack` takes it")
        else:
            yield run


def words_for(key: str, words: list[str]) -> list[str]:
    """The words of ``vaebench eval run=KEY``, with the data of that run; ``dataset.path`` says where they lie now.

    Raises `UserError` if no such run is there, or for options of a training.
    """
    store = next((word.partition("=")[2] for word in words if word.startswith("store=")), None)
    dataset = named(Store(store_root(store)), key).request().data.get("dataset", {}).get("name")
    idle = [word for word in words if re.split(r"[.=@]", word)[0] not in _OF_STORED and "test_on" not in word]
    idle = [word for word in idle if not word.startswith("dataset.path=")]
    require(*(f"{shown(word)}: run {key} is trained already; leave it out" for word in idle))
    return [*([f"dataset={dataset}"] if dataset in choices("dataset") else []), *words]


def export(words: list[str]) -> int:
    """``vaebench export KEY --to DIR [--push ORG/NAME [--private]]``.

    Raises `UserError` for other words, and as `vaebench.runs.exported.export` and `vaebench.runs.pushed.push`.
    """
    from vaebench.runs import exported, pushed

    key, options = _options_of_export(words)
    target, name = Path(options["--to"]).expanduser(), options.get("--push")
    if name is not None:
        pushed.check(name)
    run = named(Store(store_root()), key)
    training(run, f"run {run.key}")
    if name is not None and exported.holds(target, run):
        _say(f"exported before: run {run.key} into {target}, to be pushed as it stands")
    else:
        kind = exported.export(run, target, name or target.name)
        _say(f"exported: run {run.key} into {target}, for {kind} ({target / 'README.md'} says how to load it)")
    if name is not None:
        message = f"Run {run.key} of vaebench {__version__}"
        _say(f"pushed: {pushed.push(target, name, private='--private' in options, message=message)}")
    return 0


def _options_of_export(words: list[str]) -> tuple[str, dict[str, str]]:
    """The run's key, and the options with their values. Raises `UserError` for other words."""
    keys, options, left = [], {}, list(words)
    while left:
        name, equals, value = left.pop(0).partition("=")
        if name in ("--to", "--push") and name not in options and (equals or left):
            options[name] = value if equals else left.pop(0)
        elif name == "--private" and not equals:
            options[name] = ""
        else:
            keys.append(name + equals + value)
    fits = len(keys) == 1 and not keys[0].startswith("--") and options.get("--to")
    if not fits or ("--private" in options and "--push" not in options):
        raise UserError("vaebench export: expected KEY --to DIR [--push ORG/NAME [--private]]")
    return keys[0], options


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _show(run: Run, as_json: bool) -> None:
    """All that is known of a run: what it is, how it stands, on what it builds, where and with what it was made."""
    request, status = run.request(), run.status()
    facts: dict[str, Any] = {
        "run": run.key,
        "what": title(request),
        "status": run.state(),
        "reason": status.get("reason"),
        "seconds": status.get("spent"),
        "folder": str(run.folder),
        "parents": dict(request.data.get("parents", {})),
        "evaluations": {path.parent.name: Run(path.parent).state() for path in run.path("evals").glob("*/status.json")},
        "provenance": run.provenance() if run.done and run.path("provenance.json").exists() else {},
        "result": run.result() if run.done else {},
    }
    if as_json:
        _say(json.dumps({**facts, "request": dict(request.data)}, indent=1, default=str))
        return
    table = Table("", "", show_header=False)
    for name, value in facts.items():
        if value not in (None, {}, ""):
            nested = isinstance(value, dict | list)
            table.add_row(name, yaml.safe_dump(value, sort_keys=False).strip() if nested else str(value))
    Terminal().print(table)
    _say(yaml.safe_dump(dict(request.data), sort_keys=False).rstrip())

"""The runs of a store, by the beginning of their keys and as rows: what each is, how it stands, how it differs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vaebench.config.choices import called
from vaebench.config.request import Request
from vaebench.errors import UserError, shown, unknown
from vaebench.runs.kinds import title
from vaebench.runs.store import Run, Store, store_root

if TYPE_CHECKING:
    from pandas import DataFrame

USUAL = ("run", "verb", "what", "status", "evaluations")
_SHOWN = 4  # options of a run in which it differs from those listed with it, keys that begin alike
_NO_OPTION = frozenset({"_target_", "version", "name", "input_shape", "about", "needs", "extra", "data"})


def rows(store: Store, where: Sequence[str] = (), sort: str = "") -> list[dict[str, Any]]:
    """All runs of which ``where`` holds, oldest first or by ``sort``: what to call a field, and what it is.

    ``where``: ``FIELD=VALUE``, all of them; a field is one of a row's, or an option by its dotted name
    (``model.k=4``, ``status=failed``). ``sort``: a field, ``-`` in front for the other way round.

    Raises:
        UserError: a field that no run has, or no ``FIELD=VALUE``.
    """
    found = [_facts(run) for run in store.runs()]
    known = dict.fromkeys(field for row in found for field in row)
    for text in where:
        field, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"where={shown(text)}: expected FIELD=VALUE, like where='model=vae'")
        _check_field("where", field, known)
        found = [row for row in found if text_of(row.get(field)) == value]
    if sort:
        field = sort.removeprefix("-")
        _check_field("sort", field, known)
        found.sort(key=lambda row: _order(row.get(field)), reverse=sort.startswith("-"))
    differing = _differing(found)
    return [{**row, "differs": _differences(row, differing)} for row in found]


def frame(where: Sequence[str], store: str | os.PathLike[str] | None) -> DataFrame:
    """`rows` of the store in a folder."""
    import pandas as pd

    return pd.DataFrame(rows(Store(store_root(None if store is None else os.fspath(store))), where))


def named(store: Store, key: str) -> Run:
    """The run whose key begins so, an evaluation too. Raises `UserError` if there is none, or several."""
    places = [*store.root.glob("*/request.yaml"), *store.root.glob("*/evals/*/request.yaml")]
    found = sorted(path.parent for path in places if key and path.parent.name.startswith(key))
    if len(found) == 1:
        return Run(found[0])
    if found:
        names = ", ".join(path.name for path in found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
        raise UserError(f"run {shown(key)}: {len(found)} runs begin so ({names}); write more of the key")
    raise UserError(f"run {shown(key)}: there is no such run in {store.root}; `vaebench list runs` shows them")


def training(run: Run, where: str) -> Request:
    """The request of a finished training. Raises `UserError`, beginning with ``where``, if the run is none."""
    request = run.request()
    if request["verb"] != "train":
        raise UserError(f"{where}: is no training but {title(request)}; `vaebench list runs` shows the runs")
    run.check_done(where)
    return request


def columns(found: Sequence[Mapping[str, Any]], wanted: str, *, picked: bool) -> list[str]:
    """The fields to show: those of a comma-separated list, or the usual ones. ``picked``: whether not all are listed.

    Why a run failed is usual where one did; in what runs differ, where some were picked. Raises `UserError` for a field
    that no run has.
    """
    if not wanted:
        failed = any(row["status"] == "failed" for row in found)
        return [*USUAL, *(["reason"] if failed else []), *(["differs"] if picked else [])]
    names = [name.strip() for name in wanted.split(",")]
    known = dict.fromkeys((*USUAL, "reason", "differs", *(field for row in found for field in row)))
    for name in names:
        _check_field("columns", name, known)
    return names


def _facts(run: Run) -> dict[str, Any]:
    """What a row says, then every option by its dotted name."""
    try:
        request, status = run.request(), run.status()
        state = run.state()
    except UserError as error:
        return {"run": run.key, "verb": "?", "what": " ".join(error.lines), "status": "damaged", "reason": str(error)}
    reason = str(status.get("reason", ""))
    what = reason if state == "damaged" else title(request)
    options = dict(_flat(request.data))
    row = {"run": run.key, "verb": request["verb"], "what": what, "status": state, "reason": reason}
    row |= {part: called(request[part]) for part in ("model", "suite") if part in request.data}
    row |= {part: request[part]["name"] for part in ("dataset", "problems") if "name" in request.data.get(part, {})}
    return {**row, "evaluations": _evaluations(run), **options}


def _evaluations(run: Run) -> str:
    """The suites that were run on a training; one whose request cannot be read is named."""
    names = []
    for path in sorted(run.path("evals").glob("*/request.yaml")):
        try:
            names.append(called(Run(path.parent).request()["suite"]))
        except UserError:
            names.append(f"{path.parent.name} (damaged)")
    return " ".join(dict.fromkeys(sorted(names)))


def _flat(data: Mapping[str, Any], inside: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in data.items():
        if name in _NO_OPTION or value is None:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{inside}{name}.")
        else:
            yield f"{inside}{name}", value


def _differing(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The options that the runs of one model do not all have alike."""
    by_model: dict[tuple[Any, Any], list[Mapping[str, Any]]] = {}
    for row in found:
        by_model.setdefault((row["verb"], row.get("model")), []).append(row)
    names = dict.fromkeys(name for row in found for name in row if "." in name or name == "seed")
    alike = {n for n in names if all(len({text_of(r.get(n)) for r in part}) == 1 for part in by_model.values())}
    return [name for name in names if name not in alike and not name.startswith(("parents.", "dataset."))]


def _differences(row: Mapping[str, Any], names: Sequence[str]) -> str:
    there = [f"{name.rpartition('.')[2]}={text_of(row[name])}" for name in names if name in row]
    return ", ".join(there[:_SHOWN]) + (f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else "")


def _check_field(option: str, field: str, known: Iterable[str]) -> None:
    if field not in known:
        raise UserError(unknown(option, field, known))


def text_of(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(text_of, value))}]"
    return "" if value is None else str(value)


def _order(value: Any) -> tuple[int, float, str]:
    """Numbers by size, then texts, then what is not there."""
    if isinstance(value, int | float):
        return 0, float(value), ""
    return (2, 0.0, "") if value is None else (1, 0.0, text_of(value))

"""Rows of one's own in a paper's table: the same set, scale, seeds and suites, and claims about how they compare."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath

from rich.console import Console

from vaebench.chains import check
from vaebench.config import overrides
from vaebench.config.spine import ReproduceConfig, TrainConfig
from vaebench.data.fetch import available
from vaebench.data.places import NAMED
from vaebench.errors import UserError, shown
from vaebench.papers import tables
from vaebench.papers.records import Claim, Paper, Row, Table
from vaebench.reproduce import collect, planning
from vaebench.reproduce.rows import RowHere, Setting, suite_of
from vaebench.runs import build

_LONGEST = 40  # characters of a label, in the name of a row: it is a part of a folder's
_HOW = "with='model=mine model.k=16', or with='LABEL: model=mine'"


def run(cfg: ReproduceConfig, added: Sequence[str], console: Console, data: Sequence[str] = ()) -> int:
    """``vaebench compare``: reproduce a table's rows with others beside them. Returns 1 if some job failed, else 0.

    ``added``: of each row what makes it, overrides in one text, perhaps after a label and a colon. ``data``: options of
    a dataset of one's own (``dataset.path=DIR``).

    Raises:
        UserError: not one paper and one table of it, nothing that is added, a row that nothing can measure, or options
            of another dataset.
    """
    paper, key = _table(cfg)
    rows = planning.chosen("row", cfg.row, list(paper.tables[key].rows))
    table = _on_own(cfg, paper.tables[key].only(rows), data)
    own: dict[str, Row] = {}
    for text in added:
        name, row = _row(text)
        if name in {*own, *paper.tables[key].rows}:
            raise UserError(f"with={shown(text)}: there is a row {name} already; give this one a label ({_HOW})")
        own[name] = row
    if not own:
        raise UserError(f"compare: which row is added? {_HOW}")
    name = "-".join((paper.name, key, *own, *_folder(data)))
    chosen = [] if cfg.row == "all" else [f"row={cfg.row}"]
    again = ["vaebench", "compare", f"paper={cfg.paper}", *chosen, *data, *(f"with={t}" for t in added)]
    left_out: list[str] = []
    found = {one: _measurable(cfg, key, table, one, row, left_out) for one, row in own.items()}
    title = f"{paper.title}, with rows added"
    with_rows = {key: _with(table, found, left_out)}
    tables.add(replace(paper, name=name, title=title, again=shlex.join(again), tables=with_rows))
    # One table, in which the added rows and the claims about them are what was asked for: it is shown.
    return collect.run(replace(cfg, paper=name, table=key, row="all", full=True), console)


def _folder(data: Sequence[str]) -> list[str]:
    """What data of one's own are called, in the name of the results: those of another folder stand beside them."""
    paths = (word.partition("=")[2] for word in data if word.startswith(f"{NAMED}="))
    return [re.sub(r"[^\w-]+", "_", PurePath(path.strip("'\"")).name)[:_LONGEST] for path in paths]


def _table(cfg: ReproduceConfig) -> tuple[Paper, str]:
    """The paper and the name of its table."""
    if cfg.paper == "all" or "," in cfg.paper:
        raise UserError(f"paper={cfg.paper}: compare takes one; valid: {', '.join(tables.names())}")
    (name,) = planning.chosen("paper", cfg.paper, tables.names())
    paper = tables.load(name)
    keys = [key for key, table in paper.tables.items() if not table.study]
    if cfg.table == "all" or "," in cfg.table:
        raise UserError(f"table={cfg.table}: compare takes one; valid: {', '.join(keys)}")
    return paper, planning.chosen("table", cfg.table, keys)[0]


def _on_own(cfg: ReproduceConfig, table: Table, data: Sequence[str]) -> Table:
    """The table on data of one's own: options of the dataset are changes of every row, and of its columns' stages."""
    if data and available(cfg.dataset or "digits") != NAMED:
        advice = "here a dataset has no options, unless it is your own (dataset=folder dataset.path=DIR)"
        raise UserError(*(f"{shown(word)}: {advice}" for word in data))
    spelled = (overrides.spelled(word, TrainConfig, sweep=False)[0].partition("=") for word in data)
    options = {name: value for name, _, value in spelled}
    return replace(table, set={**table.set, **options}, stages={**table.stages, **options})


def _row(text: str) -> tuple[str, Row]:
    """A row by its name, from what ``with`` says of it."""
    label, colon, rest = text.partition(": ")
    try:
        words = shlex.split(rest if colon else text)
    except ValueError as error:
        raise UserError(f"with={shown(text)}: cannot be read ({error}); {_HOW}") from error
    given = dict(word.partition("=")[::2] for word in words)
    if strays := [word for word in words if "=" not in word]:
        raise UserError(f"with={shown(text)}: {shown(strays[0])!r} is no option; {_HOW}")
    if not given.keys() & {"model", "experiment"}:
        raise UserError(f"with={shown(text)}: names neither model nor experiment; {_HOW}")
    if unfit := given.keys() & {"dataset", "scale", "seed"}:
        raise UserError(f"with={shown(text)}: {', '.join(sorted(unfit))} is the table's, the same for all its rows")
    label = label.strip() if colon else " ".join(words)
    name = "".join(c if c.isalnum() else "_" for c in label.lower()[:_LONGEST]).strip("_")
    return name or "added", Row(label=label, experiment="", words=tuple(words), short=label)


def _with(table: Table, own: Mapping[str, Row], notes: Sequence[str]) -> Table:
    """The table with rows of one's own, and a claim for each number of theirs beside each of the others'."""
    rows = {**table.rows, **own}
    relation = {"higher": "above", "lower": "below"}
    claims = [
        Claim(
            id=f"{row}.{column}.{than}",
            text=f"{entry.label}: {own[row].label} {relation[entry.better]} {rows[than].label}",
            row=row,
            column=column,
            holds=entry.better,
            than=than,
            than_column=column,
            kind="control",
        )
        for row, (column, entry), than in itertools.product(own, table.columns.items(), table.rows)
        if entry.better != "none" and own[row].has(column) and rows[than].has(column)
    ]
    return replace(table, rows=rows, claims=(*table.claims, *claims), notes=(*table.notes, *notes))


def _measurable(cfg: ReproduceConfig, key: str, table: Table, name: str, row: Row, left_out: list[str]) -> Row:
    """A row with the columns that its model can be measured in; why not in others goes into ``left_out``.

    Raises `UserError` for a row that can be measured in none.
    """
    scale = cfg.scale or "small"
    dataset = cfg.dataset or next(iter(table.sets(scale)), table.dataset)
    setting = Setting(scale, dataset, False, "classifier", 1)
    trainings = RowHere(cfg.paper, key, replace(table, rows={name: row}), name, setting).trainings()
    model = check.try_out(trainings, remote_code=cfg.runtime.trust_remote_code)[trainings[-1].key]
    why = {}
    for column, entry in table.columns.items():
        try:
            build.check_capabilities(entry.suite, suite_of(table.suite(entry, row, scale)), model)
        except UserError as error:
            why[column] = error.lines[0]
    if len(why) == len(table.columns):
        raise UserError(*(f"with: {row.label}: {line}" for line in dict.fromkeys(why.values())))
    left_out += (f"{row.label}, {table.columns[column].label}: {line}" for column, line in why.items())
    return replace(row, columns=tuple(column for column in table.columns if column not in why)) if why else row

"""Which data a table lacks, and why it is not run then."""

from __future__ import annotations

from vaebench.config.choices import choices, kind_of
from vaebench.data.fetch import at_hand
from vaebench.papers.tables import Table, load


def absent(table: Table, name: str) -> list[str]:
    """The sets that are not at hand of what is measured on ``name`` and what its models are trained on."""
    needed = dict.fromkeys((name, table.trained_on(name)))
    return [one for one in needed if not at_hand(one)]


def why_not_on(dataset: str, table: Table) -> str:
    """Why the table is not measured on this set, if it is not."""
    held, wanted = kind_of(dataset), kind_of(table.dataset)
    if held != wanted:
        return f"is measured on {wanted}, and dataset={dataset} holds {held}"
    if table.train_on and dataset not in table.train_on:
        return f"is measured out of domain, on one of {', '.join(table.train_on)}; not on dataset={dataset}"
    if not table.stand_in and dataset not in table.own:
        return f"is not measured on dataset={dataset}; its own: {', '.join(table.own)}"
    return ""


def why_not(wanted: str | None, paper: str, key: str, table: Table, scale: str) -> str:
    """Why a table is left out at a scale, where no set of its own is at hand or ``wanted`` is none of them."""
    name = f"{paper} {key}"
    if wanted and not why_not_on(wanted, table):
        return f"{name} on {wanted} needs models trained on {table.trained_on(wanted)}, which is not here"
    if wanted:
        held = {kind_of(other.dataset) for other in load(paper).tables.values()}
        of_another_kind = kind_of(wanted) not in held  # one line then, not one for each table
        return f"{paper if of_another_kind else name} {why_not_on(wanted, table)}"
    lacking = [one for dataset in table.sets(scale) for one in absent(table, dataset)]
    # Else this scale has no stand-in for the paper's sets.
    if lacking and not (table.stand_ins and scale != "paper"):
        nowhere = "neither here nor downloadable (vaebench data status; VAEBENCH_DATA)"
        return f"{name} is run on {', '.join(lacking)}, {nowhere}"
    scales = [one for one in choices("scale") if table.sets(one)]
    scales = [*table.stand_ins, "paper"] if table.stand_ins else scales
    return f"{name} is run at scale={' or '.join(scales)} only"

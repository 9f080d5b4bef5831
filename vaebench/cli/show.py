"""What a command prints of a run when it is done: its losses, its answers, its measurements."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from rich.table import Table

from vaebench.cli.terminal import Terminal
from vaebench.runs.store import Run

_SHOWN_LINES = 5
_HELD_OUT = "validation/loss"

console = Terminal(soft_wrap=True)


def training(run: Run) -> None:
    """Steps, losses, where it is."""
    result = run.result()
    last = losses(run)
    items = result.get("train_items", result.get("train_images"))  # the name before 0.2
    rows = [("steps", f"{result['steps']} ({result['epochs']:g} epochs of {items} items)")]
    rows.append(("parameters", f"{result['parameters']:,}"))
    rows += [(name, f"{value:.5g}") for name, value in last.items()]
    if last:
        rows.append(("", f"means over the last steps, at most {run.request()['train']['log_every']}"))
    if note := run.provenance().get("note"):
        rows.append(("data", note))
    _facts(run, rows)


def losses(run: Run) -> dict[str, float]:
    """What a training's log ends with, by name; empty for one without steps.

    Of losses on held-out data the lowest: the weights that had it are kept.
    """
    log = run.log() if run.result()["steps"] else []
    last = [record for record in log if record["step"] == log[-1]["step"]]
    found = {name: value for one in last for name, value in one.items() if name not in ("step", "epoch")}
    looks = [one[_HELD_OUT] for one in log if _HELD_OUT in one]
    return {**found, **({_HELD_OUT: min(looks)} if looks else {})}


def answers(run: Run) -> None:
    """How many there are, from whom, what was left out."""
    result = run.result()
    rows = [("answers", f"{result['answers']} to {result['problems_answered']} of {result['test_items']} problems")]
    rows.append(("from", ", ".join(result["sources"])))
    rows += [("note", note) for note in result["notes"]]
    rows += [("left out", line) for line in result["left_out"][:_SHOWN_LINES]]
    if len(result["left_out"]) > _SHOWN_LINES:
        rows.append(("left out", f"and {len(result['left_out']) - _SHOWN_LINES} more (result.json)"))
    _facts(run, rows)


def _facts(run: Run, rows: list[tuple[str, str]]) -> None:
    table = Table("", "", show_header=False)
    for row in [*rows, ("folder", short(run.folder))]:
        table.add_row(*row)
    console.print(table)


def measurements(run: Run) -> None:
    """The numbers; what their protocols have in common stands once below them."""
    result = run.result()
    found = result["measurements"]
    protocols = [one["protocol"].items() for one in found]
    common = {name: value for name, value in protocols[0] if all((name, value) in other for other in protocols)}
    if any(one.get("low") != one.get("high") for one in found):  # a count has an interval without width
        _grid(found)
    else:
        own = [", ".join(f"{name}={value}" for name, value in items if name not in common) for items in protocols]
        table = Table("measurement", "value", "count", *(["protocol"] if any(own) else []))
        for one, text in zip(found, own, strict=True):
            value = f"{number(one['value'])} {one['unit']}".rstrip()
            table.add_row(one["name"], value, str(one["count"]), *([text] if any(own) else []))
        console.print(table)
    console.print("; ".join(f"{name}={value}" for name, value in common.items()))
    for name, why in result.get("left_out", {}).items():
        console.print(f"not measured: {name}: {why}")
    if result["dataset"]["note"]:
        console.print(result["dataset"]["note"])
    if result["dataset"]["stand_in"]:
        console.print(f"{result['dataset']['name']} is a stand-in dataset: no paper reports these numbers")


def number(value: float) -> str:
    """A measurement's value as it is printed."""
    return f"{value:,.0f}" if 1000 <= value < math.inf and value == int(value) else f"{value:,.4f}"


def _grid(found: list[dict[str, Any]]) -> None:
    """Numbers with intervals by selector: accuracy and differences under the first scorer; the rest below."""
    scorer = found[0]["name"].partition(".")[2]
    cells = {one["name"]: one for one in found}
    columns = {"accuracy": scorer, **{name: f"{scorer}.{name}" for name in ("vs_random", "vs_majority", "vs_max")}}
    rows = [one["name"].partition(".")[0] for one in found if one["name"].endswith(f".{scorer}")]
    grid = Table("pick", *columns, title=f"{found[0]['count']} questions, {scorer}, 95 % intervals")
    for row in rows:
        grid.add_row(row, *(_with_interval(cells.get(f"{row}.{suffix}")) for suffix in columns.values()))
    console.print(grid)
    rest = Table("measurement", "value")
    for one in found:
        if one["name"].partition(".")[0] not in rows:
            rest.add_row(one["name"], f"{one['value']:.4g} {one['unit']}".rstrip())
    if rest.row_count:
        console.print(rest)
    others = dict.fromkeys(name.split(".")[1] for name in cells if name.partition(".")[0] in rows)
    console.print(f"by every scorer ({', '.join(others)}): result.json")


def _with_interval(one: dict[str, Any] | None) -> str:
    if one is None:
        return ""
    low, high = one.get("low"), one.get("high")
    spread = "" if low is None or high is None else f" [{low:.1f}, {high:.1f}]"
    return f"{one['value']:.1f}{spread}"


def short(path: Path) -> str:
    """A path as seen from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)

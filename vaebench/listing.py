"""``vaebench list``: what can be chosen and what has been run, without importing torch."""

from __future__ import annotations

from collections.abc import Callable

import yaml
from rich.console import Console
from rich.table import Table

from vaebench.config import choices, conf_dir
from vaebench.errors import UserError, unknown
from vaebench.store import Store, store_root


def show(words: list[str]) -> int:
    """Print the named sections, or all of them."""
    sections: dict[str, Callable[[], Table]] = {
        "models": lambda: _leaves("model"),
        "datasets": _datasets,
        "suites": lambda: _leaves("suite"),
        "papers": _papers,
        "scales": _scales,
        "experiments": _experiments,
        "runs": _runs,
    }
    bad = [word for word in words if word not in sections]
    if bad:
        raise UserError(*(unknown("section", word, sections) for word in bad))
    console = Console(highlight=False)
    for name in words or [name for name in sections if name != "experiments"]:
        console.print(sections[name]())
    return 0


def _load(group: str, name: str) -> dict[str, object]:
    return dict(yaml.safe_load((conf_dir() / group / f"{name}.yaml").read_text()) or {})


def _leaves(group: str) -> Table:
    """A group's choices with the options each takes."""
    table = Table(group, "options (defaults)", title=f"{group}s: {group}=NAME, {group}.OPTION=VALUE")
    for name in choices(group):
        options = {k: v for k, v in _load(group, name).items() if k not in ("_target_", "version", "input_shape")}
        table.add_row(name, ", ".join(f"{key}={value}" for key, value in options.items()))
    return table


def _datasets() -> Table:
    from vaebench.data.fetch import available

    table = Table("dataset", "shape", "here", title="datasets: dataset=NAME")
    for name in choices("dataset"):
        table.add_row(name, "x".join(map(str, _load("dataset", name)["shape"])), available(name))  # type: ignore[call-overload]
    return table


def _papers() -> Table:
    from vaebench.papers.tables import load

    table = Table("paper", "table", "caption", title="papers: vaebench reproduce paper=NAME table=TABLE")
    for name in choices("paper"):
        for key, entry in load(name).tables.items():
            table.add_row(name, key, entry.caption)
    return table


def _scales() -> Table:
    table = Table("scale", "seeds", "epochs", "at most steps", title="scales: scale=NAME")
    for name in ("smoke", "small", "paper"):
        spec = _load("scale", name)
        table.add_row(name, str(spec["seeds"]), str(spec["epochs"]), str(spec["max_steps"] or "-"))
    return table


def _experiments() -> Table:
    table = Table("experiment", title="experiments: vaebench train experiment=NAME")
    for name in choices("experiment"):
        table.add_row(name)
    return table


def _runs() -> Table:
    store = Store(store_root())
    table = Table("run", "model", "dataset", "seed", "status", "evaluations", title=f"runs in {store.root.name}/")
    for run in store.runs():
        try:
            request = run.request()
        except UserError:
            table.add_row(run.key, "?", "?", "?", "request.yaml changed", "")
            continue
        model = request["model"]
        options = " ".join(f"{key}={model[key]}" for key in ("latent_dim", "k") if key in model)
        evaluations = sorted(
            yaml.safe_load(path.read_text())["suite"]["_target_"].split(".")[2]
            for path in run.folder.glob("evals/*/request.yaml")
        )
        table.add_row(
            run.key,
            f"{model['_target_'].split('.')[2]} {options}",
            request["dataset"]["name"],
            str(request["seed"]),
            run.state(),
            " ".join(dict.fromkeys(evaluations)),
        )
    return table

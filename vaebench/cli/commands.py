"""What each verb does with its composed configuration; returns the exit code."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from vaebench.chains import chain, check, evaluation
from vaebench.cli.terminal import Terminal
from vaebench.config.choices import called
from vaebench.config.request import Request
from vaebench.config.signatures import require
from vaebench.config.spine import Common, ReproduceConfig, TrainConfig
from vaebench.contracts import Job, Suite
from vaebench.errors import UserError, shown
from vaebench.runs import build, executors, kinds
from vaebench.runs.kinds import title
from vaebench.runs.listed import named, training
from vaebench.runs.store import Run, Store, store_root

_SHOWN_LINES = 5
_OF_LINK = re.compile(r"chain\.([^.=]+)\.overrides=")

console = Terminal(soft_wrap=True)


def train(cfg: TrainConfig) -> int:
    """``vaebench train``: make the run of this configuration, or show it if it is there."""
    run = trained(cfg)
    if not cfg.quiet:
        _show_training(run)
    return 0


def trained(cfg: TrainConfig) -> Run:
    """The run of this configuration, made if it is not there."""
    requests = chain.checked(cfg)
    _try_out(cfg, requests)
    store = Store(store_root(cfg.store))
    run = store.find(requests[-1])
    _say(cfg, f"run {run.key}: {title(requests[-1])}")
    if run.done:
        _say(cfg, f"already done: {_short(run.folder)} (seed=N or another option makes another run)")
    else:
        _make_first(cfg, store, requests[:-1])
        _make(cfg, store, requests[-1])
    return run


def evaluate(cfg: TrainConfig) -> int:
    """``vaebench eval``: evaluate the run that ``vaebench train`` makes of the same configuration."""
    _show_measurements(evaluated(cfg))
    return 0


def evaluated(cfg: TrainConfig) -> Run:
    """The evaluation of the run of this configuration, made if it is not there."""
    return _evaluated(cfg, chain.checked(cfg)[-1], *evaluation.evaluation(cfg))


def evaluate_stored(cfg: TrainConfig, key: str) -> int:
    """``vaebench eval run=KEY``: evaluate a finished run. Raises `UserError` if it is none."""
    _show_measurements(evaluated_stored(cfg, key))
    return 0


def evaluated_stored(cfg: TrainConfig, key: str) -> Run:
    """The evaluation of a finished run, made if it is not there. Raises `UserError` if that is no training."""
    request = training(named(Store(store_root(cfg.store)), key), f"run={key}")
    return _evaluated(cfg, request, *evaluation.of_stored(cfg, request))


def _evaluated(cfg: TrainConfig, trained: Request, requests: list[Request], suite: Suite) -> Run:
    """An evaluation of a training, made after what it needs if it is not there."""
    *before, wanted = requests
    models = _try_out(cfg, before)
    name = called(wanted["suite"])
    build.check_capabilities(name, suite, models.get(trained.key) or build.model(trained))
    store = Store(store_root(cfg.store))
    _make_first(cfg, store, before)
    run = store.find(wanted)
    tested = f", tested on {wanted['dataset']['name']}" if "dataset" in wanted.data else ""
    kept = f", snapshot {cfg.snapshot} of {cfg.train.snapshots}" if "snapshot" in wanted.data else ""
    _say(cfg, f"evaluation {run.key} of run {trained.key}: {name} on {title(trained)}{kept}{tested}")
    if not run.done:
        _make(cfg, store, wanted)
    return run


def asked_for(verb: str, cfg: TrainConfig) -> list[Request]:
    """What a command makes, parents before children."""
    if verb == "train":
        return chain.training(cfg)
    return evaluation.evaluation(cfg)[0] if verb == "eval" else evaluation.answers(cfg)


def check_all(configurations: list[TrainConfig]) -> None:
    """Every point of a sweep, before the first one is run. Raises `UserError` with all that is wrong."""
    lines: list[str] = []
    for cfg in configurations:
        try:
            check.try_out(chain.checked(cfg), remote_code=cfg.runtime.trust_remote_code)
        except UserError as error:
            lines += error.lines
    if lines:
        raise UserError(*dict.fromkeys(lines))


def check_links(words: list[str], configurations: list[TrainConfig]) -> None:
    """Raise `UserError` for words that change links of a chain which none of the configurations needs."""
    links = {word: found[1] for word in words if (found := _OF_LINK.match(word))}
    needed: set[str] = set()
    for cfg in configurations if links else ():
        chain.checked(cfg)
        needed |= chain.needed(cfg)
    idle = {word: link for word, link in links.items() if link not in needed}
    require(*(f"{shown(word)}: {link} is not needed here; leave it out" for word, link in idle.items()))


def answers(cfg: TrainConfig) -> int:
    """``vaebench answers``: collect or generate a text dataset's answers, or show what is there."""
    requests = evaluation.answers(cfg)
    _try_out(cfg, requests)
    store = Store(store_root(cfg.store))
    _make_first(cfg, store, requests)
    _show_answers(store.find(requests[-1]))
    return 0


def prompt(cfg: TrainConfig) -> int:
    """``vaebench prompt``: the exact prompt of the first problem and the sampling parameters; nothing is generated."""
    request = evaluation.answers(cfg)[-1]
    console.print(build.prompt(request, remote_code=cfg.runtime.trust_remote_code))
    return 0


def reproduce(cfg: ReproduceConfig) -> int:
    """``vaebench reproduce``: a paper's tables."""
    from vaebench.reproduce import collect

    return collect.run(_opened(cfg), console)


def compare(cfg: ReproduceConfig, added: Sequence[str]) -> int:
    """``vaebench compare``: a table of a paper, with rows of one's own in it.

    ``added``: the words ``with=ROW``, and options of the dataset.
    """
    from vaebench.reproduce import compare as comparison

    rows = [word.removeprefix("with=") for word in added if word.startswith("with=")]
    return comparison.run(_opened(cfg), rows, console, data=[word for word in added if not word.startswith("with=")])


def _opened(cfg: ReproduceConfig) -> ReproduceConfig:
    """The configuration with the name of a paper that it names by its file."""
    from vaebench.papers import tables

    return replace(cfg, paper=tables.opened(cfg.paper)) if cfg.paper.endswith((".yaml", ".yml")) else cfg


def plan(cfg: ReproduceConfig) -> int:
    """``vaebench plan``: what `reproduce` would do; at ``scale=paper`` also what each training costs on this device."""
    from vaebench.reproduce import planning, race

    cfg, store = _opened(cfg), Store(store_root(cfg.store))
    try:
        wanted = planning.make(cfg)
        todo = wanted.todo(store)
        planning.show(wanted, todo, planning.learnt(store, todo), cfg, console)
        if planning.raced(cfg):
            race.outlook(cfg, store, console)
    except planning.NothingToRun as error:
        if cfg.scale != "paper":
            raise
        for line in error.lines:  # what it would cost can be said without the data
            console.print(f"not run here: {line}")
    if cfg.scale == "paper":
        _show_costs(cfg, store)
    return 0


def _show_costs(cfg: ReproduceConfig, store: Store) -> None:
    """The cost of every training of the tables, from a few steps on random tensors unless ``measure=false``."""
    from vaebench.engine import runtime
    from vaebench.reproduce import costs, planning

    device = runtime.setup(device=cfg.runtime.device, threads=cfg.runtime.threads)
    trainings, behind = planning.trainings(cfg, "paper")
    if cfg.measure and not cfg.quiet:
        console.print("measuring a few steps of each training on random tensors (measure=false: count only) ...")
    found = costs.of(trainings, behind, device=device, cache=store.root / "cache" if cfg.measure else None)
    console.print(costs.grid(found, device))
    hours = [one.hours for one in found]
    if all(spent is not None for spent in hours):
        console.print(f"{sum(map(float, hours)):,.0f} hours in all, one seed each")  # type: ignore[arg-type]


def report(cfg: ReproduceConfig) -> int:
    """``vaebench report``: tables and pictures from what is stored."""
    from vaebench.reproduce import collect

    return collect.write_report(_opened(cfg), console)


def _try_out(cfg: TrainConfig, requests: list[Request]) -> dict[str, Any]:
    """Look at the device and build what the requests name, so that a bad value is an error before a folder is made."""
    from vaebench.engine import runtime

    runtime.setup(device=cfg.runtime.device, threads=cfg.runtime.threads)
    if not cfg.quiet and (warning := runtime.overload_warning(1, cfg.runtime.threads)):
        Terminal(stderr=True, soft_wrap=True).print(warning)
    return check.try_out(requests, remote_code=cfg.runtime.trust_remote_code)


def _make_first(cfg: TrainConfig, store: Store, wanted: list[Request]) -> None:
    """Make what is not there yet, one after the other, and say so; first, how to look at what is tracked."""
    if cfg.tracker:
        _say(cfg, f"tracked: {build.tracker(cfg.tracker).where(store.root)}")
    for request in wanted:
        if not store.find(request).done:
            _say(cfg, f"{kinds.of(request['verb']).ROLE} {request.key} ({title(request)}) is not there yet: making it")
            try:
                _make(cfg, store, request)
            except UserError as error:  # which of the runs it is in is half of what there is to say
                raise UserError(*(f"{line} (in: {title(request)})" for line in error.lines)) from error


def _make(cfg: TrainConfig, store: Store, request: Request) -> None:
    """Run the request here. Raises `UserError` with the reason if it fails."""
    folder = store.open(request).folder
    outcomes = executors.run(
        [Job(request["verb"], folder)],
        {folder: title(request)},
        kind="inline",
        workers=1,
        machine={**asdict(cfg.runtime), "tracker": cfg.tracker},
        quiet=cfg.quiet,
        console=console,
    )
    for outcome in outcomes:
        if outcome.status == "interrupted":
            raise KeyboardInterrupt
        if outcome.status == "failed":
            raise UserError(*(outcome.reason.splitlines() or ["failed"]))


def _say(cfg: Common, line: str) -> None:
    if not cfg.quiet:
        console.print(line)


def _show_training(run: Run) -> None:
    result = run.result()
    log = run.log() if result["steps"] else []
    last = [record for record in log if record["step"] == log[-1]["step"]]
    items = result.get("train_items", result.get("train_images"))  # the name before 0.2
    rows = [("steps", f"{result['steps']} ({result['epochs']:g} epochs of {items} items)")]
    rows.append(("parameters", f"{result['parameters']:,}"))
    rows += [(name, f"{value:.5g}") for one in last for name, value in one.items() if name not in ("step", "epoch")]
    if last:
        rows.append(("", f"means over the last steps, at most {run.request()['train']['log_every']}"))
    if note := run.provenance().get("note"):
        rows.append(("data", note))
    _show_facts(run, rows)


def _show_answers(run: Run) -> None:
    result = run.result()
    rows = [("answers", f"{result['answers']} to {result['problems_answered']} of {result['test_items']} problems")]
    rows.append(("from", ", ".join(result["sources"])))
    rows += [("note", note) for note in result["notes"]]
    rows += [("left out", line) for line in result["left_out"][:_SHOWN_LINES]]
    if len(result["left_out"]) > _SHOWN_LINES:
        rows.append(("left out", f"and {len(result['left_out']) - _SHOWN_LINES} more (result.json)"))
    _show_facts(run, rows)


def _show_facts(run: Run, rows: list[tuple[str, str]]) -> None:
    table = Table("", "", show_header=False)
    for row in [*rows, ("folder", _short(run.folder))]:
        table.add_row(*row)
    console.print(table)


def _show_measurements(run: Run) -> None:
    """The numbers; what their protocols have in common stands once below them."""
    result = run.result()
    found = result["measurements"]
    protocols = [one["protocol"].items() for one in found]
    common = {name: value for name, value in protocols[0] if all((name, value) in other for other in protocols)}
    if any(one.get("low") != one.get("high") for one in found):  # a count has an interval without width
        _show_grid(found)
    else:
        own = [", ".join(f"{name}={value}" for name, value in items if name not in common) for items in protocols]
        table = Table("measurement", "value", "count", *(["protocol"] if any(own) else []))
        for one, text in zip(found, own, strict=True):
            value = f"{_shown(one['value'])} {one['unit']}".rstrip()
            table.add_row(one["name"], value, str(one["count"]), *([text] if any(own) else []))
        console.print(table)
    console.print("; ".join(f"{name}={value}" for name, value in common.items()))
    for name, why in result.get("left_out", {}).items():
        console.print(f"not measured: {name}: {why}")
    if result["dataset"]["note"]:
        console.print(result["dataset"]["note"])
    if result["dataset"]["stand_in"]:
        console.print(f"{result['dataset']['name']} is a stand-in dataset: no paper reports these numbers")


def _shown(value: float) -> str:
    return f"{value:,.0f}" if 1000 <= value < math.inf and value == int(value) else f"{value:,.4f}"


def _show_grid(found: list[dict[str, Any]]) -> None:
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


def _short(path: Path) -> str:
    """A path as seen from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)

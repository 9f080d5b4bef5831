"""What each verb does with its composed configuration; returns the exit code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from vaebench.chains import chain, check, evaluation
from vaebench.cli import show
from vaebench.cli.show import console
from vaebench.cli.terminal import Terminal
from vaebench.config.choices import called
from vaebench.config.request import Request
from vaebench.config.signatures import require
from vaebench.config.spine import Common, ReproduceConfig, TrainConfig
from vaebench.contracts import Job, Queue, Suite
from vaebench.data.contents import one_look
from vaebench.errors import UserError, shown
from vaebench.runs import build, executors, kinds
from vaebench.runs.executors.inline import Inline
from vaebench.runs.kinds import title
from vaebench.runs.listed import named, training
from vaebench.runs.store import Run, Store, store_root

_OF_LINK = re.compile(r"chain\.([^.=]+)\.overrides=")


def train(cfg: TrainConfig) -> int:
    """``vaebench train``: make the run of this configuration, or show it if it is there."""
    run = trained(cfg)
    if not cfg.quiet:
        show.training(run)
    return 0


def trained(cfg: TrainConfig) -> Run:
    """The run of this configuration, made if it is not there."""
    _look_at(cfg)
    requests = checked("train", cfg)
    store = Store(store_root(cfg.store))
    run = store.find(requests[-1])
    _say(cfg, f"run {run.key}: {title(requests[-1])}")
    if run.done:
        _say(cfg, f"already done: {show.short(run.folder)} (seed=N or another option makes another run)")
    else:
        _make_first(cfg, store, requests[:-1])
        _make(cfg, store, requests[-1])
    return run


def evaluate(cfg: TrainConfig, key: str = "") -> int:
    """``vaebench eval``: evaluate the run that ``vaebench train`` makes of the same configuration, or run ``key``."""
    show.measurements(evaluated(cfg, key))
    return 0


def evaluated(cfg: TrainConfig, key: str = "") -> Run:
    """The evaluation of the run of this configuration, or of the finished run ``key``, made if it is not there."""
    _look_at(cfg)
    trained, requests, suite = _evaluation(cfg, key)
    _check_evaluation(cfg, trained, requests, suite)
    *before, wanted = requests
    store = Store(store_root(cfg.store))
    _make_first(cfg, store, before)
    run = store.find(wanted)
    tested = f", tested on {wanted['dataset']['name']}" if "dataset" in wanted.data else ""
    kept = f", snapshot {cfg.snapshot} of {cfg.train.snapshots}" if "snapshot" in wanted.data else ""
    name = called(wanted["suite"])
    _say(cfg, f"evaluation {run.key} of run {trained.key}: {name} on {title(trained)}{kept}{tested}")
    if not run.done:
        _make(cfg, store, wanted)
    return run


@one_look()
def _evaluation(cfg: TrainConfig, key: str) -> tuple[Request, list[Request], Suite]:
    """The training that is evaluated, its evaluation after all that it needs, and the suite.

    Raises `UserError` if run ``key`` is no finished training.
    """
    if key:
        trained = training(named(Store(store_root(cfg.store)), key), f"run={key}")
        return trained, *evaluation.of_stored(cfg, trained)
    return chain.checked(cfg)[-1], *evaluation.evaluation(cfg)


def _check_evaluation(cfg: TrainConfig, trained: Request, requests: list[Request], suite: Suite) -> None:
    """Build what an evaluation needs, once. Raises `UserError` for all that is wrong, or if the suite does not fit."""
    *before, wanted = requests
    models = check.try_out(before, remote_code=cfg.runtime.trust_remote_code)
    build.check_capabilities(called(wanted["suite"]), suite, models.get(trained.key) or build.model(trained))


def checked(verb: str, cfg: TrainConfig, key: str = "") -> list[Request]:
    """What a command makes, parents before children, each part of it built once. Raises all mistakes at once.

    ``key``: of the finished run that is evaluated.
    """
    if verb == "eval":
        trained, requests, suite = _evaluation(cfg, key)
        _check_evaluation(cfg, trained, requests, suite)
        return requests
    requests = chain.checked(cfg) if verb == "train" else evaluation.answers(cfg)
    check.try_out(requests, remote_code=cfg.runtime.trust_remote_code)
    return requests


def asked_for(verb: str, cfg: TrainConfig, key: str = "") -> list[Request]:
    """What a command makes, parents before children, unchecked. ``key``: of the finished run that is evaluated."""
    if key:
        return _evaluation(cfg, key)[1]
    if verb == "train":
        return chain.training(cfg)
    return evaluation.evaluation(cfg)[0] if verb == "eval" else evaluation.answers(cfg)


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
    _look_at(cfg)
    requests = checked("answers", cfg)
    store = Store(store_root(cfg.store))
    _make_first(cfg, store, requests)
    show.answers(store.find(requests[-1]))
    return 0


def prompt(cfg: TrainConfig) -> int:
    """``vaebench prompt``: the exact prompt of the first problem and the sampling parameters; nothing is generated."""
    request = evaluation.answers(cfg)[-1]
    prompt = build.prompt(request, remote_code=cfg.runtime.trust_remote_code)
    console.print(prompt, soft_wrap=True)  # exact, to the line break
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
    from vaebench.reproduce import durations, planning, race

    cfg, store = _opened(cfg), Store(store_root(cfg.store))
    try:
        wanted = planning.make(cfg)
        todo = wanted.todo(store)
        planning.show(wanted, todo, durations.learnt(store, todo), cfg, console)
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
    """``vaebench report``: tables and pictures from what is stored; with ``open``, its pages in a browser."""
    from vaebench.cli import browser
    from vaebench.reproduce import collect

    cfg = _opened(cfg)
    status = collect.write_report(cfg, console)
    if cfg.open:
        console.print(browser.show(browser.page(cfg)))
    return status


def _look_at(cfg: TrainConfig) -> None:
    """Look for the device, and say if the machine is busy, before anything is checked."""
    from vaebench.engine import runtime

    runtime.setup(device=cfg.runtime.device, threads=cfg.runtime.threads)
    if not cfg.quiet and (warning := runtime.overload_warning(1, cfg.runtime.threads)):
        Terminal(stderr=True, soft_wrap=True).print(warning)


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
        Queue([Job(request["verb"], folder)]),
        {folder: title(request)},
        executor=Inline(go_on=False),
        store=store.root,
        machine=executors.machine(cfg),
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

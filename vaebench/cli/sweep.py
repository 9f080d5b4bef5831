"""``-m``: several configurations at once. Their runs are made together, and one table says what came out."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.table import Table

from vaebench.cli import commands, idle, show, stored
from vaebench.cli.terminal import Terminal
from vaebench.config import compose
from vaebench.config.overrides import MOST_POINTS, axes_of, spelled
from vaebench.config.overrides import points as differing
from vaebench.config.request import Request
from vaebench.config.signatures import require
from vaebench.config.spine import Common, TrainConfig
from vaebench.contracts import Outcome
from vaebench.contracts.infinite import spelled as without_infinities
from vaebench.data.fetch import usual_images
from vaebench.errors import UserError, printable, shown
from vaebench.runs import build, executors, schedule
from vaebench.runs.kinds import title
from vaebench.runs.listed import named, text_of
from vaebench.runs.store import Run, Store, store_root

if TYPE_CHECKING:
    from vaebench.cli.main import Given

_MANY = 200  # points whose checks take long enough to say so


@dataclass(frozen=True)
class Point:
    """One point of a sweep: its values of the ``options`` in which the points differ, and what they make.

    ``key``: of the finished run that is evaluated; else empty. ``requests``: its own run after all that it needs.
    """

    options: Mapping[str, Any]
    cfg: TrainConfig
    key: str = ""
    requests: Sequence[Request] = ()

    @property
    def name(self) -> str:
        """``model.k=4 seed=0``."""
        return " ".join(f"{option}={text_of(value)}" for option, value in self.options.items())


@dataclass(frozen=True)
class Result:
    """What became of a point: ``reason`` why it failed, else its ``numbers`` by name.

    They are losses of a training, ``measurements`` of an evaluation, counts of answers.
    """

    point: Point
    run: Run
    reason: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    measurements: Sequence[Mapping[str, Any]] = ()

    def keys(self) -> dict[str, str]:
        """``run``: that of the point; of an evaluation, the one that it looks at, and its own key beside it."""
        request = self.point.requests[-1]
        if request["verb"] != "eval":
            return {"run": self.run.key}
        parents = request.data.get("parents", {})
        return {"run": parents.get("run", parents.get("answers", "")), "evaluation": self.run.key}

    def data(self) -> dict[str, Any]:
        """As ``--json`` has it."""
        found = {"options": dict(self.point.options), **self.keys(), "folder": str(self.run.folder)}
        found |= {"status": "failed" if self.reason else "done", "reason": self.reason, "numbers": self.numbers}
        return {**found, **({"measurements": self.measurements} if self.measurements else {})}


def run(verb: str, given: Given, keys: Sequence[str]) -> int:
    """Make the runs of all points on the command's executor, then show what came out. Returns 1 if some failed, else 0.

    ``keys``: of finished runs, each of which is evaluated at all points.

    Raises:
        UserError: what is wrong with any of the points, before one is made; all points are the same run.
    """
    words = given.overrides
    many = math.prod(map(len, axes_of(words, TrainConfig, [], sweep=True)))
    if _MANY < many <= MOST_POINTS and not given.show:
        sys.stderr.write(f"{many:,} points: each is checked before the first is run\n")
    _check_words(words)
    points = _points(verb, words, keys)
    if given.show:
        sys.stdout.write("---\n".join(f"# {printable(one.name)}\n{compose.as_yaml(one.cfg)}" for one in points))
        return 0
    if verb == "prompt":
        for one in points:
            show.console.print(f"{one.name}:")
            commands.prompt(one.cfg)
        return 0
    if not keys:
        _check_idle(verb, words, [one.cfg for one in points])
    console = Terminal(stderr=given.as_json, soft_wrap=True)
    cfg = points[0].cfg
    executors.must_wait(cfg, "a sweep")
    points = _checked(verb, points)
    results = _made(points, cfg, console)
    if given.as_json:
        sys.stdout.write(json.dumps(without_infinities([one.data() for one in results]), indent=1) + "\n")
    elif verb != "train" or not cfg.quiet:
        for table in _tables(results, console.width):
            console.print(table)
    failed = [f"failed: {one.point.name}: {one.reason}\n" for one in results if one.reason]
    sys.stderr.writelines(failed)
    return int(bool(failed))


def _check_words(words: Sequence[str]) -> None:
    """Raise `UserError` for an option that is given twice, and several values of store, device or executor."""
    shared = [one.name for one in fields(Common)]
    of_machine = [word for word in words if word.partition("=")[0].lstrip("+").partition(".")[0] in shared]
    given = Counter(word.partition("=")[0].lstrip("+") for word in words)
    require(*(f"{shown(key)}: is given {count} times; give it once" for key, count in given.items() if count > 1))
    several = [word for word in of_machine if len(spelled(word, TrainConfig, sweep=True)) > 1]
    require(*(f"{shown(word)}: is the same for all points of a sweep; give one value" for word in several))


def _points(verb: str, words: list[str], keys: Sequence[str]) -> list[Point]:
    """All of them, in the order of their values. Raises `UserError` with all that is wrong with the words."""
    name = "eval" if verb == "eval" else "train"
    composed = partial(compose.configurations, name, sweep=True, images=usual_images)
    if not keys:
        found = composed(words)
        return [Point(*one) for one in zip(differing(words, TrainConfig), found, strict=True)]
    points: list[Point] = []
    machine = [word for word in words if word.startswith(("executor.", "executor="))]
    for key in keys:
        given = [*stored.words_for(key, [word for word in words if word not in machine]), *machine]
        found = composed(given)
        run = named(Store(store_root(found[0].store)), key)
        for options, cfg in zip(differing(given, TrainConfig), found, strict=True):
            points.append(Point({"run": run.key, **options} if len(keys) > 1 else options, cfg, run.key))
    return points


def _check_idle(verb: str, words: list[str], here: list[TrainConfig]) -> None:
    """Raise `UserError` for options without which the sweep would be the same."""
    composed = partial(compose.configurations, "eval" if verb == "eval" else "train", sweep=True)
    again = partial(composed, images=partial(usual_images, quiet=True))
    alone = [word for word in words if not word.startswith(("executor.", "executor="))]
    idle.of_runs(alone, here, again, partial(commands.asked_for, verb), verb)
    commands.check_links(words, here)


def _checked(verb: str, points: list[Point]) -> list[Point]:
    """The points with their requests. Raises `UserError` with all that is wrong, or if they are all the same run.

    Of points that differ in their seed alone one is built.
    """
    built: set[str] = set()
    lines: list[str] = []
    found: list[Point] = []
    for one in points:
        but_seed = json.dumps([asdict(replace(one.cfg, seed=0)), one.key], default=str)
        try:
            if but_seed in built:
                requests = commands.asked_for(verb, one.cfg, one.key)
            else:
                requests = commands.checked(verb, one.cfg, one.key)
            built.add(but_seed)
            found.append(replace(one, requests=requests))
        except UserError as error:
            lines += error.lines
    require(*dict.fromkeys(lines))
    own = {one.requests[-1].key for one in found}
    if len(own) == 1 < len(found):
        options = ", ".join(found[0].options)
        raise UserError(
            f"-m: all {len(found)} points are the same run, {own.pop()}; list different values of {options}"
        )
    return found


def _made(points: Sequence[Point], cfg: TrainConfig, console: Terminal) -> list[Result]:
    """What became of each point, after all that can be made is made."""
    from vaebench.engine import runtime
    from vaebench.reproduce import durations

    store = Store(store_root(cfg.store))
    wanted = {request.key: request for one in points for request in one.requests}
    runtime.setup(device=cfg.runtime.device, threads=cfg.runtime.threads)
    todo = [request for request in wanted.values() if not store.find(request).done]
    seconds = durations.learnt(store, todo)
    workers = executors.workers(cfg)
    if todo and (warning := executors.overload_warning(cfg)):
        Terminal(stderr=True, soft_wrap=True).print(warning)
    if not cfg.quiet:
        minutes = max(1, round(schedule.lasts(todo, seconds, workers) / 60))
        left = f"about {minutes} min with {workers} worker{'s' * (workers > 1)}" if todo else "nothing to compute"
        if cfg.tracker:
            console.print(f"tracked: {build.tracker(cfg.tracker).where(store.root)}")
        console.print(f"{len(points):,} points, {len(wanted):,} runs, {len(todo):,} of them to make, {left}")
    failed = schedule.make(wanted, store, cfg, label=title, seconds=seconds, console=console)
    reasons = {outcome.job.folder: outcome for outcome in failed}
    return [_result(one, store, _reason(one, store, reasons)) for one in points]


def _result(point: Point, store: Store, reason: str) -> Result:
    """What a point's run holds; one that is damaged has failed."""
    run = store.find(point.requests[-1])
    if reason:
        return Result(point, run, reason)
    try:
        found, verb = run.result(), point.requests[-1]["verb"]
        if verb == "train":
            return Result(point, run, numbers=show.losses(run))
        if verb == "eval":
            measured = found["measurements"]
            return Result(point, run, numbers={one["name"]: one["value"] for one in measured}, measurements=measured)
        return Result(point, run, numbers={"answers": found["answers"], "problems": found["problems_answered"]})
    except UserError as error:
        return Result(point, run, " ".join(error.lines))


def _reason(point: Point, store: Store, failed: Mapping[Any, Outcome]) -> str:
    """Why a point has no result, empty if it has: its own failure, or that of a run it needs."""
    for request in point.requests:
        if outcome := failed.get(store.find(request).folder):
            reason = " ".join(outcome.reason.split()) or "failed"
            return reason if request is point.requests[-1] else f"{reason} (in: {title(request)})"
    return ""


def _tables(results: Sequence[Result], width: int) -> list[Table]:
    """A line per point: its values, its run, its numbers.

    One table, if the screen is wide enough and all points have numbers in common; else several. A point stands in those
    only that have a number of it; one that failed, in the first.
    """
    heads, known = _known(results)
    numbers = [one.numbers for one in results]
    names = list(dict.fromkeys(name for found in numbers for name in found))
    shared = f"{names[0].partition('/')[0]}/" if names else ""  # of a model with one optimiser, its phase
    short = len(shared) if all(name.startswith(shared) for name in names) else 0
    start = 1 + sum(map(_wide, heads, zip(*known, strict=True)))
    pages: list[list[str]] = [[]]
    taken, rows = start, set[int]()
    for name in names:
        having = {row for row, found in enumerate(numbers) if name in found}
        column = _wide(name[short:], [_number(numbers[row][name]) for row in having])
        if pages[-1] and (taken + column > width or not rows & having):
            pages.append([])
            taken, rows = start, set()
        pages[-1].append(name)
        taken += column
        rows |= having
    tables = []
    for page in pages:
        lines = [
            (*one, *(_number(found[name]) if name in found else "" for name in page))
            for one, found in zip(known, numbers, strict=True)
            if found.keys() & set(page) or (page is pages[0] and not found)
        ]
        tables.append(_table([*heads, *(name[short:] for name in page)], lines))
    return tables


def _known(results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """Of each point its values, its run and, where some failed, how it ended; with their headings."""
    names = dict.fromkeys(name for one in results for name in one.point.options)
    options, keys = [name for name in names if name != "run"], list(results[0].keys())
    some_failed = any(one.reason for one in results)
    lines = [
        [
            *(text_of(one.point.options.get(name)) for name in options),
            *one.keys().values(),
            *(["failed" if one.reason else "done"] if some_failed else []),
        ]
        for one in results
    ]
    return [*options, *keys, *(["status"] if some_failed else [])], lines


def _number(value: float | str) -> str:
    """Infinite ones are stored as texts."""
    return f"{float(value):.5g}"


def _wide(head: str, cells: Sequence[str]) -> int:
    """The characters that a column takes, its border among them."""
    return 3 + max(map(len, [head, *cells]))


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> Table:
    table = Table()
    for head in heads:
        table.add_column(head, overflow="fold")
    for line in lines:
        table.add_row(*line)
    return table

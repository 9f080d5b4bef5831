"""Kinds of runs: one module each, named by the verb of its requests. A new kind is a new module here and nothing else.

A verb is looked up among the modules of this package before anything is imported: it may come from a file.
"""

from __future__ import annotations

import hashlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from vaebench.config import rehearsal
from vaebench.config.choices import called
from vaebench.config.origins import behind
from vaebench.config.request import Request
from vaebench.contracts import Tracked, Tracker
from vaebench.errors import Interrupted, UserError, unknown
from vaebench.runs import records
from vaebench.runs.tracking import Record, Tracking

if TYPE_CHECKING:
    import torch
    from torch import nn

    from vaebench.config.spine import TrainConfig
    from vaebench.engine.ranks import Ranks
    from vaebench.runs.store import Run

Track = Callable[[int, int], None]
Stop = Callable[[], bool]

_LEDGER = "shards.json"
# Forms, as `disk.mistake` reads them, that stand in several kinds' requests and results.
NUMBER = (int, float)
LEAF = {"_target_": str}


@dataclass(frozen=True)
class Setup:
    """What a run is made with.

    ``track(done, total)`` reports progress; ``stop()``: whether one was asked to stop. ``checkpoint_seconds``: between
    two stores of what is unfinished. ``remote_code``: whether the command allows code that comes with a model.
    ``tracker``: who shows the run while it is made; ``tags``: what it is told beside the request. ``note``: says a line
    to the user. ``ranks``: the processes that do it together; None: this one.
    """

    device: torch.device
    track: Track
    stop: Stop
    checkpoint_seconds: float = 30.0
    remote_code: bool = False
    tracker: Tracker | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    note: Callable[[str], None] = lambda line: None
    ranks: Ranks | None = None

    def tracking(
        self, run: Run, name: str, *, trained: Run | None = None, step: int = 0, history: Iterable[Record] = ()
    ) -> Tracking:
        """What tells the tracker of a run, which is called ``name`` there. ``trained``: the training it looks at.

        ``step``, ``history``: after which step a training goes on, and what it logged until then.
        """
        config = {**(trained.request().data if trained else {}), **run.request().data}
        tags = {"key": run.key, "kind": str(config["verb"])}
        tags |= {"model": called(config["model"])} if "model" in config else {}
        tags |= {part: str(config[part]["name"]) for part in ("dataset", "problems") if part in config}
        tags |= {"seed": str(config["seed"])} if "seed" in config else {}
        tags |= self.tags
        tracked = Tracked(run.key, name, config, tags, run.root, trained.key if trained else "", step)
        return Tracking(self.tracker, tracked, self.note, history)

    def within(self, before: int, total: int) -> Setup:
        """For a part of the work, which begins after ``before`` of ``total``."""
        return replace(self, track=lambda done, _: self.track(before + done, total))

    def write_shards(self, run: Run, name: str, total: int, size: int, make: Callable[[range], bytes]) -> list[Path]:
        """Write ``total`` items, ``size`` to a shard: those that are not there yet, or not as they were written.

        A shard is written whole or not at all and depends on the request alone, so a killed run goes on after its last
        one to the same files. Of several processes (``ranks``) each makes one at a time, and the first one keeps the
        books. ``name``: of a shard's file, with a place for its number. ``shards.json`` holds the sha256 of each.
        Before 0.6 there was none, and what is there is taken.

        Returns all of them in order. Raises `Interrupted` between two of them when one is asked to stop.
        """
        from vaebench.engine.ranks import ALONE

        ranks = self.ranks or ALONE
        pieces = [range(start, min(start + size, total)) for start in range(0, total, size)]
        paths = [run.path(name.format(number)) for number in range(len(pieces))]
        sums = _written(run)

        def there(path: Path) -> bool:
            return path.is_file() and (sums is None or sums.get(path.name) == records.checksum(path))

        missing = ranks.told([number for number, path in enumerate(paths) if ranks.rank == 0 and not there(path)])
        for begin in range(0, len(missing), ranks.size):
            these = missing[begin : begin + ranks.size]
            mine = {paths[number].name: make(pieces[number]) for number in these[ranks.rank :][:1]}
            for shard, content in mine.items():
                run.write(shard, content)
            written = ranks.all_of({shard: hashlib.sha256(content).hexdigest() for shard, content in mine.items()})
            if ranks.rank == 0:
                if sums is None:
                    sums = {one.name: records.checksum(one) for one in run.folder.glob("*-[0-9]*.*") if one.is_file()}
                for some in written:
                    sums |= some
                run.write_json(_LEDGER, sums)
            done = pieces[these[-1]].stop
            self.track(done, total)
            (stop,) = ranks.first_says(self.stop() and done < total)
            if stop:
                raise Interrupted(f"stopped after {done} of {total}; the same command goes on from there")
        return paths

    def finish(self, run: Run, result: Mapping[str, Any], **about: Any) -> None:
        """Write ``result.json`` and ``provenance.json``; plug-ins that made it and ``about`` are added to that."""
        from vaebench.engine.runtime import provenance

        run.write_json("result.json", dict(result))
        plugins = run.request().data.get("plugins")
        run.write_json("provenance.json", provenance(self.device) | ({"plugins": plugins} if plugins else {}) | about)


def _written(run: Run) -> dict[str, str] | None:
    """The sha256 of the shards by name; None if nothing says. Raises `UserError` if that file is damaged."""
    path = run.path(_LEDGER)
    try:
        return records.ledger(path) if path.exists() else None
    except UserError as error:
        raise UserError(f"{error}; remove it to take the shards as they are, or the folder to start over") from error


def check_all(run: Run, found: int, wanted: int, what: str) -> None:
    """Raise `UserError` for a finished run that holds fewer items than its result says."""
    if found != wanted:
        raise UserError(f"{run.folder}: holds {found} of {wanted} {what}, a shard is missing; {run.again()}")


class Kind(Protocol):
    """What a module of this package has. torch is imported inside `check` and `work` only.

    ``REQUEST``, ``RESULT``: the form of ``request.yaml`` and ``result.json``, as `disk.mistake` reads it.
    ``ROLE``: what such a run is to those that need it. ``STOPS``: whether `work` looks at ``setup.stop`` and stores
    what it has; else a signal ends it where it is.

    ``request``: of a configuration, on the requests of its parents by role.
    ``check``: builds what a request names and returns its model, if it has one, before any folder is made; ``models``:
    those of the requests before it, by key. ``seconds``: roughly how long it takes on one core, for where no finished
    run tells. ``work``: makes the run, into its folder; raises `Interrupted` when it has stopped.
    """

    REQUEST: Mapping[str, Any]
    RESULT: Mapping[str, Any]
    ROLE: str
    STOPS: bool

    def request(self, cfg: TrainConfig, parents: Mapping[str, Request]) -> Request: ...

    def check(self, request: Request, models: Mapping[str, nn.Module], *, remote_code: bool) -> nn.Module | None: ...

    def title(self, request: Request) -> str: ...

    def seconds(self, request: Request) -> float: ...

    def work(self, run: Run, setup: Setup) -> None: ...


@runtime_checkable
class Shared(Protocol):
    """A kind that several processes may make together. ``along``: what each but the first does meanwhile."""

    def along(self, run: Run, device: torch.device, ranks: Ranks) -> None: ...


def asked(verb: str, parents: Mapping[str, Request] | None, **parts: Any) -> Request:
    """The request with that verb and these parts, on its parents by role; None: it says nothing of parents.

    The plug-ins whose code it asks for are a part of it: another version of one makes other runs. In a rehearsal it is
    marked.
    """
    keys = {} if parents is None else {"parents": {role: parent.key for role, parent in parents.items()}}
    plugins = behind(parts)
    return Request({"verb": verb, **parts, **keys, **({"plugins": plugins} if plugins else {}), **rehearsal.mark()})


def verbs() -> list[str]:
    """The kinds there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def of(verb: str) -> Kind:
    """The kind of the requests with that verb. Raises `UserError` if there is none."""
    if verb not in verbs():
        raise UserError(unknown("kind of run", verb, verbs()))
    return cast(Kind, import_module(f"{__name__}.{verb}"))


def title(request: Request) -> str:
    """What to call a request on the screen."""
    return of(request["verb"]).title(request)

"""A run and its tracker. The run goes on as if there were none: in its time, in its numbers, whatever happens to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from queue import SimpleQueue
from threading import BoundedSemaphore, Thread
from typing import TYPE_CHECKING, Any, Self

from vaebench.contracts import Ended, Tracked, Tracker
from vaebench.errors import Interrupted, in_a_line

if TYPE_CHECKING:
    import numpy as np

_TO_END = 60.0  # seconds that a tracker has to send what is left
_WAITING = 64  # grids of images that may wait to be shown; beyond that they are left out
_NO_CURVES = ("step", "epoch")

Record = Mapping[str, Any]
# Trackers that could not begin or did not end in this process: its other runs would only wait for them again.
_GIVEN_UP: set[type] = set()


# A tracker may talk to a server that is slow, or gone: then its calls take minutes before they fail. So they are made
# in a thread that the run never waits for, but for a while at the end. What goes wrong there is kept and said by the
# run's own thread, because the pipe to the command is not for two threads.
class Tracking:
    """Tells a tracker of a run, from within ``with``; without a tracker it does nothing.

    ``history``: what was logged of the run before; the tracker hears what it does not have yet. ``note``: says a line
    to the user.
    """

    def __init__(
        self, tracker: Tracker | None, run: Tracked, note: Callable[[str], None], history: Iterable[Record] = ()
    ) -> None:
        tracker = None if type(tracker) in _GIVEN_UP else tracker
        self.run, self.note, self.history = run, note, history
        self.kind = type(tracker)
        self.sample_every = tracker.sample_every if tracker else None
        self.todo = SimpleQueue[Callable[[Tracker], None] | None]()
        self.grids = BoundedSemaphore(_WAITING)
        self.reason: str | None = None
        self.last = 0  # the step up to which the tracker knows the run
        self.thread = Thread(target=self._follow, args=(tracker,), daemon=True) if tracker else None

    def __enter__(self) -> Self:
        if self.thread:
            self.thread.start()
            for record in self.history:
                self.log(record)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        thread, at_once = self.thread, isinstance(error, KeyboardInterrupt)
        if not thread:
            return
        stopped = at_once or isinstance(error, Interrupted)
        ended: Ended = "interrupted" if stopped else "failed" if error else "done"
        self._tell(lambda tracker: tracker.close(ended))
        self.todo.put(None)
        thread.join(0.0 if at_once else _TO_END)
        if thread.is_alive() and not at_once:
            _GIVEN_UP.add(self.kind)
            self.reason = f"it has not ended after {_TO_END:g} seconds"
        self._complain()

    def log(self, record: Record) -> None:
        """An entry of the run's log: ``step`` and numbers by name; those that are not finite are left out."""
        step = record["step"]
        values = {name: value for name, value in _numbers(record).items() if name not in _NO_CURVES}

        def curves(tracker: Tracker) -> None:
            if step > self.last:
                tracker.curves(step, values)

        self._tell(curves)

    def look(self, step: int, made: Callable[[], Mapping[str, np.ndarray]]) -> None:
        """The grids of images that ``made`` makes; if it cannot, the run has none."""
        if not (self._listens and self.sample_every) or not self.grids.acquire(blocking=False):
            return
        try:
            grids = made()
        except Exception as error:
            self.sample_every = None
            self.note(f"no images for the tracker ({in_a_line(error)}); the run goes on")
            return

        def images(tracker: Tracker) -> None:
            self.grids.release()
            if grids and step > self.last:
                tracker.images(step, grids)

        self._tell(images)

    def final(self, step: int, values: Mapping[str, Any]) -> None:
        """The numbers of the whole run."""
        numbers = _numbers(values)
        self._tell(lambda tracker: tracker.final(step, numbers))

    @property
    def _listens(self) -> bool:
        return self.thread is not None and self.reason is None

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        if self._listens:
            self.todo.put(what)
        self._complain()

    def _complain(self) -> None:
        if self.reason:
            name = self.kind.__name__.lower()
            self.note(f"tracker {name} is given up ({self.reason}); the run goes on, its numbers are in its own files")
            self.reason, self.thread = None, None

    def _follow(self, tracker: Tracker) -> None:
        """The thread of the tracker: all calls of it, until one of them fails."""
        try:
            _GIVEN_UP.add(self.kind)
            self.last = tracker.begin(self.run)
            _GIVEN_UP.discard(self.kind)
            while (what := self.todo.get()) is not None:
                what(tracker)
        except BaseException as error:  # SystemExit too: nothing of it is the run's business
            self.reason = in_a_line(error)


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: one for name, one in values.items() if isinstance(one, int | float) and math.isfinite(one)}

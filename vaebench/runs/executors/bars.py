"""What is drawn of jobs that run: one bar for all of them, and below it a line for each that runs now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vaebench.errors import printable
from vaebench.runs.executors.outlook import Doing, Look

_WIDE = 80  # columns from which a job's line has its steps, and a bar
_WIDEST = 48  # of a bar
_NARROWEST = 8
_JOB = 14  # columns of a job's own bar
_ROOM = 3  # lines of the screen that are left free


def clock(seconds: float) -> str:
    """``0:42``, ``1:02:33``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def about(seconds: float) -> str:
    """How long something takes that nobody knows exactly: ``about 40 s``, ``about 8 min``, ``about 3.5 h``."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min" if seconds < 7200 else f"about {seconds / 3600:.1f} h"


def plain(text: str, console: Console) -> str:
    """A text as it stands on this console: nothing in it is markup, and it has only letters that are there."""
    return console.render_str(printable(text), markup=False, emoji=False, highlight=False).plain


def cut(text: str, width: int) -> str:
    """The beginning of a text, at most so many columns wide; where something is missing it ends with dots."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 3) + "..." if width > 6 else set_cell_size(text, max(0, width))


@dataclass(frozen=True)
class Bars:
    """``finished`` of ``total`` jobs, those that run by what to call each, and how long they ran; seconds."""

    finished: int
    total: int
    spent: float
    look: Look
    running: Sequence[tuple[str, Doing]]
    now: float

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """One line for all, if there are several; then as many jobs as there is room for."""
        width = options.max_width
        if self.total > 1:
            yield self._overall(width)
        most = max(1, console.height - _ROOM)
        shown = self.running if len(self.running) <= most else self.running[: most - 1]
        for label, doing in shown:
            yield self._job(plain(label, console), doing, width)
        if len(shown) < len(self.running):
            yield Text(f"  and {len(self.running) - len(shown)} more", no_wrap=True)

    def _overall(self, width: int) -> RenderableType:
        count = f"{self.finished} of {self.total} jobs"
        left = f", {about(self.look.left)} left" if self.look.left else ""
        texts = [f"{self.look.share:.0%}, {clock(self.spent)} so far{left}", f"{self.look.share:.0%}{left}"]
        end = next((text for text in texts if len(count) + len(text) + _NARROWEST + 2 <= width), texts[-1])
        return _line(count, end, width, self.look.share, min(_WIDEST, width - len(count) - len(end) - 2))

    def _job(self, label: str, doing: Doing, width: int) -> RenderableType:
        own, rate, left = clock(self.now - doing.began), doing.rate(self.now), doing.by_steps(self.now)
        share = doing.done / doing.total if doing.total else 0.0
        if width < _WIDE or not doing.total:
            end = f"{share:.0%}, {own}" if doing.total else own
        else:
            speed = f", {rate:.0f}/s" if rate else ""
            end = f"{doing.done:,}/{doing.total:,}{speed}, {own}"
        if self.total == 1 and left is not None:
            end += f", {clock(left)} left"
        bar = _JOB if width >= _WIDE and doing.total else 0
        room = width - len(end) - (bar + 1 if bar else 0) - 3
        return _line(f"  {cut(label, room)}", end, width, share, bar)


def _line(start: str, end: str, width: int, share: float, bar: int) -> RenderableType:
    """A text on the left, one on the right, and between them a bar if there is room for one."""
    grid = Table.grid(padding=(0, 1, 0, 0), expand=False)
    grid.width = width
    grid.add_column(no_wrap=True, overflow="crop", ratio=1)
    if bar >= _NARROWEST:
        grid.add_column(no_wrap=True, width=bar)
        grid.add_column(no_wrap=True, overflow="crop")
        grid.add_row(Text(start), ProgressBar(1.0, min(share, 1.0), width=bar), Text(end))
    else:
        grid.add_column(no_wrap=True, overflow="crop")
        grid.add_row(Text(start), Text(end))
    return grid

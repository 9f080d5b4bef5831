"""What a report shows: what the tests of its pictures share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vaebench.report import pictures
from vaebench.report.stored import Shown
from vaebench.report.summary import Section


class Stored(Shown):
    """A section whose arrays, or logs, are those a test made up."""

    def __init__(self, section: Section, suite: str, arrays: dict[str, Any] | None = None, logs: Any = None) -> None:
        super().__init__(section, Path("nowhere"), suite)
        self.__dict__ |= {"_arrays": arrays or {}, "logs": lambda: logs or {}}


def shown_in(section: Section, store: Path, kind: str) -> Any:
    """What there is to see in a section's picture of a kind."""
    found = (picture.draw(shown) for picture, shown in pictures.of(section, store) if picture.kind == kind)
    return next((one for one in found if one is not None), None)

"""Where answers come from: recorded files, or a language model that is asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vaebench.config.signatures import Count, require


@dataclass(kw_only=True, eq=False)
class Source:
    """What every `vaebench.contracts.AnswerSource` has. ``shard``: problems per shard."""

    shard: Count

    def __post_init__(self) -> None:
        self.left_out: Sequence[str] = ()
        self.notes: Sequence[str] = []
        require(*self._clashes())

    def _clashes(self) -> Iterable[str | None]:
        """One line for what no signature can say of the options."""
        return ()

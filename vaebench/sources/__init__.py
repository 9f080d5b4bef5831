"""Where answers come from: recorded files, or a language model that is asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import get_type_hints

from vaebench.config.signatures import Count, mistake, require


@dataclass(kw_only=True, eq=False)
class Source:
    """What every `vaebench.contracts.AnswerSource` has. Raises `UserError` for options that cannot be.

    ``shard``: problems per shard.
    """

    shard: Count

    def __post_init__(self) -> None:
        self.left_out: Sequence[str] = ()
        self.notes: Sequence[str] = []
        asked, names = get_type_hints(type(self), include_extras=True), [field.name for field in fields(self)]
        require(*(mistake(f"dataset.answers.{name}", getattr(self, name), asked[name]) for name in names))
        require(*self.clashes())

    def clashes(self) -> Iterable[str | None]:
        """One line for what no signature can say of the options."""
        return ()

"""What is printed: a console on which every string is text, whatever it holds."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from vaebench.errors import printable


class Terminal(Console):
    """Prints strings as they are: no markup, no emoji codes, no highlighting, control characters spelled out.

    A `rich.text.Text` is printed as it was made: what is data in it is made `printable` there.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        """Every string passes here, cells of tables too; their line breaks stay."""
        return super().render_str("\n".join(map(printable, text.split("\n"))), **options)

"""What is printed: a console on which every string is text, whatever it holds, and all of it fits."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vaebench.cli.fitting import fitted, hung
from vaebench.cli.letters import spelled
from vaebench.errors import printable


class Terminal(Console):
    """Prints strings as they are: no markup, no emoji codes, no highlighting, control characters spelled out.

    Letters that the stream cannot encode are spelled out too, and tables are made to fit (`fitting`). With
    ``soft_wrap`` a line stays a line where it goes into a file; on a screen it is broken between words.

    A `rich.text.Text` is printed as it was made: what is data in it is made `printable` there.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        """Every string passes here, cells of tables too; their line breaks stay."""
        plain = "\n".join(map(printable, text.split("\n")))
        return super().render_str(spelled(plain, self.encoding), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's: a table as what fits, a long line of a screen broken between words and not within.

        With ``soft_wrap`` given here a line is left as it is on a screen too.
        """
        if len(objects) == 1 and isinstance(objects[0], Table):
            for part in fitted(objects[0], self):
                super().print(part, **{"soft_wrap": False, **options})
            return
        if self.soft_wrap and self.is_terminal and "soft_wrap" not in options:
            options = {"soft_wrap": False, "overflow": "fold", **options}
            texts = [self.render_str(one) if isinstance(one, str) else one for one in objects]
            objects = tuple(hung(one, self) if isinstance(one, Text) else one for one in texts)
        super().print(*objects, **options)

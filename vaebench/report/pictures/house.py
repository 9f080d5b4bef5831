"""The one style of all pictures: ``house.mplstyle`` beside this file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STYLE = Path(__file__).with_suffix(".mplstyle")
# Of verdicts, as `words.tone` names them: told apart with any colour vision, and by lightness too.
TONES = {"good": "#009E73", "bad": "#D55E00", "open": "#E69F00", "quiet": "#8B949E"}


@contextmanager
def house() -> Iterator[None]:
    """Draw in the house's style, whatever settings of matplotlib a user has."""
    from matplotlib import rc_context, rcdefaults, style

    with rc_context():
        rcdefaults()
        style.use(STYLE)
        yield

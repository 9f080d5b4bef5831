"""The pages of the results in a browser, where there is one."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path

from vaebench.config.spine import ReproduceConfig

_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")  # any of them says that there is where to show a page


def page(cfg: ReproduceConfig) -> Path:
    """The page of the one paper that is asked for, else the front page."""
    own = Path(cfg.results) / cfg.paper / "index.html"
    return own if own.is_file() else Path(cfg.results) / "index.html"


# Without a display `webbrowser` takes what it finds: a browser of the terminal, in which nothing can be seen of a
# picture and which a script would wait for.
def show(path: Path) -> str:
    """Open a page. Returns a line that says so, or where the page is if no browser can be told."""
    there = sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in _DISPLAYS)
    try:
        opened = there and webbrowser.open(path.resolve().as_uri())
    except (webbrowser.Error, OSError):
        opened = False
    return f"opened: {path}" if opened else f"no browser can be opened here; the page is {path}"

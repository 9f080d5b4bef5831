"""A real browser for the pages: Chromium as the system has it, else the one that Playwright installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
PAPERS = sorted(path.parent.name for path in RESULTS.glob("*/cells.csv"))
_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# No look-ups at home: the pages need nothing from elsewhere, and nor should what shows them.
_QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium. Raises `RuntimeError` where there is none, with what to do."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError as error:
        raise RuntimeError("Playwright is not installed: pip install playwright") from error
    path = next((found for name in _NAMES if (found := shutil.which(name))), None)
    with sync_playwright() as made:
        try:
            browser = made.chromium.launch(executable_path=path, args=_QUIET)
        except Error as error:
            raise RuntimeError("no Chromium here: install it, or run `playwright install chromium`") from error
        try:
            yield browser
        finally:
            browser.close()


def address(page: str) -> str:
    """Of a page of the committed results, from a file."""
    return (RESULTS / page).as_uri()


def pages() -> list[str]:
    """The front page, and one for each paper."""
    return ["index.html", *(f"{name}/index.html" for name in PAPERS)]

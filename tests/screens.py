"""Photographs the committed pages: `make screens` writes docs/screens/*.png, which are there to be looked at."""

from __future__ import annotations

import io
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from browsers import ROOT, address, chromium
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page

FOLDER = ROOT / "docs" / "screens"
SIZES = {"wide": (1280, 900), "phone": (390, 844)}


def _front(page: Page) -> None:
    page.goto(address("index.html"))


def _paper(page: Page) -> None:
    page.goto(address("batchtopk/index.html"))


def _filter(page: Page) -> None:
    """A table whose rows are filtered, sorted by PSNR."""
    page.goto(address("vpvae/index.html"))
    section = page.locator("section#table1_images-small-cifar10")
    section.get_by_label("Filter rows").fill("vae")
    section.locator('th[data-k="psnr"] button').dispatch_event("click")
    section.locator(".tools").evaluate("one => one.scrollIntoView()")
    page.mouse.wheel(0, -90)


def _number(page: Page) -> None:
    """Where a number comes from."""
    page.goto(address("batchtopk/index.html"))
    page.locator('section#table1-paper-mnist tr[data-r="batchtopk"] td a').nth(1).click()


def main() -> None:
    """Write them all; the few colours of a page make small files."""
    FOLDER.mkdir(exist_ok=True)
    with chromium() as browser:
        for (size, (width, height)), scheme in product(SIZES.items(), ("light", "dark")):
            for show in (_front, _paper, _filter, _number):
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                show(page)
                page.wait_for_timeout(600)  # pictures that are in sight
                shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
                path: Path = FOLDER / f"{show.__name__.strip('_')}-{size}-{scheme}.png"
                shot.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
                page.close()


if __name__ == "__main__":
    main()

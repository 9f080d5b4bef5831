"""The committed pages in a real browser: what loads, what a click does, what a phone or a screen reader gets."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest
from browsers import PAPERS, RESULTS, address, chromium, pages

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PAPER, TABLE = "batchtopk", "table1-paper-mnist"
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        with chromium() as found:
            yield found
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.fixture
def opened(browser: Browser) -> Iterator[Any]:
    """Opens a page; at the end no page may have had anything to complain of."""
    contexts, said = [], []

    def go(page: str, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": WIDE, **options})
        contexts.append(context)
        found = context.new_page()
        found.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
        found.on("pageerror", lambda error: said.append(str(error)))
        found.on("requestfailed", lambda request: said.append(f"{request.url}: {request.failure}"))
        found.goto(page if "://" in page else address(page))
        return found

    yield go
    for context in contexts:
        context.close()
    assert said == []


def grid(page: Page, name: str = TABLE) -> Any:
    return page.locator(f"section#{name} table.grid")


def rows(page: Page) -> list[str]:
    return grid(page).locator("tbody tr:visible").evaluate_all("all => all.map(row => row.dataset.r)")


def cells(**wanted: str) -> list[dict[str, str]]:
    with (RESULTS / PAPER / "cells.csv").open(encoding="utf-8") as file:
        return [line for line in csv.DictReader(file) if all(line[name] == text for name, text in wanted.items())]


@pytest.fixture(scope="module")
def anchors(browser: Browser) -> dict[str, set[str]]:
    """By page, what a link can point at in it."""
    page = browser.new_page()
    found = {}
    for name in pages():
        page.goto(address(name))
        found[address(name)] = set(page.locator("[id]").evaluate_all("all => all.map(one => one.id)"))
    page.close()
    return found


@pytest.mark.parametrize("name", pages())
def test_every_link_leads_somewhere(name, opened, anchors):
    page = opened(name)
    links = set(page.locator("a[href]").evaluate_all("all => all.map(one => one.getAttribute('href'))"))
    assert len(links) > len(PAPERS)
    for link in links:
        if urlsplit(link).scheme in ("http", "https"):
            continue
        target, anchor = urldefrag(urljoin(address(name), link))
        assert Path(unquote(urlsplit(target).path)).is_file(), link
        if anchor and target in anchors:
            assert unquote(anchor) in anchors[target], link


@pytest.mark.parametrize("name", pages())
def test_every_picture_loads_and_has_its_room_before(name, opened):
    page = opened(name)
    pictures = page.locator("main img").evaluate_all(
        """all => Promise.all(all.map(async one => {
             const early = [one.getAttribute("width"), one.getAttribute("height"), one.alt, one.loading];
             one.loading = "eager";
             await one.decode();
             return [one.src, ...early, one.naturalWidth / one.naturalHeight];
           }))"""
    )
    assert pictures
    for source, width, height, alt, loading, shape in pictures:
        assert alt, source
        assert loading == "lazy", source
        assert int(width) / int(height) == pytest.approx(shape, rel=0.02), source


@pytest.mark.parametrize("name", pages())
@pytest.mark.parametrize("size", [WIDE, PHONE, {"width": 700, "height": 900}], ids=lambda size: str(size["width"]))
def test_no_page_scrolls_sideways(name, size, opened):
    page = opened(name, viewport=size)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


@pytest.mark.parametrize("name", pages())
@pytest.mark.parametrize(("scheme", "size"), [("light", WIDE), ("dark", PHONE)])
def test_nothing_serious_keeps_anybody_out(name, scheme, size, opened):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened(name, viewport=size, color_scheme=scheme)
    found = axe.run(page, options={"resultTypes": ["violations"], "preload": False}).response["violations"]
    bad = [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")]
    assert bad == []


def test_a_heading_sorts_down_then_up_then_as_it_was(opened):
    page = opened(f"{PAPER}/index.html")
    before, heading = rows(page), grid(page).locator('th[data-k="psnr"]')
    values = "all => all.map(row => row.querySelector('td:nth-child(3)').dataset.v).filter(Boolean).map(Number)"
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    up = grid(page).locator("tbody tr").evaluate_all(values)
    assert len(up) > 3
    assert up == sorted(up)
    assert rows(page)[-1] == "beta_vae_fitted", "a row without the number is last"
    heading.locator("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert grid(page).locator("tbody tr").evaluate_all(values) == up[::-1]
    assert rows(page)[-1] == "beta_vae_fitted"
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") is None
    assert rows(page) == before


def test_rows_columns_controls_and_what_is_not_comparable_can_be_left_out(opened):
    page = opened(f"{PAPER}/index.html")
    every, tools = rows(page), page.locator(f"section#{TABLE} .tools")
    tools.get_by_label("Filter rows").fill("batch top")
    assert rows(page) == ["batchtopk"]
    assert f"1 of {len(every)} rows" in tools.inner_text()
    tools.get_by_label("Filter rows").fill("")
    assert rows(page) == every
    tools.get_by_label("Controls").uncheck()
    assert rows(page) == ["beta_vae", "batchtopk"]
    tools.get_by_text("Columns").click()
    tools.locator(".menu").get_by_label("PSNR, dB").uncheck()
    assert not grid(page).locator('th[data-k="psnr"]').is_visible()
    assert grid(page).locator('th[data-k="ssim"]').is_visible() or grid(page).locator("thead th:visible").count() > 2
    fid = grid(page).locator('tr[data-r="batchtopk"] td').first
    assert "not comparable" in fid.inner_text()
    tools.get_by_label("Not comparable").uncheck()
    assert fid.inner_text().strip() == ""


def test_a_number_leads_to_its_runs_in_one_click(opened):
    page = opened(f"{PAPER}/index.html")
    link = grid(page).locator('tr[data-r="batchtopk"] td').nth(1).locator("a")
    link.click()
    dialog = page.get_by_role("dialog")
    text = dialog.inner_text()
    made = cells(table="table1", row="batchtopk", column="psnr", scale="paper")
    assert len(made) >= 5
    for line in made:
        for fact in ("run", "eval", "commit", "device"):
            assert line[fact] in text
        assert f"{float(line['value']):.4f}" in text
    assert "Batch Top-K: PSNR" in text
    assert "Protocol: " in text
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert link.evaluate("one => one === document.activeElement"), "one goes on where one was"


@pytest.mark.parametrize("format", ["Markdown", "LaTeX"])
def test_what_is_shown_can_be_copied(format, opened):
    page = opened(f"{PAPER}/index.html")
    page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', { value: { writeText: async one => (window.put = one) } })"
    )
    tools = page.locator(f"section#{TABLE} .tools")
    tools.get_by_label("Controls").uncheck()
    tools.get_by_text("Columns").click()
    tools.locator(".menu").get_by_label("FID").uncheck()
    tools.get_by_text("Columns").click()
    tools.get_by_text(f"Copy {format}").click()
    tools.get_by_text("Copied").wait_for()
    copied = page.evaluate("window.put")
    psnr = re.search(r"Batch Top-K [|&] ([^|&]+)", copied)
    assert psnr
    assert re.match(r"[\d.]+ (±|\$\\pm\$) [\d.]+, paper 14\.171, outside our spread", psnr[1])
    assert "FID" not in copied
    lines = [line for line in copied.splitlines() if line.count("|") + line.count(" & ") > 2]
    assert len({re.sub(r"\\[|&]", "", line).count("|" if format == "Markdown" else " & ") for line in lines}) == 1
    assert len(lines) == (4 if format == "Markdown" else 3)


def test_the_search_finds_papers_rows_and_claims_with_keys_alone(opened):
    page = opened("index.html")
    page.keyboard.press("/")
    page.keyboard.type("batch top-k below beta")
    first = page.locator(".found a").first
    first.wait_for()
    assert "FID of Batch Top-K below Beta-VAE's: reversed" in page.locator(".found").inner_text()
    page.keyboard.press("ArrowDown")
    assert first.evaluate("one => one === document.activeElement")
    page.keyboard.press("Enter")
    page.wait_for_url("**/batchtopk/index.html#*/claims")
    page.get_by_label("Search papers").fill("nothing like this")
    page.get_by_text("Nothing found").wait_for()


def test_dark_and_light_are_kept(opened):
    page = opened("index.html", color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_label("Switch between dark and light").click()
    dark = page.evaluate(ground)
    assert dark != light
    page.goto(address(f"{PAPER}/index.html"))
    assert page.evaluate(ground) == dark


def test_headings_stay_in_sight(opened):
    page = opened("vpvae/index.html")
    box = grid(page, "table1_images-small-cifar10").locator("xpath=..")
    box.scroll_into_view_if_needed()
    before = box.locator("thead th").first.bounding_box()
    box.evaluate("one => { one.scrollTop = 300; one.scrollLeft = 200; }")
    assert box.evaluate("one => one.scrollTop") == 300
    assert box.locator("thead th").first.bounding_box() == before


def test_on_a_phone_a_row_is_a_card_that_says_what_is_what(opened):
    page = opened(f"{PAPER}/index.html", viewport=PHONE)
    cell = grid(page).locator('tr[data-r="batchtopk"] td').nth(1)
    assert cell.evaluate("one => getComputedStyle(one, '::before').content").startswith('"PSNR')
    width = cell.bounding_box()["width"]
    assert 300 < width < 390
    assert grid(page).get_attribute("role") == "table"


def test_without_scripts_everything_can_be_read(browser):
    context = browser.new_context(java_script_enabled=False, viewport=PHONE)
    page = context.new_page()
    page.goto(address(f"{PAPER}/index.html"))
    assert "outside our spread" in grid(page).inner_text()
    assert not page.locator(".search").is_visible(), "no box that does nothing"
    context.close()


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_nothing_moves_where_nothing_should(motion, opened):
    page = opened("dmvae/index.html", reduced_motion=motion)
    shown = page.locator('img[src*="motion-toy"]').first
    shown.evaluate("async one => { one.loading = 'eager'; await one.decode(); }")
    assert shown.evaluate("one => one.currentSrc").endswith(".gif" if motion == "no-preference" else ".png")


def test_there_is_a_page_for_each_paper():
    assert len(PAPERS) == 5

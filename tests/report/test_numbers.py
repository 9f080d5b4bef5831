"""Our numbers beside the paper's as a picture, the scoreboard, findings, and the size of the committed pages."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from seen import shown_in
from vaebench.config.choices import choices
from vaebench.contracts.pictures import PAPER
from vaebench.papers.cells import Cells, cells_path
from vaebench.papers.tables import load
from vaebench.report import findings, site, words
from vaebench.report.pictures import scoreboard
from vaebench.report.pictures.house import TONES
from vaebench.report.stored import Shown
from vaebench.report.summary import Score, score, sections
from vaebench.report.tables import markdown

RESULTS = Path(__file__).resolve().parents[2] / "results"
NOWHERE = Path("nowhere")


def ours(panel) -> dict[str, list[float]]:
    """By colour, our means in a panel."""
    return {mark.colour: list(mark.x) for mark in panel.marks if mark.marker != PAPER["marker"]}


def paper(panel) -> list:
    return [mark for mark in panel.marks if mark.marker == PAPER["marker"]]


def test_a_panel_per_printed_column_with_ours_by_verdict_and_the_papers_mark(summarised, measure):
    lines = measure("table1", jitter=1e-4)
    for line in lines:
        if (line["row"], line["column"]) == ("batchtopk", "psnr"):
            line["value"] += 3
    section = summarised(lines)["table1-paper-mnist"]
    content = shown_in(section, NOWHERE, "numbers")
    assert [panel.title for panel in content.panels] == list(words.headings(section).values())
    assert content.title == words.finding(section)
    assert content.title.startswith("3 claims: ")
    rows = ["Beta-VAE", "Batch Top-K"]
    assert [list(panel.y.ticks.values()) for panel in content.panels[:4]] == [rows, [], [], rows]
    psnr = content.panels[1]
    assert ours(psnr) == {TONES["good"]: [pytest.approx(21.5381)], TONES["bad"]: [pytest.approx(17.1711)]}
    (theirs,) = paper(psnr)
    assert (list(theirs.x), list(theirs.y), theirs.hollow) == ([21.538, 14.171], [0.0, 1.0], True)
    shapes = {mark.marker for panel in content.panels for mark in panel.marks}
    assert len(shapes) == 3, "not told apart by colour alone"


def test_another_quantity_under_the_same_name_has_a_panel_of_its_own(summarised, measure):
    section = summarised(measure("table1", features="classifier", jitter=1e-4))["table1-paper-mnist"]
    mine, theirs = shown_in(section, NOWHERE, "numbers").panels[:2]
    assert (mine.title, theirs.title) == ("FID (classifier) ↓", "FID, the paper's ↓")
    assert (ours(mine).keys(), paper(mine)) == ({TONES["quiet"]}, [])
    assert (ours(theirs), len(paper(theirs))) == ({}, 1)


def test_seeds_that_collapse_have_no_mean(summarised, measure):
    lines = measure("table1", seeds=8, jitter=1e-4)
    for line in lines:
        if (line["row"], line["column"], line["seed"]) == ("beta_vae", "psnr", 5):
            line["value"] = 3.0
    section = summarised(lines)["table1-paper-mnist"]
    assert section.cells["beta_vae", "psnr"].collapse
    panel = shown_in(section, NOWHERE, "numbers").panels[1]
    (single,) = (mark for mark in panel.marks if mark.label == "single seeds: some collapse")
    assert sorted(single.x)[0] == 3.0
    assert (len(single.x), set(single.y)) == (8, {0.0})
    assert sum(len(mark.x) for mark in panel.marks if mark.label.startswith("ours")) == 1


def test_without_printed_numbers_of_ours_there_is_no_picture(summarised, measure):
    found = summarised(measure("masks"))
    assert not shown_in(found["masks-paper-mnist"], NOWHERE, "numbers")
    for section in found.values():
        if section.scale == "":
            assert not shown_in(section, NOWHERE, "numbers")


def test_the_leader_is_the_best_mean_and_no_infinite_one(summarised, measure):
    lines = measure("table1", jitter=1e-4)
    for line in lines:
        if (line["row"], line["column"]) == ("pca_64", "psnr"):
            line["value"] = math.inf
    shown = Shown(summarised(lines)["table1-paper-mnist"], NOWHERE, "")
    assert shown.leader("psnr") == "Highest PSNR, dB: Beta-VAE, 21.54"
    assert shown.leader("fid", "distance") == "", "several print none and have the same"
    best = Shown(summarised([one for one in lines if one["value"] > 1])["table1-paper-mnist"], NOWHERE, "")
    assert best.leader("fid", "distance").startswith("Lowest distance: Batch Top-K, 34.37")
    none = {name: replace(column, better="none") for name, column in shown.section.table.columns.items()}
    other = replace(shown.section, table=replace(shown.section.table, columns=none))
    assert Shown(other, NOWHERE, "").leader("psnr") == ""
    alike = [{**line, "value": 1.0} for line in lines]
    assert Shown(summarised(alike)["table1-paper-mnist"], NOWHERE, "").leader("psnr") == "", "none is better"


def test_the_scoreboards_bars_are_shares_and_its_title_counts():
    nothing = dict.fromkeys(("comparable", "reproduced", "outside", "claims", "judged", "hold", "reversed"), 0)
    scores = [
        ("Same", Score(printed=10, comparable=4, reproduced=1, outside=2, claims=8, judged=6, hold=4, reversed=1)),
        ("Same", Score(**{**nothing, "printed": 5, "claims": 1})),
    ]
    content = scoreboard.panels(scores)
    assert content.title == (
        "9 claims: 4 hold, 1 reversed, 1 undecided\n15 printed numbers: 4 comparable, 1 reproduced"
    ), "papers of one title are two"
    claims, numbers = content.panels
    assert list(claims.y.ticks.values()) == ["Same\n8 claims, 10 numbers", "Same\n1 claim, 5 numbers"]
    assert [list(mark.lengths) for mark in claims.marks] == [[50, 0], [12.5, 0], [12.5, 0], [25, 100]]
    assert [list(mark.lengths) for mark in numbers.marks] == [[10, 0], [20, 0], [10, 0], [60, 100]]
    assert [list(mark.starts) for mark in numbers.marks] == [[0, 0], [10, 0], [30, 0], [40, 0]]


@pytest.fixture(scope="module")
def committed() -> dict[str, Score]:
    """Counted anew from each cells.csv."""
    found = {}
    for name in choices("paper"):
        path = cells_path(RESULTS, name)
        found[name] = score(load(name), sections(load(name), Cells.read(path)))
    return found


def test_the_committed_scoreboard_is_what_the_cells_give(committed):
    assert (RESULTS / "scoreboard.md").read_text(encoding="utf-8") == markdown.scoreboard(committed)
    title = scoreboard.panels(list(committed.items())).title.splitlines()
    drawn = (RESULTS / "scoreboard.svg").read_text(encoding="utf-8")
    assert all(f">{line}</text>" in drawn for line in title)
    front = (RESULTS / "index.html").read_text(encoding="utf-8")
    for name, one in committed.items():
        card = front.split(f'id="{name}">')[1].split("</article>")[0]
        for tone, count, what in (
            ("good", one.hold, "hold"),
            ("bad", one.reversed, "reversed"),
            ("open", one.undecided, "undecided"),
            ("quiet", one.claims - one.judged, "not comparable or not run"),
            ("good", one.reproduced, "reproduced"),
            ("bad", one.outside, "outside"),
        ):
            assert f'<span class="{tone}"><b>{count}</b> {what}</span>' in card


@pytest.mark.parametrize("name", choices("paper"))
def test_the_seeds_of_a_committed_cell_were_measured_under_one_protocol(name):
    frame = Cells.read(cells_path(RESULTS, name)).frame
    digests = frame.groupby(["table", "row", "column", "scale", "dataset"])["protocol_digest"].nunique()
    assert list(digests[digests > 1].index) == []


def test_no_committed_page_is_large():
    pages = [RESULTS / "index.html", *RESULTS.glob("*/index.html")]
    assert len(pages) == 1 + len(choices("paper"))
    assert {path.parent.name: size for path in pages if (size := path.stat().st_size) >= 300_000} == {}


def test_findings_are_a_title_a_lead_a_picture_and_the_rest():
    text = "# T & T\n\n**Found.** More <b>here</b>.\n\n![What is seen](a-b.svg)\n\n## Next\n\n"
    text += "| a | b |\n|---|---|\n| 1 | x |\n"
    found = findings.parse(text)
    assert (found.title, found.picture, found.caption) == ("T & T", "a-b.svg", "What is seen")
    assert found.lead == "<p><strong>Found.</strong> More &lt;b&gt;here&lt;/b&gt;.</p>\n"
    assert "<h2>Next</h2>" in found.rest
    assert "<td>x</td>" in found.rest
    assert 'tabindex="0"' in found.rest, "a wide table scrolls with keys"
    assert "<img" not in found.rest


@pytest.mark.parametrize(
    ("text", "title", "lead", "picture"),
    [
        ("", "", "", ""),
        ("Only a line.", "", "<p>Only a line.</p>\n", ""),
        ("# Title alone", "Title alone", "", ""),
        ("- a\n- b", "", "", ""),
        ("# T\n\n![p](x.png)\n", "T", "", "x.png"),
    ],
)
def test_findings_may_lack_any_part(text, title, lead, picture):
    found = findings.parse(text)
    assert (found.title, found.lead, found.picture) == (title, lead, picture)


@pytest.mark.parametrize("text", [None, "Only a line.", "#\n"])
def test_without_a_title_a_paper_goes_by_its_name(text, tmp_path):
    if text is not None:
        (tmp_path / "findings.md").write_text(text)
    assert site.told(load("batchtopk"), [], tmp_path, {}, {}).title == "batchtopk"


@pytest.mark.parametrize("name", choices("paper"))
def test_the_committed_findings_say_the_finding_first(name):
    found = findings.read(RESULTS / name)
    assert found is not None
    assert str(found.lead).startswith("<p><strong>")
    assert (RESULTS / name / found.picture).is_file()
    assert found.title

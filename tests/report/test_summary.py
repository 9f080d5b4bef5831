"""From cells to verdicts: what is comparable, what stands in for what, what is paired with what."""

from __future__ import annotations

import pytest

from vaebench.papers.tables import load
from vaebench.report import words
from vaebench.report.summary import Score, counts, protocol_lines, score


def test_the_papers_own_numbers_are_reproduced_and_its_claims_hold(summarised, measure):
    section = summarised(measure("table1", "table2", jitter=1e-4))["table1-paper-mnist"]
    assert counts(section) == {"cells": {"reproduced": 10}, "claims": {"holds": 3}}
    assert section.stand_ins == ()
    assert words.reasons(section) == []
    assert section.headings["fid"] == "FID"
    cell = section.cells["beta_vae", "fid"]
    assert cell.ours.mean == pytest.approx(41.3071)
    assert cell.difference == pytest.approx(1e-4)
    assert section.cells["vae_8", "fid"].verdict is None


def test_a_stand_in_is_never_silent(summarised, measure):
    lines = measure("table1", scale="smoke", dataset="digits", features="classifier", epochs=60.0)
    section = summarised(lines)["table1-smoke-digits"]
    assert counts(section)["cells"] == {"not comparable": 10}
    assert section.headings["fid"] == "FID (classifier)"
    assert section.place == "scale=smoke on digits, a stand-in for MNIST"
    assert any("1,797 8x8 digits" in note for note in section.stand_ins)
    assert any(note.startswith("FID (classifier)") for note in section.stand_ins)
    fid = section.cells["beta_vae", "fid"]
    assert fid.difference is None, "another quantity has no difference to the paper's FID"
    assert fid.verdict.text == "not comparable (dataset digits != mnist; features classifier != inception)"
    assert fid.readings == ("epochs 60 != 50",)
    assert section.cells["beta_vae", "psnr"].difference == pytest.approx(0)
    assert words.reasons(section) == [
        "dataset digits != mnist",
        "FID (classifier): features classifier != inception",
    ]
    claim = next(judged for judged in section.claims if judged.claim.id == "batchtopk-fid-lower-beta_vae")
    assert claim.verdict.kind == "holds", "claims stay judgeable"
    assert claim.stand_ins == ("judged on digits, a stand-in for MNIST", "FID (classifier) stands in for FID")


def test_sections_come_biggest_scale_first_and_the_papers_dataset_before_a_stand_in(summarised, measure):
    lines = measure("table1", "table2", scale="smoke", dataset="digits", seeds=1)
    lines += measure("table2", scale="small", seeds=1) + measure("table2", scale="smoke", seeds=1)
    lines += measure("table1", scale="paper", seeds=1)
    assert list(summarised(lines)) == [
        "table1-paper-mnist",
        "table2-small-mnist",
        "table2-smoke-mnist",
        "table1-smoke-digits",
        "table2-smoke-digits",
    ]


def test_seeds_under_different_protocols_are_not_averaged_in_silence(summarised, measure):
    lines = measure("table2")
    lines[0].update(protocol='{"clip": false, "noise_seed": 7}', protocol_digest="other")
    section = summarised(lines)["table2-paper-mnist"]
    assert section.cells["beta_vae", "accuracy@0.3"].verdict.text == (
        "not comparable (seeds measured under 2 protocols)"
    )
    assert section.cells["beta_vae", "accuracy@0.5"].verdict.kind == "reproduced"


def test_sides_measured_differently_are_not_compared(summarised, measure):
    lines = measure("table1", jitter=1e-4)
    for line in lines:
        if (line["row"], line["column"]) == ("beta_vae", "fid"):
            line["protocol"] = line["protocol"].replace("inception", "classifier")
    judged = {claim.claim.id: claim for claim in summarised(lines)["table1-paper-mnist"].claims}
    assert judged["batchtopk-fid-lower-beta_vae"].verdict.text == "not comparable (the two sides differ in features)"
    assert judged["batchtopk-fid-lower-beta_vae"].difference is None
    assert judged["beta_vae-psnr-higher-batchtopk"].verdict.kind == "holds"


def test_a_missing_number_is_not_run_and_a_missing_seed_is_not_paired(summarised, measure):
    lines = [line for line in measure("table2", jitter=1e-4) if (line["row"], line["seed"]) != ("batchtopk", 2)]
    lines = [line for line in lines if (line["row"], line["column"]) != ("beta_vae", "accuracy@0.7")]
    section = summarised(lines)["table2-paper-mnist"]
    assert section.cells["beta_vae", "accuracy@0.7"].verdict.text == "not run"
    judged = {claim.claim.id: claim for claim in section.claims}
    assert judged["batchtopk-accuracy@0.7-higher-beta_vae"].verdict.text == "not run"
    assert judged["beta_vae-accuracy@0.3-higher-batchtopk"].difference.count == 2


def test_columns_measured_alike_share_a_line(summarised, measure):
    lines = measure("table2", seeds=1)
    for line in lines:
        if line["row"] == "noisy":
            line["epochs"] = 0.0
    shown = protocol_lines(summarised(lines)["table2-paper-mnist"])
    assert [columns for columns, _ in shown] == [
        "\u03c3 = 0.3, \u03c3 = 0.5, \u03c3 = 0.7, no noise",
        "\u03c3 = 0.3, \u03c3 = 0.5, \u03c3 = 0.7, no noise (Noisy image itself)",
    ]
    assert "clip false" in shown[0][1]
    assert "epochs 50" in shown[0][1]
    assert "epochs 0" in shown[1][1]


def test_cells_of_rows_that_no_longer_exist_are_ignored(summarised, measure):
    lines = measure("table2", seeds=1)
    lines += [{**lines[0], "row": "gone"}, {**lines[0], "column": "gone"}, {**lines[0], "table": "gone"}]
    assert list(summarised(lines)) == ["table2-paper-mnist", "table1-not-run"]


def test_a_printed_table_without_any_number_of_ours_is_shown_as_not_run(summarised, measure):
    section = summarised(measure("table2", seeds=1))["table1-not-run"]
    assert section.place == "not run"
    assert {cell.verdict.kind for cell in section.cells.values()} == {"not run"}
    assert {judged.verdict.kind for judged in section.claims} == {"not run"}


def test_a_number_measured_under_another_reading_is_judged_and_says_which(summarised, measure):
    section = summarised(measure("table1", scale="small", epochs=15.0, jitter=1e-6))["table1-small-mnist"]
    cell = section.cells["beta_vae", "psnr"]
    assert cell.verdict.kind == "reproduced"
    assert cell.readings == ("epochs 15 != 50",)
    assert words.readings(section) == ["epochs 15 != 50"]
    assert words.reasons(section) == []


def test_seeds_that_collapse_stand_in_place_of_a_mean(summarised, measure):
    lines = measure("table1", seeds=8, jitter=1e-3)
    for line in lines:
        if (line["row"], line["column"], line["seed"]) == ("beta_vae", "psnr", 3):
            line["value"] = 9.5
    section = summarised(lines)["table1-paper-mnist"]
    psnr = list(section.table.columns).index("psnr")
    assert words.ours(section, "beta_vae")[psnr] == "1 of 8 seeds collapses (9.5; the others 21.54 to 21.55)"
    assert section.cells["beta_vae", "psnr"].verdict.kind == "seeds collapse"


def test_claims_are_corrected_for_all_of_the_table(summarised, measure):
    section = summarised(measure("table1", jitter=1e-6))["table1-paper-mnist"]
    asserted = [judged for judged in section.claims if judged.claim.asserted]
    assert all(words.judgement(judged) == "holds; also after correction" for judged in asserted)
    assert words.false_calls(section).startswith(
        "3 of 3 decided, each with at most 5 % for a false call: at most 0.2 false ones to be expected; 3 stand"
    )
    assert all(judged.corrected is None for judged in section.claims if not judged.claim.asserted)


def test_a_study_says_how_far_readings_move_a_number(summarised, measure):
    lines = measure("table1", scale="smoke", jitter=1e-6) + measure("race", scale="smoke", value=15.0)
    shortest = next(line["row"] for line in lines if line["row"].startswith("table1.beta_vae."))
    for line in lines:
        if (line["row"], line["column"]) == (shortest, "psnr"):
            line["value"] = 18.25
    section = summarised(lines)["table1-smoke-mnist"]
    assert words.moved(section, section.cells["beta_vae", "psnr"]) == "15.00 to 18.25 (2 readings)"
    assert words.moved(section, section.cells["vae_8", "psnr"]) == ""


def test_the_score_counts_each_number_once(summarised, measure):
    found = summarised(
        measure("table1", jitter=1e-6) + measure("table1", scale="smoke", dataset="digits", features="classifier")
    )
    paper = load("batchtopk")
    one = score(paper, found.values())
    assert (one.printed, one.comparable, one.reproduced + one.outside, one.within) == (16, 10, 10, 0)
    assert (one.claims, one.hold + one.reversed) == (13, 6)
    assert (one.judged, one.undecided) == (6, 0)
    empty = dict.fromkeys(("comparable", "reproduced", "outside", "claims", "judged", "hold", "reversed"), 0)
    assert score(paper, []) == Score(printed=16, **empty)


def test_a_number_counts_as_the_biggest_scale_that_compares_says(summarised, measure):
    lines = measure("table1", features="classifier", jitter=1e-6)
    lines += measure("table1", scale="small", value=1e3, jitter=1e-6)
    found = summarised(lines)
    assert counts(found["table1-paper-mnist"])["cells"] == {"not comparable": 2, "reproduced": 8}
    assert counts(found["table1-small-mnist"])["cells"] == {"outside our spread": 10}
    one = score(load("batchtopk"), found.values())
    assert (one.printed, one.comparable, one.reproduced, one.outside, one.within) == (16, 10, 8, 2, 0)


def test_what_was_found_is_counted_in_words(summarised, measure):
    section = summarised(measure("table1", jitter=1e-4))["table1-paper-mnist"]
    assert words.finding(section) == "3 claims: 3 hold; 10 comparable numbers: 10 reproduced"
    assert words.summary({"holds": 1, "reversed": 2}) == "2 reversed, 1 holds"
    assert words.summary({}) == "none"
    section = summarised(measure("table1", dataset="digits", features="classifier"))["table1-paper-digits"]
    assert words.finding(section).endswith("; no number can be compared with the paper's")
    assert words.headings(section)["fid"] == "FID (classifier) ↓"
    assert list(words.headings(section)) == list(section.table.columns)

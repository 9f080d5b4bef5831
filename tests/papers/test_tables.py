"""The paper YAML: the shipped one holds the printed numbers, a damaged one is refused with every mistake at once."""

from __future__ import annotations

import pytest

from vaebench.config.choices import choices
from vaebench.errors import UserError
from vaebench.papers.tables import captions, load, names, parse


def test_the_paper_is_the_printed_one():
    paper = load("batchtopk")
    assert names() == ["batchtopk", "dmvae", "ldmae", "rcvae", "vpvae"]
    assert paper.source
    assert paper.year == 2026
    one, two = paper.tables["table1"], paper.tables["table2"]
    printed = {row: [numbers[c] for c in ("fid", "psnr", "ssim_valid")] for row, numbers in one.reported.items()}
    assert printed == {"beta_vae": [41.307, 21.538, 0.9171], "batchtopk": [34.373, 14.171, 0.749]}
    sigmas = [f"accuracy@{sigma}" for sigma in ("0.3", "0.5", "0.7")]
    printed = {row: [numbers[c] for c in sigmas] for row, numbers in two.reported.items()}
    assert printed == {"beta_vae": [0.9125, 0.8493, 0.6486], "batchtopk": [0.8992, 0.8329, 0.7841]}
    assert all(one.reported[row]["psnr"] == one.reported[row]["psnr_set"] for row in one.reported)
    assert all(one.reported[row]["ssim_valid"] == one.reported[row]["ssim_reflect"] for row in one.reported)


def test_the_answer_selection_paper_is_the_printed_one():
    paper = load("rcvae")
    methods = ("greedy", "topk", "topp", "rcvae")
    printed = {
        (name, model): [paper.tables[name].reported[f"{model}_{method}"]["accuracy"] for method in methods]
        for name in ("gsm8k", "math")
        for model in ("smollm", "llama")
    }
    assert printed == {
        ("gsm8k", "smollm"): [23.4, 37.2, 40.7, 43.2],
        ("gsm8k", "llama"): [23.4, 37.2, 39.0, 41.9],
        ("math", "smollm"): [9.9, 13.6, 15.2, 18.4],
        ("math", "llama"): [10.8, 18.2, 19.8, 21.7],
    }


def test_a_table_says_on_which_sets_it_is_measured():
    tables = load("rcvae").tables
    assert tables["gsm8k"].sets("small") == ()
    assert tables["gsm8k"].sets("paper") == ("gsm8k",)
    assert tables["selectors"].own == ("openai_gsm8k", "zeroeval_gsm", "zeroeval_math_l5")
    assert load("batchtopk").tables["table1"].sets("smoke") == ("mnist",)


def test_a_table_says_what_stands_for_its_set_and_what_its_models_are_trained_on():
    table = load("vpvae").tables["table2_images"]
    assert table.sets("small") == ("fashion_mnist_32",)
    assert table.sets("paper") == table.own == ("imagenet",)
    assert (table.instead("smoke"), table.instead("small"), table.instead("paper")) == ("photos", "photos", "")
    assert [table.trained_on(name) for name in ("imagenet", "mnist_32", "photos")] == ["coco", "cifar10", "digits"]
    table = load("batchtopk").tables["table1"]
    assert (table.instead("paper"), table.trained_on("mnist")) == ("digits", "mnist")


@pytest.mark.parametrize("name", choices("paper"))
def test_captions_are_those_of_the_tables(name):
    assert captions(name) == {key: table.caption for key, table in load(name).tables.items()}


@pytest.mark.parametrize("name", ["batchtopk", "rcvae"])
def test_the_papers_own_numbers_satisfy_its_claims(name):
    for table in load(name).tables.values():
        if not table.reported:
            continue
        for claim in table.claims:
            if claim.asserted:
                ours = table.reported[claim.row][claim.column]
                other = table.reported[claim.than][claim.than_column]
                assert (ours < other) == (claim.holds == "lower"), claim.id


def test_every_experiment_of_the_paper_is_there_and_used():
    used = {row.experiment for table in load("batchtopk").tables.values() for row in table.rows.values()}
    assert used == {name for name in choices("experiment") if name.startswith("batchtopk/")}


def test_columns_inherit_the_tables_protocol():
    fid = load("batchtopk").tables["table1"].columns["fid"]
    assert fid.protocol == {"dataset": "mnist", "features": "inception"}
    assert fid.reading["epochs"] == 50
    assert fid.reading["samples"] == 10000


def test_a_good_paper_parses(good):
    paper = parse("x", good)
    study = paper.tables["study"]
    assert set(study.rows) == {f"one.{row}.10" for row in ("a.1.p", "a.1.q", "a.2.p", "a.2.q", "b.p", "b.q")}
    assert study.rows["one.b.q.10"].columns == ("fid",)
    (claim,) = paper.tables["one"].claims
    assert (claim.than_column, claim.text, claim.asserted) == ("fid", "FID of A below B's", True)


def test_what_stands_under_a_scale_holds_there_only(good):
    table = good["tables"]["one"]
    table["set"] = {
        "train.max_steps": {"smoke": 5, "small": 50},
        "paper": {"optim.lr": 1},
        "optim.lr": 2,
        "x": {"small": None},
    }
    table["rows"]["a"] = {
        "label": "A",
        "experiment": "p/{row}",
        "set": {"links": {"t": {"w": {"smoke": 1}, "small": {"d": 2}}}},
    }
    table["stages"] = {"train.max_steps": {"paper": 7}}
    table["options"] = {"generation": {"samples": {"smoke": 20}}}
    table["dataset"] = {"smoke": "digits", "paper": "mnist"}
    found = parse("x", good).tables["one"]
    row = found.rows["a"]
    assert row.experiment == "p/a"
    assert found.training(row, "smoke") == ("train.max_steps=5", "optim.lr=2", "chain.t.overrides=['w=1']")
    assert found.training(row, "small") == ("train.max_steps=50", "optim.lr=2", "x=null", "chain.t.overrides=['d=2']")
    assert found.training(row, "paper") == ("optim.lr=1",)
    assert [found.stage(scale) for scale in ("smoke", "paper")] == [(), ("train.max_steps=7",)]
    assert found.suite(found.columns["fid"], row, "smoke") == ("suite=generation", "suite.samples=20")
    assert (found.dataset, found.stand_ins, found.datasets) == ("mnist", {"smoke": ["digits"]}, {})


def test_a_row_may_be_called_by_its_grid_and_its_numbers_stand_side_by_side(good):
    table = good["tables"]["one"]
    grid = {"grid": {"m": ["x", "y"]}, "experiment": "p/{m}"}
    table["rows"] = {"{m}_a": {**grid, "label": {"x": "X", "y": "Y"}}, "b": {**grid, "label": "B"}}
    table["reported"] = "of *_x fid psnr | *_y fid\nb 1 2 | 3\nof x_* fid | y_* fid\na 4 | failed"
    table["claims"] = [
        {"row": "{m}_a", "lower": "fid", "higher": "psnr", "than": "b", "text": "{row}: {column} {relation}, {moves}"}
    ]
    table["columns"]["fid"]["label"] = table["columns"]["psnr"]["label"] = "C"
    del good["tables"]["study"]
    found = parse("x", good).tables["one"]
    assert list(found.rows) == ["x_a", "y_a", "b_x", "b_y"]
    assert found.reported == {"b_x": {"fid": 1, "psnr": 2}, "b_y": {"fid": 3}, "x_a": {"fid": 4}}
    assert found.rows["y_a"].failed == ("fid",)
    assert {(claim.row, claim.than, claim.text) for claim in found.claims} == {
        (f"{m}_a", f"b_{m}", f"{m.upper()}: C {said} (m = {m})")
        for m in "xy"
        for said in ("below, falls", "above, rises")
    }


def change(data: dict, path: str, value: object) -> None:
    *way, last = path.split("/")
    node = data
    for part in way:
        node = node[int(part) if isinstance(node, list) else part]
    if value is None:
        del node[last]
    else:
        node[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("source", None, "source is empty"),
        ("source", "", "source is empty"),
        ("title", None, "title is empty"),
        ("tables", {}, "has no tables"),
        ("colour", 1, "unknown key 'colour'"),
        ("tables/one/rows/a/experiment", None, "row a: experiment is missing"),
        (
            "tables/one/rows/c",
            {"label": "C", "experiment": ""},
            "row c: has neither an experiment nor reported numbers",
        ),
        ("tables", {"Table 1": {"axes": {}}}, "paper x: 'Table 1' is no table (letters, digits, then . @ + - too)"),
        ("tables/all", {"axes": {}}, "paper x: table=all stands for every table"),
        ("tables/one/rows/a,b", {"label": "C", "experiment": "p/a"}, "paper x, one: 'a,b' is no row (letters"),
        ("tables/one/rows/all", {"label": "C", "experiment": "p/a"}, "paper x, one: row=all stands for every row"),
        ("tables/one/columns/", {"label": "C"}, "paper x, one: '' is no column (letters"),
        ("tables/study/axes/y/p q", {}, "paper x, study: 'one.a.2.p q.10' is no row (letters"),
        ("tables/one/columns/fid/minus", "fdi", "column fid: minus: unknown column 'fdi'"),
        ("tables/one/columns/fid/minus", "fid", "column fid: minus: unknown column 'fid'"),
        ("tables/one/rows/a/colums", ["fid"], "did you mean 'columns'"),
        ("tables/one/rows/a/columns", ["fdi"], "row a: unknown column 'fdi'; did you mean 'fid'"),
        ("tables/one/columns/fid/better", "smaller", "column fid: unknown better 'smaller'"),
        ("tables/one/columns/fid/tolerance", None, "reported numbers and no tolerance"),
        ("tables/one/reported", "method fid\na 1\nc 1.0", "reported: unknown row 'c'"),
        ("tables/one/reported", "method ssim\na 1.0", "reported: unknown column 'ssim'"),
        ("tables/one/reported", "method fid\na 41,3", "one, reported: a.fid: '41,3' is no number"),
        (
            "tables/one/reported",
            "method fid psnr\na 1",
            "row a has not as many numbers as there are",
        ),
        ("tables/one/reported", "method fdi\na failed", "row a: unknown column 'fdi'; did you mean 'fid'"),
        (
            "tables/one/reported",
            "method fid psnr | fid pnsr\na 1 2 | 3 4",
            "one, reported: unknown column 'pnsr'; did you mean 'psnr'",
        ),
        ("tables/one/reported", "method fid fid\na 1 2", "one, reported: a.fid stands twice"),
        ("tables/one/reported", "method fid\na 1\na 2", "one, reported: a.fid stands twice"),
        ("tables/one/rows/a", {"grid": {"n": [8, 8]}, "label": "A", "experiment": "p/a"}, "one, row a_8 stands twice"),
        ("tables/one/columns/fid", {"grid": {"n": [4, 4]}}, "one, column fid@4 stands twice"),
        ("tables/one/takes", "z", "one: unknown part 'z'"),
        ("tables/one/claims/0/than", "z", "claim a-fid-lower-z: unknown row 'z'"),
        (
            "tables/one/claims/0/kind",
            "gates",
            "unknown kind 'gates'; did you mean 'gate'? Valid: control, ",
        ),
        ("tables/one/claims/0/text", "{rows} below", "text='{rows} below': Valid in braces: column, "),
        ("tables/one/claims/0/than", "a", "compares a cell with itself"),
        ("tables/one/claims/0/lower", "z", "claim a-z-lower-b: unknown column 'z'"),
        ("tables/one/claims/0/lower", None, "claim a-b: says none of lower, higher, within"),
        ("tables/one/claims/0/value", 1, "claim a-b-1: compares with a value or with another cell, not with both"),
        ("tables/one/options", {"reconstrution": {}}, "unknown suite 'reconstrution'; did you mean 'reconstruction'"),
        ("tables/one/claims/0/below", "fid", "unknown key 'below'"),
        ("tables/one/claims/0/within", "fid", "claim a-fid-within-b: within needs a margin above 0"),
        ("tables/one/rows/a/scales", ["smal"], "row a: unknown scales 'smal'; did you mean 'small'"),
        ("tables/one/rows/a/set", {"smal": {"x": 1}}, "row a: unknown scale 'smal'; did you mean 'small'"),
        ("tables/study/of/0/table", "two", "unknown table 'two'"),
        ("tables/study/of/0/axes", ["z"], "unknown axis 'z'"),
        ("tables/study/of/0/columns", ["ssim"], "no number is reported for ssim"),
        ("tables/study/of/0/columns", None, "columns missing"),
        ("tables/study/units/fid", None, "units has no fid"),
        ("tables/study/axes/x", {}, "paper x, study, axes: x has no answers"),
        (
            "tables/study/axes/steps",
            {"1": {}},
            "axes: steps is what the length of a training is called; choose another",
        ),
        ("tables/study/of", [], "paper x, study, of: names no row to read anew"),
        ("tables/study/of/0/columns", [], "paper x, study, of one.a: has no columns"),
        ("tables/study/race", None, "paper x, study: race is missing"),
        ("tables/one/dataset", "mnits", "paper x, one: unknown dataset 'mnits'; did you mean 'mnist'"),
        ("tables/one/columns/fid/suite", "generatio", "column fid: unknown suite 'generatio'; did you mean 'generat"),
        ("colour", 1, "Valid: authors, every_table, parts, quantities, source, tables, title, unstated, year"),
        (
            "tables/one/study",
            {},
            "paper x, one: unknown key 'study'. Valid: caption, claims, columns, dataset, every_column, "
            "every_row, features, notes, options, protocol, reading, reported, rows, seeds, set, stages, stand_in",
        ),
        (
            "tables/study/rows",
            {},
            "paper x, study: unknown key 'rows'. Valid: axes, caption, dataset, features, notes, of, "
            "options, race, seeds, set, stages, stand_in, takes, train_on, units",
        ),
        (
            "tables/one/rows/a/failed",
            [],
            "row a: unknown key 'failed'. Valid: columns, experiment, grid, label, measures, note, on_stand_in, "
            "optional, options, scales, set, short",
        ),
        (
            "tables/one/columns/fid/written",
            "x",
            "column fid: unknown key 'written'. Valid: better, digits, grid, label, measurement, minus, note, "
            "optional, options, protocol, reading, short, snapshot, stage, suite, tolerance, unit",
        ),
        (
            "tables/one/claims/0/holds",
            "x",
            "claim a-fid-lower-b: unknown key 'holds'. Valid: factor, grid, higher, kind, lower, margin, pairs, "
            "remark, row, text, than, than_column, value, within",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(good, path, value, message):
    change(good, path, value)
    with pytest.raises(UserError, match="paper x") as caught:
        parse("x", good)
    assert message in str(caught.value)


def test_all_mistakes_are_shown_at_once(good):
    good["source"] = ""
    claims = good["tables"]["one"]["claims"]
    claims += [claims[0], {**claims[0], "kind": "x"}]
    with pytest.raises(UserError) as caught:
        parse("x", good)
    assert len(caught.value.lines) == 3  # no source, the claim twice, the other's kind


def test_a_claim_against_a_quoted_row_needs_its_printed_number(good):
    table = good["tables"]["one"]
    table["rows"]["b"]["experiment"] = ""
    assert parse("x", good).tables["one"].quoted == ("b",)
    assert parse("x", good).tables["one"].run_at("paper") == ["a"]
    table["claims"][0]["lower"] = "psnr"
    table["reported"] = "method fid psnr\na 1 20\nb 2 -"
    with pytest.raises(UserError, match="psnr-lower-b: row b has no experiment, and no psnr is reported for it"):
        parse("x", good)


def test_numbers_beside_the_tables_own_are_of_columns_that_the_paper_has(good):
    good["quantities"] = {"pesq": {}}
    table = good["tables"]["one"]
    table["reported"] = "of fid psnr | fid pesq\na 1 2 | 3 4\nb 5 6 | 7 8"
    assert parse("x", good).tables["one"].reported == {"a": {"fid": 1, "psnr": 2}, "b": {"fid": 5, "psnr": 6}}


def test_a_row_of_a_grid_may_not_have_the_name_of_another(good):
    rows = good["tables"]["one"]["rows"]
    rows["a_4"] = rows["a"]
    rows["a"] = {**rows["a"], "grid": {"n": [4]}}
    with pytest.raises(UserError, match="paper x, one, row a_4 stands twice"):
        parse("x", good)


def test_an_unknown_paper_names_the_choices():
    with pytest.raises(UserError, match="did you mean 'batchtopk'"):
        load("batchtop")

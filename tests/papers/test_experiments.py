"""Every row of the paper's tables composes and binds to the signatures of what it names."""

from __future__ import annotations

from vaebench.chains import chain as requests
from vaebench.config.compose import compose, session
from vaebench.papers.changes import words
from vaebench.papers.study import at_length, drawn, row_names
from vaebench.papers.tables import load
from vaebench.runs.kinds import eval as evaluations

TABLES = load("batchtopk").tables


def test_the_rows_of_a_study_are_distinct_trainings():
    study = TABLES["race"]
    begun = at_length(drawn(study.study, "small"), study.study.race["small"].lengths[0])
    rows = [study.rows[name] for name in row_names(study.study, begun) if name.startswith("table1")]
    with session():
        options = ["scale=small", "dataset=digits"]
        keys = [
            requests.checked(_train(row.experiment, *options, *study.training(row, "small")))[-1].key for row in rows
        ]
    other = [tuple((axis, row.reading[axis]) for axis in row.reading if axis != "code") for row in rows]
    trained = {(row.of, one) for row, one in zip(rows, other, strict=True)}
    assert len(set(keys)) == len(trained) > 36


def test_printed_rows_share_trainings_only_where_they_should():
    with session():
        keys = {
            (key, name): requests.checked(_train(row.experiment, "dataset=digits", *words(row.set)))[-1].key
            for key, table in TABLES.items()
            if not table.study
            for name, row in table.rows.items()
        }
    assert keys["table1", "beta_vae"] == keys["table1", "beta_vae_fitted"]
    assert keys["table1", "batchtopk"] == keys["masks", "batchtopk_64_8"]
    assert keys["table2", "batchtopk"] == keys["masks", "batchtopk_256_4"]
    assert len(set(keys.values())) == len(keys) - 3


def test_columns_and_rows_choose_their_evaluations():
    with session():
        table = TABLES["table1"]
        run = requests.checked(_train(table.rows["beta_vae"].experiment, "dataset=digits"))[-1]
        keys = {}
        for name in ("beta_vae", "beta_vae_fitted"):
            options = ("dataset=digits", *table.suite(table.columns["fid"], table.rows[name], "smoke"))
            keys[name] = evaluations.of_run(compose("eval", options).suite, run, None).key
    assert keys["beta_vae"] != keys["beta_vae_fitted"]


def _train(experiment: str, *options: str):
    return compose("train", [f"experiment={experiment}", *options])

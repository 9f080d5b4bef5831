"""Every row of the paper's tables composes and binds to the signatures of what it names."""

from __future__ import annotations

from vaebench.chains import chain as requests
from vaebench.config.compose import compose, session
from vaebench.papers.changes import words
from vaebench.papers.tables import load
from vaebench.runs.kinds import eval as evaluations

TABLES = load("batchtopk").tables


def test_the_rows_of_a_study_are_distinct_trainings():
    table = TABLES["readings"]
    rows = [row for row in table.rows.values() if row.of[0] == "table1" and row.reading["network"] == "mlp"]
    with session():
        options = ["scale=small", "dataset=digits"]
        keys = [
            requests.checked(_train(row.experiment, *options, *table.training(row, "small")))[-1].key for row in rows
        ]
    assert len(set(keys)) == len(rows) == 4 + 32


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

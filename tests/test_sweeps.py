"""``-m``: what a sweep makes, what it says of it, how it fails, goes on and is refused."""

from __future__ import annotations

import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from vaebench.cli import sweep
from vaebench.config.compose import _composed, configurations, session
from vaebench.config.overrides import spelled
from vaebench.config.spine import TrainConfig
from vaebench.contracts import Executor
from vaebench.runs import executors, schedule
from vaebench.runs.executors.inline import Inline
from vaebench.runs.executors.local import Local
from vaebench.runs.kinds import train

FAST = ("dataset=digits", "model=ae", "model.latent_dim=4", "train.max_steps=2")
HERE = "executor.kind=inline"


def swept(run, *words: str, code: int = 0) -> list[dict[str, Any]]:
    """The data of a sweep."""
    said = run(*words, "-m", "--json")
    assert said.code == code, said.err
    return json.loads(said.out)


def numbers(folder: Path) -> dict[str, float]:
    """What a run's log ends with."""
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    return {name: value for name, value in last.items() if name not in ("step", "epoch")}


def test_a_sweep_goes_through_the_executor_and_names_what_failed(run, home, monkeypatch):
    asked: list[Executor] = []

    def here(queue, labels, **how):
        """What the worker processes would do (tests/test_workers.py has them)."""
        asked.append(how["executor"])
        return made(queue, labels, **{**how, "executor": Inline()})

    made = executors.run
    monkeypatch.setattr(executors, "run", here)
    words = ("train", *FAST, "optim.lr=1e-3,1e30")
    good, bad = swept(run, *words, "executor.workers=2", code=1)
    assert asked == [Local(workers=2)]
    assert [one["options"] for one in (good, bad)] == [{"optim.lr": 1e-3}, {"optim.lr": 1e30}]
    assert [one["status"] for one in (good, bad)] == ["done", "failed"]
    assert good["numbers"] == numbers(home / good["run"])
    assert "the loss is not finite" in bad["reason"]
    assert not bad["numbers"]
    # Again: what is done is taken from the store, what failed is tried once more, and the table says so.
    code, out, error = run(*words, "-m", HERE)
    assert code == 1
    assert "2 points, 2 runs, 1 of them to make" in out
    assert out.count("failed train") == 1
    rows = [line.split() for line in out.splitlines() if line.startswith("│")]
    assert [(row[3], row[5]) for row in rows[:2]] == [(good["run"], "done"), (bad["run"], "failed")]
    assert error.count("failed: optim.lr=1e+30: phase 'autoencoder': the loss is not finite") == 1


def test_a_sweep_that_is_stopped_goes_on_where_it_was(run, home, monkeypatch):
    begun: list[str] = []

    def stopped(one, setup):
        begun.append(one.key)
        if len(begun) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        work(one, setup)

    work = train.work
    monkeypatch.setattr(train, "work", stopped)
    code, _, error = run("train", "-m", *FAST, HERE, "seed=0,1,2")
    assert (code, len(begun)) == (130, 2)
    assert "the same command goes on from here" in error
    assert "3 points, 3 runs, 2 of them to make" in run.done("train", "-m", *FAST, HERE, "seed=0,1,2")
    assert begun[2] == begun[1]
    assert len(set(begun)) == 3


def test_an_error_of_the_code_costs_one_point(run, monkeypatch):
    def broken(one, setup):
        if one.request()["seed"] == 1:
            raise ZeroDivisionError("in the model")
        work(one, setup)

    work = train.work
    monkeypatch.setattr(train, "work", broken)
    found = swept(run, "train", *FAST, HERE, "seed=0,1,2", code=1)
    assert [one["reason"] for one in found] == ["", "ZeroDivisionError: in the model", ""]


def test_evaluations_of_a_sweep_and_of_stored_runs(run, home):
    words = ("model=batchtopk", "dataset=digits", "train.max_steps=2")
    found = swept(run, "eval", *words, HERE, "seed=0,1", "suite=reconstruction,masks")
    by_suite = {(one["options"]["seed"], one["options"]["suite"]): one for one in found}
    assert by_suite.keys() == {(seed, suite) for seed in (0, 1) for suite in ("reconstruction", "masks")}
    for one in found:
        stored = json.loads((Path(one["folder"]) / "result.json").read_text())["measurements"]
        assert one["measurements"] == stored
        assert one["numbers"] == {each["name"]: each["value"] for each in stored}
    keys = [Path(by_suite[seed, "reconstruction"]["folder"]).parents[1].name for seed in (0, 1)]
    again = swept(run, "eval", HERE, f"run={keys[0][:6]},{keys[1]}", "suite=reconstruction,masks")
    assert [one["evaluation"] for one in again] == [one["evaluation"] for one in found]
    assert [one["run"] for one in again] == [keys[0], keys[0], keys[1], keys[1]]
    assert [one["options"] for one in again[:2]] == [
        {"run": keys[0], "suite": suite} for suite in ("reconstruction", "masks")
    ]
    # All numbers are in the table, which is as many tables as the screen is narrow.
    out = run.done("eval", "-m", "-q", HERE, f"run={','.join(keys)}", "suite=reconstruction,masks")
    heads = [line for line in out.splitlines() if line.startswith("┃")]
    names = [
        name for line in heads for name in line.replace("┃", " ").split() if name not in ("run", "suite", "evaluation")
    ]
    assert sorted(names) == sorted({name for one in found for name in one["numbers"]})
    assert len(heads) > 1
    assert max(map(len, out.splitlines())) <= 80


def test_a_damaged_run_is_a_failed_point(run, home):
    words = ("train", *FAST, HERE, "seed=0,1")
    one, _ = swept(run, *words)
    (home / one["run"] / "metrics.jsonl").write_text("{}")
    again, whole = swept(run, *words, code=1)
    assert "metrics.jsonl: is damaged" in again["reason"]
    assert "run the same command" in again["reason"]
    assert whole["status"] == "done"


def test_what_needs_a_failed_run_names_it(run):
    latent = ("model=ldm", "dataset=digits", "model.width=16", "model.depth=1", "train.max_steps=2", HERE)
    chosen = ("parent.experiment=ldmae/ae", "parent.overrides=['train.max_steps=2','optim.lr=1e30']")
    (one, other) = swept(run, "train", *latent, *chosen, "seed=0,1", code=1)
    assert "the loss is not finite" in one["reason"]
    assert "on digits seed=0)" in one["reason"]
    assert "on digits seed=1)" in other["reason"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed=0,0"], "-m: all 2 points are the same run, "),
        (["runtime.threads=1,2"], "runtime.threads=1,2: is the same for all points of a sweep; give one value"),
        (["seed=0,1", "optim.lr=1,2", "seed=3"], "seed: is given 2 times; give it once"),
        (["store=a,b"], "store=a,b: is the same for all points"),
        (["executor.workers=1,2", "seed=0,1"], "executor.workers=1,2: is the same for all points"),
        (
            [HERE, "executor.workers=2", "seed=0,1"],
            "executor.workers=2: executor has no options as it is chosen; leave it out",
        ),
        (["hydra/sweeper=optuna"], "hydra/sweeper=optuna: sweepers, launchers and folders of Hydra are not used"),
        (["+hydra.launcher.n_jobs=2"], "docs/how-to/runs.md#a-search has a search with Optuna"),
        (["seed=range(0,10001)"], "seed=range(0,10001): lists more than 10,000 values"),
        (["model.beta=0,1", "seed=0,1"], "unknown option 'model.beta'"),
    ],
)
def test_what_is_no_sweep_is_refused_in_one_line(run, home, words, message):
    assert message in run.refused("train", "-m", *FAST, *words)
    assert not home.exists()


def test_all_mistakes_of_all_points_are_shown_before_one_is_run(run, home):
    said = run.refused("train", "-m", "model=fsq", "dataset=digits", "model.codebook_size=64,100,300", lines=2)
    assert "model.codebook_size=100" in said
    assert "model.codebook_size=300" in said
    said = run.refused(
        "eval", "-m", "model=ae,vae", "dataset=digits", "suite=generation", "suite.features=classifier", lines=2
    )
    assert "suite generation cannot run on Autoencoder: it needs a model that Samples" in said
    assert not home.exists()


def test_what_is_for_sweeps_only_says_so(run):
    assert "--json: is for sweeps; add -m" in run.refused("train", *FAST, "--json")
    assert "one run is made at a time without -m" in run.refused("train", *FAST, "executor.workers=2")


def test_the_points_are_shown_by_their_values(run, home):
    out = run.done("train", "-m", *FAST, "seed=3,4", "--cfg", "job")
    assert [line for line in out.splitlines() if line.startswith("#")] == ["# seed=3", "# seed=4"]
    assert [one["seed"] for one in yaml.safe_load_all(out)] == [3, 4]
    assert not home.exists()


def test_prompts_and_answers_are_swept_too(run):
    text = ("dataset=tiny", "dataset.problems.test=8", "dataset.answers.k=2,3")
    assert "dataset.answers.k=3:" in run.done("prompt", "-m", *text)


@pytest.mark.parametrize(
    "words",
    [
        "train.keep=null,best train.clip_norm=1 seed=2",
        "model=ae,vae train.epochs=1e1,2",
        "model=rcvae dataset=tiny model.hidden=[16],[32,16]",
        "model.k=4,8 model.k=5",
        "+optim.eps=1e-6,1e-7",
        "experiment=batchtopk/batchtopk_64_8 model.k=range(2,4) model.latent_dim=${dataset.shape[1]}",
        "model=dmvae reference=gmm chain.tokenizer.run=abc,null",
    ],
)
def test_a_point_is_what_its_words_compose_to(words):
    """Points are copies of what they have in common; Hydra composes each of them here."""
    given = ["dataset=digits", *words.split()]
    axes = [spelled(word, TrainConfig, sweep=True) for word in given]
    with session():
        found = configurations("train", given, sweep=True)
        _composed.cache_clear()
        alone = [configurations("train", point, sweep=False)[0] for point in itertools.product(*axes)]
    assert found == alone
    assert len(found) > 1


def test_many_points_are_checked_once_for_all_their_seeds(run, monkeypatch):
    def stop(wanted, *_: Any, **__: Any) -> None:
        assert len(wanted) == 24
        raise KeyboardInterrupt

    built: list[Any] = []
    monkeypatch.setattr(schedule, "make", stop)
    monkeypatch.setattr(sweep, "_MANY", 20)
    monkeypatch.setattr("vaebench.runs.kinds.train.check", lambda *_, **__: built.append(1))
    code, _, error = run("train", "-m", "-q", "dataset=digits", "seed=range(0,12)", "model.k=4,8")
    assert code == 130
    assert "24 points: each is checked before the first is run" in error
    assert len(built) == 2

"""Answers to pick from, end to end on a file of one's own: every stage, its reuse, and what survives a kill."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
import torch

from chains import do, failed, recorded, stamps, work, written
from commands import VAEBENCH, begin, ended, until
from vaebench.chains.evaluation import evaluation
from vaebench.config.compose import compose, session
from vaebench.config.request import Request
from vaebench.errors import Interrupted, UserError
from vaebench.runs import kinds
from vaebench.runs.kinds import answers as asked_answers
from vaebench.runs.kinds import embed, grade
from vaebench.runs.store import Run, Store

SMALL = [
    *("model=rcvae", "dataset=recorded", "problems@dataset.problems=arithmetic", "dataset.answers.shard=7"),
    *("dataset.problems.train=200", "dataset.problems.test=20", "embedder.dim=16", "embedder.shard=16"),
    *("model.hidden=[16]", "model.latent_dim=4", "train.max_steps=4", "train.epochs=1", "train.batch_size=32"),
]


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """Three answers to each of 20 problems: the right one, and two wrong ones."""
    written(tmp_path / "answers.jsonl", recorded(SMALL))
    return tmp_path / "answers.jsonl"


def files(folder: Path, *patterns: str) -> dict[str, str]:
    found = [path for pattern in patterns for path in folder.glob(pattern)]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def test_an_evaluation_makes_every_stage_and_measures(answers, run, home):
    words = ["eval", "suite=selection", "suite.bootstrap=100", *SMALL, f"dataset.answers.path={answers}"]
    run.done(*words)
    verbs = {Run(path.parent).request()["verb"] for path in home.glob("*/status.json")}
    assert verbs == {"answers", "grade", "embed", "train", "eval"}
    (result,) = [
        json.loads((path.parent / "result.json").read_text())
        for path in home.glob("*/status.json")
        if Run(path.parent).request()["verb"] == "eval"
    ]
    values = {found["name"]: found["value"] for found in result["measurements"]}
    assert values["random.gsm8k_number"] == pytest.approx(100 / 3)
    assert values["oracle.gsm8k_number"] == 100
    assert values["best_source.gsm8k_number"] == 100
    assert values["majority.gsm8k_number"] == pytest.approx(100 / 3)
    assert 0 <= values["min_entropy.gsm8k_number"] <= 100
    protocol = result["measurements"][0]["protocol"]
    assert protocol["problems"] == "arithmetic"
    assert protocol["embedder"] == "lsa, 16 dimensions"

    before = {**stamps(home, "*.parquet"), **stamps(home, "*.safetensors")}
    out = run.done(*words, "model.beta=0.5")
    assert "embeddings" not in out, "another beta embeds nothing again"
    assert "answers" not in out.replace("answers.jsonl", "").split("evaluation")[0]
    assert stamps(home).items() >= before.items()


def chain(path: Path) -> list:
    with session():
        cfg = compose("eval", [*SMALL, f"dataset.answers.path={path}", "suite=selection"])
        return evaluation(cfg)[0]


def made(store: Store, request: Request) -> Run:
    (run,) = do(store.root, request)
    return run


def test_a_stopped_stage_goes_on_behind_its_last_shard_to_the_same_files(answers, tmp_path):
    asked, graded, pairs, embedded = chain(answers)[:4]
    whole, parts = Store(tmp_path / "whole"), Store(tmp_path / "parts")
    for request, patterns in (
        (asked, ["*.parquet"]),
        (pairs, ["*.safetensors", "*.json"]),
        (embedded, ["*.safetensors"]),
    ):
        wanted = made(whole, request)
        run = parts.open(request)
        stops = 0
        while stops < 100:
            calls = iter(range(100))
            try:
                stop = lambda: next(calls) == 0  # noqa: B023, E731
                kinds.of(request["verb"]).work(run, kinds.Setup(torch.device("cpu"), lambda *_: None, stop))
            except Interrupted:
                stops += 1
                continue
            break
        assert 1 <= stops < 100
        run.set_status("done")
        ignored = ("request.yaml", "provenance.json", "status.json")
        shards = {name: digest for name, digest in files(wanted.folder, *patterns).items() if name not in ignored}
        assert shards == {n: d for n, d in files(run.folder, *patterns).items() if n not in ignored}
        assert len(shards) >= 2
    assert made(whole, graded).folder.name == graded.key


def test_a_killed_embedding_resumes_to_the_same_files(tmp_path):
    words = [word for word in SMALL if not word.startswith(("dataset.answers.", "embedder.shard="))]
    words.append("embedder.shard=4")

    def start(store: Path) -> subprocess.Popen[str]:
        return begin(*VAEBENCH, "train", "-q", *words, env={"VAEBENCH_HOME": str(store)})

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert ended(start(whole)).code == 0
    process = start(killed)
    until(lambda: list(killed.glob("*/questions-00003.safetensors")), process)
    process.kill()
    ended(process)
    assert not list(killed.glob("*/model.safetensors"))
    assert ended(start(killed)).code == 0
    patterns = ("*/questions-*", "*/solutions-*", "*/model.safetensors")
    assert len(files(whole, *patterns)) > 100
    assert files(whole, *patterns) == files(killed, *patterns)


@pytest.mark.parametrize("lost", [False, True])
def test_a_damaged_or_lost_shard_is_named_and_made_again(answers, tmp_path, lost):
    asked, graded = chain(answers)[:2]
    store = Store(tmp_path / "store")
    run = made(store, asked)
    before = files(run.folder, "*.parquet")
    shard = run.path("answers-00002.parquet")
    shard.unlink()
    if not lost:
        shard.write_bytes(b"not parquet")
    assert f"{shard}: {'is missing' if lost else 'is damaged'}" in failed(store.root, graded)
    shard.unlink(missing_ok=True)
    run.path("status.json").unlink()
    made(store, asked)
    assert files(run.folder, "*.parquet") == before
    made(store, graded)


def test_a_lost_shard_of_vectors_is_named(answers, tmp_path):
    pairs = chain(answers)[2]
    run = made(Store(tmp_path / "store"), pairs)
    shard = sorted(run.folder.glob("solutions-*"))[-1]
    shard.unlink()
    with pytest.raises(UserError, match=f"{shard}: is missing; remove .*status.json and run the same command"):
        embed.opened(run)
    run.set_status("done")  # as before there were checksums
    with pytest.raises(UserError, match="of 200 solutions, a shard is missing"):
        embed.opened(run)


def test_an_unfinished_run_takes_the_new_place_of_a_moved_file(answers, tmp_path):
    store = Store(tmp_path / "store")
    run = store.open(chain(answers)[0])
    moved = answers.rename(tmp_path / "moved.jsonl")
    again = store.open(chain(moved)[0])
    assert again.folder == run.folder
    assert again.request()["answers"]["path"] == str(moved)
    assert work(again).status == "done"


def test_answers_and_grades_come_back_from_parquet_as_they_were(answers, tmp_path):
    asked, graded = chain(answers)[:2]
    store = Store(tmp_path / "store")
    found = asked_answers.opened(made(store, asked))
    assert len(found) == 60
    assert list(found.problem[:6]) == [0, 0, 0, 1, 1, 1]
    assert list(found.candidate[:6]) == [0, 1, 2, 0, 1, 2]
    grades = grade.opened(made(store, graded), 60)
    assert grades.scorers == ("gsm8k_number", "gsm8k_strict")
    assert grades.right["gsm8k_number"].reshape(20, 3).tolist() == [[True, False, False]] * 20
    assert grades.timeouts == {"gsm8k_number": 0, "gsm8k_strict": 0}

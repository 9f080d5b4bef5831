"""Answers to pick from, end to end on a file of one's own: every stage, its reuse, and what survives a kill."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vaebench.chains import chain as requests
from vaebench.chains import texts
from vaebench.cli import main as cli
from vaebench.config.compose import compose, session
from vaebench.contracts import Job
from vaebench.errors import Interrupted, UserError
from vaebench.runs import build, kinds
from vaebench.runs.kinds import answers as asked_answers
from vaebench.runs.kinds import embed, grade
from vaebench.runs.store import Run, Store
from vaebench.runs.worker import work

SMALL = [
    *("model=rcvae", "dataset=recorded", "problems@dataset.problems=arithmetic", "dataset.answers.shard=7"),
    *("dataset.problems.train=200", "dataset.problems.test=20", "embedder.dim=16", "embedder.shard=16"),
    *("model.hidden=[16]", "model.latent_dim=4", "train.max_steps=4", "train.epochs=1", "train.batch_size=32"),
]
MACHINE = {"device": "cpu", "threads": 1, "checkpoint_seconds": 30.0}


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """Three answers to each of 20 problems: the right one, and two wrong ones."""
    with session():
        request = texts.answers(compose("train", [*SMALL, f"dataset.answers.path={__file__}"]))[-1]
    problems = build.problems(request)
    lines = [
        {"question": problem.question, "source": source, "answer": f"It is {value}.\n#### {value}"}
        for problem in problems.test
        for source, value in (("right", problem.gold), ("more", int(problem.gold) + 1), ("less", int(problem.gold) - 1))
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def run(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = cli.main(list(words))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def files(folder: Path, *patterns: str) -> dict[str, str]:
    found = [path for pattern in patterns for path in folder.glob(pattern)]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def test_an_evaluation_makes_every_stage_and_measures(
    answers: Path, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    words = ["eval", "suite=selection", "suite.bootstrap=100", *SMALL, f"dataset.answers.path={answers}"]
    code, out, error = run(*words, capsys=capsys)
    assert code == 0, error
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

    before = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.suffix in (".parquet", ".safetensors")}
    code, out, _ = run(*words, "model.beta=0.5", capsys=capsys)
    assert code == 0
    assert "embeddings" not in out, "another beta embeds nothing again"
    assert "answers" not in out.replace("answers.jsonl", "").split("evaluation")[0]
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def chain(path: Path) -> list:
    with session():
        cfg = compose("eval", [*SMALL, f"dataset.answers.path={path}", "suite=selection"])
        return requests.evaluation(cfg)[0]


def made(store: Store, request) -> Run:  # type: ignore[no-untyped-def]
    run = store.open(request)
    assert work(Job(request["verb"], run.folder), MACHINE).status == "done"
    return run


def test_a_stopped_stage_goes_on_behind_its_last_shard_to_the_same_files(answers: Path, tmp_path: Path) -> None:
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
                kinds.of(request["verb"]).work(run, kinds.Setup(parts, torch.device("cpu"), lambda *_: None, stop))
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


def test_a_killed_embedding_resumes_to_the_same_files(answers: Path, tmp_path: Path) -> None:
    words = [*SMALL, f"dataset.answers.path={answers}", "embedder.shard=4"]
    command = [sys.executable, "-m", "vaebench", "train", *words]

    def start(store: Path) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "VAEBENCH_HOME": str(store)}
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).wait() == 0
    process = start(killed)
    while process.poll() is None and not list(killed.glob("*/questions-00003.safetensors")):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(killed.glob("*/model.safetensors"))
    assert start(killed).wait() == 0
    patterns = ("*/questions-*", "*/solutions-*", "*/model.safetensors")
    assert len(files(whole, *patterns)) > 100
    assert files(whole, *patterns) == files(killed, *patterns)


@pytest.mark.parametrize("lost", [False, True])
def test_a_damaged_or_lost_shard_is_named_and_made_again(answers: Path, tmp_path: Path, lost: bool) -> None:
    asked, graded = chain(answers)[:2]
    store = Store(tmp_path / "store")
    run = made(store, asked)
    before = files(run.folder, "*.parquet")
    shard = run.path("answers-00002.parquet")
    shard.unlink()
    if not lost:
        shard.write_bytes(b"not parquet")
    child = store.open(graded)
    outcome = work(Job("grade", child.folder), MACHINE)
    assert outcome.status == "failed"
    assert f"{shard}: {'is missing' if lost else 'is damaged'}" in outcome.reason
    shard.unlink(missing_ok=True)
    run.path("status.json").unlink()
    made(store, asked)
    assert files(run.folder, "*.parquet") == before
    made(store, graded)


def test_a_lost_shard_of_vectors_is_named(answers: Path, tmp_path: Path) -> None:
    pairs = chain(answers)[2]
    run = made(Store(tmp_path / "store"), pairs)
    shard = sorted(run.folder.glob("solutions-*"))[-1]
    shard.unlink()
    with pytest.raises(UserError, match=f"{shard}: is missing; remove .*status.json and run the same command"):
        embed.opened(run.folder)
    run.set_status("done")  # as before there were checksums
    with pytest.raises(UserError, match="of 200 solutions, a shard is missing"):
        embed.opened(run.folder)


def test_an_unfinished_run_takes_the_new_place_of_a_moved_file(answers: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    run = store.open(chain(answers)[0])
    moved = answers.rename(tmp_path / "moved.jsonl")
    again = store.open(chain(moved)[0])
    assert again.folder == run.folder
    assert again.request()["answers"]["path"] == str(moved)
    assert work(Job("answers", again.folder), MACHINE).status == "done"


def test_answers_and_grades_come_back_from_parquet_as_they_were(answers: Path, tmp_path: Path) -> None:
    asked, graded = chain(answers)[:2]
    store = Store(tmp_path / "store")
    found = asked_answers.opened(made(store, asked).folder)
    assert len(found) == 60
    assert list(found.problem[:6]) == [0, 0, 0, 1, 1, 1]
    assert list(found.candidate[:6]) == [0, 1, 2, 0, 1, 2]
    grades = grade.opened(made(store, graded).folder, 60)
    assert grades.scorers == ("gsm8k_number", "gsm8k_strict")
    assert grades.right["gsm8k_number"].reshape(20, 3).tolist() == [[True, False, False]] * 20
    assert grades.timeouts == {"gsm8k_number": 0, "gsm8k_strict": 0}

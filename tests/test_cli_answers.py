"""Answers from the command line: what a wrong file, option or store is answered with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chains import Line, recorded, stamps, written
from vaebench.runs.store import Run

PROBLEMS = [
    *("dataset=recorded", "problems@dataset.problems=arithmetic"),
    *("dataset.problems.train=60", "dataset.problems.test=20"),
]
SMALL = ["model=rcvae", "model.hidden=[8]", "embedder.dim=8", "train.max_steps=2", "train.batch_size=16"]
EVALUATE = ["eval", "suite=selection", "suite.bootstrap=100", *SMALL, *PROBLEMS]


@pytest.fixture(scope="module")
def lines() -> list[Line]:
    """Three answers to each of 20 problems: the right one and two wrong ones."""
    return recorded([*PROBLEMS, "model=rcvae"])


def changed(lines: list[Line], change: dict[int, Any]) -> list[Line | bytes]:
    """Some of these lines (by number from 0) replaced by fields or bytes."""
    return [
        line if number not in change else by if isinstance(by := change[number], bytes) else {**line, **by}
        for number, line in enumerate(lines)
    ]


# Lines that cannot be used: what they are replaced by or hold, and the fault that is named.
DAMAGED = [
    (b'{"question": "x', "not JSON (cut off after character 15)"),
    (b'{"question": "caf\xe9"}', "byte 17 is not UTF-8"),
    (b"[1, 2]", "is a list and should be an object"),
    (b'{"question": "q"}', "no field answer"),
    (b'{"answer": "1"}', "neither question nor id"),
    ({"question": "What is love?"}, "question 'What is love?' is not one of the 20 problems"),
    ({"id": "arithmetic/77"}, "id 'arithmetic/77' is not one of the 20 problems"),
    ({"id": "arithmetic/0"}, "are different problems"),
    ({"id": 1.5}, "id is a number and should be text or a whole number"),
    ({"answer": None}, "answer is null and should be text"),
    ({"answer": 18}, "answer is a number and should be text"),
    ({"source": 7}, "source is a number and should be text"),
    ({"logprob": 0.5}, "logprob should be a number, 0 at most"),
    ({"logprob": float("nan")}, "logprob should be a number, 0 at most"),
    ({"tokens": -1}, "tokens should be a whole number, 0 or more"),
    ({"finished": "yes"}, "finished should be true or false"),
]


def test_every_line_that_cannot_be_used_is_named(lines, tmp_path, home, run):
    option = written(tmp_path / "a.jsonl", changed(lines, {4 + 3 * n: by for n, (by, _) in enumerate(DAMAGED)}))
    code, out, error = run("answers", *PROBLEMS, option, "dataset.answers.max_left_out=0.9")
    assert (code, error) == (0, "")
    assert "40 to 20 of 20 problems" in out  # sixteen problems have two answers left
    assert "and 11 more (result.json)" in out
    (result,) = [Run(path.parent).result() for path in home.glob("*/result.json")]
    assert len(result["left_out"]) == len(DAMAGED)
    for number, (found, (_, fault)) in enumerate(zip(result["left_out"], DAMAGED, strict=True)):
        assert found.startswith(f"a.jsonl:{5 + 3 * number}: ")
        assert fault in found


def test_one_line_of_many_is_left_out_and_its_problem_named(lines, tmp_path, home, run):
    code, out, error = run("answers", *PROBLEMS, written(tmp_path / "a.jsonl", changed(lines, {4: b"{"})))
    assert (code, error) == (0, "")
    assert "57 to 19 of 20 problems" in out
    assert "a.jsonl:5: not JSON" in out
    (result,) = [Run(path.parent).result() for path in home.glob("*/result.json")]
    assert result["notes"] == ["1 of 20 problems have fewer than 3 answers and are left out: #arithmetic/1"]


def test_a_duplicate_is_named_and_left_out(lines, tmp_path, home, run):
    option = written(tmp_path / "a.jsonl", [*lines[:5], lines[4], *lines[5:]])
    run.done("answers", *PROBLEMS, option)
    (result,) = [Run(path.parent).result() for path in home.glob("*/result.json")]
    assert result["answers"] == 60
    assert result["left_out"] == ["a.jsonl:6: duplicate: 'more' has answered problem #arithmetic/1 before"]


def test_answers_that_are_empty_long_or_without_a_result_stay(lines, tmp_path, run):
    change = {0: {"answer": ""}, 1: {"answer": "x 1 " * 30_000}, 3: {"answer": "I do not know."}}
    option = written(tmp_path / "a.jsonl", changed(lines, change))
    code, out, error = run("answers", *PROBLEMS, option)
    assert (code, error) == (0, "")
    assert "60 to 20 of 20 problems" in out
    assert "1 of 60 answers are empty and count as wrong" in out
    assert "1 of 60 answers are cut at 100,000 characters" in out


def every(part: Line, step: int = 1) -> Callable[[list[Line]], list[Line]]:
    """A change of every ``step``-th line."""
    return lambda lines: [{**line, **part} if number % step == 0 else line for number, line in enumerate(lines)]


# A file that cannot be used as a whole: how it is made, the options beside it, the message.
REFUSED: list[tuple[Callable[[list[Line]], list[Line]], list[str], str]] = [
    (
        every({"question": "Who?"}, step=10),
        [],
        "6 of 60 lines cannot be used, more than dataset.answers.max_left_out=0.05 allows: a.jsonl:1: question 'Who?' "
        "is not one of the 20 problems, a.jsonl:11: question 'Who?' is not one of the 20 problems, a.jsonl:21: "
        "question 'Who?' is not one of the 20 problems and 3 more; mend the file, or set "
        "dataset.answers.max_left_out=0.1 to use the rest",
    ),
    (every({"answer": None}), [], "60 of 60 lines cannot be used"),
    (lambda lines: [], [], "a.jsonl"),
    (
        lambda lines: [line for number, line in enumerate(lines) if number % 6],
        [],
        "10 of 20 problems have fewer than 3 answers, more than dataset.answers.max_missing=0.05 allows: "
        "#arithmetic/0, #arithmetic/2, #arithmetic/4 and 7 more; set dataset.answers.k=2 or set "
        "dataset.answers.max_missing=0.5 to use the others",
    ),
    (list, ["dataset.answers.k=5"], "20 of 20 problems have fewer than 5 answers"),
    (list, ["dataset.answers.sources=[rigt]"], "unknown dataset.answers.sources 'rigt'; did you mean 'right'? Valid: "),
    (list, ["dataset.answers.sha256=abc"], "and dataset.answers.sha256 is abc: the file has changed"),
]


@pytest.mark.parametrize(
    ("make", "options", "message"), REFUSED, ids=[f"{' '.join(o)} {m[:40]}" for _, o, m in REFUSED]
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(make, options, message, lines, tmp_path, home, run):
    option = written(tmp_path / "a.jsonl", make(lines))
    assert message in run.refused("answers", *PROBLEMS, option, *options)
    assert not list(home.glob("*/answers-*.parquet"))


def test_more_may_be_left_out_if_told_so(lines, tmp_path, run):
    option = written(tmp_path / "a.jsonl", every({"question": "Who?"}, step=12)(lines))
    run.refused("answers", *PROBLEMS, option)
    code, out, error = run("answers", *PROBLEMS, option, "dataset.answers.max_left_out=0.3")
    assert (code, error) == (0, "")
    assert "45 to 15 of 20 problems" in out


BAD = [
    ("answers dataset=mnist", "dataset=mnist holds no questions; try dataset=tiny or dataset=gsm8k"),
    ("prompt dataset=mnist", "dataset=mnist holds no questions; try dataset=tiny or dataset=gsm8k"),
    ("answers dataset=tny", "unknown dataset 'tny'; did you mean 'tiny'?"),
    (
        "answers dataset=tiny answers@dataset.answers=lama",
        "unknown answers@dataset.answers 'lama'; did you mean 'llama'?",
    ),
    ("answers dataset=tiny dataset.answers.kk=3", "unknown option 'dataset.answers.kk'; did you mean "),
    ("answers dataset=recorded dataset.answers.path=no.jsonl", "path=no.jsonl: there is no such file"),
    (
        "prompt dataset=tiny dataset.answers.decoding=greedy",
        "dataset.answers.k=8: decoding=greedy gives one answer to a problem; set dataset.answers.k=1",
    ),
    (
        "prompt dataset=tiny dataset.answers.decoding=beam",
        "unknown dataset.answers.decoding 'beam'. Valid: greedy, top_k, top_p",
    ),
    ("train model=rcvae dataset=mnist", "model rcvae works on text and dataset=mnist holds images; "),
    ("train model=batchtopk dataset=tiny", "model batchtopk works on images and dataset=tiny holds text; "),
    (
        "train model=batchtopk dataset=digits model.input_shape=[28,28]",
        "model.input_shape=[28, 28]: that of the data is [1, 28, 28]; leave it out; dataset.shape changes both",
    ),
    ("eval model=rcvae suite=noise", "suite noise cannot run on RCVAE: it needs a model that Reconstructs"),
    (
        "eval model=batchtopk dataset=digits suite=selection",
        "suite selection cannot run on BatchTopK: it needs a model that ScoresCandidates",
    ),
    ("train model=rcvae embedder=minlm", "unknown embedder 'minlm'; did you mean 'minilm'? Valid: jina, "),
    (
        "train model=rcvae embedder.dim=16 model.embedding_dim=32",
        "model.embedding_dim=32: the embedder gives 16 dimensions (lsa, 16 dimensions)",
    ),
    ("train model=rcvae model.likelihood=gauss", "unknown model.likelihood 'gauss'. Valid: cosine, "),
    ("eval model=rcvae suite=selection suite.k=0", "suite.k=0: expected a whole number, at least 1, or null"),
    ("eval model=rcvae suite=selection model.beta=0.1,1", "lists several values; add -m to sweep"),
    ("list embeders", "unknown section 'embeders'; did you mean 'embedders'?"),
    ("plan paper=rcvae table=tabl1", "unknown table 'tabl1'"),
    ("plan paper=rcvae table=gsm8k dataset=mnist", "rcvae is measured on text, and dataset=mnist holds images"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[words for words, _ in BAD])
def test_bad_input_is_one_line_and_makes_nothing(words, message, run, home):
    assert message in run.refused(*words.split())
    assert not home.exists()


# Found where the answers or the embedder are looked at; what was finished before stays.
LATE = [
    ("suite.k=20", "suite.k=20: only 3 answers to each problem are recorded; use suite.k=null for all"),
    ("embedder.dim=500", "embedder.dim=500: 120 training texts with "),
    ("+dataset.problems.scorers.exact=1", "unknown scorer 'exact'. Valid: boxed, gsm8k_flexible, gsm8k_number, "),
]


def test_a_wrong_value_of_an_evaluation_is_one_line_and_loses_nothing(lines, tmp_path, run, home):
    change = {0: {"answer": ""}, 3: {"answer": "I do not know."}}
    option = written(tmp_path / "a.jsonl", changed(lines, change))
    run.done("answers", *PROBLEMS, option)
    before = stamps(home, "*.parquet")
    assert before
    for change, message in LATE:
        words = [word for word in EVALUATE if word.partition("=")[0] != change.partition("=")[0]]
        error = run.refused(*words, option, change)
        assert error.startswith(f"error: {message}")
        assert stamps(home, "*.parquet").items() >= before.items()
    (graded,) = [Run(path.parent).result() for path in home.glob("*/grades.parquet")]
    assert graded["no_final_answer"]["gsm8k_number"] == 2
    assert graded["right"]["gsm8k_number"] == pytest.approx(18 / 60, abs=1e-6)


def test_every_mistake_of_an_options_leaf_is_shown_at_once(lines, tmp_path, run):
    options = ["dataset.answers.k=-1", "dataset.answers.shard=0", "dataset.answers.max_left_out=5"]
    run.refused("answers", *PROBLEMS, written(tmp_path / "a.jsonl", lines), *options, lines=3)
    run.refused("eval", "model=rcvae", "suite=selection", "suite.kk=1", "embedder=x", "seeed=1", lines=3)


MODELS = [
    ("dataset.answers.model=/nowhere", "dataset.answers.model=/nowhere: there is no such folder"),
    ("", "dataset.answers.model=null: name a model, a folder or a name on the Hugging Face hub"),
]


@pytest.mark.parametrize(("options", "message"), MODELS)
def test_a_language_model_that_is_not_there(options, message, run):
    assert message in run.refused("answers", "dataset=tiny", "answers@dataset.answers=hf", *options.split())


def test_a_folder_that_is_no_model_is_named(tmp_path, run):
    words = ["answers", "dataset=tiny", "answers@dataset.answers=hf", f"dataset.answers.model={tmp_path}"]
    assert f"the folder {tmp_path} holds no complete model (config.json is missing)" in run.refused(*words)


def test_the_prompt_is_shown_and_nothing_made(home, run):
    code, out, error = run("prompt", "dataset=tiny")
    assert (code, error) == (0, "")
    for word in ("top_p (temperature=0.7, top_p=0.9; off: top_k)", "max_new_tokens=48", "<|assistant|>"):
        assert word in out
    assert not home.exists()


def test_the_same_answers_again_compute_nothing(lines, tmp_path, home, run):
    """By the file's contents: from another place under another name it is the same run."""
    run("answers", *PROBLEMS, written(tmp_path / "a.jsonl", lines))
    before = stamps(home)
    out = run.done("answers", *PROBLEMS, written(tmp_path / "b.jsonl", lines))
    assert "making it" not in out
    assert stamps(home) == before


def test_a_damaged_shard_and_a_changed_request_are_named(lines, tmp_path, home, run):
    option = written(tmp_path / "a.jsonl", lines)
    run("answers", *PROBLEMS, option)
    (folder,) = {path.parent for path in home.glob("*/answers-*.parquet")}
    kept = (folder / "answers-00000.parquet").read_bytes()
    (folder / "answers-00000.parquet").write_bytes(b"junk")
    assert str(folder) in run.refused(*EVALUATE, option)
    (folder / "answers-00000.parquet").write_bytes(kept)
    (folder / "status.json").unlink()
    path = folder / "request.yaml"
    path.write_text(path.read_text().replace("max_left_out: 0.05", "max_left_out: 0.9"))
    assert "was changed after it was written" in run.refused("answers", *PROBLEMS, option)


def test_a_store_that_cannot_be_written_is_named(lines, tmp_path, run):
    option = written(tmp_path / "a.jsonl", lines)
    error = run.refused("answers", *PROBLEMS, option, f"store={tmp_path / 'a.jsonl'}")
    assert "cannot be written (Not a directory); choose another with store=FOLDER or VAEBENCH_HOME" in error

"""Generated arithmetic problems: what they say is true, and nothing of the test stands in the training pairs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml

from vaebench.data import arithmetic
from vaebench.errors import UserError

CONF = Path(__file__).resolve().parents[2] / "conf"
OPTIONS = {"name": "arithmetic", "train": 300, "test": 100, "seed": 0, "steps": [1, 3], "largest": 20, "most": 99}
SIGN_OF_WORDS = {
    "+": ("brings", "finds", "buys"),
    "-": ("gives", "sells", "lost"),
    "*": ("times as many",),
}


@pytest.fixture(scope="module")
def found():
    return arithmetic.problems(**OPTIONS)


def read_question(question: str) -> list[str]:
    """The calculation that the question tells, read from its sentences alone."""
    first, *steps, asked = re.findall(r"[^.?]+[.?]", question)
    assert asked.strip().startswith("How many")
    total = int(re.findall(r"\d+", first)[0])
    lines = []
    for sentence in steps:
        (number,) = re.findall(r"\d+", sentence)
        (sign,) = [sign for sign, words in SIGN_OF_WORDS.items() if any(word in sentence for word in words)]
        after = {"+": total + int(number), "-": total - int(number), "*": total * int(number)}[sign]
        lines.append(f"{total} {sign} {number} = {after}")
        total = after
    return [*lines, f"#### {total}"]


def test_solutions_are_what_the_questions_tell(found):
    for pair in found.train:
        assert pair.solution.splitlines() == read_question(pair.question)
    for problem in found.test:
        assert f"#### {problem.gold}" == read_question(problem.question)[-1]


def test_numbers_and_steps_stay_in_their_bounds(found):
    counts = set()
    for pair in found.train:
        *lines, last = pair.solution.splitlines()
        counts.add(len(lines))
        for line in lines:
            before, sign, number, equals, after = line.split()
            assert equals == "="
            assert 2 <= int(number) <= (9 if sign == "*" else 20)
            assert 1 <= int(after) <= 99
            assert 1 <= int(before) <= 99
        assert last == f"#### {lines[-1].split()[-1]}"
    assert counts == {1, 2, 3}
    assert {sign for pair in found.train for sign in "+-*" if f" {sign} " in pair.solution} == set("+-*")


def test_no_test_problem_is_among_the_training_pairs(found):
    questions = [pair.question for pair in found.train] + [problem.question for problem in found.test]
    assert len(set(questions)) == 400
    calculations = {pair.solution for pair in found.train}
    assert not any("\n".join(read_question(problem.question)) in calculations for problem in found.test)


def test_the_seed_decides_and_a_larger_set_begins_with_the_smaller(found):
    again = arithmetic.problems(**OPTIONS)
    larger = arithmetic.problems(**OPTIONS | {"train": 500})
    other = arithmetic.problems(**OPTIONS | {"seed": 1})
    assert again == found
    assert larger.train[:300] == found.train
    assert larger.test == found.test
    assert len({found.digest, larger.digest, other.digest}) == 3
    assert (found.source, found.stand_in) == ("embedded", True)
    assert found.note == "generated arithmetic word problems, seed 0"
    assert re.fullmatch(r"[0-9a-f]{16}", found.digest)


def test_tokens_are_the_training_pairs(found):
    data = arithmetic.tokens(**OPTIONS)
    assert len(data) == 300
    assert data.digest == found.digest
    assert (data.ids.dtype, data.scored.dtype, data.lengths.dtype) == (torch.int64,) * 3
    for row, pair in enumerate(found.train):
        ids = data.ids[row, : data.lengths[row]]
        text = "".join(data.words[number] for number in ids)
        assert text == f"<|user|>{pair.question}<|end|><|assistant|>{pair.solution}<|end|>"
        assert (data.ids[row, data.lengths[row] :] == data.words.index("<|pad|>")).all()
        scored = data.scored[row]
        answer = "".join(data.words[number] for number in scored[scored >= 0])
        assert answer == f"{pair.solution}<|end|>"
        assert torch.equal(scored[scored >= 0], data.ids[row][scored >= 0])
        assert set(scored[scored < 0].tolist()) <= {-100}


def test_a_batch_is_as_wide_as_its_longest_text():
    data = arithmetic.tokens(**OPTIONS)
    rows = data.lengths.argsort()[:4]
    batch = data.batch(rows)
    width = int(data.lengths[rows].max())
    assert batch.x.shape == batch.y.shape == (4, width)
    assert torch.equal(batch.x, data.ids[rows, :width])
    assert torch.equal(batch.y, data.scored[rows, :width])
    assert data.to("cpu").device == torch.device("cpu")


def test_the_vocabulary_holds_every_problem():
    words = arithmetic.vocabulary()
    assert len(set(words)) == len(words) <= 128
    hard = arithmetic.problems(**OPTIONS | {"train": 1000, "largest": 99, "most": 999, "steps": [1, 5], "seed": 3})
    for pair in hard.train:
        for text in (pair.question, pair.solution):
            pieces = arithmetic.split(text)
            assert "".join(pieces) == text
            assert set(pieces) <= set(words)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"train": 0}, "problems.train=0: expected a whole number, 1 to 10000000"),
        ({"test": -1}, "problems.test=-1: expected a whole number, 1 to 10000000"),
        ({"steps": [2, 1]}, "problems.steps=[2, 1]: expected the fewest and then the most operations, [1, 3] for one"),
        ({"largest": 200}, "problems.largest=200: expected at most problems.most=99"),
    ],
)
def test_options_that_cannot_be(options, line):
    with pytest.raises(UserError) as caught:
        arithmetic.problems(**OPTIONS | options)
    assert caught.value.lines == (line,)


def test_more_problems_than_there_are(monkeypatch):
    for name in ("NAMES", "THINGS"):
        monkeypatch.setattr(arithmetic, name, getattr(arithmetic, name)[:2])
    with pytest.raises(UserError, match=r"problems: only \d+ different ones in \d+ draws; ask for fewer, or raise"):
        arithmetic.problems(**OPTIONS | {"train": 3_000, "steps": [1, 1], "largest": 9, "most": 9})


def test_the_yamls_describe_the_same_problems():
    leaves = [yaml.safe_load((CONF / part / "arithmetic.yaml").read_text()) for part in ("problems", "dataset")]
    same = ("name", "test", "seed", "steps", "largest", "most")
    assert [leaves[0][key] for key in same] == [leaves[1][key] for key in same]
    assert leaves[0]["train"] <= leaves[1]["train"]
    assert leaves[0]["scorers"] == {"gsm8k_number": 2, "gsm8k_strict": 1}

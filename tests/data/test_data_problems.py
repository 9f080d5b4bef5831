"""Sets of problems: what a file gives, what is left out of it, and that no test problem is ever trained on."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from vaebench.config.choices import leaf as stored_leaf
from vaebench.data import lines, problems
from vaebench.errors import UserError

GIVEN = os.environ.get("VAEBENCH_DATA", "")


def jsonl(items: list[object]) -> bytes:
    return b"".join((item if isinstance(item, bytes) else json.dumps(item).encode()) + b"\n" for item in items)


def word(number: int, final: str = "#### {}") -> dict:
    return {
        "question": f"How much is {number:,}?",
        "answer": f"It is <<{number}+0={number}>>{number}.\n" + final.format(f"{number:,}"),
    }


def contest(number: int, **changed) -> dict:
    return {"problem": f"Find ${number}$.", "solution": f"Clearly $\\boxed{{{number}}}$, or so."} | changed


@pytest.fixture
def gsm8k(places, put):
    """A GSM8K of these lines."""

    def load(train: list[object], test: list[object], solution: str = "clean", most_steps: int | None = None):
        files = put(places.given / "toy", {"train": jsonl(train), "test": jsonl(test)})
        return problems.gsm8k(name="sums", folder="toy", files=files, solution=solution, most_steps=most_steps)

    return load


@pytest.fixture
def contests(places, put):
    """A MATH of these lines; ``asked`` lie in a folder of their own."""

    def load(train, test, asked=None, solution="clean", train_size=4, suffix=""):
        files = put(places.given / "toy", {"train": jsonl(train), "test": jsonl(test)})
        if asked is not None:
            content = json.dumps(asked).encode() if suffix else jsonl(asked)
            named = put(places.given / "answers" / "toy", {f"asked{suffix}": content})
            files["asked"] = {"folder": "answers/toy"} | named[f"asked{suffix}"]
        return problems.math(name="proofs", folder="toy", files=files, solution=solution, train_size=train_size)

    return load


def test_gsm8k(gsm8k):
    found = gsm8k([word(1), word(2)], [word(1234), word(3, "####  -{} ")])
    assert found.name == "sums"
    assert found.source == "VAEBENCH_DATA"
    assert found.train[0] == problems.Pair("How much is 1?", "It is 1.\n#### 1")
    assert found.test == (
        problems.Problem("0", "How much is 1,234?", "1234"),
        problems.Problem("1", "How much is 3?", "-3"),
    )
    assert (found.note, found.stand_in) == ("", False)
    assert gsm8k([word(1)], [word(2)], "raw").train[0].solution == "It is <<1+0=1>>1.\n#### 1"
    assert gsm8k([word(1)], [word(2)], "no_answer").train[0].solution == "It is 1."


def test_only_problems_of_few_steps(gsm8k):
    two = {"question": "Two steps?", "answer": "<<1+1=2>>2 and <<2+0=2>>2\n#### 2"}
    found = gsm8k([word(1), two | {"question": "Two?"}], [word(3), two], most_steps=1)
    assert [problem.question for problem in found.test] == ["How much is 3?"]
    assert len(found.train) == 2
    assert found.note == "1 of 2 test problems are asked: those of at most 1 steps"


def test_the_digest_is_of_the_content(gsm8k):
    first = gsm8k([word(1)], [word(2)])
    assert len(first.digest) == 16
    assert int(first.digest, 16) >= 0
    assert gsm8k([word(1)], [word(2)]).digest == first.digest
    others = [gsm8k([word(1)], [word(3)]), gsm8k([word(3)], [word(2)]), gsm8k([word(1)], [word(2)], "raw")]
    assert len({other.digest for other in [first, *others]}) == 4


BAD = {
    b'{"question": "Q", "answer': "not JSON",
    b'{"question": "\xff", "answer": "#### 1"}': "is not UTF-8",
    b"[" * 100_000: "nested too deep",
    b'{"question": "Q"}': "no field answer",
    b'{"answer": "#### 1"}': "no field question",
    b'{"question": 1, "answer": "#### 1"}': "question is a number and should be text",
    b'{"question": "Q", "answer": ["#### 1"]}': "answer is a list and should be text",
    b'{"question": "Q", "answer": "It is 1."}': "no final answer after ####",
    b'{"question": "Q", "answer": "####  "}': "no final answer after ####",
    b'{"question": " ", "answer": "#### 1"}': "the question is empty",
    b'{"question": "how much  is 5?", "answer": "#### 5"}': "the same question as before",
    b'"####"': "is text and should be an object",
}


@pytest.mark.parametrize(("line", "fault"), BAD.items(), ids=BAD.values())
def test_a_bad_line_is_named_and_left_out(gsm8k, line, fault):
    found = gsm8k([word(1000)], [*[word(number) for number in range(30)], line])
    assert len(found.test) == 30
    assert found.note.startswith("1 of 31 lines left out: test:31 (")
    assert fault in found.note
    assert len(found.note) < 150


def test_the_line_of_a_problem_is_its_id_whatever_is_left_out(gsm8k):
    found = gsm8k([word(1000)], [*[word(number) for number in range(25)], b"?", word(30)])
    assert [problem.id for problem in found.test[-2:]] == ["24", "26"]


def test_too_many_bad_lines(gsm8k):
    with pytest.raises(UserError) as error:
        gsm8k([word(1000)], [*[word(number) for number in range(30)], b"?", b"{}"])
    for part in ("2 of 32 problems cannot be used, more than 5%", "test:31 (not JSON", "test:32 (no field answer)"):
        assert part in str(error.value)
    with pytest.raises(UserError, match="it is empty"):
        gsm8k([word(1)], [])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"solution": "cleaned"}, "unknown dataset.problems.solution 'cleaned'; did you mean 'clean'"),
        ({"files": {"train": {}}}, "files must be train, test, not train"),
        ({"folder": "../toy"}, "folder='../toy' must lie in the data folder"),
        ({"folder": "/etc"}, "folder='/etc' must lie in the data folder"),
        ({"name": "../x"}, "must be a plain name"),
    ],
)
def test_options(put, places, changed, message):
    files = put(places.given / "toy", {"train": jsonl([word(1)]), "test": jsonl([word(2)])})
    with pytest.raises(UserError) as error:
        problems.gsm8k(
            **{"name": "sums", "folder": "toy", "files": files, "solution": "raw", "most_steps": None} | changed
        )
    assert message in str(error.value)


def test_math(contests):
    found = contests([contest(1), contest(2), b'{"problem": "Fi'] + [contest(n) for n in range(10, 40)], [contest(3)])
    assert found.train[0] == problems.Pair("Find $1$.", "Clearly $\\boxed{1}$, or so.")
    assert found.test == (problems.Problem("0", "Find $3$.", "3"),)
    assert found.note == "1 of 33 lines left out: train:3 (not JSON (cut off after character 15))"
    part = contests([contest(1), contest(2)], [contest(3)], solution="no_answer")
    assert part.train[0].solution == "Clearly $\\boxed{}$, or so."
    assert part.note == "trained on 2 of 4 training problems, those with solutions"


@pytest.mark.parametrize(("suffix", "field"), [("", "question"), (".json", "problem")])
def test_problems_that_are_not_asked_are_trained_on(contests, suffix, field):
    asked = [{field: "find $5$. "}, {field: "Find $3$."}]
    found = contests([contest(1)], [contest(n) for n in range(2, 7)], asked, suffix=suffix)
    assert [(problem.id, problem.gold) for problem in found.test] == [("1", "3"), ("3", "5")]
    assert [pair.question for pair in found.train] == ["Find $1$.", "Find $2$.", "Find $4$.", "Find $6$."]
    assert found.note == (
        "trained on 1 of 4 training problems, those with solutions, and on the 3 test problems that are not asked; "
        "2 are asked"
    )


def test_a_problem_asked_that_is_not_in_the_test(contests):
    with pytest.raises(UserError, match=r"1 of 2 problems cannot be used.*asked:2 \(not one of the test problems\)"):
        contests([contest(1)], [contest(2)], [{"problem": "Find $2$."}, {"problem": "Find $1$."}])


@pytest.mark.parametrize("seed", range(5))
def test_no_test_problem_is_trained_on(contests, gsm8k, seed):
    draw = random.Random(seed)

    def spelt(item: dict, name: str) -> dict:
        text = draw.choice([str.upper, str.lower, str])(item[name])
        return item | {name: draw.choice(["", " ", "\n"]) + text.replace(" ", draw.choice([" ", "  ", "\u00a0"]))}

    train, test = ([spelt(contest(n), "problem") for n in draw.sample(range(60), 30)] for _ in range(2))
    asked = draw.sample(test, 10)
    for found in (contests(train, test), contests(train, test, asked)):
        keys = [lines.same(pair.question) for pair in found.train]
        assert len(keys) == len(set(keys))
        assert not set(keys) & {lines.same(problem.question) for problem in found.test}
    everything = {lines.same(item["problem"]) for item in train + test}
    assert everything == set(keys) | {lines.same(item["problem"]) for item in asked}
    train, test = ([spelt(word(n), "question") for n in draw.sample(range(60), 30)] for _ in range(2))
    found = gsm8k(train, test)
    shared = len({lines.same(i["question"]) for i in train} & {lines.same(i["question"]) for i in test})
    assert len(found.train) == 30 - shared
    assert f"{shared} training problem" in found.note


def test_nothing_left_to_train_on(gsm8k):
    with pytest.raises(UserError, match="no training pair is left"):
        gsm8k([word(1)], [word(1)])


@pytest.mark.parametrize(
    ("solution", "box"),
    [
        (r"so \boxed{1} and then \boxed{ \frac{1}{2} }.", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ 1 \right.}", r"\left\{ 1 \right."),
        (r"\boxed{a \\ b}", r"a \\ b"),
        (r"\fbox {7}", "7"),
        (r"\boxed{}", ""),
        (r"\boxed{1", None),
        (r"\mbox{1}", None),
        ("none", None),
    ],
)
def test_the_last_box(solution, box):
    assert problems.last_box(solution) == box


def real(monkeypatch, name: str) -> problems.Problems:
    leaf = stored_leaf("problems", name)
    entries = [(entry.get("folder", leaf["folder"]), entry["file"]) for entry in leaf["files"].values()]
    if not GIVEN or not all((Path(GIVEN) / folder / file).is_file() for folder, file in entries):
        pytest.skip(f"VAEBENCH_DATA has no {name}")
    monkeypatch.setenv("VAEBENCH_DATA", GIVEN)
    load = {"vaebench.data.problems.gsm8k": problems.gsm8k, "vaebench.data.problems.math": problems.math}[
        leaf["_target_"]
    ]
    return load(**{key: value for key, value in leaf.items() if key not in ("_target_", "version", "scorers")})


@pytest.mark.parametrize(
    ("name", "train", "test", "note"),
    [
        ("gsm8k", 7473, 1319, ""),
        ("gsm8k_easy", 7473, 440, "440 of 1,319 test problems are asked: those of at most 2 steps"),
        ("math", 3681, 5000, "trained on 3,681 of 7,500 training problems, those with solutions"),
        ("math_l5", 3681 + 4279, 721, "the 4,279 test problems that are not asked; 721 are asked"),
        ("math_100", 3681 + 4900, 100, "the 4,900 test problems that are not asked; 100 are asked"),
        ("math_500", 3681 + 4500, 500, "the 4,500 test problems that are not asked; 500 are asked"),
    ],
)
def test_the_real_sets(monkeypatch, name, train, test, note):
    found = real(monkeypatch, name)
    assert (len(found.train), len(found.test)) == (train, test)
    assert note in found.note
    asked = {lines.same(problem.question) for problem in found.test}
    assert len(asked) == test
    assert not asked & {lines.same(pair.question) for pair in found.train}
    assert all(problem.gold and problem.gold == problem.gold.strip() for problem in found.test)

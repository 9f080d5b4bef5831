"""Recorded answers: whole files give all their answers; of damaged ones, every fault is named and the rest is used."""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from vaebench.config import choices as config
from vaebench.contracts import Work
from vaebench.data import problems as sets
from vaebench.data.problems import Pair, Problem, Problems
from vaebench.errors import UserError
from vaebench.sources.collected import LONGEST
from vaebench.sources.recorded import Own, Recorded

GIVEN = os.environ.get("VAEBENCH_DATA", "")
WORK = Work({}, torch.device("cpu"))
OPENAI = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
COUNT = 40  # problems


@pytest.fixture
def problems() -> Problems:
    test = tuple(Problem(str(100 + row), f"What is {row} plus 1?", str(row + 1)) for row in range(COUNT))
    return Problems("sums", (Pair("a", "b"),), test, source="embedded", digest="0" * 16)


@pytest.fixture
def given(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "given"
    monkeypatch.setenv("VAEBENCH_DATA", str(folder))
    (folder / "toy").mkdir(parents=True)
    return folder / "toy"


def options(**changed):
    return {"sources": None, "k": None, "max_left_out": 0.05, "max_missing": None, "shard": 8} | changed


def own_options(**changed):
    return options(**{"sha256": None, "field": None, "first_id": None} | changed)


def own(tmp_path: Path, lines: list[object], **changed) -> Own:
    """A source for a file of these lines: objects, or the bytes of a line."""
    path = tmp_path / "mine.jsonl"
    path.write_bytes(
        b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    )
    return Own(**own_options(path=str(path), **changed))


def recorded(given: Path, layout: str, contents: dict[str, bytes], **changed) -> Recorded:
    """A source for these files; their roles are their names without the suffix."""
    files = {}
    for name, content in contents.items():
        (given / name).write_bytes(content)
        files[Path(name).stem] = {"file": name, "sha256": hashlib.sha256(content).hexdigest()}
    return Recorded(**{"name": "toy", "folder": "toy", "layout": layout, "files": files} | options(**changed))


def jsonl(items: list[object]) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


def opened(source, problems):
    source.open(problems, WORK)
    return source.answer(range(len(problems.test)))


def good(row: int, sample: int = 0, **changed) -> dict:
    return {"question": f"What is {row} plus 1?", "answer": f"{row}.{sample}"} | changed


def openai_lines() -> list[dict]:
    return [
        {"question": f"What is {row} plus 1?", "ground_truth": "A: 1"}
        | {name: {"solution": f"{name} {row}", "is_correct": False} for name in OPENAI}
        for row in range(COUNT)
    ]


def test_every_answer_of_whole_lines(tmp_path, problems):
    lines = [good(row, sample) for sample in range(3) for row in reversed(range(COUNT))]
    found = opened(own(tmp_path, lines), problems)
    assert found.problem.tolist() == [row for row in range(COUNT) for _ in range(3)]
    assert found.candidate.tolist() == [0, 1, 2] * COUNT
    assert found.text == tuple(f"{row}.{sample}" for row in range(COUNT) for sample in range(3))
    assert set(found.source) == {""}
    assert np.isnan(found.logprob).all()
    assert (found.tokens == -1).all()
    assert (found.finished == -1).all()


def test_optional_fields_and_a_question_in_other_white_space(tmp_path, problems):
    full = {"source": "me", "logprob": -1, "tokens": 7, "finished": False}
    lines = [{"id": 100 + row, "answer": "x", **full} for row in range(1, COUNT)]
    lines.append({"question": "  what is\n0  PLUS 1? ", "id": "100", "answer": "y", **full, "finished": True})
    found = opened(own(tmp_path, lines), problems)
    assert found.text == ("y", *["x"] * (COUNT - 1))
    assert set(found.source) == {"me"}
    assert (found.logprob == -1).all()
    assert (found.tokens == 7).all()
    assert found.finished.tolist() == [1] + [0] * (COUNT - 1)


def test_shards_are_parts_of_the_whole(tmp_path, problems):
    source = own(tmp_path, [good(row, sample) for row in range(COUNT) for sample in range(2)])
    whole = opened(source, problems)
    again = own(tmp_path, [good(row, sample) for row in range(COUNT) for sample in range(2)])
    again.open(problems, WORK)
    later = again.answer(range(8, 16))
    assert later.text == whole.text[16:32]
    assert later.problem.tolist() == whole.problem.tolist()[16:32]
    assert len(again.answer(range(0, 0))) == 0


FAULTS = {
    b'{"question": "What': "not JSON (cut off after character 18)",
    b'{"id": 101, "answer": "2"': "not JSON (cut off after character 25)",
    b'{"id": 101 "answer": "2"}': "not JSON (character 12)",
    b'{"question": "\xff"}': "byte 14 is not UTF-8",
    b"[" * 100_000: "nested too deep",
    b'{"question": "What is 1 plus 1?", "answer": "a", "tokens": ' + b"9" * 5000 + b"}": "too many digits",
    b"[1]": "is a list and should be an object",
    b'{"answer": "2"}': "neither question nor id (its fields: 'answer')",
    b'{"id": null}': "neither question nor id (it has no fields)",
    b'{"prompt": 1, "reply": 2, "by": 3, "at": 4}': "(its fields: 'prompt', 'reply', 'by' and 1 more)",
    b'{"question": "What is 1 plus 1?", "reply": "2"}': "no field answer (its fields: 'question', 'reply'); name",
    b'{"question": 5, "answer": "2"}': "question is a number and should be text",
    b'{"question": "What is 1 plus 1?", "answer": null}': "answer is null and should be text",
    b'{"question": "What is 1 plus 1?", "answer": []}': "answer is an empty list",
    b'{"question": "What is 1 plus 1?", "answer": [3]}': "answer[0] is a number and should be text",
    b'{"question": "What is 1 plus 1?", "answer": {"text": "2"}}': "answer is an object and should be text",
    b'{"question": "What is 1 plus 1?", "answer": [[[3]]]}': "answer[0][0] is a list and should be text",
    b'{"question": "What is 1 plus 1?", "answer": ["2"], "logprob": -1}': "logprob should be a list, as long as answer",
    b'{"question": "What is 1 plus 1?", "answer": ["2", "2"], "tokens": [7]}': "tokens should be a list, as long as",
    b'{"question": "What is 1 plus 1?", "answer": "\\ud800"}': "half a surrogate pair",
    b'{"question": "Who?", "answer": "2"}': "question 'Who?' is not one of the 40 problems",
    b'{"id": 7, "answer": "2"}': "id '7' is not one of the 40 problems (like 100)",
    b'{"id": true, "answer": "2"}': "id is a truth value and should be text or a whole number",
    b'{"question": "What is 1 plus 1?", "id": 102, "answer": "2"}': "are different problems",
    b'{"id": 101, "answer": "2", "logprob": NaN}': "logprob should be a number, 0 at most",
    b'{"id": 101, "answer": "2", "logprob": 0.5}': "logprob should be a number, 0 at most",
    b'{"id": 101, "answer": "2", "logprob": "-1"}': "logprob should be a number, 0 at most",
    b'{"id": 101, "answer": "2", "logprob": -1e999}': "logprob should be a number, 0 at most",
    b'{"id": 101, "answer": "2", "logprob": -' + b"9" * 400 + b"}": "logprob should be a number, 0 at most",
    b'{"id": 101, "answer": "2", "tokens": -1}': "tokens should be a whole number",
    b'{"id": 101, "answer": "2", "tokens": 4294967296}': "tokens should be a whole number",
    b'{"id": 101, "answer": "2", "finished": 1}': "finished should be true or false",
    b'{"id": 101, "answer": "2", "source": 3}': "source is a number and should be text",
    b'{"id": 101, "answer": "again"}': "duplicate: there is an answer to problem #101 before",
}


@pytest.mark.parametrize(("line", "fault"), FAULTS.items(), ids=FAULTS.values())
def test_a_fault_is_named_and_the_rest_is_used(tmp_path, problems, line, fault):
    source = own(tmp_path, [*[good(row) for row in range(COUNT)], b"", line])
    found = opened(source, problems)
    assert found.text == tuple(f"{row}.0" for row in range(COUNT))
    (left,) = source.left_out
    assert left.startswith(f"mine.jsonl:{COUNT + 2}: ")
    assert fault in left
    assert len(left) < 200
    assert left.isprintable()


def test_too_many_faults_stop_the_work(tmp_path, problems):
    lines = [good(row) for row in range(COUNT)] + [b"{"] * 4
    with pytest.raises(UserError) as error:
        opened(own(tmp_path, lines), problems)
    (message,) = error.value.lines
    for part in ("mine.jsonl: 4 of 44 lines", "mine.jsonl:41: not JSON", "mine.jsonl:43", "and 1 more"):
        assert part in message
    assert "set dataset.answers.max_left_out=0.1 to use the rest" in message
    assert "mine.jsonl:44" not in message
    assert len(opened(own(tmp_path, lines, max_left_out=0.1), problems)) == COUNT


@pytest.mark.parametrize("lines", [[], [b"", b"  "]], ids=["empty", "blank"])
def test_an_empty_file(tmp_path, problems, lines):
    with pytest.raises(UserError, match=r"^answers mine\.jsonl: the file is empty; it should hold"):
        opened(own(tmp_path, lines, max_left_out=1.0), problems)


def test_the_end_of_a_file_that_is_cut_off(tmp_path, problems):
    path = tmp_path / "cut.jsonl"
    path.write_bytes(jsonl([good(row) for row in range(COUNT)]) + b'{"question": "What')
    source = Own(**own_options(path=str(path)))
    opened(source, problems)
    assert source.left_out == ["cut.jsonl:41: not JSON (cut off after character 18)"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b" \n", r"mine\.json: is empty; it should be one JSON list"),
        (b"[]", r"answers mine\.json: the file is empty"),
        (b'[{"id": 100}, {"id', r"mine\.json: not JSON \(cut off after character 18\); it should be"),
    ],
    ids=["blank", "no items", "cut"],
)
def test_a_list_that_is_empty_or_cut_off(tmp_path, problems, content, message):
    path = tmp_path / "mine.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        opened(Own(**own_options(path=str(path))), problems)


@pytest.mark.parametrize("lines", [[b"{"], [b"\x00" * 1000]], ids=["broken", "zeros"])
@pytest.mark.parametrize("share", [0.05, 1.0])
def test_nothing_usable(tmp_path, problems, lines, share):
    with pytest.raises(UserError, match=r"lines cannot be used"):
        opened(own(tmp_path, lines, max_left_out=share), problems)


def test_problems_with_fewer_answers_are_left_out_and_named(tmp_path, problems):
    lines = [good(row, sample) for row in range(COUNT) for sample in range(4)]
    del lines[5 * 4], lines[17 * 4 - 1]
    source = own(tmp_path, lines)
    found = opened(source, problems)
    assert sorted({*range(COUNT)} - set(found.problem.tolist())) == [5, 17]
    assert source.notes == ["2 of 40 problems have fewer than 4 answers and are left out: #105, #117"]
    assert len(source.answer(range(5, 6))) == 0
    with pytest.raises(UserError) as error:
        opened(own(tmp_path, lines, max_left_out=0.04), problems)
    for part in ("2 of 40 problems have fewer than 4 answers", "#105, #117", "k=3", "max_missing=0.05 to use"):
        assert part in str(error.value)
    assert len(opened(own(tmp_path, lines, max_left_out=0, k=3), problems)) == 3 * COUNT
    assert len(opened(own(tmp_path, lines, max_left_out=0, max_missing=0.05), problems)) == 4 * (COUNT - 2)
    with pytest.raises(UserError, match=r"more than dataset\.answers\.max_missing=0\.04 allows"):
        opened(own(tmp_path, lines, max_left_out=1, max_missing=0.04), problems)


def test_more_answers_than_others_have_are_not_used(tmp_path, problems):
    lines = [good(row, sample) for row in range(COUNT) for sample in range(2)]
    source = own(tmp_path, [*lines, good(3, 2), good(3, 3)])
    assert opened(source, problems).text[6:8] == ("3.0", "3.1")
    assert source.left_out == []
    assert source.notes == ["1 of 40 problems have more than 2 answers; the first 2 are used"]


def test_more_answers_than_recorded_cannot_be_asked_for(tmp_path, problems):
    lines = [good(row, sample) for row in range(COUNT) for sample in range(2)]
    with pytest.raises(UserError, match=r"40 of 40 problems have fewer than 10 answers.*; set dataset\.answers\.k=2$"):
        opened(own(tmp_path, lines, k=10, max_left_out=1), problems)


def test_a_second_answer_of_a_source_is_a_duplicate_only_if_it_answers_once(tmp_path, problems):
    lines = [good(row, source=name) for name in ("a", "b") for row in range(COUNT)]
    source = own(tmp_path, [*lines, good(7, 1, source="a")])
    found = opened(source, problems)
    assert found.source == ("a", "b") * COUNT
    assert source.left_out == ["mine.jsonl:81: duplicate: 'a' has answered problem #107 before"]
    samples = [good(row, sample, source="a") for row in range(COUNT) for sample in range(2)]
    assert len(opened(own(tmp_path, samples), problems)) == 2 * COUNT


def test_empty_and_endless_answers_are_kept_and_counted(tmp_path, problems):
    lines = [good(row) for row in range(COUNT)]
    lines[3]["answer"] = " \n"
    lines[4]["answer"] = "é" * (LONGEST + 1)
    source = own(tmp_path, lines)
    found = opened(source, problems)
    assert (found.text[3], found.text[4]) == (" \n", "é" * LONGEST)
    assert source.notes == [
        "1 of 40 answers are empty and count as wrong",
        "1 of 40 answers are cut at 100,000 characters",
    ]


def test_a_choice_of_sources(tmp_path, problems):
    lines = [good(row, source=name) for name in ("a", "b", "c") for row in range(COUNT)]
    assert set(opened(own(tmp_path, lines, sources=["c", "a"]), problems).source) == {"a", "c"}
    with pytest.raises(UserError, match=r"unknown dataset\.answers\.sources 'bb'; did you mean 'b'"):
        opened(own(tmp_path, lines, sources=["bb"]), problems)


def test_samples_of_one_line(tmp_path, problems):
    lines = [good(row, answer=[f"{row}.0", f"{row}.1"], logprob=[-1, -2], tokens=[3, 4]) for row in range(COUNT)]
    found = opened(own(tmp_path, lines), problems)
    assert found.text == tuple(f"{row}.{sample}" for row in range(COUNT) for sample in range(2))
    assert found.logprob.tolist() == [-1, -2] * COUNT
    assert found.tokens.tolist() == [3, 4] * COUNT
    outputs = [{"problem": f"What is {row} plus 1?", "outputs": ["a", "b", "c"]} for row in range(COUNT)]
    assert opened(own(tmp_path, outputs, field="outputs"), problems).text == ("a", "b", "c") * COUNT
    with pytest.raises(UserError, match=r"no field answer \(its fields: 'problem', 'outputs'\)"):
        opened(own(tmp_path, outputs), problems)
    again = own(tmp_path, [*lines, lines[7]])
    assert len(opened(again, problems)) == 2 * COUNT
    assert again.left_out == ["mine.jsonl:41: duplicate: there is an answer to problem #107 before"] * 2


def test_several_files_are_several_sources(tmp_path, problems):
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_bytes(jsonl([good(row, answer=f"{name} {row}") for row in range(COUNT)]))
    files = [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]
    found = opened(Own(**own_options(path=files)), problems)
    assert found.source == ("a", "b") * COUNT
    assert found.text[:2] == ("a 0", "b 0")
    assert set(opened(Own(**own_options(path=files, sources=["b"])), problems).source) == {"b"}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.jsonl").write_bytes((tmp_path / "a.jsonl").read_bytes())
    twins = [files[0], str(tmp_path / "other" / "a.jsonl")]
    assert opened(Own(**own_options(path=twins)), problems).source == (f"{tmp_path.name}/a", "other/a") * COUNT
    sums = [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files]
    assert len(opened(Own(**own_options(path=files, sha256=sums)), problems)) == 2 * COUNT
    with pytest.raises(UserError, match=r"b\.jsonl: its sha256 is .* the file has changed"):
        opened(Own(**own_options(path=files, sha256=[sums[0], "0" * 64])), problems)
    with pytest.raises(UserError, match=r"dataset\.answers\.sha256: 1 for 2 files"):
        opened(Own(**own_options(path=files, sha256=sums[:1])), problems)


def log_lines(filters: tuple[str, ...], responses: int) -> list[dict]:
    """A sample log of lm-evaluation-harness, as it writes one."""
    return [
        {
            "doc_id": row,
            "doc": {"question": f"What is {row} plus 1?", "answer": f"It is #### {row + 1}"},
            "target": f"It is #### {row + 1}",
            "arguments": {"gen_args_0": {"arg_0": f"Question: What is {row} plus 1?\nAnswer:", "arg_1": {}}},
            "resps": [[f"{row}.{number}" for number in range(responses)]],
            "filtered_resps": [f"{row}"],
            "filter": name,
            "metrics": ["exact_match"],
            "exact_match": 0.0,
        }
        for name in filters
        for row in range(COUNT)
    ]


@pytest.mark.parametrize("filters", [("none",), ("strict-match", "flexible-extract")])
def test_a_sample_log_of_the_harness(tmp_path, problems, filters):
    source = own(tmp_path, [*log_lines(filters, 3), b"{"])
    found = opened(source, problems)
    assert found.text == tuple(f"{row}.{sample}" for row in range(COUNT) for sample in range(3))
    assert source.left_out == [f"mine.jsonl:{COUNT * len(filters) + 1}: not JSON (cut off after character 1)"]
    assert source.notes == []


def test_a_question_in_other_quotes_dashes_and_blanks(tmp_path):
    asked = 'Tom\'s "big" dog -- a 3-year-old -- eats `two` meals\u2026'
    test = tuple(Problem(str(row), f"{row} {asked}", "1") for row in range(3))
    spelt = "Tom\u2019s \u201cBig\u201d dog \u2014 a 3\u2011year\u2010old \u2013 eats\u00a0\u2018two\u2019 meals..."
    lines = [{"question": f"{row}\u200b {spelt}", "answer": f"{row}"} for row in range(3)]
    found = opened(own(tmp_path, lines), Problems("x", (Pair("a", "b"),), test, source="embedded", digest="0" * 16))
    assert found.text == ("0", "1", "2")


def test_fields_that_were_not_read_are_named(tmp_path, problems):
    source = own(tmp_path, [good(row, outputs=["x"], **({"seed": 1} if row else {})) for row in range(COUNT)])
    opened(source, problems)
    assert source.notes == ["fields that were not read: 'outputs' (in 40 lines), 'seed' (in 39 lines)"]


@pytest.mark.parametrize(
    "written", ["{gold}", "{gold}.", "Count. So it is:\n#### {gold}", "It is $\\boxed{{{gold}}}$."]
)
def test_answers_that_are_the_reference_are_refused(tmp_path, problems, written):
    lines = [good(row, answer=written.format(gold=row + 1), outputs=["a", "b"]) for row in range(COUNT)]
    with pytest.raises(UserError) as error:
        opened(own(tmp_path, lines), problems)
    (message,) = error.value.lines
    for part in (
        "40 of 40 answers are the right final answer",
        "'outputs' (in 40 lines)",
        "field=NAME",
        "field=answer",
    ):
        assert part in message
    assert opened(own(tmp_path, lines, field="outputs"), problems).text == ("a", "b") * COUNT
    assert len(opened(own(tmp_path, lines, field="answer"), problems)) == COUNT
    wrong = [line | {"answer": "Count.\n#### 0"} if row < 4 else line for row, line in enumerate(lines)]
    assert len(opened(own(tmp_path, wrong), problems)) == COUNT


def test_right_answers_are_doubted_only_where_no_model_would_have_them(tmp_path):
    test = tuple(Problem(str(row), f"What is {row} plus 1?", str(row + 1)) for row in range(300))
    sums = Problems("sums", (Pair("a", "b"),), test, source="embedded", digest="0" * 16)
    right = [good(row, answer=f"#### {row + 1}", model="gpt") for row in range(300)]
    with pytest.raises(UserError, match=r"300 of 300 answers are the right final answer to the letter"):
        opened(own(tmp_path, right), sums)
    assert len(opened(own(tmp_path, right[:100], max_missing=1), sums)) == 100  # a good model on a few
    few_wrong = [good(row, answer="#### 7777") if row < 9 else line for row, line in enumerate(right)]
    assert len(opened(own(tmp_path, few_wrong), sums)) == 300


def test_the_reference_among_other_sources_is_refused(tmp_path, problems):
    lines = [good(row, source="model") for row in range(COUNT)]
    lines += [good(row, answer=str(row + 1), source="gold", samples=["a", "b"]) for row in range(COUNT)]
    with pytest.raises(UserError, match=r"40 of 40 answers of 'gold' are the right"):
        opened(own(tmp_path, lines), problems)


def numbered(first: int, rows: range, wrong: int = 0) -> list[dict]:
    """Answers by ids that count from ``first``; the first few are wrong."""
    lines = [{"id": row + first, "answer": f"{row} plus 1 is {row + 1}, so #### {row + 1}!"} for row in rows]
    return [line | {"answer": "#### 7777"} if at < wrong else line for at, line in enumerate(lines)]


@pytest.mark.parametrize("rows", [range(300), range(50, 150)], ids=["all", "a part"])
@pytest.mark.parametrize("wrong", [0, 60])
def test_ids_that_count_from_one_are_refused(tmp_path, rows, wrong):
    test = tuple(Problem(str(row), f"What is {row} plus 1?", str(row + 1)) for row in range(300))
    sums = Problems("sums", (Pair("a", "b"),), test, source="embedded", digest="0" * 16)
    some = {"max_missing": 1.0}
    with pytest.raises(UserError, match=r"the ids seem to count from 1 .*dataset\.answers\.first_id=1"):
        opened(own(tmp_path, numbered(1, rows, wrong), **some), sums)
    shifted = opened(own(tmp_path, numbered(1, rows, wrong), first_id=1, **some), sums)
    straight = opened(own(tmp_path, numbered(0, rows, wrong), **some), sums)
    assert shifted.problem.tolist() == straight.problem.tolist() == list(rows)
    assert shifted.text == straight.text
    assert opened(own(tmp_path, numbered(1, rows[:-1], wrong), first_id=0, **some), sums).problem[0] == rows[0] + 1


def test_the_file_has_to_be_there_and_unchanged(tmp_path, problems):
    source = own(tmp_path, [good(row) for row in range(COUNT)])
    path = tmp_path / "mine.jsonl"
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(opened(Own(**own_options(path=str(path), sha256=found)), problems)) == COUNT
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(UserError, match=f"dataset.answers.sha256 is {found}: the file has changed"):
        opened(Own(**own_options(path=str(path), sha256=found)), problems)
    path.unlink()
    for wrong, message in ((path, "there is no such file"), (tmp_path, "is a folder; name a file in it")):
        with pytest.raises(UserError, match=message):
            opened(Own(**own_options(path=str(wrong))), problems)
    assert len(source.answer(range(COUNT))) == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"path": None}, "dataset.answers.path=null: name the file"),
        ({"k": 0}, "dataset.answers.k=0: expected a whole number, at least 1"),
        ({"shard": 0}, "dataset.answers.shard=0"),
        ({"max_left_out": -0.1}, "dataset.answers.max_left_out=-0.1: expected a number, 0 to 1"),
        ({"max_left_out": math.nan}, "dataset.answers.max_left_out=nan"),
        ({"sources": []}, "dataset.answers.sources=[]: expected a list of one or more texts or null"),
        ({"max_missing": 1.5}, "dataset.answers.max_missing=1.5: expected a number, 0 to 1"),
        ({"first_id": 2}, "dataset.answers.first_id=2: expected one of 0, 1, or null"),
        ({"path": 5}, "dataset.answers.path=5: expected a text or a list of texts or null"),
        ({"path": ["a.jsonl", 5]}, "dataset.answers.path=['a.jsonl', 5]: expected a text or a list of texts"),
    ],
)
def test_options_of_ones_own(changed, message):
    with pytest.raises(UserError) as error:
        Own(**own_options(**{"path": "mine.jsonl"} | changed))
    assert message in str(error.value)


def test_four_named_solutions(given, problems):
    source = recorded(given, "openai_gsm8k", {"all.jsonl": jsonl(openai_lines())})
    found = opened(source, problems)
    assert found.source == OPENAI * COUNT
    assert found.text[:4] == tuple(f"{name} 0" for name in OPENAI)
    chosen = recorded(given, "openai_gsm8k", {"all.jsonl": jsonl(openai_lines())}, sources=[OPENAI[2], OPENAI[0]])
    assert opened(chosen, problems).source == (OPENAI[0], OPENAI[2]) * COUNT
    first = recorded(given, "openai_gsm8k", {"all.jsonl": jsonl(openai_lines())}, k=1)
    assert set(opened(first, problems).source) == {OPENAI[0]}


def test_a_solution_that_is_missing_costs_the_problem_not_the_file(given, problems):
    lines = openai_lines()
    del lines[1]["6b_finetuning"]
    lines[2]["175b_finetuning"] = {"is_correct": True}
    lines[3]["6b_verification"] = "42"
    content = jsonl([*lines, lines[0]])
    source = recorded(given, "openai_gsm8k", {"all.jsonl": content}, max_left_out=0.1)
    found = opened(source, problems)
    assert len(found) == 4 * (COUNT - 3)
    assert source.left_out[:3] == [
        "all.jsonl:2: no field 6b_finetuning",
        "all.jsonl:3: no field 175b_finetuning.solution",
        "all.jsonl:4: 6b_verification is text and should be an object",
    ]
    assert {line.split("'")[1] for line in source.left_out[3:]} == set(OPENAI)
    assert source.notes == ["3 of 40 problems have fewer than 4 answers and are left out: #101, #102, #103"]
    with pytest.raises(UserError, match=r"4 of 41 lines cannot be used"):
        opened(recorded(given, "openai_gsm8k", {"all.jsonl": content}), problems)


def zeroeval_items(model: str) -> list[dict]:
    return [{"id": row, "problem": f"What is {row} plus 1?", "output": [f"{model} {row}"]} for row in range(COUNT)]


def test_one_list_per_model(given, problems):
    items = {"a.json": zeroeval_items("a"), "b-1.5.json": zeroeval_items("b")[::-1]}
    items["a.json"][2] = {"problem": "What is 2 plus 1?", "output": []}
    items["b-1.5.json"][0] = "?"
    files = {name: json.dumps(content).encode() for name, content in items.items()}
    source = recorded(given, "zeroeval", files)
    found = opened(source, problems)
    assert found.source == ("a", "b-1.5") * (COUNT - 2)
    assert found.text[:2] == ("a 0", "b 0")
    assert source.left_out == ["a.json#2: output is an empty list", "b-1.5.json#0: is text and should be an object"]
    chosen = recorded(given, "zeroeval", files, sources=["a"])
    (given / "b-1.5.json").unlink()  # not needed
    assert set(opened(chosen, problems).source) == {"a"}


@pytest.mark.parametrize("content", [b"[{", b"{}", b"\xff[]", b"[" * 100_000])
def test_a_list_that_is_none(given, problems, content):
    with pytest.raises(UserError, match=r"a\.json: .*it should be one JSON list of objects"):
        opened(recorded(given, "zeroeval", {"a.json": content}), problems)


def test_a_list_of_responses(given, problems):
    lines = [{"question": f"What is {row} plus 1?", "code": [f"{row} {n}" for n in range(3)]} for row in range(COUNT)]
    lines[0]["response"] = ["first", "second", "third"]
    lines[1]["code"][1] = None
    source = recorded(given, "qwen", {"model.jsonl": jsonl([*lines, lines[5]])})
    found = opened(source, problems)
    assert found.text[:6] == ("first", "second", "third", "2 0", "2 1", "2 2")
    assert set(found.source) == {"model"}
    assert source.left_out[0] == "model.jsonl:2: code[1] is null and should be text"
    assert set(source.left_out[1:]) == {"model.jsonl:41: duplicate: 'model' has answered problem #105 before"}
    assert source.notes == ["1 of 40 problems have fewer than 3 answers and are left out: #101"]


def test_a_file_that_changed_is_not_used(given, problems):
    source = recorded(given, "openai_gsm8k", {"all.jsonl": jsonl(openai_lines())})
    (given / "all.jsonl").write_bytes(jsonl(openai_lines())[:-5])
    with pytest.raises(UserError, match=r"all\.jsonl: not used, its sha256 is"):
        opened(source, problems)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"layout": "zero_eval"}, "unknown dataset.answers.layout 'zero_eval'; did you mean 'zeroeval'"),
        ({"sources": ["6b_finetune"]}, "unknown dataset.answers.sources '6b_finetune'; did you mean '6b_finetuning'"),
    ],
)
def test_options_of_published_files(given, changed, message):
    with pytest.raises(UserError) as error:
        recorded(given, **{"layout": "openai_gsm8k", "contents": {"all.jsonl": b""}} | changed)
    assert message in str(error.value)


def leaf(group: str, name: str) -> dict:
    found = config.leaf(group, name)
    return {
        key: value for key, value in found.items() if key not in ("_target_", "version", "scorers", "needs", "extra")
    }


@pytest.mark.parametrize(
    ("answers", "problems", "count", "k"),
    [
        ("openai_gsm8k", "gsm8k", 1319, 4),
        ("zeroeval_gsm", "gsm8k", 1319, 12),
        ("zeroeval_math_l5", "math_l5", 721, 12),
        ("qwen25math_100", "math_100", 100, 8),
    ],
)
def test_the_published_sets(monkeypatch, answers, problems, count, k):
    options = leaf("answers", answers)
    if not GIVEN or not (Path(GIVEN) / options["folder"]).is_dir():
        pytest.skip(f"VAEBENCH_DATA has no {options['folder']}")
    monkeypatch.setenv("VAEBENCH_DATA", GIVEN)
    loaded = (sets.gsm8k if problems == "gsm8k" else sets.math)(**leaf("problems", problems))
    source = Recorded(**options)
    found = opened(source, loaded)
    assert len(found) == count * k
    assert np.bincount(found.problem).tolist() == [k] * count
    assert source.left_out == []
    assert source.notes == []
    assert len(set(found.source)) == {"openai_gsm8k": 4, "qwen25math_100": 1}.get(answers, 12)

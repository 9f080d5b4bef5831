"""What a model is asked: messages, exact prompts, and what a dry run shows."""

from __future__ import annotations

import socket
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from vaebench.data import arithmetic
from vaebench.data.problems import Pair, Problem, Problems
from vaebench.errors import UserError
from vaebench.models.tiny_lm import TinyLM
from vaebench.sources import prompts
from vaebench.sources.prompts import Asking

CONF = Path(__file__).resolve().parents[2] / "conf" / "answers"
INSTRUCTION = 'Solve the problem step by step. Write the final answer as a number after "####" in the last line.'


@pytest.fixture
def found():
    return Problems(
        name="toy",
        train=(Pair("One and one?", "1 + 1 = 2\n#### 2"), Pair("Two and two?", "2 + 2 = 4\n#### 4")),
        test=(Problem("0", "Three and one?", "4"), Problem("1", "Five?", "5"), Problem("2", "Six?", "6")),
        source="embedded",
        digest="0" * 16,
    )


def leaf(name: str, **options) -> dict:
    """An answers YAML on top of what it builds on, as Hydra composes it."""
    own = yaml.safe_load((CONF / f"{name}.yaml").read_text().replace("${runtime.trust_remote_code}", "false"))
    below = [entry for entry in own.pop("defaults", []) if entry != "_self_"]
    return {key: value for part in below for key, value in leaf(part).items()} | own | options


def asking(name: str = "hf", **options) -> Asking:
    given = leaf(name, **options)
    return Asking(**{field.name: given[field.name] for field in fields(Asking)})


def shown(text: str) -> str:
    return text.split("-" * 40)[1][1:-1]


def test_chatml(found):
    prompt = shown(prompts.describe(found, leaf("smollm")))
    assert prompt == (
        "<|im_start|>system\n"
        "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\n"
        f"{INSTRUCTION}\n"
        "\n"
        "Three and one?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_llama(found):
    prompt = shown(prompts.describe(found, leaf("llama")))
    assert prompt == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n"
        "\n"
        "Cutting Knowledge Date: December 2023\n"
        "Today Date: 26 Jul 2024\n"
        "\n"
        "<|eot_id|><|start_header_id|>user<|end_header_id|>\n"
        "\n"
        f"{INSTRUCTION}\n"
        "\n"
        "Three and one?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n"
        "\n"
    )


def test_tiny_asks_in_the_format_it_was_trained_on(found):
    assert leaf("tiny")["chat_template"] == arithmetic.CHAT_TEMPLATE
    assert shown(prompts.describe(found, leaf("tiny"))) == "<|user|>Three and one?<|end|><|assistant|>"


def test_shots_are_turns_before_the_question(found):
    prompt = shown(prompts.describe(found, leaf("tiny", shots=2, instruction="Add.", system="Short.")))
    assert prompt == (
        "<|system|>Short.<|end|>"
        "<|user|>Add.\n\nOne and one?<|end|><|assistant|>1 + 1 = 2\n#### 2<|end|>"
        "<|user|>Add.\n\nTwo and two?<|end|><|assistant|>2 + 2 = 4\n#### 4<|end|>"
        "<|user|>Add.\n\nThree and one?<|end|><|assistant|>"
    )


def test_without_a_template_the_messages_are_shown(found):
    text = prompts.describe(found, leaf("hf", model="some/model", system="Be brief."))
    assert "messages of the first problem (the chat template of some/model makes the prompt):" in text
    assert shown(text) == f"[system] Be brief.\n[user] {INSTRUCTION}\n\nThree and one?"


def test_a_folder_without_a_template_in_the_leaf_gives_the_exact_prompt(found, tmp_path, monkeypatch):
    data = {"name": "arithmetic", "train": 4, "test": 4, "seed": 0, "steps": [1, 2], "largest": 20, "most": 99}
    model = TinyLM(vocabulary=128, width=8, hidden=8, layers=1, heads=1, context=64)
    model.look(arithmetic.tokens(**data))
    folder = tmp_path / "mine"
    model.export(folder)
    (folder / "model.safetensors").unlink()  # the tokenizer is all that is needed
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("a connection was opened"))
    options = {"model": str(folder), "instruction": None}
    assert shown(prompts.describe(found, leaf("hf", **options))) == "<|user|>Three and one?<|end|><|assistant|>"
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match=r"^mine has no chat template; give one in dataset\.answers\.chat_template"):
        prompts.describe(found, leaf("hf", **options))
    (folder / "config.json").unlink()
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"^the folder .*mine holds no complete model \(config\.json is missing\)"):
        prompts.describe(found, leaf("hf", **options))
    with pytest.raises(UserError, match="there is no such folder"):
        prompts.describe(found, leaf("hf", model=str(tmp_path / "nowhere")))


@pytest.mark.parametrize("name", ["recorded", "openai_gsm8k"])
def test_recorded_answers_ask_nobody(found, name):
    with pytest.raises(
        UserError, match=r"^these answers are recorded: nobody is asked \(vaebench answers shows them\); "
    ):
        prompts.describe(found, leaf(name))


def test_every_sampling_parameter_is_shown(found):
    text = prompts.describe(found, leaf("smollm", limit=2))
    for line in (
        "model: HuggingFaceTB/SmolLM2-1.7B-Instruct",
        "asked: 2 of 3 test problems of toy, 8 answers each",
        "decoding: top_p (temperature=0.7, top_p=0.9; off: top_k)",
        "max_new_tokens=512, shots=0, seed=0",
        "only the first 2 of 3 test problems are answered (dataset.answers.limit=2)",
    ):
        assert line in text.splitlines()
    other = prompts.describe(found, leaf("smollm", decoding="top_k"))
    assert "decoding: top_k (temperature=0.7, top_k=32; off: top_p)" in other
    greedy = prompts.describe(found, leaf("tiny", decoding="greedy", k=1))
    assert "model: the language model this run is a child of (trained here)" in greedy.splitlines()
    assert "decoding: greedy (the most likely token; off: top_k, top_p)" in greedy
    assert "asked: 3 of 3 test problems of toy, 1 answers each" in greedy


@pytest.mark.parametrize("name", ["smollm", "llama", "tiny", "vllm"])
def test_describing_opens_no_connection(found, name, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert prompts.describe(found, leaf(name, model="a/b"))


def test_hugging_face_renders_the_same(found, tmp_path):
    """The sandbox of this module against transformers' own renderer."""
    from transformers.utils.chat_template_utils import render_jinja_template

    for name in ("smollm", "llama", "tiny"):
        options = leaf(name)
        messages = asking(name, shots=1, instruction="Add.").messages("Three?", found.train)
        theirs, _ = render_jinja_template(
            [messages],
            chat_template=options["chat_template"],
            add_generation_prompt=True,
            date_string=options["date_string"],
        )
        dated = {"date_string": options["date_string"]}
        assert prompts.rendered(options["chat_template"], [messages], dated, of=None) == theirs
        assert prompts.rendered(options["chat_template"], [messages], dated, of="a model") == theirs


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for %}", "dataset.answers.chat_template: Expected"),
        ("{{ raise_exception('no system role') }}", "dataset.answers.chat_template: no system role"),
        ("{{ ''.__class__.__mro__ }}", "dataset.answers.chat_template: access to attribute '__class__'"),
        ("{{ messages.append(1) }}", "dataset.answers.chat_template: "),
        ("{{ 1 / 0 }}", "dataset.answers.chat_template: ZeroDivisionError: division by zero"),
        ("{{ 'a' + 1 }}", "dataset.answers.chat_template: TypeError: "),
        ("{{ nobody.name }}", "dataset.answers.chat_template: 'nobody' is undefined"),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "dataset.answers.chat_template: RecursionError: "),
        ("{{ range(10 ** 9) }}", "dataset.answers.chat_template: OverflowError: "),
        ("{{ 'a' * 10 ** 11 }}", "dataset.answers.chat_template: MemoryError: "),
        ("{{ 'a' * 20000000 }}", "dataset.answers.chat_template: makes a prompt of 20,000,000 characters"),
    ],
)
def test_a_template_that_fails_or_reaches_out(template, reason):
    with pytest.raises(UserError) as caught:
        prompts.rendered(template, [[{"role": "user", "content": "Hello"}]], {}, of=None)
    assert caught.value.lines[0].startswith(reason)
    assert len(caught.value.lines) == 1
    assert "\n" not in caught.value.lines[0]


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 10 ** (10 ** 10) }}",  # which no signal of Python's interrupts
    ],
)
@pytest.mark.parametrize("of", [None, "mine"])
def test_a_template_that_loops_for_ever_ends(template, of, tmp_path, monkeypatch):
    hasty = tmp_path / "template_worker.py"
    text = prompts._WORKER.read_text(encoding="utf-8")
    assert "_SECONDS = 5.0" in text
    hasty.write_text(text.replace("_SECONDS = 5.0", "_SECONDS = 0.3"), encoding="utf-8")
    monkeypatch.setattr(prompts, "_WORKER", hasty)
    with pytest.raises(UserError, match="does not come to an end, or takes all memory") as caught:
        prompts.rendered(template, [[{"role": "user", "content": "Hello"}]], {}, of=of)
    assert len(caught.value.lines) == 1
    assert ("the chat template of mine" in str(caught.value)) == (of is not None)


def test_one_process_renders_all_conversations_and_a_date(found):
    asked = [[{"role": "user", "content": text}] for text in ("one", "zwölf", "\N{GRINNING FACE}")]
    texts = prompts.rendered("{{ date_string }}: {{ messages[0].content }}", asked, {"date_string": "1 May"}, of=None)
    assert texts == [f"1 May: {messages[0]['content']}" for messages in asked]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"decoding": "topp"},
            "unknown dataset.answers.decoding 'topp'; did you mean 'top_p'? Valid: greedy, top_k, top_p",
        ),
        ({"temperature": 0}, "dataset.answers.temperature=0: expected a number above 0 (0 is decoding=greedy)"),
        ({"top_k": 0}, "dataset.answers.top_k=0: expected a whole number, at least 1"),
        ({"top_p": 1.5}, "dataset.answers.top_p=1.5: expected a number above 0 and at most 1"),
        ({"k": 0}, "dataset.answers.k=0: expected a whole number, at least 1"),
        ({"max_new_tokens": 0}, "dataset.answers.max_new_tokens=0: expected a whole number, at least 1"),
        ({"shots": -1}, "dataset.answers.shots=-1: expected a whole number, at least 0"),
        ({"dtype": "int8"}, "unknown dataset.answers.dtype 'int8'. Valid: auto, bfloat16, float32"),
        (
            {"decoding": "greedy"},
            "dataset.answers.k=8: decoding=greedy gives one answer to a problem; set dataset.answers.k=1",
        ),
    ],
)  # fmt: skip
def test_options_that_cannot_be(options, line):
    asking()
    with pytest.raises(UserError) as caught:
        asking(**options)
    assert caught.value.lines == (line,)


def test_all_mistakes_are_shown_and_shots_are_there(found):
    with pytest.raises(UserError, match=r"dataset\.answers\.shots=3: there are only 2 training pairs"):
        asking(shots=3).messages("?", found.train)
    with pytest.raises(UserError) as caught:
        asking(top_k=0, shots=-1, limit=0)
    assert len(caught.value.lines) == 3

"""Answers by a language model: a random one of one layer, so that everything can be compared with a slow loop."""

from __future__ import annotations

import json
import math
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from huggingface_hub import errors
from transformers import AutoModelForCausalLM, AutoTokenizer

from vaebench.contracts import Work
from vaebench.data import arithmetic
from vaebench.data.problems import Problem, Problems
from vaebench.errors import UserError
from vaebench.models.tiny_lm import TinyLM
from vaebench.sources.generate import Generate

DATA = {"name": "arithmetic", "train": 4, "test": 7, "seed": 0, "steps": [1, 3], "largest": 20, "most": 99}
OPTIONS = {
    "model": None, "revision": None, "dtype": "float32", "decoding": "top_p", "temperature": 0.7, "top_k": 32,
    "top_p": 0.9, "k": 3, "max_new_tokens": 8, "shots": 0, "system": None, "instruction": None, "chat_template": None,
    "date_string": None, "limit": None, "batch_size": 64, "seed": 0, "shard": 4, "trust_remote_code": False,
    "distribution": None, "gguf_file": None, "sha256": None, "draws": None, "loop": None,
}  # fmt: skip
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of a run with an exported model whose next token is neither certain nor uniform."""
    folder = tmp_path_factory.mktemp("store") / "0123456789ab"
    torch.manual_seed(0)
    model = TinyLM(vocabulary=128, width=16, hidden=24, layers=1, heads=2, context=128)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    model.look(arithmetic.tokens(**DATA))
    model.export(folder / "pretrained")
    return folder


@pytest.fixture(scope="module")
def found() -> Problems:
    return arithmetic.problems(**DATA)


@pytest.fixture
def opened(run, found):
    def make(problems: Problems = found, **options) -> Generate:
        source = Generate(**OPTIONS | options)
        source.open(problems, Work({"language_model": run}, CPU))
        return source

    return make


@pytest.fixture(scope="module")
def slow(run):
    """Tokenizer and model as transformers loads them, and the logits of one text without any batching."""
    folder = run / "pretrained"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder).eval()

    def logits(ids: list[int]) -> torch.Tensor:
        with torch.no_grad():
            return network(input_ids=torch.tensor([ids])).logits[0, -1]

    return tokenizer, logits


def prompt(tokenizer, question: str) -> list[int]:
    messages = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def generated_ids(source: Generate, rows: range) -> tuple[object, list[list[int]]]:
    """The answers, and their token ids without what follows the end."""
    seen = []
    decode = source._tokenizer.decode
    source._tokenizer.decode = lambda ids, **options: seen.append(list(ids)) or decode(ids, **options)
    answers = source.answer(rows)
    order = sorted(range(len(rows)), key=lambda row: len(source._prompts[row]))
    k = source.k
    by_place = {(row, c): seen[place * k + c] for place, row in enumerate(order) for c in range(k)}
    return answers, [by_place[key] for key in zip(answers.problem.tolist(), answers.candidate.tolist(), strict=True)]


@pytest.mark.parametrize("draws", [None, "problem"])
def test_greedy_in_a_batch_is_greedy_one_by_one(opened, found, slow, draws):
    tokenizer, logits = slow
    answers = opened(decoding="greedy", k=1, draws=draws).answer(range(7))
    assert len({len(prompt(tokenizer, problem.question)) for problem in found.test}) > 3  # so there is padding
    for row, problem in enumerate(found.test):
        ids, chosen = prompt(tokenizer, problem.question), []
        while len(chosen) < 8 and tokenizer.eos_token_id not in chosen:
            chosen.append(int(logits(ids + chosen).argmax()))
        assert answers.text[row] == tokenizer.decode(chosen, skip_special_tokens=True)
        assert answers.tokens[row] == len(chosen)
        assert answers.finished[row] == (chosen[-1] == tokenizer.eos_token_id)
    assert answers.problem.tolist() == list(range(7))
    assert set(answers.source) == {"run 0123456789ab"}


@pytest.mark.parametrize("draws", [None, "problem"])
@pytest.mark.parametrize("decoding", ["top_k", "top_p"])
def test_draws_stay_within_the_truncation_and_logprobs_are_the_models(opened, found, slow, decoding, draws):
    tokenizer, logits = slow
    source = opened(decoding=decoding, top_k=5, top_p=0.6, temperature=1.3, k=6, draws=draws)
    answers, ids = generated_ids(source, range(7))
    ranks = set()
    for number, chosen in enumerate(ids):
        before = prompt(tokenizer, found.test[answers.problem[number]].question)
        picked = []
        for place, token in enumerate(chosen):
            scores = logits(before + chosen[:place])
            picked.append(float(scores.log_softmax(0)[token]))
            order = scores.argsort(descending=True).tolist()
            rank = order.index(token)
            tempered = (scores / 1.3).softmax(0)[order]
            assert rank < 5 if decoding == "top_k" else float(tempered[:rank].sum()) < 0.6 + 1e-5
            ranks.add(rank)
        assert answers.logprob[number] == pytest.approx(np.mean(picked), abs=1e-4)
        assert answers.tokens[number] == len(chosen)
    assert len(ranks) > 3 or (decoding == "top_p" and len(ranks) > 2)


def test_top_k_of_one_is_greedy(opened):
    greedy = opened(decoding="greedy", k=1).answer(range(7))
    sampled = opened(decoding="top_k", top_k=1, k=2).answer(range(7))
    assert sampled.text == tuple(text for text in greedy.text for _ in range(2))


def test_a_shard_does_not_depend_on_what_came_before(opened):
    straight = opened()
    first, second = straight.answer(range(4)), straight.answer(range(4, 7))
    resumed = opened()
    torch.manual_seed(99)
    state = torch.get_rng_state()
    again = resumed.answer(range(4, 7))
    assert torch.equal(torch.get_rng_state(), state)
    assert again.text == second.text
    assert np.array_equal(again.logprob, second.logprob)
    assert second.problem.tolist() == [4, 4, 4, 5, 5, 5, 6, 6, 6]
    assert second.candidate.tolist() == [0, 1, 2] * 3
    assert len({first.text[place : place + 3] for place in range(0, 12, 3)}) > 1
    assert opened(seed=1).answer(range(4)).text != first.text


def test_the_number_of_answers_at_a_time_changes_no_greedy_answer(opened):
    texts = {opened(decoding="greedy", k=1, batch_size=size).answer(range(7)).text for size in (1, 3, 64)}
    assert len(texts) == 1


def test_with_draws_of_its_own_a_problem_is_answered_alike_in_any_batch_and_shard(opened):
    whole = opened(draws="problem").answer(range(7))
    assert len(set(whole.text)) > 7
    assert opened(draws="problem", batch_size=3).answer(range(7)).text == whole.text
    assert opened(draws="problem").answer(range(4, 7)).text == whole.text[12:]
    assert opened(draws="problem", k=2).answer(range(7)).text == tuple(
        text for place, text in enumerate(whole.text) if place % 3 < 2
    )
    assert opened(draws="problem", seed=1).answer(range(7)).text != whole.text


def watch(patch: pytest.MonkeyPatch, owner: type, name: str) -> list[dict]:
    """The keyword arguments of every call of a method from now on."""
    method, seen = getattr(owner, name), []
    patch.setattr(owner, name, lambda *arguments, **options: seen.append(options) or method(*arguments, **options))
    return seen


def test_a_models_own_generation_settings_do_not_leak_in(run, tmp_path, opened, monkeypatch):
    folder = tmp_path / "leaky"
    shutil.copytree(run / "pretrained", folder)
    stated = json.loads((folder / "generation_config.json").read_text())
    leaky = {"do_sample": True, "temperature": 0.1, "top_k": 2, "top_p": 0.3, "min_p": 0.2, "repetition_penalty": 3.0}
    more = {"typical_p": 0.4, "no_repeat_ngram_size": 2, "suppress_tokens": [9], "max_length": 3, "epsilon_cutoff": 0.1}
    (folder / "generation_config.json").write_text(json.dumps(stated | leaky | more))
    for options in ({"decoding": "top_k"}, {"decoding": "top_p"}, {"decoding": "greedy", "k": 1}):
        source = opened(model=str(folder), **options)
        assert source.source == "leaky"
        with monkeypatch.context() as patch:
            used = watch(patch, type(source._network), "_sample")
            answers = source.answer(range(4))
        assert answers.text == opened(**options).answer(range(4)).text
        processors = {type(p).__name__: vars(p) for p in used[0]["logits_processor"]}
        assert processors.pop("_LogProbabilities")
        expected = {
            "top_k": {"TemperatureLogitsWarper": ("temperature", 0.7), "TopKLogitsWarper": ("top_k", 32)},
            "top_p": {"TemperatureLogitsWarper": ("temperature", 0.7), "TopPLogitsWarper": ("top_p", 0.9)},
            "greedy": {},
        }[options["decoding"]]
        assert set(processors) == set(expected)
        assert all(processors[name][key] == value for name, (key, value) in expected.items())
        config = used[0]["generation_config"]
        assert (config.max_new_tokens, config.num_beams, config.use_cache) == (8, 1, True)


def test_answers_end_at_the_end_token(opened, found, slow):
    tokenizer, _ = slow
    source = opened(temperature=3.0, top_p=1.0, k=40)
    answers, ids = generated_ids(source, range(3))
    assert 0 < answers.finished.mean() < 1
    for number, chosen in enumerate(ids):
        ended = chosen[-1] == tokenizer.eos_token_id
        assert answers.finished[number] == ended
        assert tokenizer.eos_token_id not in chosen[:-1]
        assert ended or len(chosen) == 8
        assert "<|end|>" not in answers.text[number]


def test_limit_answers_the_first_problems_only(opened):
    source = opened(limit=5)
    assert source.notes == ["only the first 5 of 7 test problems are answered (dataset.answers.limit=5)"]
    assert set(source.answer(range(4, 7)).problem.tolist()) == {4}
    assert len(source.answer(range(6, 7))) == 0
    assert opened(limit=7).notes == []


def test_neither_network_nor_output(opened, monkeypatch, capfd):
    def refuse(*arguments, **options):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    opened().answer(range(2))
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def nobody(monkeypatch):
    """A machine without a network; the hub's client looks up nothing for its own statistics."""
    asked = []
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)

    def refuse(*arguments, **options):
        asked.append(arguments)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return asked


def refused(found: Problems, **options) -> str:
    """The one line that says why a model cannot be loaded."""
    with pytest.raises(UserError) as caught:
        Generate(**OPTIONS | options).open(found, Work({}, CPU))
    (line,) = caught.value.lines
    assert "\n" not in line
    return line


def test_a_hub_out_of_reach_is_asked_once_and_in_silence(found, nobody, capfd, caplog):
    line = refused(found, model="some/gated-model")
    assert line.startswith(
        "the language model some/gated-model cannot be loaded: the hub cannot be reached; point HF_HOME to a "
        "downloaded copy, dataset.answers.model=FOLDER, or dataset=tiny (ConnectionError: "
    )
    assert len(nobody) == 1
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_offline_by_choice(found, nobody, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    line = refused(found, model="some/gated-model")
    assert "cannot be loaded: the hub cannot be reached; point HF_HOME to" in line
    assert "HF_HUB_OFFLINE" in line
    assert not nobody


@pytest.mark.parametrize(
    ("name", "status", "remedy"),
    [
        ("GatedRepoError", 403, "accept its licence on its page and set HF_TOKEN ("),
        ("HfHubHTTPError", 401, "accept its licence on its page and set HF_TOKEN ("),
        ("RepositoryNotFoundError", 401, "there is no such model on the hub (or it is private: HF_TOKEN) ("),
        ("RevisionNotFoundError", 404, "the hub has no such revision of it; see dataset.answers.revision ("),
        ("RemoteEntryNotFoundError", 404, "it is no model in the format of transformers ("),
        ("HfHubHTTPError", 503, "the hub cannot be reached; "),
    ],
)
def test_what_the_hub_says(found, nobody, monkeypatch, name, status, remedy):
    def answer(url, **options):
        response = SimpleNamespace(status_code=status, headers={}, request=None)
        raise getattr(errors, name)("refused", response=response)

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", answer)
    assert refused(found, model="some/model").startswith(f"the language model some/model cannot be loaded: {remedy}")
    assert not nobody


def test_a_name_that_no_model_can_have(found, nobody):
    assert "cannot be loaded: there is no such model on the hub" in refused(found, model="a/b/c")


def test_a_model_in_the_cache_of_the_hub_needs_no_network(run, tmp_path, nobody, monkeypatch, opened):
    commit = "0123456789" * 4
    shutil.copytree(run / "pretrained", tmp_path / "models--some--model" / "snapshots" / commit)
    (tmp_path / "models--some--model" / "refs").mkdir()
    (tmp_path / "models--some--model" / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for revision in (None, commit):
        found = opened(model="some/model", revision=revision)
        assert found.answer(range(3)).text == opened().answer(range(3)).text
    assert not nobody


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def sharded(path: Path) -> None:
    """As if the weights were in two files, of which one is here."""
    index = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
    path.rename(path.with_name("model-1-of-2.safetensors"))
    path.with_name("model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("file", "damage", "lack"),
    [
        ("config.json", Path.unlink, "config.json is missing"),
        ("config.json", cut, "config.json is damaged"),
        ("model.safetensors", Path.unlink, "its weights are missing: model.safetensors"),
        ("model.safetensors", cut, "model.safetensors is damaged or cut off"),
        ("model.safetensors", lambda path: path.write_bytes(b""), "model.safetensors is damaged or cut off"),
        ("model.safetensors", sharded, "model-2-of-2.safetensors is missing"),
        ("tokenizer.json", Path.unlink, "its tokenizer is missing: tokenizer.json"),
    ],
)
def test_a_folder_without_a_whole_model(run, found, tmp_path, nobody, file, damage, lack):
    folder = tmp_path / "broken"
    shutil.copytree(run / "pretrained", folder)
    damage(folder / file)
    assert refused(found, model=str(folder)) == f"the folder {folder} holds no complete model ({lack})"
    assert not nobody


def test_a_file_in_place_of_a_folder(run, found):
    path = run / "pretrained" / "model.safetensors"
    assert refused(found, model=str(path)).endswith("model.safetensors: is a file; name the folder that holds it")


def test_a_folder_that_does_not_exist(found, tmp_path):
    with pytest.raises(UserError, match=r"dataset\.answers\.model=.*nowhere: there is no such folder"):
        Generate(**OPTIONS | {"model": str(tmp_path / "nowhere")}).open(found, Work({}, CPU))


def test_no_model_is_named(found):
    with pytest.raises(UserError, match=r"dataset\.answers\.model=null: name a model"):
        Generate(**OPTIONS).open(found, Work({}, CPU))


def test_prompts_and_answers_have_to_fit(opened):
    with pytest.raises(UserError, match=r"max_new_tokens=110: the longest prompt has \d+ tokens and run 0123456789ab "):
        opened(max_new_tokens=110)


def test_a_tokenizer_without_a_chat_template(run, found, tmp_path, opened):
    folder = tmp_path / "plain"
    shutil.copytree(run / "pretrained", folder)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match=r"plain has no chat template; give one in dataset\.answers\.chat_template"):
        opened(model=str(folder))
    given = opened(model=str(folder), chat_template=arithmetic.CHAT_TEMPLATE)
    assert given.answer(range(2)).text == opened().answer(range(2)).text


def test_unusual_questions_are_asked_all_the_same(opened):
    texts = ("", "Ада has 5 яблок 🍎?", "<|end|> " * 3, "x" * 500)
    odd = Problems(
        "odd", (), tuple(Problem(str(n), text, "1") for n, text in enumerate(texts)), source="embedded", digest="0" * 16
    )
    answers = opened(odd).answer(range(4))
    assert len(answers) == 12
    assert np.isfinite(answers.logprob).all()
    assert (answers.logprob <= 0).all()


def test_options_that_cannot_be():
    with pytest.raises(UserError) as caught:
        Generate(**OPTIONS | {"k": 0, "batch_size": 0, "shard": 0, "shots": -1})
    assert len(caught.value.lines) == 4
    with pytest.raises(UserError, match=r"unknown dataset\.answers\.dtype 'float16'"):
        Generate(**OPTIONS | {"dtype": "float16"})


def test_a_shard_of_one_long_and_many_short_prompts(opened, found):
    """Sorted by length, a batch holds prompts of like length; the answers come back in the problems' order."""
    source = opened(batch_size=6)
    widths = []
    generate = source._network.generate
    source._network.generate = lambda **o: widths.append(o["input_ids"].shape) or generate(**o)
    answers = source.answer(range(7))
    assert [rows for rows, _ in widths] == [2, 2, 2, 1]
    assert [width for _, width in widths] == sorted(width for _, width in widths)
    assert answers.problem.tolist() == [row for row in range(7) for _ in range(3)]
    assert math.isfinite(float(answers.logprob.sum()))

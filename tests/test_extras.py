"""What the main commands do without the packages of the extras, and how what needs them says so."""

from __future__ import annotations

import shutil
import sys

import pytest

from commands import ROOT, python

EXTRAS = ["transformers", "tokenizers", "pyarrow", "vector_quantize_pytorch", "sentence_transformers", "datasets"]
EXTRAS += ["soundfile", "diffusers", "pystoi", "pesq", "tensorboard", "gguf", "accelerate", "math_verify", "s3fs"]
FAST = ["dataset=digits", "train.max_steps=2", "train.batch_size=32", "-q"]
COMMANDS = [
    ["train", "model=batchtopk", *FAST],
    ["eval", "suite=reconstruction", "model=batchtopk", *FAST],
    ["list"],
    ["plan", "paper=batchtopk,rcvae", "scale=smoke"],
    ["plan", "paper=vpvae", "table=table1_images", "scale=smoke"],
    ["report"],
]


def test_the_main_commands_need_no_extra(tmp_path):
    """Nothing of an extra is imported, nor asked for its version, so nothing is missed where it is not installed."""
    script = f"""
import sys
from importlib.machinery import PathFinder
class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, *given):
        return None if name in {EXTRAS} else super().find_spec(name, *given)
    @classmethod
    def find_distributions(cls, *given):
        found = super().find_distributions(*given)
        return [one for one in found if (one.name or "").replace("-", "_") not in {EXTRAS}]
sys.meta_path[sys.meta_path.index(PathFinder)] = Without
from vaebench.cli.main import main
print(*[main(words) for words in {COMMANDS}])
"""
    shutil.copytree(ROOT / "results" / "batchtopk", tmp_path / "results" / "batchtopk")
    done = python("-c", script, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "0 0 0 0 0 0", done.stderr
    out = " ".join(done.stdout.split())
    assert "rcvae tiny on tiny: needs transformers, pyarrow (pip install 'vaebench[language]')" in out
    assert "vpvae table1_images, SimVQ, 256: needs vector_quantize_pytorch (pip install 'vaebench[quantisers]')" in out


@pytest.mark.parametrize(
    ("package", "words", "message"),
    [
        ("vector_quantize_pytorch", ["model=vq_ema"], "model vq_ema: needs {}; pip install 'vaebench[quantisers]'"),
        ("vector_quantize_pytorch", ["model=simvq"], "model simvq: needs {}; pip install 'vaebench[quantisers]'"),
        (
            "vector_quantize_pytorch",
            ["model=fsq", "model.variant=standard"],
            "model fsq, variant=standard: needs {}; pip install 'vaebench[quantisers]', or take variant=symmetric",
        ),
        ("transformers", ["model=tiny_lm"], "model tiny_lm: needs {}; pip install 'vaebench[language]'"),
        ("datasets", ["dataset=hf", "dataset.path=a/b"], "dataset hf: needs {}; pip install 'vaebench[hf]'"),
    ],
)
def test_what_is_missing_is_one_line_before_anything_is_made(package, words, message, home, run, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    dataset = [] if {"model=tiny_lm", "dataset=hf"} & {*words} else ["dataset=digits"]
    assert f"error: {message.format(package)}\n" in run.failed("train", *words, *dataset)
    assert not home.exists() or not list(home.iterdir())

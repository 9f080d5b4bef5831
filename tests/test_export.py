"""Trained models in a folder for other libraries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import vaebench
from vaebench.compat import ensure_torchvision
from vaebench.runs.store import Run

WORDS = ("dataset=digits", "train.max_steps=2", "train.batch_size=8", "quiet=true")


def test_a_network_of_diffusers_is_exact_there(run, tmp_path):
    ensure_torchvision()
    diffusers = pytest.importorskip("diffusers")
    trained = vaebench.train("model=vae", "network@model.network=kl", *WORDS)
    target = tmp_path / "kl"
    assert f"exported: run {trained.key} into {target}, for diffusers" in run.done(
        "export", trained.key[:7], "--to", str(target)
    )
    peer, model = diffusers.AutoencoderKL.from_pretrained(target).eval(), trained.model.module
    x = trained.dataset.test_x[:3].float() / 255
    with torch.no_grad():
        theirs = peer.encode(2 * x - 1).latent_dist
        mean, logvar = model.latent_moments(x)
        assert torch.equal(theirs.mean, mean)
        assert torch.equal(theirs.logvar, logvar)
        made = ((peer.decode(mean).sample + 1) / 2).clamp(0, 1)
    torch.testing.assert_close(made, model.decode(mean), rtol=0, atol=1e-6)
    card = (target / "README.md").read_text()
    assert "library_name: diffusers" in card
    assert 'AutoencoderKL.from_pretrained("kl")' in card


def test_others_are_weights_with_their_request_and_what_they_measured(run, tmp_path):
    trained = vaebench.train("model=beta_vae", *WORDS)
    psnr = vaebench.evaluate("suite=reconstruction", run=trained.key).set_index("measurement").value["psnr"]
    run.done("export", f"--to={tmp_path / 'beta'}", trained.key)
    weights = load_file(tmp_path / "beta" / "model.safetensors")
    for name, value in trained.model.module.state_dict().items():
        assert torch.equal(weights[name], value)
    config = json.loads((tmp_path / "beta" / "config.json").read_text())
    assert config["model"]["latent_dim"] == 64
    assert json.loads((tmp_path / "beta" / "vaebench.json").read_text())["key"] == trained.key
    card = (tmp_path / "beta" / "README.md").read_text()
    assert f"| reconstruction | psnr | {psnr:.6g} dB | 360 |" in card
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "vaebench export: expected KEY --to DIR"),
        (("KEY",), "vaebench export: expected KEY --to DIR"),
        (("KEY", "--to"), "vaebench export: expected KEY --to DIR"),
        (("ffff", "--to", "new"), "run ffff: there is no such run"),
        (("KEY", "--to", "full"), "full: there is something of that name here"),
        (("EVAL", "--to", "new"), "is no training but"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, monkeypatch, words, message):
    trained = vaebench.train("model=pca", "dataset=digits", "quiet=true")
    vaebench.evaluate("suite=reconstruction", run=trained.key)
    (evaluation,) = (path.name for path in (trained.folder / "evals").iterdir())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    keys = {"KEY": trained.key, "EVAL": evaluation}
    assert message in run.refused("export", *(keys.get(word, word) for word in words))
    assert not Path("new").exists()


def test_a_run_that_is_not_finished_is_not_exported(run, tmp_path):
    trained = vaebench.train("model=pca", "dataset=digits", "quiet=true")
    Run(trained.folder).set_status("interrupted")
    assert "is interrupted, not finished" in run.refused("export", trained.key, "--to", str(tmp_path / "new"))

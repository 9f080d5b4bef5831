"""Autoencoders that diffusers itself has written, evaluated as ours are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import vaebench
from vaebench.compat import ensure_torchvision
from vaebench.errors import UserError

ensure_torchvision()
diffusers = pytest.importorskip("diffusers")

BLOCKS = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
SMALL = {"block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1, "latent_channels": 3}
WORDS = ("model=diffusers_autoencoder", "dataset=digits", "quiet=true")


def written(kind: str, folder: Path, **options) -> Path:
    """A network with random weights, written by diffusers."""
    made = {
        "AutoencoderKL": {**BLOCKS, **SMALL, "in_channels": 1, "out_channels": 1},
        "VQModel": {**BLOCKS, **SMALL, "in_channels": 1, "out_channels": 1, "num_vq_embeddings": 16},
        "AutoencoderTiny": {
            **{"in_channels": 1, "out_channels": 1, "latent_channels": 2, "num_encoder_blocks": (1, 1)},
            **{
                "encoder_block_out_channels": (8, 8),
                "decoder_block_out_channels": (8, 8),
                "num_decoder_blocks": (1, 1),
            },
        },
    }[kind]
    torch.manual_seed(3)
    getattr(diffusers, kind)(**{**made, **options}).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["AutoencoderKL", "VQModel", "AutoencoderTiny"])
def test_latents_and_images_are_those_of_diffusers(kind, tmp_path):
    folder = written(kind, tmp_path / "given")
    peer = getattr(diffusers, kind).from_pretrained(folder).eval()
    trained = vaebench.train(*WORDS, f"model.path={folder}")
    x = trained.dataset.test_x[:3].float() / 255
    with torch.no_grad():
        coded = peer.encode(2 * x - 1)
        latents = coded.latent_dist.mean if kind == "AutoencoderKL" else coded.latents
        made = ((peer.decode(latents).sample + 1) / 2).clamp(0, 1)
    assert torch.equal(trained.model.encode(x), latents)
    torch.testing.assert_close(trained.model.decode(latents), made, rtol=0, atol=1e-6)
    assert trained.result["steps"] == 0


def test_one_is_measured_by_the_suites_and_known_by_its_weights(run, tmp_path):
    folder = written("AutoencoderKL", tmp_path / "given")
    key = vaebench.train(*WORDS, f"model.path={folder}").key
    found = vaebench.evaluate("suite=reconstruction", run=key).set_index("measurement").value
    trained = vaebench.load(key)
    x = trained.dataset.test_x.float() / 255
    errors = (trained.model.reconstruct(x) - x).square().mean()
    assert found["mse"] == pytest.approx(float(errors), rel=1e-4)
    cost = vaebench.evaluate("suite=cost", *WORDS, f"model.path={folder}").set_index("measurement").value
    assert cost["parameters"] == sum(p.numel() for p in diffusers.AutoencoderKL.from_pretrained(folder).parameters())
    moved = folder.rename(tmp_path / "moved")
    assert vaebench.train(*WORDS, f"model.path={moved}").key == key
    written("AutoencoderKL", tmp_path / "other", latent_channels=2)
    assert vaebench.train(*WORDS, f"model.path={tmp_path / 'other'}").key != key


@pytest.mark.slow
def test_its_latents_are_interpolated(tmp_path):
    key = vaebench.train(*WORDS, f"model.path={written('AutoencoderKL', tmp_path / 'given')}").key
    found = vaebench.evaluate("suite=smoothness", "suite.features=classifier", run=key)
    assert found.value.notna().all()
    assert len(found) > 1


def test_ours_comes_back_from_diffusers_as_it_went(run, tmp_path):
    ours = vaebench.train("model=vae", "network@model.network=kl", "dataset=digits", "train.max_steps=2", "quiet=true")
    run.done("export", ours.key, "--to", str(tmp_path / "given"))
    theirs = vaebench.train(*WORDS, f"model.path={tmp_path / 'given'}")
    x = ours.dataset.test_x[:4].float() / 255
    assert torch.equal(theirs.model.encode(x), ours.model.encode(x))
    assert torch.equal(theirs.model.reconstruct(x), ours.model.reconstruct(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "model.path=null: name a folder that diffusers wrote"),
        (["model.path=/nowhere/at/all"], "model.path=/nowhere/at/all: there is no such folder"),
        (["model.path={empty}"], "cannot be loaded: FileNotFoundError"),
        (["model.path={other}"], "unknown class 'UNet2DModel'. Valid: AutoencoderDC"),
        (["model.path={colour}"], "takes images of 3 channels, dataset.shape has 1"),
        (["model.path={given}", "dataset.shape=[1,27,27]"], "of images (1, 27, 27)"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, options, message):
    places = {name: tmp_path / name for name in ("empty", "other", "colour", "given")}
    places["empty"].mkdir()
    places["other"].mkdir()
    (places["other"] / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    written("AutoencoderKL", places["colour"], in_channels=3, out_channels=3)
    written("AutoencoderKL", places["given"])
    said = run.refused("train", *WORDS, *(option.format(**places) for option in options))
    assert message in said


def test_diffusers_missing_is_said(monkeypatch, tmp_path):
    from vaebench.models.diffusers_autoencoder import DiffusersAutoencoder

    monkeypatch.setattr("vaebench.compat.missing", lambda names: list(names))
    with pytest.raises(UserError, match="diffusers"):
        DiffusersAutoencoder(input_shape=[1, 8, 8], path=str(tmp_path), revision=None)

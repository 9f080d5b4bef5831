"""Autoencoders that diffusers itself has written, evaluated as ours are."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch

import vaebench
from toys import bytes_of, dataset, inputs, values
from vaebench.compat import ensure_torchvision
from vaebench.errors import UserError
from vaebench.models.classifier import Classifier
from vaebench.models.diffusers_autoencoder import KINDS, DiffusersAutoencoder
from vaebench.suites.smoothness import Smoothness

ensure_torchvision()
diffusers = pytest.importorskip("diffusers")

BLOCKS = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
DEEP = {"attention_head_dim": 8, "latent_channels": 4}
DEEP |= {
    f"{half}_{name}": value
    for half in ("encoder", "decoder")
    for name, value in {
        **{"block_types": ("ResBlock", "EfficientViTBlock"), "block_out_channels": (8, 16)},
        **{"layers_per_block": (1, 1), "qkv_multiscales": ((), (5,))},
    }.items()
}
SMALL = {"block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1, "latent_channels": 3}
WORDS = ("model=diffusers_autoencoder", "dataset=digits", "quiet=true")


def written(kind: str, folder: Path, **options) -> Path:
    """A network with random weights, written by diffusers."""
    made = {
        "AutoencoderKL": {**BLOCKS, **SMALL, "in_channels": 1, "out_channels": 1},
        "VQModel": {**BLOCKS, **SMALL, "in_channels": 1, "out_channels": 1, "num_vq_embeddings": 16},
        "AutoencoderDC": {**DEEP, "in_channels": 1},
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


def passed(peer, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents, and what is made of them, by diffusers alone."""
    with torch.no_grad():
        coded = peer.encode(2 * x - 1)
        given = {"AutoencoderKL": "latent_dist", "AutoencoderDC": "latent"}.get(type(peer).__name__, "latents")
        latents = coded[given].mean if given == "latent_dist" else coded[given]
        return latents, ((peer.decode(latents).sample + 1) / 2).clamp(0, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_latents_and_images_are_those_of_diffusers(kind, tmp_path):
    folder = written(kind, tmp_path / "given")
    peer = getattr(diffusers, kind).from_pretrained(folder).eval()
    trained = vaebench.train(*WORDS, f"model.path={folder}")
    x = trained.dataset.test_x[:3].float() / 255
    latents, made = passed(peer, x)
    assert torch.equal(trained.model.encode(x), latents)
    torch.testing.assert_close(trained.model.decode(latents), made, rtol=0, atol=1e-6)
    assert trained.result["steps"] == 0


MEASURED = pytest.mark.parametrize("kind", ["AutoencoderKL", "AutoencoderDC"])


@MEASURED
def test_one_is_measured_by_the_suites(kind, tmp_path):
    folder = written(kind, tmp_path / "given")
    trained = vaebench.train(*WORDS, f"model.path={folder}")
    x = trained.dataset.test_x.float() / 255
    peer = getattr(diffusers, kind).from_pretrained(folder).eval()
    errors = (passed(peer, x)[1] - x).square()
    found = vaebench.evaluate("suite=reconstruction", run=trained.key).set_index("measurement").value
    assert found["mse"] == pytest.approx(float(errors.mean()), rel=1e-4)
    cost = vaebench.evaluate("suite=cost", *WORDS, f"model.path={folder}").set_index("measurement").value
    assert cost["parameters"] == sum(p.numel() for p in peer.parameters())
    assert cost["encoder_gmacs"] > 0


@MEASURED
def test_its_latents_are_moved_by_noise(kind, tmp_path):
    folder = written(kind, tmp_path / "given")
    data = dataset(bytes_of(200, 1, 8, 8))
    model = DiffusersAutoencoder(input_shape=data.shape, path=str(folder), revision=None).eval()
    judge = Classifier(input_shape=data.shape, classes=10, dropout=0.5).eval()
    given = inputs(model, data, tmp_path, classifier=judge, classifier_key="untrained")
    options = {"noise_seed": 0, "batch_size": 200, "eight_bits": None, "resize": None}
    found = values(Smoothness(features="classifier", epsilons=[0, 1], **options).run(given))
    x, peer = data.test_x.float() / 255, getattr(diffusers, kind).from_pretrained(folder).eval()
    latents, made = passed(peer, x)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        moved = peer.decode(latents + noise * latents.std((0, 2, 3), correction=0, keepdim=True)).sample
    moved = ((moved + 1) / 2).clamp(0, 1)
    for eps, images in ((0, made), (1, moved)):
        psnr = -10 * (images - x).square().mean((1, 2, 3)).log10().mean()
        assert found[f"psnr@{eps}"] == pytest.approx(float(psnr), rel=1e-5)
    assert found["rfid_rise@1"] == pytest.approx(found["rfid@1"] - found["rfid@0"])


@pytest.mark.slow
@MEASURED
def test_smoothness_is_measured_from_the_command_line(kind, tmp_path):
    key = vaebench.train(*WORDS, f"model.path={written(kind, tmp_path / 'given')}").key
    found = vaebench.evaluate("suite=smoothness", "suite.features=classifier", run=key)
    assert found.value.notna().all()
    assert len(found) > 1


def test_one_is_known_by_its_weights_wherever_they_lie(tmp_path):
    folder = written("AutoencoderKL", tmp_path / "given")
    key = vaebench.train(*WORDS, f"model.path={folder}").key
    moved = folder.rename(tmp_path / "moved")
    assert vaebench.train(*WORDS, f"model.path={moved}").key == key
    written("AutoencoderKL", tmp_path / "other", latent_channels=2)
    assert vaebench.train(*WORDS, f"model.path={tmp_path / 'other'}").key != key


def test_a_hub_out_of_reach_is_asked_once_and_in_silence(monkeypatch, capfd):
    asked = []

    def refuse(*arguments, **options):
        asked.append(arguments)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
    said = "model.path=some/autoencoder: cannot be loaded: the hub cannot be reached; model.path=FOLDER takes a downlo"
    with pytest.raises(UserError, match=said):
        DiffusersAutoencoder(input_shape=[1, 8, 8], path="some/autoencoder", revision=None)
    assert len(asked) == 1
    assert capfd.readouterr() == ("", "")


def test_ours_comes_back_from_diffusers_as_it_went(run, tmp_path):
    ours = vaebench.train("model=vae", "network@model.network=kl", "dataset=digits", "train.max_steps=2", "quiet=true")
    run.done("export", ours.key, "--to", str(tmp_path / "given"))
    theirs = vaebench.train(*WORDS, f"model.path={tmp_path / 'given'}")
    x = ours.dataset.test_x[:4].float() / 255
    assert torch.equal(theirs.model.encode(x), ours.model.encode(x))
    assert torch.equal(theirs.model.reconstruct(x), ours.model.reconstruct(x))
    run.done("export", theirs.key, "--to", str(tmp_path / "again"))
    texts = [path.read_text() for path in (tmp_path / "again").iterdir() if path.suffix in (".json", ".md")]
    assert any('"path": "given"' in text for text in texts)
    assert not any(str(tmp_path) in text for text in texts), "others have no use for where a folder lies here"


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
    monkeypatch.setattr("vaebench.compat.missing", lambda names: list(names))
    with pytest.raises(UserError, match="diffusers"):
        DiffusersAutoencoder(input_shape=[1, 8, 8], path=str(tmp_path), revision=None)

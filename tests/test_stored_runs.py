"""A store that version 0.5.1 wrote is found, opened and evaluated.

``stored/0.5.1.zip`` holds two trainings with their evaluations: a BatchTopK-VAE, and a diffusion model with its latents
and its autoencoder; and one on embedded pairs with these. All are of the embedded sets, and very small.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from chains import do
from vaebench.chains.chain import evaluation, training
from vaebench.config.compose import compose
from vaebench.runs.kinds import embed, latents, title
from vaebench.runs.load import load_model
from vaebench.runs.store import Store

SPARSE = ["dataset=digits", "model=batchtopk", "model.hidden=[8]", "model.latent_dim=8", "model.k=2"]
SPARSE += ["train.max_steps=20"]
AUTOENCODER = ["train.max_steps=10", "train.warmup_steps=2", "model.network.patch=7", "model.network.width=8"]
AUTOENCODER += ["model.network.depth=1", "model.network.heads=2", "model.network.latent_channels=2"]
AUTOENCODER += ["model.network.decoder_width=8", "model.network.decoder_depth=1", "model.network.decoder_heads=2"]
DIFFUSION = ["dataset=digits", "experiment=ldmae/ldm", "parent.experiment=ldmae/ae", f"parent.overrides={AUTOENCODER}"]
DIFFUSION += ["model.width=4", "model.depth=1", "model.heads=1", "train.max_steps=10"]
TEXT = ["dataset=tiny", "model=rcvae", "train.max_steps=10", "embedder=lsa", "embedder.dim=2", "model.hidden=[4]"]
TEXT += ["model.latent_dim=2"]

pytestmark = pytest.mark.usefixtures("composing")


@pytest.fixture
def store(home: Path) -> Store:
    with zipfile.ZipFile(Path(__file__).with_name("stored") / "0.5.1.zip") as stored:
        stored.extractall(home)
    return Store(home)


@pytest.mark.parametrize("words", [SPARSE, DIFFUSION, TEXT], ids=["sparse", "diffusion", "text"])
def test_the_runs_are_found_and_their_models_open(words, store):
    for request in training(compose("train", words)):
        run = store.find(request)
        assert run.done, title(request)
        assert run.request().key == request.key
        assert run.result()
        if request["verb"] == "train":
            model = load_model(run, torch.device("cpu"))
            assert sum(p.numel() for p in model.parameters()) == run.result()["parameters"]
        elif request["verb"] == "latents":
            assert len(latents.opened(run)) == run.result()["images"]
        else:
            assert [len(vectors) for vectors in embed.opened(run)] == [run.result()["train_items"]] * 2


@pytest.mark.parametrize(
    ("words", "suite"),
    [
        (SPARSE, ["suite=reconstruction"]),
        (SPARSE, ["suite=latent_structure", "suite.embedding=none"]),
        (DIFFUSION, ["suite=latent_fit", "suite.images=50"]),
    ],
    ids=["reconstruction", "latent_structure", "latent_fit"],
)
def test_the_evaluations_are_found_and_come_out_the_same_again(words, suite, store):
    request = evaluation(compose("eval", [*words, *suite]))[0][-1]
    run = store.find(request)
    assert run.done
    before = run.result()["measurements"]
    run.remove("status.json")
    do(store.root, request)
    again = {one["name"]: one["value"] for one in store.find(request).result()["measurements"]}
    assert again == pytest.approx({one["name"]: one["value"] for one in before}, rel=1e-4)


def test_a_stored_run_is_evaluated_anew(store):
    *_, request = evaluation(compose("eval", [*SPARSE, "suite=reconstruction", "suite.batch_size=100"]))[0]
    assert not store.find(request).done
    (run,) = do(store.root, request)
    assert run.result()["measurements"]

"""Runs that build on others: autoencoder -> latents -> diffusion model, tuning, snapshots; reused, resumed, refused."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file

from chains import VIT, do, failed, files, listed, stamps, stop_and_resume
from vaebench.chains import check
from vaebench.chains.chain import classifier, training
from vaebench.chains.evaluation import evaluation
from vaebench.config.compose import compose, session
from vaebench.config.request import Request
from vaebench.engine.checkpoint import weights_bytes
from vaebench.errors import UserError
from vaebench.runs import build
from vaebench.runs.kinds import latents as latent_runs
from vaebench.runs.store import Run, Store

AUTOENCODER = [*VIT, "model.perceptual=none", "train.max_steps=4", "train.batch_size=32", "train.log_every=1"]
PARENT = [f"parent.overrides={listed(AUTOENCODER)}"]
DIFFUSION = ["experiment=ldmae/ldm", "model.width=16", "model.depth=1", "model.heads=2", "train.max_steps=6"]
DIFFUSION += ["train.batch_size=32", "train.log_every=1", "dataset=digits"]
VMAE = ["experiment=ldmae/vmae", "dataset=digits", *AUTOENCODER]


def chain(*overrides: str) -> list[Request]:
    return trained(*DIFFUSION, *PARENT, *overrides)


def trained(*words: str) -> list[Request]:
    return training(compose("train", words))


@pytest.mark.usefixtures("composing")
def test_a_child_names_its_parents_and_changes_none_of_them():
    first, other = chain(), chain("model.width=32", "optim.lr=0.1")
    assert [request["verb"] for request in first] == ["train", "latents", "train"]
    autoencoder, latents, diffusion = first
    assert latents["parents"] == {"autoencoder": autoencoder.key}
    assert diffusion["parents"] == {"latents": latents.key, "autoencoder": autoencoder.key}
    assert [one.key for one in first[:2]] == [one.key for one in other[:2]]
    assert diffusion.key != other[2].key
    assert autoencoder.key == trained(*VMAE)[-1].key, "as if it were trained by itself"
    flipped = chain("latents.flip=true")
    assert (flipped[0].key, flipped[1].key != latents.key) == (autoencoder.key, True)
    assert chain("seed=1")[0]["seed"] == 1, "seeds are paired"


@pytest.mark.usefixtures("composing")
def test_a_loss_that_perceives_has_its_own_classifier_as_parent():
    perceiver, run = trained("experiment=ldmae/vmae", "dataset=digits")
    assert run["parents"] == {"perceptual": perceiver.key}
    cfg = compose("eval", ["experiment=ldmae/vmae", "dataset=digits", "suite=smoothness", "suite.features=classifier"])
    judge = evaluation(cfg)[0][-2]
    assert (perceiver["seed"], judge["seed"]) == (1, 0)
    assert perceiver["model"] == judge["model"]
    without = trained("experiment=ldmae/vmae", "model.perceptual_weight=0", *VMAE[1:])
    assert len(without) == 1


@pytest.mark.usefixtures("composing")
def test_all_stages_run_resume_and_are_reused(home, tmp_path, monkeypatch):
    monkeypatch.setattr(latent_runs, "IMAGES_PER_SHARD", 500)
    wanted = chain("train.snapshots=3")
    whole = do(home, *wanted)
    folder = whole[1].folder
    assert len(list(folder.glob("latents-*.safetensors"))) == 3
    assert whole[1].result()["shape"] == [4, 4, 4]
    assert sorted(path.name for path in whole[2].path("snapshots").iterdir()) == [f"{k}.safetensors" for k in (1, 2, 3)]
    assert whole[2].path("snapshots/3.safetensors").read_bytes() == whole[2].path("model.safetensors").read_bytes()
    assert whole[2].path("snapshots/1.safetensors").read_bytes() != whole[2].path("model.safetensors").read_bytes()

    for one, request in zip(whole, wanted, strict=True):
        assert files(one) == files(stop_and_resume(tmp_path / "stopped", request, calls=3)), request["verb"]

    before = [stamps(one.folder) for one in whole[:2]]
    do(home, *chain("optim.lr=0.1"))
    assert all(then.items() <= stamps(one.folder).items() for one, then in zip(whole, before, strict=False))


@pytest.mark.usefixtures("composing")
def test_damaged_latents_are_made_again_and_only_those(home, monkeypatch):
    monkeypatch.setattr(latent_runs, "IMAGES_PER_SHARD", 500)
    wanted = chain()
    _, stored = do(home, *wanted[:2])
    path = stored.path("latents-00001.safetensors")
    good = path.read_bytes()
    path.write_bytes(good[:-8] + b"\0" * 8)
    assert "its checksum is not the one it was finished with" in failed(home, wanted[2])
    path.unlink()
    stored.path("status.json").unlink()
    kept = stored.path("latents-00000.safetensors").stat().st_mtime_ns
    do(home, wanted[1], wanted[2])
    assert path.read_bytes() == good
    assert stored.path("latents-00000.safetensors").stat().st_mtime_ns == kept


@pytest.mark.usefixtures("composing")
def test_tuning_starts_from_the_parent_and_trains_the_decoder_only(home):
    options = [*VIT, "model.perceptual=none", "train.max_steps=3", "train.batch_size=32"]
    pre, tuned = trained("experiment=ldmae/tune", "dataset=digits", *options, *PARENT)
    assert tuned["parents"] == {"start": pre.key}
    one, other = (load_file(run.path("model.safetensors")) for run in do(home, pre, tuned))
    changed = {name for name in one if not torch.equal(one[name], other[name])}
    assert changed
    assert not [name for name in changed if "encoder" in name], "the encoder is frozen"


@pytest.mark.usefixtures("composing")
def test_a_stored_run_can_be_the_parent(home):
    autoencoder = chain()[0]
    key = autoencoder.key
    with pytest.raises(UserError, match=rf"parent.run={key}: there is no such run .*list runs"):
        trained(*DIFFUSION, f"parent.run={key}")
    Store(home).open(autoencoder)
    with pytest.raises(UserError, match=rf"parent.run={key}: is new, not finished"):
        trained(*DIFFUSION, f"parent.run={key}")
    do(home, autoencoder)
    found = trained(*DIFFUSION, f"parent.run={key}")
    assert [one.key for one in found] == [one.key for one in chain()]
    with pytest.raises(UserError, match=r"was trained on digits, and dataset=mnist; .*\(dataset=digits\)"):
        trained(*DIFFUSION, f"parent.run={key}", "dataset=mnist")
    with pytest.raises(UserError, match=r"is trained already, so parent.overrides=\['seed=1'\] cannot apply"):
        trained(*DIFFUSION, f"parent.run={key}", "parent.overrides=['seed=1']")
    latents = found[1]
    do(home, latents)
    with pytest.raises(UserError, match=r"is not a training but latents of"):
        trained(*DIFFUSION, f"parent.run={latents.key}")


@pytest.mark.usefixtures("composing")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("parent.experiment=null", "model ldm is trained on an autoencoder's latents: name one, parent.experiment="),
        ("parent.experiment=nowhere", "unknown parent.experiment 'nowhere'"),
        ("parent.experiment=ldmae/ldm", "parent.experiment=ldmae/ldm: is a diffusion model itself"),
    ],
)
def test_parents_that_cannot_be(options, message):
    with pytest.raises(UserError, match=message):
        trained(*DIFFUSION, options)


@pytest.mark.usefixtures("composing")
def test_classes_that_are_not_there_are_refused_before_the_autoencoder_is_trained(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEBENCH_DATA", str(tmp_path))
    for name in ("train/cat/1.jpg", "train/dog/2.jpg", "val/cat/3.jpg"):
        path = tmp_path / "imagenet" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(name.encode())
    on = [*(word for word in DIFFUSION if word != "dataset=digits"), "dataset=imagenet"]
    for wrong in (1000, 1, 3):
        with pytest.raises(UserError, match=rf"model.classes={wrong}: .*imagenet have labels up to 1; give their num"):
            trained(*on, f"model.classes={wrong}")
    for right in (2, 0):
        assert trained(*on, f"model.classes={right}")[-1]["model"]["classes"] == right
    (tmp_path / "imagenet" / "val" / "zebra").mkdir()
    (tmp_path / "imagenet" / "val" / "zebra" / "4.jpg").write_bytes(b"4")
    assert trained(*on, "model.classes=2"), "a class of test images alone is none to be trained on"


@pytest.mark.usefixtures("composing")
def test_latents_that_are_no_grid_are_refused_before_anything_runs():
    with pytest.raises(UserError, match="parent: the latents of Autoencoder are no grid"):
        check.try_out(trained(*DIFFUSION, "parent.experiment=batchtopk/ae_256"))
    with pytest.raises(UserError, match=r"unknown latents.dtype 'int8'.*float32"):
        check.try_out(chain("latents.dtype=int8"))
    with pytest.raises(UserError, match="model Autoencoder cannot take another run as its start"):
        check.try_out(trained("model=ae", "dataset=digits", "parent.experiment=ldmae/vmae", *PARENT))


@pytest.mark.usefixtures("composing")
def test_a_snapshot_that_is_not_kept_is_refused():
    def measured(*options: str) -> Request:
        return evaluation(compose("eval", [*DIFFUSION, *PARENT, "suite=latent_diffusion", *options]))[0][-1]

    assert measured("train.snapshots=4", "snapshot=2")["snapshot"] == 2
    with pytest.raises(UserError, match=r"snapshot=2: train.snapshots=None keeps none; .*train.snapshots=4"):
        measured("snapshot=2")
    with pytest.raises(UserError, match=r"snapshot=5: train.snapshots=4 keeps 1 to 4"):
        measured("train.snapshots=4", "snapshot=5")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("eval suite=latent_diffusion model.classes=0 suite.guidance=2", "suite.guidance=2: the model knows no"),
        (
            "eval suite=latent_diffusion suite.guidance_channels=9 suite.guidance=2",
            "suite.guidance_channels=9: expected a whole",
        ),
        ("eval suite=latent_diffusion suite.guidance_channels=2", "guidance_channels=2: there is no guidance"),
        ("train train.snapshots=50", "train.snapshots=50: the training has only 6 steps; keep fewer"),
        ("train model.latent_shape=[3,3,3]", "model.latent_shape=[3, 3, 3]: leave it out, it is filled in"),
        ("train parent.overrides=[seed=1]", "quoted: 'parent.overrides=[\"seed=1\"]'"),
        ("train network@model.network=vit", "No match in the defaults list: experiment=ldmae/ldm"),
    ],
)
def test_mistakes_are_said_before_anything_is_made(words, message, home, run):
    verb, *options = words.split()
    parent = [] if "parent" in options[0] else PARENT
    assert message in run.failed(verb, *DIFFUSION, *parent, *options)
    assert not list(home.glob("*/request.yaml"))


def test_the_commands_make_what_is_missing(home, run):
    words = [*DIFFUSION, *PARENT, "train.snapshots=2", "suite=latent_diffusion", "suite.features=classifier"]
    words += ["suite.samples=200", "suite.steps=2", "suite.reference=train", "snapshot=1"]
    # A judge of one step: the numbers do not matter here, and it is the dearest part.
    with session():
        judge = classifier(compose("train", ["dataset=digits"]))
    stored = Store(home).open(judge)
    stored.write("model.safetensors", weights_bytes(build.model(judge).state_dict()))
    stored.path("result.json").write_text(json.dumps({"steps": 0, "epochs": 0}))
    stored.set_status("done")
    out = run.done("eval", *words)
    assert "latents" in out
    assert "fid" in out
    (folder,) = [path for path in home.glob("*/evals/*") if yaml.safe_load((path / "request.yaml").read_text())]
    assert Run(folder).request()["snapshot"] == 1
    run.done("list", "runs")


@pytest.mark.usefixtures("composing")
def test_decay_on_matrices_leaves_vectors_alone():
    request = trained(*VMAE, "optim.decay_on=matrices")[-1]
    model = build.model(request)
    matrices, vectors = build.optimizers(request, model)["autoencoder"].param_groups
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.05, 0.0)
    assert all(parameter.ndim > 1 for parameter in matrices["params"])
    assert all(parameter.ndim < 2 for parameter in vectors["params"])
    assert len(matrices["params"]) + len(vectors["params"]) == len(model.phases[0].parameters)  # type: ignore[union-attr,index]
    with pytest.raises(UserError, match=r"unknown optim.decay_on 'some'.*matrices"):
        build.optimizers(trained(*VMAE, "optim.decay_on=some")[-1], model)

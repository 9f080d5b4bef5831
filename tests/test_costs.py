"""What trainings cost, from their requests: counts, what is refused, what is measured once and then remembered."""

from __future__ import annotations

import io
import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from chains import listed
from vaebench.chains.chain import training
from vaebench.config.compose import compose, session
from vaebench.config.request import Request
from vaebench.engine import runtime
from vaebench.errors import UserError
from vaebench.metrics import cost
from vaebench.reproduce import costs
from vaebench.runs import build

CPU = torch.device("cpu")
SMALL = ["dataset=digits", "scale=smoke", "train.max_steps=100", "train.batch_size=16"]
# Tiny: a patch is a quarter of the digits' side.
TINY = ["network.patch=7", "network.width=16", "network.depth=1", "network.decoder_width=16", "network.decoder_depth=1"]
AUTOENCODER = [f"model.{option}" for option in TINY]
DIFFUSION = ["experiment=ldmae/ldm", "model.width=16", "model.depth=1", "model.heads=2", "latents.flip=true"]


def chain(*overrides: str) -> list[Request]:
    with session():
        return training(compose("train", [*SMALL, *overrides]))


def vmae(*overrides: str) -> list[Request]:
    return chain("experiment=ldmae/vmae", *AUTOENCODER, *overrides)


def ldm(*overrides: str) -> list[Request]:
    inner = listed(["model.perceptual=none", *AUTOENCODER, *overrides])
    return chain(*DIFFUSION, f"parent.overrides={inner}")


def counted(*chains: list[Request], cache=None) -> list[costs.Cost]:
    behind = {request.key: request for requests_ in chains for request in requests_}
    return costs.of([(f"row {n}", found[-1]) for n, found in enumerate(chains)], behind, device=CPU, cache=cache)


def test_an_autoencoder_with_a_judge_is_counted():
    requests_ = vmae()
    (found,) = counted(requests_)
    model = build.model(requests_[-1])
    assert found.count.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert found.batch_size == 16
    assert found.steps == 100
    assert found.count.state_bytes == 16 * found.count.parameters + sum(buffer.nbytes for buffer in model.buffers())
    plain, double = counted(vmae("model.perceptual=none"), vmae("model.perceptual=none", "train.batch_size=32"))
    assert double.count.flops == 2 * plain.count.flops
    assert double.count.kept_bytes == pytest.approx(2 * plain.count.kept_bytes, rel=0.05)
    judge = 28 * 28 * 25 * 32 / 4 + 14 * 14 * 25 * 32 * 64 / 4 + 49 * 64 * 128  # its products for one image
    # Of the target forward, of the reconstruction forward and back to its pixels: weights get no gradients.
    assert found.count.flops - plain.count.flops == pytest.approx(16 * 2 * 3 * judge)
    assert found.measured is found.hours is None
    assert not found.note


def test_lpips_is_counted_without_its_weights():
    plain, judged = counted(
        *(
            chain(
                "experiment=ldmae/ae",
                "dataset.shape=[3,32,32]",
                *AUTOENCODER[1:],
                "model.network.patch=8",
                f"model.perceptual={kind}",
                "model.perceptual_weight=1.0",
            )
            for kind in ("none", "lpips")
        )
    )
    layers = [(3, 64, 32), (64, 64, 32), (64, 128, 16), (128, 128, 16), (128, 256, 8), *[(256, 256, 8)] * 2]
    layers += [(256, 512, 4), *[(512, 512, 4)] * 2, *[(512, 512, 2)] * 3]
    vgg = sum(9 * before * after * side**2 for before, after, side in layers)
    assert judged.count.flops - plain.count.flops == pytest.approx(16 * 2 * 3 * vgg)
    assert judged.count.parameters == plain.count.parameters


def test_a_diffusion_model_takes_the_shape_of_its_latents():
    (found,) = counted(ldm())
    # 16 patches of 4 channels, mean and log-variance, image and mirror image, float32.
    assert found.latent_bytes == 1437 * 4 * 4 * 4 * 2 * 2 * 4
    assert (
        found.count.state_bytes > 16 * found.count.parameters + 4 * found.count.parameters
    )  # the averaged weights too


def test_latents_without_a_variance_take_half():
    options = ["experiment=dmvae/generator", "model.width=16", "model.depth=1", "model.heads=2"]
    both, mean = counted(*(chain(*options, f"parent.link={name}") for name in ("autoencoder", "tokenizer")))
    assert both.latent_bytes == 2 * mean.latent_bytes == 1437 * 64 * 2 * 4


def test_a_matching_with_a_law_is_counted_as_one_with_a_teacher_without_its_pass():
    teacher = "chain.teacher.overrides=['model.width=16','model.depth=1','model.heads=2']"
    options = ["experiment=dmvae/joint", "reference=gmm", teacher]
    law, taught = counted(*(chain(*options, f"model.closed_form={closed}") for closed in ("true", "false")))
    assert (law.note, taught.note) == ("", "")
    assert 0 < law.count.flops < taught.count.flops


def test_trainings_that_differ_in_their_seed_are_one():
    several = [vmae("model.perceptual=none", f"seed={seed}") for seed in (0, 1)]
    (found,) = counted(*several)
    assert found.labels == ("row 0", "row 1")
    behind = {request.key: request for request in several[0]}
    (again,) = costs.of([("same", several[0][-1])] * 2, behind, device=CPU, cache=None)
    assert again.labels == ("same",)


def test_diffusion_models_on_alike_latents_are_one():
    several = [ldm(), ldm("model.mask_ratio=0.0"), ldm("model.network.latent_channels=2")]
    both, narrow = counted(*several)
    assert both.labels == ("row 0", "row 1")
    assert narrow.latent_bytes == both.latent_bytes // 2


def test_what_has_no_steps_or_no_images_is_left_out():
    assert counted(chain("model=pca")) == []
    text = Request({"verb": "train", "dataset": {"name": "tiny"}})
    assert costs.of([("text", text)], {}, device=CPU, cache=None) == []


def test_what_cannot_be_built_says_why_and_stops_nothing():
    broken, whole = vmae("model.network.patch=5"), vmae("model.perceptual=none")
    first, second = counted(broken, whole)
    assert first.note.startswith("not counted: model.network.patch=5")
    assert second.count.flops > 0
    assert first.steps == second.steps == 100


def test_a_step_is_measured_once(tmp_path, monkeypatch):
    requests_ = vmae()  # with its judge, in the other process too
    (found,) = counted(requests_, cache=tmp_path)
    assert found.measured is not None, found.note
    assert found.micro_batch == found.batch_size == 16
    assert found.hours == pytest.approx(100 * found.measured.seconds / 3600)
    assert found.measured.peak_bytes > 50 << 20
    monkeypatch.setattr(cost, "measure", lambda *_, **__: pytest.fail("measured again"))
    assert counted(requests_, cache=tmp_path) == [found]
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["micro_batch"] == 16


def test_another_batch_precision_or_judge_is_measured_anew(tmp_path, monkeypatch):
    measured = []
    monkeypatch.setattr(cost, "measure", lambda design, **_: measured.append(design) or cost.Measured(1.0, 1))
    for options in ([], ["train.batch_size=8"], ["train.precision=bf16"], ["model.perceptual=none"], ["optim.lr=1"]):
        counted(vmae(*options), cache=tmp_path)
    counted(vmae("seed=3", "train.max_steps=7"), cache=tmp_path)
    assert len(measured) == 5
    assert {design.precision for design in measured} == {"float32", "bf16"}


def test_too_little_memory_is_said_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "free_bytes", lambda device: 1_000_000_000)
    monkeypatch.setattr(cost, "measure", lambda *_, **__: pytest.fail("started"))
    (found,) = counted(vmae(), cache=tmp_path)
    assert found.note == "not measured: needs about 1.1 GB, 1 GB are free"
    assert found.measured is None
    assert not list(tmp_path.iterdir())


def test_a_killed_process_leaves_a_note(tmp_path, monkeypatch):
    def die(design, **how):
        return real(replace(design, build=_Kill()), **how)

    real = cost.measure
    monkeypatch.setattr(cost, "measure", die)
    (found,) = counted(vmae("model.perceptual=none"), cache=tmp_path)
    assert found.note == "not measured: the process was killed (out of memory?)"
    assert not list(tmp_path.iterdir())


class _Kill:
    """Unpickled, it ends the process."""

    def __reduce__(self):
        return signal.raise_signal, (signal.SIGKILL,)

    def __call__(self) -> None:
        os.abort()


@pytest.mark.parametrize(
    ("free", "device", "flops", "wanted"),
    [
        (1e12, "cuda", 1e15, 48),  # all of it
        (40e9, "cuda", 1e15, 32),  # 36 GB less 3.1 leave 32 items of 1 GB
        (12e9, "cuda", 1e15, 4),
        (3.1e9, "cuda", 1e15, 0),
        (1e12, "cpu", 1e15, 1),  # an item alone takes long enough
        (1e12, "cpu", 48e12 / 10, 4),
        (1e12, "cpu", 1e11, 48),
    ],
)
def test_the_micro_batch(free, device, flops, wanted):
    one = cost.Count(0, 0, 0, state_bytes=2 * 10**9, flops=flops, kept_bytes=48 * 10**9)
    assert costs.fitting_items(one, 48, free, torch.device(device)) == wanted


def test_free_memory():
    assert 1e7 < runtime.free_bytes(CPU) < 1e14


def test_the_table_shows_all_that_is_known():
    bare = costs.Cost(("AE", "DAE", "VAE", "SD-VAE", "VMAE"), "ldm on 16x32x32", 100_000, 256)
    full = replace(
        bare,
        count=cost.Count(83_819_683, 0, 0, state_bytes=13 * 10**8, flops=687.4e12, kept_bytes=588 * 10**9),
        latent_bytes=168 * 10**9,
        micro_batch=2,
        measured=cost.Measured(36.0, 4_700_000_000),
    )
    console = Console(width=80, file=io.StringIO())
    console.print(costs.grid([full, replace(bare, note="not measured: needs about 31 GB, 22 GB are free")], CPU))
    text = console.file.getvalue()
    counted = ["83.82 M parameters", "100,000 steps of 256", "687 TFLOP, 589 GB a step", "168 GB of latents, each"]
    for wanted in (
        "ldm on 16x32x32",
        "AE, DAE, VAE, SD-VAE",
        "and 1 more",
        *counted,
        "128,000 hours",
        "36 s and 4.7 GB for 2",
    ):
        assert wanted in text
    assert "not measured: needs" in text
    assert full.hours == 100_000 * 128 * 36 / 3600


def test_a_paper_size_diffusion_model_is_counted():
    """LightningDiT-B/1 on 16 x 32 x 32 latents of all of ImageNet, in float16: 168 GB with mirror images."""
    options = ["'network@model.network=vit_paper'", "'model.perceptual=none'"]
    requests_ = chain(
        "experiment=ldmae/ldm",
        "dataset=imagenet",
        "model=lightning_dit_b",
        "model.classes=1000",
        "latents.flip=true",
        "latents.dtype=float16",
        f"parent.overrides=[{','.join(options)}]",
    )
    (found,) = counted(requests_)
    assert found.latent_bytes == 1_281_167 * 2 * 2 * 16 * 32 * 32 * 2
    linear = 12 * 768**2 * 12 * 1024  # multiply-adds of the blocks' layers on 1024 tokens: attention 4, SwiGLU 8
    attention = 12 * 2 * 1024**2 * 768
    assert found.count.flops / 16 == pytest.approx(3 * 2 * (linear + attention), rel=0.03)


def test_the_mistakes_of_a_leaf_are_raised_by_who_builds_it():
    with pytest.raises(UserError, match=r"model\.network\.patch=5"):
        build.model(vmae("model.network.patch=5")[-1])


def test_a_matched_autoencoder_and_a_tuned_decoder_are_counted():
    """With an adversary; the joint step is more than its student's and a fifth of the teacher's and its forwards."""
    adversarial = ["model.adversarial_weight=0.5", "model.adversarial_start=0"]
    found = chain("experiment=dmvae/tune", "reference=ssl", *adversarial)
    behind = {request.key: request for request in found}
    runs = [(request["model"]["_target_"].split(".")[2], request) for request in found if request["verb"] == "train"]
    by_name = {one.labels[0]: one for one in costs.of(runs, behind, device=CPU, cache=None)}
    assert {name: one.note for name, one in by_name.items()} == dict.fromkeys(by_name, "")
    assert by_name["dmvae"].count.flops > (1 + 2 / 3 / 5) * by_name["ldm"].count.flops

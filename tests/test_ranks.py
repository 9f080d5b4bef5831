"""A training on two processes is that of one: its losses, its checkpoints; and what becomes of it when one dies."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ranked
import torch
from safetensors.torch import load_file
from torch import nn

from benchmarks.prepared import one_of_each
from chains import MACHINE, VIT, do, frozen, listed, work
from commands import ROOT, beside, until
from vaebench.chains.chain import training
from vaebench.config.choices import choices
from vaebench.config.compose import compose, session
from vaebench.config.request import Request
from vaebench.contracts import draws as contracts
from vaebench.engine.ranks import ALONE, Ranks, _Draws
from vaebench.errors import UserError
from vaebench.nn import across
from vaebench.runs import along
from vaebench.runs.store import Run, Store

# What the experiments of themselves do not do within a few steps.
VARIANTS = [
    "ldmae/sdvae model.adversarial_start=0",
    "dmvae/tokenizer model.adversarial_start=0 model.adversarial_weight=0.5",
    "batchtopk/batchtopk_64_8 model.granularity=entry",
    "batchtopk/batchtopk_64_8 model.importance=var_mu",
    "vpvae/vp_vae model.tree_every=4",
    "batchtopk/vae_8 train.clip_norm=0.01",
    "rcvae/rcvae model.free_bits=0.5 train.keep=best train.epochs=2",
]
TWO = MACHINE | {"processes": 2}
# Transformers: alone, after a step with an average, beside phases that cannot be cut, and none.
CUT = ["ldmae/vmae", "ldmae/ldm train.clip_norm=0.01", "dmvae/joint model.autoencoder_every=2", "dmvae/kl"]
TRANSFORMER = "experiment=ldmae/mse dataset=digits train.max_steps=40 train.log_every=10 train.snapshots=2".split()
SHORT = "model=batchtopk model.hidden=[16] dataset=digits train.max_steps=60 train.log_every=20".split()
LONG = (
    "model=batchtopk model.hidden=[16] dataset=digits train.max_steps=4000 train.epochs=900 train.log_every=20".split()
)


def together(target: Callable[..., None], folder: Path, *given: Any) -> None:
    """Two processes that meet in a folder."""
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=target, args=(number, 2, str(folder), *given)) for number in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(600)
        assert process.exitcode == 0


def compared(folder: Path, wanted: list[str], steps: int, **memory: bool) -> None:
    together(ranked.rank, folder, wanted, steps, memory)
    found = json.loads((folder / "losses.json").read_text())
    for words in wanted:
        one = ranked.losses(words, steps)
        assert len(found[words]) == len(one)
        for entry, other in zip(one, found[words], strict=True):
            assert other == pytest.approx(entry, rel=1e-8, abs=1e-12), f"{words}, step {entry['step']}"


@pytest.mark.filterwarnings("ignore")
def test_every_model_has_the_losses_of_one_process(tmp_path):
    """In double precision: in single precision they are equal to 1e-6 until rounding changes what a model chooses."""
    compared(tmp_path, [*one_of_each(), *VARIANTS], 3)


@pytest.mark.filterwarnings("ignore")
def test_weights_in_parts_and_activations_computed_anew_have_the_losses_of_one_process(tmp_path):
    compared(tmp_path, CUT, 4, shard=True, recompute=True)
    for number in "01":  # and each process holds half of the weights, the moments, the averages
        parts, whole = json.loads((tmp_path / f"held-{number}.json").read_text())
        assert parts == pytest.approx([whole / 2] * 3, rel=0.02)


@pytest.mark.parametrize("cut_first", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_checkpoint_of_weights_in_parts_goes_on_with_whole_ones_and_back(home, tmp_path, cut_first):
    whole = do(tmp_path / "whole", frozen(*TRANSFORMER))[0]
    run = Store(home).open(frozen(*TRANSFORMER))
    cut, uncut = TWO | {"shard": True}, MACHINE | {"recompute": True}
    asked: list[bool] = []
    first, second = (cut, uncut) if cut_first else (uncut, cut)
    assert work(run, first, stop=lambda: len(asked) == 25 or bool(asked.append(True))).status == "interrupted"
    assert work(run, second).status == "done"
    for name in ("model.safetensors", "snapshots/1.safetensors"):
        ours, theirs = load_file(run.path(name)), load_file(whole.path(name))
        assert {one: tensor.shape for one, tensor in ours.items()} == {
            one: tensor.shape for one, tensor in theirs.items()
        }
    for entry, other in zip(log(whole), log(run), strict=True):
        assert other == pytest.approx(entry, rel=1e-4)


def test_one_process_cannot_cut_its_weights(home):
    run = Store(home).open(frozen(*SHORT))
    assert work(run, MACHINE | {"shard": True}).reason == (
        "runtime.shard=true: there is one process, which needs all; add runtime.processes=N"
    )


def test_several_processes_do_not_compile(home):
    run = Store(home).open(frozen(*SHORT))
    assert work(run, TWO | {"compile": "default"}).reason == (
        "runtime.compile=default: is for a training on one process; leave it out"
    )


def test_a_model_without_transformers_says_that_it_stays_whole(home):
    run, said = Store(home).open(frozen(*SHORT)), []
    assert work(run, TWO | {"shard": True}, note=said.append).status == "done"
    assert said == ["runtime.shard=true: this model has no weights that can be cut; each process holds all of them"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_fifty_steps_of_every_experiment_have_the_losses_of_one_process(tmp_path):
    compared(tmp_path, [*choices("experiment"), *VARIANTS], 50)


def log(run: Run) -> list[dict[str, float]]:
    return [json.loads(line) for line in run.path("metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def alone(tmp_path) -> list[dict[str, float]]:
    """The log of the short training on one process."""
    return log(do(tmp_path / "alone", frozen(*SHORT))[0])


@pytest.mark.parametrize("first", [1, 2])
def test_a_checkpoint_goes_on_with_another_number_of_processes(home, alone, first):
    run = Store(home).open(frozen(*SHORT))
    asked: list[bool] = []
    machines = [MACHINE | {"processes": count} for count in (first, 3 - first)]
    assert work(run, machines[0], stop=lambda: len(asked) == 30 or bool(asked.append(True))).status == "interrupted"
    assert run.path("checkpoint.pt").exists()
    assert work(run, machines[1]).status == "done"
    for entry, other in zip(alone, log(run), strict=True):
        assert other == pytest.approx(entry, rel=1e-5)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> tuple[Path, Request]:
    """A store with a small trained autoencoder, and the request of its latents."""
    store = tmp_path_factory.mktemp("encoder")
    small = listed([*VIT, "model.perceptual=none", "train.max_steps=2"])
    words = ["model=ldm", "dataset=digits", "parent.experiment=ldmae/vmae", f"parent.overrides={small}"]
    with session():
        trained, latents, _ = training(compose("train", words))
    do(store, trained)
    return store, latents


def shards(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.folder.glob("latents-*")} | {
        "shards.json": run.path("shards.json").read_bytes()
    }


def test_latents_of_two_processes_are_those_of_one_to_the_last_byte(encoder, tmp_path):
    store, request = encoder
    found = []
    for name, size in (("one", 1), ("two", 2)):
        shutil.copytree(store, tmp_path / name)
        run = Store(tmp_path / name).open(request)
        assert work(run, MACHINE | {"processes": size}).status == "done"
        found.append(shards(run))
    assert found[0] == found[1]


def test_latents_in_shards_go_on_with_another_number_of_processes(encoder, tmp_path):
    """Of 1,437 images each process makes every second shard of 200, and the one that leads knows of all."""
    store, request = encoder
    runs = []
    for name in ("alone", "shared"):
        shutil.copytree(store, tmp_path / name)
        runs.append(Store(tmp_path / name).open(request))
    assert ranked.encoded(runs[0]) == [*range(200, 1401, 200), 1437]
    together(ranked.encoding, tmp_path, str(runs[1].folder), 2)
    assert len(shards(runs[1])) == 4 + 1
    assert {*json.loads(runs[1].path("shards.json").read_text()), "shards.json"} == {*shards(runs[1])}
    runs[1].path("latents-00002.safetensors").write_bytes(b"damaged")
    together(ranked.encoding, tmp_path, str(runs[1].folder), 1)
    assert len(shards(runs[1])) == 5 + 1
    assert ranked.encoded(runs[1]) == [1200, 1400, 1437]
    assert shards(runs[1]) == shards(runs[0])


def test_when_a_process_dies_the_training_says_so_and_goes_on_later(home):
    run = Store(home).open(frozen(*LONG))

    def kill() -> None:
        until(lambda: run.path("metrics.jsonl").exists() and run.path("metrics.jsonl").stat().st_size > 500)
        (other,) = multiprocessing.active_children()
        os.kill(other.pid, signal.SIGKILL)

    with beside(kill):
        outcome = work(run, TWO | {"checkpoint_seconds": 0.1})
    assert outcome.status == "failed"
    assert outcome.reason == "process 1 of the training has died; the same command goes on from the last checkpoint"
    assert run.path("checkpoint.pt").exists()
    assert not multiprocessing.active_children()


def test_batches_that_cannot_be_cut_are_one_line(home):
    run = Store(home).open(frozen(*SHORT, "train.batch_size=15"))
    outcome = work(run, TWO)
    assert outcome.reason == (
        "train.batch_size=15: cannot be cut into 2 equal parts (runtime.processes=2); take a multiple"
    )
    assert not multiprocessing.active_children()


def test_processes_that_would_train_something_else_are_told_apart(tmp_path):
    together(ranked.disagreeing, tmp_path)
    for number in "01":
        assert (tmp_path / number).read_text() == (
            "runtime.processes=2: process 1 has data d1, the first one d0; start them with the same code, data and "
            "store"
        )


def test_torchrun_trains_with_all_that_it_starts(tmp_path, alone):
    words = [*SHORT, f"store={tmp_path / 'store'}", "runtime.device=cpu"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "vaebench"]
    said = subprocess.run([*torchrun, "train", *words], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert said.returncode == 0, said.stderr
    (run,) = Store(tmp_path / "store").runs()
    assert said.stdout.count(f"run {run.key}: ") == 1, "one of them speaks"
    for entry, other in zip(alone, log(run), strict=True):
        assert other == pytest.approx(entry, rel=1e-5)


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, (0, 1)),
        ({"RANK": "1", "WORLD_SIZE": "4"}, (1, 4)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, (0, 1)),  # in a batch script: nobody else was started
        ({"SLURM_STEP_ID": "4294967290", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "8"}, (0, 1)),  # a shell
        ({"SLURM_STEP_ID": "0", "SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "8"}, (3, 8)),
    ],
)
def test_who_was_started_stands_in_the_environment(environment, found):
    assert along.started(environment) == found


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"RANK": "1"}, "RANK=1 and WORLD_SIZE= in the environment: expected two whole numbers"),
        ({"RANK": "4", "WORLD_SIZE": "4"}, "RANK=4, WORLD_SIZE=4 in the environment: expected a rank from 0 to 3"),
    ],
)
def test_an_environment_that_says_it_in_part_is_one_line(run, monkeypatch, environment, line):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert line in run.refused("train", *SHORT)


def test_what_is_drawn_is_the_part_of_what_one_process_draws():
    def draws(count: int) -> list[torch.Tensor]:
        torch.manual_seed(0)
        x = torch.zeros(count, 3, 5).movedim(1, 2)  # laid out in another order
        found = [torch.randn_like(x), torch.rand(count), torch.randn(4 * count, 2)]
        with contracts.along(1):
            found.append(torch.rand(3, count, 1))
        found += [torch.randint(9, (count,)), torch.rand(7), nn.functional.dropout(torch.ones(count, 6), 0.5)]
        return [*found, torch.rand(count, generator=torch.Generator().manual_seed(1))]

    whole = draws(8)
    parts = []
    for rank in (0, 1):
        with _Draws(4, Ranks(rank, 2)):
            parts.append(draws(4))
    for number, (one, *both) in enumerate(zip(whole, *parts, strict=True)):
        if number == 5:  # of no item: the same in all
            assert torch.equal(both[0], one)
            assert torch.equal(both[1], one)
        elif number == 7:  # of a generator of its own
            assert torch.equal(both[0], both[1])
        else:
            assert torch.equal(torch.cat(both, dim=1 if number == 3 else 0), one), number


def test_other_ways_to_draw_are_refused_unless_for_the_whole_batch():
    with _Draws(4, Ranks(0, 2)):
        with contracts.whole():
            torch.zeros(4).normal_()
        with pytest.raises(UserError, match="a step draws with normal_, which cannot be cut into parts"):
            torch.zeros(4).normal_()


def test_one_process_changes_nothing():
    x = torch.randn(4, 3)
    assert across.mean(x) is across.gathered(x) is across.own(x) is x
    assert ALONE.part(torch.arange(4)).tolist() == [0, 1, 2, 3]
    assert ALONE.first_says(True, False) == (True, False)

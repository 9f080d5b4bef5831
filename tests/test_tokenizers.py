"""Tokenizers from the command line: kinds of data, a test on another set, tables, kill and resume."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from chains import do, frozen, plan, work
from vaebench.chains.evaluation import evaluation
from vaebench.config.compose import configurations, session
from vaebench.engine import loop
from vaebench.errors import UserError
from vaebench.papers.tables import load
from vaebench.runs import kinds
from vaebench.runs.store import Store

FAST = ["train.max_steps=12", "train.batch_size=8", "train.log_every=4", "model.codebook_size=64"]
VP = ["model=vp_vae", "dataset=digits", *FAST, "model.rate=4", "model.codebook_latents=2000"]


def test_audio_brings_its_model_its_network_and_its_suite(run):
    words = ["dataset=tones", *FAST, "model.rate=4", "model.codebook_latents=2000"]
    assert "vp_vae codebook_size=64 rate=4 codebook_latents=2000 on tones" in run.done("train", *words)
    out = run.done("eval", *words)
    for name in ("cvu", "lsd", "stft", "si_sdr"):
        assert name in out
    assert "tones is a stand-in dataset" in out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("model=batchtopk dataset=tones", "model batchtopk works on images and dataset=tones holds audio"),
        ("model=vp_vae dataset=tiny", "model vp_vae works on images and audio and dataset=tiny holds text"),
        ("model=vp_vae autoencoder=mel", "autoencoder=mel: is chosen as autoencoder@model.autoencoder=NAME"),
        ("model=vp_vae model.autoencoder=mel", "is chosen as autoencoder@model.autoencoder=NAME"),
        ("model=vp_vae dataset=digits autoencoder@model.autoencoder=mel", "the dataset is images"),
        ("model=vp_vae dataset=tones autoencoder@model.autoencoder=conv", "the dataset is audio"),
        ("model=vp_vae dataset=digits model.density_neighbour=64 model.rate=4", "model.density_neighbour=64"),
        ("model=fsq dataset=digits model.levels=[4,1]", "model.levels=[4, 1]"),
        ("model=fsq dataset=digits model.codebook_size=300", "model.codebook_size=300"),
        ("model=vp_vae dataset=digits train.watch_every=0", "train.watch_every=0: expected a whole number, at least 1"),
    ],
)
def test_bad_input_is_one_line(run, home, words, line):
    assert line in run.refused("train", *words.split())
    assert not home.exists()


def test_a_codebook_larger_than_the_data_is_refused_before_training(run):
    words = ["dataset=tones", "model.codebook_size=40000", "model.dim=4", "model.rate=4", "train.max_steps=2"]
    assert "has only 28800 training tokens" in run.failed("train", *words)


def test_a_model_is_tested_on_another_set_than_its_own(run, home):
    words = ["eval", "model=fsp", "dataset=digits", *FAST]
    run.done(*words)
    out = run.done(*words, "dataset@test_on=photos")
    assert "tokens on fsp codebook_size=64 on digits seed=0, tested on photos" in out
    results = [json.loads(path.read_text()) for path in home.glob("*/evals/*/result.json")]
    assert sorted(result["dataset"]["name"] for result in results) == ["digits", "photos"]
    assert {result["dataset"]["train_images"] for result in results} == {1437}
    assert len(list(home.glob("*/request.yaml"))) == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("model=fsp dataset=digits dataset@test_on=cifar10", "dataset@test_on=cifar10: its shape is"),
        ("model=fsp dataset=tones dataset@test_on=digits", "dataset@test_on=digits: its sample_rate is None"),
        ("model=fsp dataset=digits test_on=photos", "test_on=photos: another set to test on is chosen as"),
        ("model=fsp dataset=digits dataset@test_on=nowhere", "unknown dataset@test_on 'nowhere'"),
        ("model=beta_vae suite=noise dataset=digits dataset@test_on=photos", "use suite=tokens"),
    ],
)
def test_a_set_of_another_form_is_not_tested_on(run, words, line):
    assert line in run.refused("eval", *words.split())


def test_another_test_set_is_another_evaluation_of_the_same_run():
    with session():
        words = ["model=fsp", "dataset=digits"]
        (run, own), _ = evaluation(configurations("eval", words, sweep=False)[0])
        (same, other), _ = evaluation(configurations("eval", [*words, "dataset@test_on=photos"], sweep=False)[0])
    assert run.key == same.key
    assert own.key != other.key
    assert other["dataset"]["name"] == "photos"


@pytest.mark.parametrize("options", [[], ["model.tree_every=3"]])
@pytest.mark.parametrize("stop_after", [3, 7, 11])
def test_a_stopped_vp_vae_goes_on_to_the_same_bits(home, monkeypatch, stop_after, options):
    """Weights, queue, its pointer, the codebook and the log, on both sides of an interruption."""
    request = frozen(*VP, "train.watch_every=5", *options)
    (whole,) = do(home / "whole", request)
    stopped = Store(home / "stopped").open(request)
    fit = loop.fit

    def interrupted(*arguments, hooks, **rest):
        calls = itertools.count(1)
        return fit(*arguments, hooks=replace(hooks, stop=lambda: next(calls) == stop_after), **rest)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "fit", interrupted)
        assert work(stopped).status == "interrupted"
    torch.manual_seed(99)  # what a new process would have
    assert work(stopped).status == "done"
    one, other = (load_file(run.path("model.safetensors")) for run in (whole, stopped))
    assert one.keys() == other.keys()
    assert {"quantiser.queue", "quantiser.pointer", "quantiser.codebook"} <= one.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert whole.path("metrics.jsonl").read_text() == stopped.path("metrics.jsonl").read_text()


def test_the_codebook_is_fitted_once_and_stored(home, run):
    run.done("eval", *VP, "quiet=true")
    (weights,) = home.glob("*/model.safetensors")
    stored = load_file(weights)
    assert stored["quantiser.fitted"].item()
    assert len(stored["quantiser.codebook"].unique(dim=0)) == 64


def test_a_table_out_of_domain_measures_the_same_trainings_on_another_set():
    found = plan("paper=vpvae", "scale=smoke", "table=table1_images,table2_images", "seeds=1")
    by_table = {
        key: {item.row: item for item in found.items if item.table == key} for key in ("table1_images", "table2_images")
    }
    one, two = by_table["table1_images"], by_table["table2_images"]
    assert one.keys() == two.keys()
    for row in one:
        assert one[row].train.key == two[row].train.key
        assert one[row].evaluations["cvu"].key != two[row].evaluations["cvu"].key
    assert {item.setting.dataset for item in two.values()} == {"photos"}
    assert all("dataset" not in item.evaluations["cvu"].data for item in one.values())
    assert all(kinds.of(request["verb"]).seconds(request) > 0 for request in found.requests.values())


def test_rows_are_run_at_their_scales_only():
    rows = {item.row for item in plan("paper=vpvae", "scale=smoke", "table=table1_images", "seeds=1").items}
    assert rows == {row for row in load("vpvae").tables["table1_images"].rows if row.endswith("_256")}


def test_a_scale_without_its_sets_is_left_out_and_not_run_on_a_stand_in():
    with pytest.raises(UserError, match=r"vpvae table1_images is run on coco, neither here nor downloadable"):
        plan("paper=vpvae", "scale=paper", "table=table1_images")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("table=table1_images dataset=tones", "table1_images is measured on images, and dataset=tones holds audio"),
        ("table=table2_images dataset=digits", "is measured out of domain, on one of imagenet"),
        ("dataset=tiny", "^vpvae is measured on"),
    ],
)
def test_a_dataset_a_table_is_not_measured_on_is_named(words, line):
    with pytest.raises(UserError, match=line):
        plan("paper=vpvae", "scale=smoke", *words.split())


def test_a_table_from_its_yaml_to_its_files(run, tmp_path, monkeypatch):
    short = ("autoencoder@model.autoencoder=mel", "train.max_steps=5", "model.codebook_size=64")
    monkeypatch.setattr(
        "vaebench.reproduce.rows.RowHere.overrides",
        lambda here: [
            *(f"experiment={here.row.experiment}", f"dataset={here.setting.dataset}", "scale=smoke"),
            *(*here.table.training(here.row, "smoke"), *short),
        ],
    )
    words = ["reproduce", "paper=vpvae", "table=table5", "scale=smoke", "seeds=1", "executor.kind=inline"]
    run.done(*words, f"results={tmp_path}")
    frame = pd.read_csv(tmp_path / "vpvae" / "cells.csv")
    assert set(frame["row"]) == set(load("vpvae").tables["table5"].rows)
    assert {"cvu", "lsd"} <= set(frame["column"])
    assert set(frame["stand_in"]) == {1}
    text = (tmp_path / "vpvae" / "table.md").read_text()
    assert "stands in for LibriSpeech" in text
    assert "listen-table5-smoke-tones.html" in text
    assert (tmp_path / "vpvae" / "listen-table5-smoke-tones.html").stat().st_size > 10_000


def test_printed_rows_that_no_scale_here_runs_are_shown_as_not_run():
    table = load("vpvae").tables["table1_images"]
    at_small = table.only(table.run_at("small"))
    assert set(at_small.rows) < set(table.rows)
    assert {claim.row for claim in at_small.claims} <= set(at_small.rows)
    assert "vp_vae_16384" in table.printed
    assert "vq_ema_256" not in table.printed
    audio = load("vpvae").tables["table1_audio"]
    assert "vq_vae_256" in audio.printed  # its training failed in the paper


def pictures(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        shade = Image.new("RGB", (40 + number, 36), (20 * number, 90, 200))
        shade.save(folder / f"{number}.png")


def test_changed_folders_are_another_request(home, tmp_path, monkeypatch, run):
    monkeypatch.setenv("VAEBENCH_DATA", str(tmp_path / "data"))
    pictures(tmp_path / "data" / "coco" / "train", 8)
    pictures(tmp_path / "data" / "coco" / "val", 3)
    words = ["model=fsp", "dataset=coco", "dataset.shape=[3,32,32]", *FAST]
    run.done("eval", *words)
    run.done("eval", *words)
    assert len(list(home.glob("*/evals/*/result.json"))) == 1
    pictures(tmp_path / "data" / "coco" / "val", 4)
    assert "Traceback" not in run("eval", *words).err
    assert len(list(home.glob("*/request.yaml"))) == 2
    counts = {json.loads(path.read_text())["measurements"][5]["count"] for path in home.glob("*/evals/*/result.json")}
    assert counts == {3, 4}


def test_some_rows_can_be_given_more_seeds():
    found = plan("paper=vpvae", "scale=smoke", "table=table1_audio", "row=vq_vae_256,fsq_256", "seeds=3")
    assert {(item.row, item.seed) for item in found.items} == {
        (row, seed) for row in ("vq_vae_256", "fsq_256") for seed in range(3)
    }
    with pytest.raises(UserError, match="unknown row 'fsq_265'; did you mean 'fsq_256'"):
        plan("paper=vpvae", "scale=smoke", "table=table1_audio", "row=fsq_265")
    with pytest.raises(UserError, match="row=fsq_4096: is not run at this scale"):
        plan("paper=vpvae", "scale=smoke", "table=table1_audio", "row=fsq_4096")

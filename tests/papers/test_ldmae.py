"""Lee et al. 2025: every printed number stands in the YAML, the claims agree with them, every row can be run."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest
import torch

from vaebench.chains import chain as requests
from vaebench.config.choices import choices
from vaebench.config.compose import compose, session
from vaebench.papers.tables import Claim, load
from vaebench.reproduce import rows as items
from vaebench.reproduce.rows import Item, Setting
from vaebench.runs import kinds
from vaebench.runs.store import Store

METHODS = ("ae", "dae", "vae", "sdvae", "vmae")
LADDER = ("mse", "mask", "reg", "vmae")

# Measured beside what the paper prints.
OWN = {"smoothness", "compression", "gfid_steps", "readings"}
# What a set of the paper is replaced by, and the features there.
PLACES = {
    "smoke": ({"imagenet": "digits", "celebahq": "digits"}, "classifier"),
    "small": ({"imagenet": "cifar10", "celebahq": "mnist"}, "classifier"),
    "paper": ({"imagenet": "imagenet", "celebahq": "celebahq"}, "inception"),
}

Numbers = dict[tuple[str, str], float]
TABLES = load("ldmae").tables
PRINTED: dict[str, Numbers] = {
    key: {(row, name): value for row, cells in table.reported.items() for name, value in cells.items()}
    for key, table in TABLES.items()
    if table.reported
}


def test_the_tables_are_the_printed_ones_and_ours():
    assert set(TABLES) == {*PRINTED, *OWN}
    assert sum(map(len, PRINTED.values())) == 25 + 5 + 25 + 20 + 6


def test_the_numbers_say_what_the_paper_says_of_them():
    rows = PRINTED["efficiency"]
    assert rows["vmae", "size_mib"] / rows["conv", "size_mib"] == pytest.approx(0.134, abs=5e-4)
    assert rows["vmae", "encoder_gmacs"] / rows["conv", "encoder_gmacs"] == pytest.approx(0.041, abs=5e-4)
    assert rows["conv", "hours"] / rows["vmae", "hours"] == pytest.approx(2.7, abs=0.05)
    generated = PRINTED["generation"]
    assert generated["vmae", "gfid"] == PRINTED["ablation"]["vmae", "gfid"]
    assert generated["ae", "gfid"] == PRINTED["ablation"]["mse", "gfid"]


def agrees(claim: Claim, printed: Numbers) -> bool | None:
    """Whether the printed numbers satisfy a claim; None where they do not say."""
    left, right = printed.get((claim.row, claim.column)), printed.get((claim.than, claim.than_column))
    if left is None or right is None:
        return None
    if claim.holds == "within":
        return abs(left - claim.factor * right) <= claim.margin
    beyond = claim.factor * right + claim.margin
    return left > beyond if claim.holds == "higher" else left < beyond


@pytest.mark.parametrize("key", PRINTED)
def test_the_papers_own_numbers_satisfy_its_claims(key):
    printed = PRINTED[key]
    verdicts = {claim.id: agrees(claim, printed) for claim in TABLES[key].claims}
    assert False not in verdicts.values()
    assert all(verdicts[claim.id] for claim in TABLES[key].claims if claim.asserted)
    against = [claim for claim in TABLES[key].claims if claim.kind == "watch"]
    assert all(verdicts[claim.id] for claim in against)


def sides(key: str, column: str, holds: str) -> set[tuple[str, str]]:
    """The (row, than) of the asserted claims about a column."""
    found = [claim for claim in TABLES[key].claims if claim.asserted and claim.column == column]
    return {(claim.row, claim.than) for claim in found if claim.holds == holds and claim.factor == 1}


def test_the_orderings_are_all_there():
    best = ("vmae", "sdvae", "dae", "ae", "vae")
    for key in ("generation", "generation_faces"):
        assert sides(key, "gfid", "lower") == {*pairwise(best), ("vmae", "ae")}
        assert ("vae", "ae", 2) in {(claim.row, claim.than, claim.factor) for claim in TABLES[key].claims}
    others = [method for method in METHODS if method != "vae"]
    assert sides("reconstruction", "psnr", "higher") == {("ae", m) for m in METHODS[1:]} | {("vmae", "sdvae")}
    assert sides("reconstruction", "psnr", "lower") == {("vae", m) for m in ("dae", "sdvae", "vmae")}
    assert sides("reconstruction", "ssim_valid", "lower") == {("vae", method) for method in others}
    for name in ("l1", "lpips", "rfid"):
        assert sides("reconstruction", name, "higher") == {("vae", method) for method in others}
    for name in ("lpips", "rfid"):
        assert sides("reconstruction", name, "lower") == {("vmae", m) for m in ("ae", "dae", "sdvae")}
    steps = {(after, before) for before, after in pairwise(LADDER)}
    for name in ("gfid", "rfid", "lpips"):
        assert sides("ablation", name, "lower") == steps
    assert ("reg", "mask") in sides("ablation", "psnr", "lower")
    assert ("vmae", "reg") in sides("ablation", "psnr", "higher")
    assert sides("smoothness", "rfid_rise@0.3", "higher") == {
        (row, than) for row in ("ae", "dae") for than in ("vae", "sdvae", "vmae")
    }
    for level in ("0", "0.01", "0.05", "0.1", "0.2", "0.3"):
        assert ("vmae", "sdvae") in sides("smoothness", f"rfid@{level}", "lower")
    assert sides("smoothness", "rfid@0", "higher") == {("vae", method) for method in others}


@cache
def planned_table(scale: str, key: str) -> dict[str, Item]:
    """The item of each row of a table at a scale, with one seed."""
    sets, features = PLACES[scale]
    table = TABLES[key]
    setting = Setting(scale, sets[table.dataset], scale != "paper", features, 1)
    with session():
        if items.of_design(table):
            setting = Setting(scale, table.dataset, False, "-", 1)
        return {row: items.RowHere("ldmae", key, table, row, setting).planned([])[0][0] for row in table.run_at(scale)}


def planned(scale: str, *keys: str) -> dict[tuple[str, str], Item]:
    """The items of tables, by table and row."""
    return {(key, row): item for key in keys for row, item in planned_table(scale, key).items()}


@pytest.mark.parametrize("scale", PLACES)
def test_every_row_is_a_training_of_its_own_and_tables_share_them(scale):
    keys = [key for key in TABLES if key != "efficiency"]
    trained = {place: item.train.key for place, item in planned(scale, *keys).items()}
    for key in ("reconstruction", "smoothness", "compression", "gfid_steps"):
        for row in (name for name in TABLES[key].run_at(scale) if name in METHODS):
            assert trained[key, row] == trained["generation", row]
    same = "m25_script" if scale == "paper" else "m25_unit"
    assert trained["readings", same] == trained["generation", "vmae"]
    assert trained["ablation", "vmae"] == trained["generation", "vmae"]
    assert len({trained["generation", row] for row in METHODS}) == len(METHODS)
    assert len({trained["ablation", row] for row in LADDER}) == len(LADDER)
    readings = TABLES["readings"].run_at(scale)
    assert len({trained["readings", row] for row in readings}) == len(readings) == (2 if scale == "smoke" else 4)
    # At smoke digits stand in for objects and for faces: the same autoencoders.
    shared = {trained["generation_faces", row] for row in METHODS} & {trained["generation", row] for row in METHODS}
    assert len(shared) == (len(METHODS) if scale == "smoke" else 0)


@pytest.mark.parametrize("scale", PLACES)
def test_generation_is_measured_on_a_diffusion_model_over_each_autoencoder(scale):
    found = planned(scale, "generation", "generation_faces", "ablation", "gfid_steps")
    runs = {}
    for (key, row), item in found.items():
        for name, column in TABLES[key].columns.items():
            run = item.evaluations[name].data["parents"]["run"]
            assert (run == item.train.key) != bool(column.stage), (key, row, name)
            if column.stage:
                assert item.evaluations[name].data.get("snapshot") == column.snapshot
                runs.setdefault((key, row), set()).add(run)
    assert all(len(each) == 1 for each in runs.values())
    assert runs["ablation", "vmae"] == runs["gfid_steps", "vmae"] == runs["generation", "vmae"]
    # Without labels it is another diffusion model, even where the autoencoder is the same.
    assert not {run for (key, _), each in runs.items() if key == "generation_faces" for run in each} & {
        run for (key, _), each in runs.items() if key != "generation_faces" for run in each
    }


def training(key: str, name: str, scale: str, dataset: str) -> list[requests.Request]:
    """The training behind a row, bound to the signatures of what it names, and what it needs itself."""
    table = TABLES[key]
    row = table.rows[name]
    options = [f"experiment={row.experiment}", f"dataset={dataset}", f"scale={scale}", *table.training(row, scale)]
    with session():
        return requests.checked(compose("train", options))


@pytest.mark.parametrize("name", METHODS[:-1])
def test_at_the_papers_scale_the_baselines_have_the_convolutional_network(name):
    (run,) = training("generation", name, "paper", "imagenet")
    network = run["model"]["network"]
    assert (network["kind"], network["channels"], network["latent_channels"]) == ("kl", 128, 16)
    assert run["model"]["perceptual"] == ("lpips" if name == "sdvae" else "none")


@pytest.mark.parametrize("name", LADDER)
def test_at_the_papers_scale_vmae_is_trained_at_128_pixels_and_tuned_at_256(name):
    start, run = training("ablation", name, "paper", "imagenet")
    assert run.data["parents"] == {"start": start.key}
    assert (start["dataset"]["shape"], run["dataset"]["shape"]) == ([3, 128, 128], [3, 256, 256])
    network = run["model"]["network"]
    assert start["model"]["network"] == network
    assert (network["kind"], network["width"], network["depth"], network["latent_channels"]) == ("vit", 192, 12, 16)
    assert (start["train"]["batch_size"], start["optim"]["lr"], start["train"]["clip_norm"]) == (2048, 8e-4, None)
    assert run["model"]["freeze_encoder"]
    assert not run["model"]["sample"]
    assert (run["model"]["mask_ratio"], start["model"]["mask_ratio"]) == (0, 0 if name == "mse" else 0.25)
    lpips = "lpips" if name == "vmae" else "none"
    assert run["model"]["perceptual"] == start["model"]["perceptual"] == lpips
    if lpips == "lpips":
        assert (run["model"]["perceptual_weight"], start["model"]["perceptual_weight"]) == (10, 0.5)
        assert (start["model"]["kl_weight"], start["model"]["prior_std"]) == (1e-6, 1e-3)


def test_the_ladder_adds_one_term_at_a_time():
    steps = [training("ablation", name, "small", "digits") for name in LADDER]
    starts = [next(one for one in chain if one.key == chain[-1].data["parents"]["start"]) for chain in steps]
    models = [start["model"] for start in starts]
    assert [(step["mask_ratio"] > 0, step["sample"], step["perceptual"] != "none") for step in models] == [
        (False, False, False),
        (True, False, False),
        (True, True, False),
        (True, True, True),
    ]
    assert [step["kl_weight"] > 0 for step in models] == [False, False, True, True]
    assert {step["model"]["perceptual"] for step in (chain[-1] for chain in steps[:3])} == {"none"}


@pytest.mark.parametrize("scale", ["smoke", "small"])
def test_vmae_and_its_tuning_take_as_many_steps_as_a_baseline(scale):
    for key in ("generation", "generation_faces"):
        *before, run = training(key, "vmae", scale, "digits")
        start = next(one for one in before if one.key == run.data["parents"]["start"])
        baseline = training(key, "ae", scale, "digits")[-1]
        assert start["train"]["max_steps"] + run["train"]["max_steps"] == baseline["train"]["max_steps"]
        assert start["model"]["network"] == run["model"]["network"] == baseline["model"]["network"]
        assert start["optim"]["lr"] == baseline["optim"]["lr"]


def test_what_is_measured_before_the_tuning_is_what_is_tuned():
    for scale in ("smoke", "small"):
        *_, pretrained = training("smoothness", "pretrained", scale, "digits")
        assert training("smoothness", "vmae", scale, "digits")[-1].data["parents"]["start"] == pretrained.key


def test_every_experiment_of_the_paper_is_there_and_used():
    rows = [row for table in TABLES.values() for row in table.rows.values()]
    used = {row.experiment for row in rows}
    used |= {column.stage for table in TABLES.values() for column in table.columns.values() if column.stage}
    used |= {row.set["parent.experiment"] for row in rows if "parent.experiment" in row.set}
    assert used == {name for name in choices("experiment") if name.startswith("ldmae/")}


def test_the_printed_sizes_and_operations_come_out(tmp_path):
    pytest.importorskip("diffusers")
    store = Store(tmp_path)
    table = TABLES["efficiency"]
    for (_, row), item in planned("smoke", "efficiency").items():
        assert item.train is None
        run = store.open(next(iter(item.evaluations.values())))
        kinds.of("eval").work(run, kinds.Setup(torch.device("cpu"), lambda *_: None, lambda: False))
        measured = {found["name"]: found for found in run.result()["measurements"]}
        for name in ("size_mib", "encoder_gmacs") if row in table.reported else ():
            column = table.columns[name]
            found = measured[column.measurement]
            assert abs(found["value"] - table.reported[row][name]) <= column.tolerance
            assert column.protocol.items() <= found["protocol"].items()
    assert set(table.rows) == {"conv", "vmae", "vmae_128"}

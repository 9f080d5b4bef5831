"""Ye et al. 2026: every printed number stands in the YAML, the claims agree with them, every row can be run."""

from __future__ import annotations

from functools import cache

import pytest

from vaebench.config.choices import choices
from vaebench.config.compose import session
from vaebench.config.request import Request
from vaebench.engine.schedules import total_steps
from vaebench.nn.flows.points import OBJECTIVES
from vaebench.papers.tables import Claim, load
from vaebench.reproduce import rows as items
from vaebench.reproduce.rows import Item, Setting

# The paper shows these as pictures: of points, and a t-SNE of latents.
SHOWN = {"sliced_wasserstein", "coverage", "precision", "std_x", "silhouette"}
PLACES = {"smoke": ("digits", "classifier"), "small": ("mnist", "classifier"), "paper": ("imagenet", "inception")}
APART = ("small", "paper")  # at smoke a row has what it has at small, with other numbers
LAWS = ("ssl", "supervised", "text", "diffusion_state", "subset", "gmm", "gaussian")

Numbers = dict[tuple[str, str], float]
TABLES = load("dmvae").tables
PRINTED: dict[str, Numbers] = {
    key: {(row, name): value for row, cells in table.reported.items() for name, value in cells.items()}
    for key, table in TABLES.items()
}


def test_every_printed_number_is_there():
    assert {key: len(printed) for key, printed in PRINTED.items() if printed} == {
        "references": 24, "ablations": 27, "headline": 40,
    }  # fmt: skip


def agrees(claim: Claim, printed: Numbers) -> bool | None:
    """Whether the printed numbers satisfy a claim; None where they do not say."""
    left, right = printed.get((claim.row, claim.column)), printed.get((claim.than, claim.than_column))
    if left is None or right is None:
        return None
    if claim.holds == "within":
        return abs(left - claim.factor * right) <= claim.margin
    return left > right if claim.holds == "higher" else left < right


@pytest.mark.parametrize("key", TABLES)
def test_the_papers_own_numbers_satisfy_its_claims(key):
    printed = PRINTED[key]
    for claim in TABLES[key].claims:
        says = agrees(claim, printed)
        assert says is not False, claim.id
        assert not claim.asserted or says or claim.column in SHOWN, claim.id
        assert claim.kind != "watch" or says, claim.id


def sides(key: str, column: str, holds: str) -> set[tuple[str, str]]:
    """The (row, than) of the asserted claims about a column."""
    found = [claim for claim in TABLES[key].claims if claim.asserted and claim.column == column]
    return {(claim.row, claim.than) for claim in found if claim.holds == holds}


def test_the_orderings_are_all_there():
    others = {"kl", *LAWS} - {"subset"}
    assert sides("references", "gfid", "higher") == {("subset", row) for row in others}
    below = sides("references", "gfid", "lower")
    assert {("ssl", row) for row in others - {"ssl"}} <= below
    assert {("supervised", row) for row in ("gaussian", "text", "kl", "gmm", "diffusion_state")} <= below
    assert {(row, "diffusion_state") for row in ("gaussian", "text", "kl", "gmm")} <= below
    assert sides("references", "rfid", "lower") == {("subset", row) for row in others}
    for law in ("gaussian", "gmm"):
        assert {(law, row) for row in ("ssl", "supervised", "kl")} <= sides("references", "psnr", "higher")
    by_weight = {("default", "lambda_1"), ("lambda_20", "default")}
    steps = {("default", "net_small"), ("net_xl", "default"), ("guidance_3", "default"), ("guidance_5", "guidance_3")}
    assert sides("ablations", "psnr", "lower") == by_weight | steps | {("lambda_100", "lambda_20")}
    assert sides("ablations", "gfid", "lower") == by_weight | steps | {("annealed", "default")}
    assert sides("headline", "gfid", "lower") == {("dmvae", row) for row in (*TABLES["headline"].quoted, "dmvae")}
    real, fake = ([f"{name}{n}" for n in (1, 2, 3)] for name in ("teacher", "student"))
    assert {("dmd", row) for row in (*real, *fake)} == sides("toy", "sliced_wasserstein", "lower")
    assert {(row, "dmd") for row in ("difference1", "difference2", "difference3")} == sides(
        "toy", "sliced_wasserstein", "higher"
    )
    assert {row for row, _ in sides("toy", "std_x", "lower")} == set(fake)
    assert {(row, "dmd") for row in real} <= sides("toy", "coverage", "lower")
    assert {row for row, _ in sides("toy", "coverage", "higher")} == {"dmd", "loss_difference"}


@cache
def planned(scale: str, key: str, only: str = "") -> tuple[dict[str, Item], dict[str, Request]]:
    """The item of each row (or ``only`` one) of a table at a scale, with one seed; all requests behind, by key."""
    table, (dataset, features) = TABLES[key], PLACES[scale]
    if key == "toy":
        dataset = "s_curve"
    setting, found, behind = Setting(scale, dataset, dataset not in table.own, features, 1), {}, {}
    with session():
        for row in (name for name in table.run_at(scale) if only in ("", name)):
            (found[row],), chain = items.RowHere("dmvae", key, table, row, setting).planned([])
            behind |= {request.key: request for request in chain}
    return found, behind


def teacher(scale: str, key: str, row: str) -> Request:
    """What a row's joint training follows."""
    found, behind = planned(scale, key)
    train = found[row].train
    assert train is not None
    run = behind[train["parents"]["start"]] if key == "headline" else train
    return behind[run["parents"]["teacher"]]


def test_the_study_in_the_plane_has_every_objective_and_one_teacher():
    found, behind = planned("small", "toy")
    assert [item.train["model"]["objective"] for item in found.values()] == list(found) == list(OBJECTIVES)
    assert len({item.train["parents"]["start"] for item in found.values()}) == 1
    assert {request["verb"] for request in behind.values()} == {"train", "eval"}
    assert set(TABLES["toy"].run_at("smoke")) == {row for row in OBJECTIVES if "scend" not in row}
    for scale in PLACES:
        assert TABLES["toy"].seeds[scale] == 3


@pytest.mark.parametrize("scale", APART)
def test_every_row_is_a_training_of_its_own_and_tables_share_them(scale):
    keys = ("references", "ablations", "teachers")
    trained = {(key, row): item.train.key for key in keys for row, item in planned(scale, key)[0].items()}
    for key in keys:
        rows = [name for table, name in trained if table == key]
        assert len({trained[key, row] for row in rows}) == len(rows)
    for law in ("gaussian", "gmm"):
        assert trained["references", law] == trained["teachers", f"{law}_formula"]
    shared = trained["references", "ssl"] == trained["ablations", "default"]
    assert shared == (scale != "paper")  # 300,000 and 250,000 steps there
    assert ("references", "text") in trained or scale == "paper"


@pytest.mark.parametrize(
    ("key", "row"),
    [("references", "supervised"), ("references", "diffusion_state"), ("ablations", "net_xl"), ("headline", "dmvae")],
)
def test_smoke_is_short(key, row):
    behind = planned("smoke", key, row)[1].values()
    trainings = [request for request in behind if request["verb"] == "train" and request["model"].get("perceptual")]
    trainings += [request for request in behind if request.data.get("model", {}).get("data") == "latents"]
    assert len(trainings) >= 4
    assert max(request["train"]["max_steps"] for request in trainings) <= 100


@pytest.mark.parametrize("scale", APART)
def test_all_rows_begin_with_the_tokenizer_that_is_measured_itself(scale):
    found, behind = planned(scale, "references")
    tokenizer = found["frozen"].train
    assert all(item.train["parents"]["start"] == tokenizer.key for row, item in found.items() if row != "frozen")
    for row in (name for name in LAWS if name in found):
        assert behind[teacher(scale, "references", row)["parents"]["autoencoder"]] == tokenizer
        reference = behind[teacher(scale, "references", row)["parents"]["latents"]]
        assert (reference["verb"], reference["name"]) == ("reference", row)
        matched = found[row].train["model"]
        assert matched["dm_weight"] == (1 if row in ("subset", "gmm", "gaussian") else 10)
        assert matched["closed_form"] == (row in ("gmm", "gaussian"))
    assert found["kl"].train["model"]["kl_weight"] > 0 == found["plain"].train["model"]["kl_weight"]
    flow = behind[behind[teacher(scale, "references", "diffusion_state")["parents"]["latents"]]["parents"]["flow"]]
    assert flow["parents"]["autoencoder"] == found["kl"].train.key


@pytest.mark.parametrize("scale", APART)
def test_every_teacher_is_trained_as_long_however_few_items_its_reference_has(scale):
    found, behind = planned(scale, "references")
    images = {"small": 60_000, "paper": 1_281_167}[scale]
    lengths = set()
    for row in (name for name in LAWS if name in found):
        taught = teacher(scale, "references", row)
        reference = behind[taught["parents"]["latents"]]["reference"]
        items = images // {"small": 12, "paper": 120}[scale] if row == "subset" else reference.get("samples", images)
        spec = taught["train"]
        lengths.add(total_steps(items, spec["batch_size"], spec["epochs"], spec["max_steps"]))
    assert lengths == {{"small": 1_500, "paper": 500_000}[scale]}


@pytest.mark.parametrize("scale", APART)
def test_autoencoders_without_matching_have_as_many_updates_as_those_with_it(scale):
    steps = {row: item.train["train"]["max_steps"] for row, item in planned(scale, "references")[0].items()}
    every = planned(scale, "references")[0]["ssl"].train["model"]["autoencoder_every"]
    assert steps["kl"] == steps["plain"] == steps["ssl"] / every


@pytest.mark.parametrize("scale", APART)
def test_each_ablation_changes_one_thing(scale):
    found, _ = planned(scale, "ablations")
    default = found["default"].train.data
    changed = {}
    for row, item in found.items():
        model = item.train["model"]
        assert {name: item.train[name] for name in ("train", "optim")} == {n: default[n] for n in ("train", "optim")}
        changed[row] = {name for name, value in model.items() if value != default["model"][name]}
    kinds = {"lambda": {"dm_weight"}, "net": {"score"}, "guidance": {"guidance"}, "default": set()}
    kinds["annealed"] = {"anneal_to", "anneal_steps"}
    assert changed == {row: kinds[row.partition("_")[0]] for row in found}
    assert found["annealed"].train["model"]["anneal_steps"] == default["train"]["max_steps"]
    sizes = [found[row].train["model"]["score"] for row in ("net_small", "default", "net_xl")]
    assert sizes == sorted(sizes, key=lambda size: size["width"] * size["depth"])
    for row in ("net_small", "default", "net_xl"):
        assert teacher(scale, "ablations", row)["model"]["width"] == found[row].train["model"]["score"]["width"]


@pytest.mark.parametrize("scale", APART)
def test_the_final_model_has_the_largest_flows_and_guidance_and_is_tuned(scale):
    found, behind = planned(scale, "headline")
    assert list(found) == ["dmvae"]
    tuned = found["dmvae"].train
    joint = behind[tuned["parents"]["start"]]
    assert (tuned["model"]["trained"], joint["model"]["guidance"], joint["model"]["dm_weight"]) == ("decoder", 5, 10)
    assert teacher(scale, "headline", "dmvae") == teacher(scale, "ablations", "net_xl")
    evaluations = found["dmvae"].evaluations
    generator = behind[evaluations["gfid"]["parents"]["run"]]
    epochs, parts = 800, generator["train"]["snapshots"]
    for name in ("gfid@64", "gfid@400", "is@64", "is@400"):
        assert evaluations[name]["parents"]["run"] == generator.key
        assert evaluations[name]["snapshot"] * epochs / parts == float(name.partition("@")[2])


@pytest.mark.parametrize("key", ["references", "ablations", "headline", "teachers"])
@pytest.mark.parametrize("scale", APART)
def test_generated_images_are_those_of_a_generator_on_the_rows_latents(scale, key):
    found, behind = planned(scale, key)
    for item in found.values():
        for name, column in TABLES[key].columns.items():
            run = behind[item.evaluations[name]["parents"]["run"]]
            expected = run["parents"]["autoencoder"] if column.stage else run.key
            assert expected == item.train.key
            if column.stage:
                assert (run["model"]["statistics"], run["model"]["time_sampling"]) == ("scalar", "uniform")


def test_at_the_papers_scale_it_is_the_papers_size():
    found, behind = planned("paper", "references")
    tokenizer, joint = found["frozen"].train, found["ssl"].train
    model = tokenizer["model"]
    assert (model["encoder"]["name"], model["decoder"]["kind"]) == ("vit_large_patch14_dinov2.lvd142m", "kl")
    assert (model["head_width"], model["latent_channels"], model["adversarial_start"]) == (2048, 32, 5000)
    for name in ("encoder", "decoder", "head_width", "latent_channels", "perceptual", "adversarial_weight"):
        for row in ("ssl", "kl", "plain"):
            assert found[row].train["model"][name] == model[name]
    assert (tokenizer["optim"]["lr"], joint["optim"]["lr"], joint["optim"]["betas"]) == (1e-4, 2e-5, [0.9, 0.95])
    assert (joint["train"]["max_steps"], joint["train"]["batch_size"]) == (300_000, 256)
    taught = teacher("paper", "references", "ssl")
    assert [taught["model"][name] for name in ("width", "depth", "heads", "classes")] == [1024, 24, 16, 1000]
    assert (taught["train"]["max_steps"], taught["train"]["batch_size"]) == (500_000, 1024)
    generator = behind[found["ssl"].evaluations["gfid"]["parents"]["run"]]["model"]
    assert [generator[name] for name in ("width", "depth", "heads")] == [1152, 28, 16]
    features = behind[teacher("paper", "references", "supervised")["parents"]["latents"]]["parents"]
    assert behind[features["features_autoencoder"]]["model"]["encoder"]["name"] == "resnet34.a1_in1k"
    assert behind[teacher("paper", "references", "subset")["parents"]["latents"]]["reference"]["classes"] == [
        *range(10)
    ]


def test_every_experiment_of_the_paper_is_there_and_used():
    runs = planned("small", "references")[1].values()
    titles = {row.experiment for table in TABLES.values() for row in table.rows.values()} - {""}
    titles |= {column.stage for table in TABLES.values() for column in table.columns.values()} - {""}
    behind = {"dmvae/toy_teacher", "dmvae/ssl", "dmvae/supervised", "dmvae/teacher", "dmvae/diffusion"}
    assert titles | behind == {name for name in choices("experiment") if name.startswith("dmvae/")}
    learners = {
        r["model"]["objective"] for r in runs if "FeatureLearner" in r.data.get("model", {}).get("_target_", "")
    }
    assert learners == {"simclr", "classes"}

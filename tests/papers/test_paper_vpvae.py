"""Zhai et al. 2026: every printed number stands in the YAML, the claims agree with them, every row can be run."""

from __future__ import annotations

import operator
from itertools import product

import pytest

from vaebench.chains import chain as requests
from vaebench.config.choices import choices, kinds, leaf
from vaebench.config.compose import compose, session
from vaebench.papers.tables import Claim, Table, load

METHODS = ("vq_vae", "simvq", "tokenbridge", "fsq", "fsp", "vp_vae")
SIZES = (256, 1024, 4096, 16384)
IMAGES = ("cvu", "lpips", "psnr", "ssim_valid")
AUDIO = ("cvu", "pesq", "stoi")

# Claims that the paper's own numbers contradict: it asserts none of them.
CONTRADICTED = {
    *(("table1_images", f"fsp_{size}-psnr-within-fsq_{size}") for size in (256, 1024)),
    ("table1_images", "fsp_16384-cvu-higher-fsq_16384"),
    *(("table1_audio", f"vp_vae_{size}-cvu-higher-fsp_{size}") for size in (256, 1024)),
    *(
        ("table1_audio", f"vp_vae_{size}-{name}-higher-fsp_{size}")
        for size in (1024, 4096)
        for name in ("pesq", "stoi")
    ),
    ("table2_images", "fsp_256-psnr-within-fsq_256"),
    ("table2_images", "fsp_16384-cvu-higher-fsq_16384"),
    *(("table2_audio", f"vp_vae_{size}-cvu-higher-fsp_{size}") for size in (256, 1024)),
}

Numbers = dict[tuple[str, str], float | None]
ALL = load("vpvae").tables
TABLES = {key: table for key, table in ALL.items() if table.reported}  # those the paper prints


def printed_in(table: Table) -> Numbers:
    """The printed numbers of a table; None for a training that failed."""
    failed = {(name, column): None for name, row in table.rows.items() for column in row.failed}
    return failed | {(row, name): value for row, cells in table.reported.items() for name, value in cells.items()}


PRINTED = {key: printed_in(table) for key, table in TABLES.items()}


def test_every_printed_number_is_there():
    assert sum(map(len, PRINTED.values())) == 369
    for key, printed in PRINTED.items():
        sizes = SIZES if key[5] in "12" else [""]
        columns = AUDIO if key.endswith("audio") or key == "table5" else IMAGES
        assert {column for _, column in printed} == set(columns)
        assert len(printed) == len(columns) * (len(METHODS) * len(sizes) if len(sizes) > 1 else 3)
    for key in ("table1_audio", "table2_audio"):
        assert {cell for cell, value in PRINTED[key].items() if value is None} == {
            (f"vq_vae_{size}", name) for size in (256, 4096, 16384) for name in AUDIO
        }


def test_trainings_printed_twice_agree():
    one = PRINTED["table1_images"]
    for name in IMAGES:
        assert PRINTED["table3"]["full", name] == one["vp_vae_1024", name]
        assert PRINTED["table4"]["tanh", name] == one["fsp_1024", name]
    for name in AUDIO:
        assert PRINTED["table5"]["tanh", name] == PRINTED["table1_audio"]["fsp_1024", name]


def wins(method: str, other: str, kind: str) -> tuple[int, int]:
    """In how many quality cells of tables 1 and 2 a method is the better one, of how many."""
    better = {"lpips": operator.lt}
    found = [
        better.get(name, operator.gt)(printed[f"{method}_{size}", name], printed[f"{other}_{size}", name])
        for key, printed in PRINTED.items()
        if key.endswith(kind)
        for size in SIZES
        for name in {cell[1] for cell in printed} - {"cvu"}
    ]
    return sum(found), len(found)


def test_the_numbers_say_what_was_counted_in_the_printed_tables():
    assert wins("fsp", "fsq", "images") == wins("vp_vae", "fsq", "images") == (24, 24)
    assert wins("fsp", "fsq", "audio") == wins("vp_vae", "fsq", "audio") == (16, 16)
    assert wins("vp_vae", "vq_vae", "images") == wins("fsp", "vq_vae", "images") == (24, 24)
    assert wins("vp_vae", "simvq", "images") == (10, 24)
    assert wins("fsp", "simvq", "images") == (8, 24)
    assert wins("fsp", "simvq", "audio") == wins("vp_vae", "simvq", "audio") == (16, 16)
    for size in SIZES:  # one code
        assert PRINTED["table1_audio"][f"simvq_{size}", "cvu"] == pytest.approx(1 / size, abs=1e-4)


def agrees(claim: Claim, printed: Numbers) -> bool | None:
    """Whether the printed numbers satisfy a claim; None where they do not say."""
    left = printed.get((claim.row, claim.column))
    right = printed.get((claim.than, claim.than_column)) if claim.value is None else claim.value
    if left is None or right is None:
        return None
    if claim.holds == "within":
        return abs(left - claim.factor * right) <= claim.margin
    beyond = claim.factor * right + claim.margin
    return left > beyond if claim.holds == "higher" else left < beyond


def test_the_papers_own_numbers_satisfy_its_claims():
    contradicted = {
        (key, claim.id)
        for key, table in TABLES.items()
        for claim in table.claims
        if agrees(claim, PRINTED[key]) is False
    }
    assert contradicted == CONTRADICTED
    asserted = {(key, claim.id) for key, table in TABLES.items() for claim in table.claims if claim.asserted}
    assert not contradicted & asserted
    for key, table in TABLES.items():
        against = [claim for claim in table.claims if claim.text.count("as the paper's own table says")]
        assert all(agrees(claim, PRINTED[key]) and claim.kind == "watch" for claim in against)


def test_what_has_to_come_out_is_all_there():
    def compared(key: str, size: int) -> set[tuple[str, str, str]]:
        claims = TABLES[key].claims
        return {(c.row, c.column, c.than) for c in claims if c.row.endswith(f"_{size}") or c.than.endswith(f"_{size}")}

    images = [("vp_vae", "cvu", "vq_vae"), ("fsp", "cvu", "vq_vae"), ("vp_vae", "psnr", "fsq"), ("fsp", "cvu", "fsq")]
    images += [("vp_vae", "psnr", "vq_vae"), ("fsp", "psnr", "vq_vae"), ("fsp", "psnr", "fsq")]
    images += [("simvq", "cvu", "vp_vae"), ("tokenbridge", "psnr", "vq_vae")]
    audio = [("vp_vae", "cvu", "vq_vae"), ("fsp", "cvu", "vq_vae"), ("vp_vae", "cvu", "fsq"), ("simvq", "cvu", "simvq")]
    audio += [(method, "lsd", "vq_vae") for method in ("fsq", "fsp", "vp_vae")] + [("vp_vae", "lsd", "fsp")]
    for key, size in product(("table1_images", "table2_images", "table1_audio", "table2_audio"), (256, 1024)):
        wanted = images if key.endswith("images") else audio
        assert compared(key, size) >= {(f"{row}_{size}", column, f"{than}_{size}") for row, column, than in wanted}
        if key.endswith("images"):
            steps = {("vp_vae", "psnr"), ("vp_vae", "cvu"), ("vq_vae", "cvu")}
            assert compared(key, size) >= {(f"{row}_1024", column, f"{row}_256") for row, column in steps}


def test_only_what_is_cheap_enough_is_run_at_each_scale():
    for key in ("table1_images", "table1_audio", "table2_images", "table2_audio"):
        rows = TABLES[key].rows
        assert list(rows) == [f"{method}_{size}" for method in ("vq_vae", "vq_ema", *METHODS[1:]) for size in SIZES]
        for name, row in rows.items():
            size = int(name.rpartition("_")[2])
            lloyd = {"model.codebook_algorithm": "lloyd"} if name.startswith("vp_vae") and size > 1024 else {}
            assert row.set == {"model.codebook_size": size, **lloyd}
            assert row.scales == {256: (), 1024: ("small", "paper")}.get(size, ("paper",))


def test_every_experiment_of_the_paper_is_there_and_used():
    used = {row.experiment for table in TABLES.values() for row in table.rows.values()}
    assert used == {name for name in choices("experiment") if name.startswith("vpvae/")}


def test_stand_ins_and_training_sets_are_datasets_of_the_tables_kind():
    sets = set(choices("dataset"))
    for table in TABLES.values():
        stand_ins = {name for names in table.stand_ins.values() for name in names}
        assert {table.dataset, table.stand_in, *stand_ins, *table.train_on, *table.train_on.values()} <= sets
        if table.train_on:
            assert {table.dataset, table.stand_in, *stand_ins} <= set(table.train_on)


def training(table: Table, row: str, scale: str, dataset: str) -> requests.Request:
    """The training behind a row, bound to the signatures of what it names."""
    entry = table.rows[row]
    stands = dataset != table.trained_on(table.dataset)
    options = [f"experiment={entry.experiment}", f"dataset={dataset}", f"scale={scale}"]
    return requests.checked(compose("train", [*options, *table.training(entry, scale, stand_in=stands)]))[-1]


RUNS = [
    *(("table1_images", scale, dataset) for scale, dataset in (("smoke", "digits"), ("small", "cifar10"))),
    *(("table1_audio", scale, dataset) for scale, dataset in (("smoke", "tones"), ("small", "fsdd"))),
    ("table1_images", "paper", "coco"),
    ("table1_audio", "paper", "librispeech"),
]


@pytest.mark.parametrize(("key", "scale", "dataset"), RUNS)
def test_every_row_is_a_training_of_its_own(key, scale, dataset):
    table, size = TABLES[key], {"smoke": 256, "small": 1024, "paper": 16384}[scale]
    with session():
        found = {name: training(table, name, scale, dataset) for name in table.rows if name.endswith(f"_{size}")}
    assert len({request.key for request in found.values()}) == len(found) == 7
    for name, request in found.items():
        assert request["model"]["codebook_size"] == size
        assert request["train"]["schedule"] == ("constant" if (scale, dataset) == ("paper", "coco") else "onecycle")
        kind = request["dataset"].get("data", "images")
        assert kind in kinds(leaf("model", name.rpartition("_")[0]).get("data"))


def test_the_ablations_share_the_trainings_of_table_1():
    with session():
        for scale, size, images, audio in (("smoke", 256, "digits", "tones"), ("small", 1024, "cifar10", "fsdd")):
            one, sound = TABLES["table1_images"], TABLES["table1_audio"]
            vp = training(one, f"vp_vae_{size}", scale, images).key
            fsp = training(one, f"fsp_{size}", scale, images).key
            spoken = training(sound, f"fsp_{size}", scale, audio).key
            three = {row: training(TABLES["table3"], row, scale, images).key for row in TABLES["table3"].rows}
            four = {row: training(TABLES["table4"], row, scale, images).key for row in TABLES["table4"].rows}
            five = {row: training(TABLES["table5"], row, scale, audio).key for row in TABLES["table5"].rows}
            assert (three["full"], four["tanh"], five["tanh"]) == (vp, fsp, spoken)
            assert len({*three.values(), *four.values(), *five.values()}) == 9


def test_out_of_domain_tables_train_nothing():
    with session():
        for kind, row in product(("images", "audio"), ("vp_vae_256", "vq_ema_256")):
            one, two = TABLES[f"table1_{kind}"], TABLES[f"table2_{kind}"]
            for scale in ("smoke", "small"):
                (trained,) = one.stand_ins[scale]
                keys = {training(two, row, scale, two.trained_on(name)).key for name in two.stand_ins[scale]}
                assert keys == {training(one, row, scale, trained).key}


def test_the_cost_of_codes_is_measured_on_the_models_of_the_printed_tables():
    own = {"codes_images": "images", "codes_out_images": "images", "codes_audio": "audio", "codes_out_audio": "audio"}
    assert set(ALL) - set(TABLES) == {*own, "l_norm"}
    for key, kind in own.items():
        table, printed = ALL[key], TABLES[f"table1_{kind}"]
        assert {column.suite for column in table.columns.values()} == {"quantisation"}
        assert not any(claim.asserted for claim in table.claims)
        (measured,), (trained,) = table.stand_ins["small"], printed.stand_ins["small"]
        for row in printed.run_at("small"):
            with session():
                one = training(printed, row, "small", trained)
                assert training(table, row, "small", table.trained_on(measured)).key == one.key


def test_every_column_is_measured_by_the_tokens_suite():
    for table in TABLES.values():
        for name, column in table.columns.items():
            assert (column.suite, column.measurement) == ("tokens", name)
        optional = {name for name, column in table.columns.items() if column.optional}
        assert optional == ({"lpips"} if "psnr" in table.columns else {"pesq", "stoi"})

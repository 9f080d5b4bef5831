"""Zhai et al. 2026: every printed number stands in the YAML, the claims agree with them, every row can be run."""

from __future__ import annotations

import operator
from itertools import product

import pytest

from vaebench import requests
from vaebench.choices import choices
from vaebench.compose import compose, session
from vaebench.config import kinds_of_model
from vaebench.papers.tables import Claim, Table, load

METHODS = ("vq_vae", "simvq", "tokenbridge", "fsq", "fsp", "vp_vae")
SIZES = (256, 1024, 4096, 16384)
IMAGES = ("cvu", "lpips", "psnr", "ssim_valid")
AUDIO = ("cvu", "pesq", "stoi")

# Tables 1 and 2 as printed: method and K; CVU, LPIPS, PSNR, SSIM of images | CVU, PESQ, STOI of audio; "-": failed.
TABLE_1 = """
vq_vae_256        0.3679  0.2053  23.1662 0.6704  | -      -      -
simvq_256         0.9429  0.1846  23.5356 0.6918  | 0.0040 1.2524 0.4112
tokenbridge_256   0.9888  0.6075  11.5386 0.2026  | 0.9888 1.1802 0.2881
fsq_256           0.8607  0.2101  22.9390 0.6689  | 0.0960 1.2763 0.7973
fsp_256           0.8852  0.1884  23.8131 0.6940  | 0.1372 2.2653 0.9083
vp_vae_256        0.7970  0.1929  23.4973 0.6881  | 0.1352 2.2718 0.9100
vq_vae_1024       0.3557  0.1821  23.727  0.6946  | 0.0010 1.4005 0.3628
simvq_1024        0.8919  0.1662  24.0102 0.7176  | 0.0010 1.3213 0.4025
tokenbridge_1024  0.9887  0.6078  11.5145 0.1984  | 0.9888 1.1801 0.3124
fsq_1024          0.8059  0.1839  23.6006 0.6955  | 0.0513 2.1738 0.9001
fsp_1024          0.8515  0.1722  24.1910 0.7177  | 0.0810 2.4458 0.9191
vp_vae_1024       0.8102  0.1717  23.8878 0.7182  | 0.0687 2.3826 0.9160
vq_vae_4096       0.2401  0.1693  24.1303 0.7245  | -      -      -
simvq_4096        0.8604  0.1497  24.8338 0.7455  | 0.0002 1.2519 0.3972
tokenbridge_4096  0.9887  0.6086  11.5931 0.2011  | 0.9887 1.2249 0.3160
fsq_4096          0.7967  0.1647  24.4481 0.7273  | 0.0294 2.3821 0.9182
fsp_4096          0.8227  0.1521  24.7291 0.7441  | 0.0368 2.4712 0.9273
vp_vae_4096       0.8180  0.1587  24.6702 0.7488  | 0.0564 2.4499 0.9259
vq_vae_16384      0.2826  0.1489  24.5994 0.7555  | -      -      -
simvq_16384       0.8276  0.1387  25.2429 0.7605  | 0.0001 1.2477 0.4436
tokenbridge_16384 0.9887  0.6143  11.4920 0.1963  | 0.9887 1.2328 0.3008
fsq_16384         0.7921  0.1552  24.5842 0.7354  | 0.0149 2.4356 0.9225
fsp_16384         0.7115  0.1464  25.1676 0.7577  | 0.0205 2.5699 0.9324
vp_vae_16384      0.7957  0.1434  25.2032 0.7623  | 0.0455 2.5758 0.9339
"""
TABLE_2 = """
vq_vae_256        0.3617  0.2121  23.5942 0.6704  | -      -      -
simvq_256         0.9363  0.1927  23.6599 0.6827  | 0.0041 1.2103 0.3781
tokenbridge_256   0.9887  0.6079  11.6525 0.2024  | 0.9887 1.0967 0.2688
fsq_256           0.8574  0.2182  23.4555 0.6645  | 0.1690 1.2064 0.7630
fsp_256           0.8819  0.1989  23.7919 0.6736  | 0.2860 1.8148 0.8537
vp_vae_256        0.7859  0.1989  23.8329 0.6759  | 0.2055 1.8510 0.8617
vq_vae_1024       0.3604  0.1911  23.8520 0.6851  | 0.0010 1.2103 0.3371
simvq_1024        0.8736  0.1719  24.3343 0.7070  | 0.0010 1.1568 0.3627
tokenbridge_1024  0.9887  0.6108  11.4561 0.1985  | 0.9887 1.1059 0.2856
fsq_1024          0.8000  0.1931  24.0973 0.6878  | 0.1012 1.7776 0.8498
fsp_1024          0.8466  0.1795  24.2681 0.7115  | 0.1776 1.9549 0.8676
vp_vae_1024       0.7912  0.1790  24.4100 0.7115  | 0.1441 1.9697 0.8701
vq_vae_4096       0.2371  0.1770  24.3765 0.7113  | -      -      -
simvq_4096        0.8504  0.1578  24.8154 0.7339  | 0.0002 1.1440 0.3713
tokenbridge_4096  0.9887  0.6071  11.5554 0.1920  | 0.9888 1.1017 0.2787
fsq_4096          0.7759  0.1749  24.4162 0.7065  | 0.0670 1.9712 0.8707
fsp_4096          0.8074  0.1598  24.9106 0.7323  | 0.0936 2.0564 0.8840
vp_vae_4096       0.8004  0.1653  24.9336 0.7400  | 0.1151 2.0841 0.8907
vq_vae_16384      0.2621  0.1592  24.8349 0.7359  | -      -      -
simvq_16384       0.8164  0.1458  25.3304 0.7496  | 0.0001 1.1807 0.4002
tokenbridge_16384 0.9888  0.6166  11.4447 0.1969  | 0.9887 1.1202 0.2722
fsq_16384         0.7756  0.1627  24.8198 0.7237  | 0.0499 1.9566 0.8721
fsp_16384         0.6887  0.1534  25.3974 0.7466  | 0.0541 2.1380 0.8906
vp_vae_16384      0.7718  0.1481  25.4315 0.7535  | 0.1218 2.1803 0.9003
"""
# Table 3, 4: CVU, LPIPS, PSNR, SSIM. Table 5: CVU, PESQ, STOI.
TABLE_3 = """
full             0.8102 0.1717 23.8878 0.7182
no_norm          0.8052 0.1850 24.0219 0.7167
no_metropolis    0.7467 0.1756 23.8053 0.7138
"""
TABLE_4 = """
tanh             0.8515 0.1722 24.1910 0.7177
normal           0.8663 0.1689 24.2945 0.7254
laplace          0.8390 0.1685 24.2433 0.7263
"""
TABLE_5 = """
tanh             0.0810 2.4458 0.9191
normal           0.0654 2.3772 0.9154
laplace          0.0751 2.3760 0.9198
"""

# Claims that the paper's own numbers contradict: it asserts none of them.
CONTRADICTED = {
    ("table1_images", "watch6-tie-256"),
    ("table1_images", "watch6-tie-1024"),
    ("table1_images", "gate5-16384"),
    ("table1_audio", "gate9-cvu-fsp-256"),
    ("table1_audio", "gate9-cvu-fsp-1024"),
    ("table1_audio", "watch9b-pesq-vp-1024"),
    ("table1_audio", "watch9b-stoi-vp-1024"),
    ("table1_audio", "watch9b-pesq-vp-4096"),
    ("table1_audio", "watch9b-stoi-vp-4096"),
    ("table2_images", "watch6-tie-256"),
    ("table2_images", "gate5-16384"),
    ("table2_audio", "gate9-cvu-fsp-256"),
    ("table2_audio", "gate9-cvu-fsp-1024"),
}

Numbers = dict[tuple[str, str], float | None]


def read(text: str, columns: tuple[str, ...], part: int = 0) -> Numbers:
    found: Numbers = {}
    for line in text.strip().splitlines():
        row, numbers = line.split(None, 1)
        cells = numbers.split("|")[part].split()
        found |= {
            (row, column): None if cell == "-" else float(cell) for column, cell in zip(columns, cells, strict=True)
        }
    return found


PRINTED = {
    "table1_images": read(TABLE_1, IMAGES),
    "table1_audio": read(TABLE_1, AUDIO, 1),
    "table2_images": read(TABLE_2, IMAGES),
    "table2_audio": read(TABLE_2, AUDIO, 1),
    "table3": read(TABLE_3, IMAGES),
    "table4": read(TABLE_4, IMAGES),
    "table5": read(TABLE_5, AUDIO),
}
ALL = load("vpvae").tables
TABLES = {key: table for key, table in ALL.items() if table.reported}  # those the paper prints


def test_every_printed_number_is_there_and_no_other():
    assert list(TABLES) == list(PRINTED)
    assert sum(map(len, PRINTED.values())) == 369
    for key, printed in PRINTED.items():
        table = TABLES[key]
        reported = {(row, name): value for row, cells in table.reported.items() for name, value in cells.items()}
        assert reported == {cell: value for cell, value in printed.items() if value is not None}, key
        failed = {(name, column) for name, row in table.rows.items() for column in row.failed}
        assert failed == {cell for cell, value in printed.items() if value is None}, key


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
        against = [claim for claim in table.claims if claim.id.startswith("against")]
        assert all(agrees(claim, PRINTED[key]) and not claim.asserted for claim in against)


def test_the_gates_are_all_there():
    for key, size in product(("table1_images", "table2_images"), (256, 1024)):
        ids = {claim.id for claim in TABLES[key].claims}
        wanted = ("gate1-vp", "gate1-fsp", "gate2", "gate3-vp", "gate3-fsp", "gate5", "watch6", "watch8-cvu", "watch12")
        assert ids >= {f"{name}-{size}" for name in wanted} | {"gate4-psnr", "gate4-vp", "gate4-vq"}
    for key, size in product(("table1_audio", "table2_audio"), (256, 1024)):
        ids = {claim.id for claim in TABLES[key].claims}
        wanted = (
            "gate1-vp",
            "gate1-fsp",
            "gate9-fsq",
            "gate9-fsp",
            "gate9-vp",
            "gate9-cvu-fsq",
            "watch9b-lsd-vp",
            "watch10",
        )
        assert ids >= {f"{name}-{size}" for name in wanted}
    for table in TABLES.values():
        for claim in table.claims:
            kind = claim.id.partition("-")[0]
            if kind.startswith(("gate", "watch")):
                word = "gate" if kind.startswith("gate") else "watch"
                assert claim.text.startswith(f"{word} {kind.removeprefix(word)}: "), claim.id


def test_only_what_is_cheap_enough_is_run_at_each_scale():
    for key in ("table1_images", "table1_audio", "table2_images", "table2_audio"):
        rows = TABLES[key].rows
        assert list(rows) == [f"{method}_{size}" for method in ("vq_vae", "vq_ema", *METHODS[1:]) for size in SIZES]
        for name, row in rows.items():
            size = int(name.rpartition("_")[2])
            lloyd = ("model.codebook_algorithm=lloyd",) if name.startswith("vp_vae") and size > 1024 else ()
            assert row.overrides == (f"model.codebook_size={size}", *lloyd)
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
    extra = () if dataset == table.trained_on(table.dataset) else entry.on_stand_in
    options = [f"experiment={entry.experiment}", f"dataset={dataset}", f"scale={scale}"]
    return requests.checked(compose("train", [*options, *table.overrides[scale], *entry.overrides, *extra]))[-1]


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
        assert kind in kinds_of_model(name.rpartition("_")[0])


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

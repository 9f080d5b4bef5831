"""Pictures of autoencoders under a diffusion model: from generated cells and arrays of the paper's own tables."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from seen import Stored, cell_line, check_picture
from vaebench import report
from vaebench.papers.cells import POOLED, Cells, cells_path, digest
from vaebench.papers.tables import load
from vaebench.report import pictures
from vaebench.report.pictures import drawing
from vaebench.report.summary import sections

LEVELS = ("0", "0.01", "0.05", "0.1", "0.2", "0.3", "0.5", "1")
WANTED = {
    "generation": {"numbers", "samples"},
    "generation_faces": {"numbers", "samples"},
    "reconstruction": {"numbers", "reconstructions"},
    "ablation": {"numbers", "samples", "reconstructions"},
    "smoothness": {"smoothness", "at_noise", "hidden", "channels"},
    "compression": {"groups", "scatter"},
    "gfid_steps": {"steps"},
    "efficiency": {"numbers"},
}
IMAGES = ("samples", "reconstructions", "at_noise", "hidden", "channels")
SETS = {"generation_faces": "mnist", "efficiency": "imagenet"}


def number(row: int, measurement: str, seed: int) -> float:
    """Rows and seeds differ a little; noise makes things worse."""
    name, _, level = measurement.partition("@")
    noise = float(level) if level.replace(".", "").isdigit() else 0.0
    base = {"fid": 20.0, "rfid": 8.0 + 30 * noise, "psnr": 25.0 - 8 * noise, "silhouette": 0.1}.get(name, 0.5)
    return base + 0.3 * row + 0.05 * seed


def run_of(table: str, row: str, seed: int) -> tuple[str, str]:
    run = digest({"table": table, "row": row, "seed": seed})
    return run, digest({"run": run})


def measured(table: str, seeds: int = 3) -> list[dict]:
    found, lines = load("ldmae").tables[table], []
    design = table == "efficiency"
    for r, (name, row) in enumerate(found.rows.items()):
        for c, column in found.columns.items():
            if column.optional or (row.columns and c not in row.columns):
                continue
            for seed in (POOLED,) if design else range(seeds):
                run, evaluation = run_of(table, name, seed)
                protocol = {"features": "cifar10_resnet"} if column.protocol.get("features") else {"split": "test"}
                value = found.reported.get(name, {}).get(c, 0.01) if design else number(r, column.measurement, seed)
                facts = {"seed": seed, "value": value, "dataset": SETS.get(table, "cifar10"), "eval": evaluation}
                facts |= {"low": value, "high": value, "run": ""} if design else {"run": run, "stand_in": 1}
                lines.append(cell_line("ldmae", table, name, c, protocol=protocol, **facts))
    return lines


def arrays(row: str, seed: int) -> dict[str, np.ndarray]:
    """All that any of the suites stores."""
    rng = np.random.default_rng(len(row) + seed)
    images = rng.integers(0, 256, (10, 8, 8, 3)).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    found = {"inputs": images, "reconstructions": images // 2, "samples": images.repeat(4, 0)}
    found |= {"epsilons": np.array([float(level) for level in LEVELS])}
    found |= {f"at_{float(level):g}": images // (1 + n) for n, level in enumerate(LEVELS)}
    found |= {"latents": rng.integers(0, 256, (10, 4, 4, 16)).astype(np.uint8)}
    found |= {"points": rng.normal(size=(200, 2)).astype(np.float32), "labels": rng.integers(0, 10, 200)}
    masked = {"pretrained": images // 3, "vmae": images}.get(row)  # after a tuning nothing is hidden
    return found | ({} if masked is None else {"masked": masked, "completed": images})


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("latent_store")
    for table in WANTED:
        for row in load("ldmae").tables[table].rows:
            run, evaluation = run_of(table, row, 0)
            folder = root / run / "evals" / evaluation
            folder.mkdir(parents=True)
            np.savez_compressed(folder / "arrays.npz", **arrays(row, 0))
    return root


@pytest.fixture(scope="module")
def written(store, tmp_path_factory) -> Path:
    results = tmp_path_factory.mktemp("latent_results")
    lines = [line for table in WANTED for line in measured(table)]
    Cells.read(Path("nowhere")).merged(lines).write(cells_path(results, "ldmae"))
    report.write("ldmae", results, store)
    report.write_index(results)
    return results


@cache
def section(table: str):
    cells = Cells.read(Path("nowhere")).merged(measured(table))
    return next(found for found in sections(load("ldmae"), cells) if (found.key, found.scale) == (table, "small"))


def drawn(results: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (results / "ldmae").iterdir() if path.suffix in (".png", ".svg")}


def test_every_picture_is_there_small_and_linked(written):
    found = drawn(written)
    names = {f"{k}-{table}-small-{SETS.get(table, 'cifar10')}" for table, kinds in WANTED.items() for k in kinds}
    names = {name.replace("smoothness-smoothness", "smoothness") for name in names}  # kind and table alike
    assert {name.rpartition(".")[0] for name in found} == names
    text = (written / "ldmae" / "table.md").read_text(encoding="utf-8")
    for name in found:
        assert f"]({name})" in text
        assert name.endswith(".png") == name.startswith(IMAGES), "images are pixels, charts are not"
        check_picture(written / "ldmae" / name, 150, 2000, 400_000)


def test_without_the_store_pictures_stay_and_the_same_numbers_give_the_same_bytes(written, store, tmp_path):
    before = drawn(written)
    shutil.copytree(written, tmp_path / "again", ignore=shutil.ignore_patterns("*.png", "*.svg"))
    report.write("ldmae", tmp_path / "again", store)
    assert drawn(tmp_path / "again") == before
    report.write("ldmae", written, tmp_path / "nowhere")
    assert drawn(written) == before


def seen(table: str, kind: str, **stored):
    """What a table's picture of a kind shows; ``stored``: arrays by row."""
    found = section(table)
    for picture, shown in pictures.of(found, Path("nowhere")):
        if picture.kind == kind:
            content = picture.draw(Stored(found, shown.suite, stored))
            if content is not None:
                return content
    return None


def test_panels_over_noise_have_a_line_per_row_and_a_point_per_level():
    content = seen("smoothness", "smoothness")
    assert [panel.title for panel in content.panels] == ["rFID (cifar10_resnet)", "PSNR, dB"]
    rows = load("ldmae").tables["smoothness"].rows
    for panel in content.panels:
        labels = [rows[row].label for row in ("ae", "dae", "vae", "sdvae", "vmae", "pretrained")]
        assert [line.label for line in panel.marks] == labels
        assert all(line.x == [float(level) for level in LEVELS] for line in panel.marks)
        assert list(panel.x.ticks.values()) == list(LEVELS)
    assert [len(axes.containers) for axes in drawing.panels(content).axes] == [6, 6]
    assert not seen("reconstruction", "smoothness")


def test_panels_along_the_training_have_shares_of_its_steps():
    (panel,) = seen("gfid_steps", "steps").panels
    assert panel.title == "gFID (cifar10_resnet)"
    assert {tuple(line.x) for line in panel.marks} == {(0.25, 0.5, 0.75, 1.0)}
    assert not seen("generation", "steps")


def test_images_stand_in_lines_by_noise():
    content = seen("smoothness", "at_noise", ae=arrays("a", 0), vmae=arrays("b", 1))
    assert content.per_line == 1 + len(LEVELS)
    assert content.lines["AE"].shape == (2 * content.per_line, 32, 32, 3)
    assert np.array_equal(content.lines["AE"][0], arrays("a", 0)["inputs"][0])
    assert np.array_equal(content.lines["AE"][content.per_line], arrays("a", 0)["inputs"][1])
    assert np.array_equal(content.lines["AE"][content.per_line + 3], arrays("a", 0)["at_0.05"][1])
    hidden = seen("smoothness", "hidden", ae=arrays("a", 0), vmae=arrays("vmae", 0), dae=arrays("pretrained", 0))
    assert list(hidden.lines) == ["DAE: hidden", "DAE: completed"]


def test_channels_are_enlarged_maps_of_two_images():
    latents = np.arange(10 * 4 * 4 * 3, dtype=np.uint8).reshape(10, 4, 4, 3)
    content = seen("smoothness", "channels", ae={"latents": latents})
    assert content.per_line == 3
    assert content.lines["AE"].shape == (6, 28, 28, 1)
    assert np.array_equal(content.lines["AE"][4, ::7, ::7, 0], latents[1, :, :, 1])


def test_groups_are_shown_by_the_silhouette_where_there_is_one():
    panels = seen("compression", "groups").panels
    assert [(panel.title, panel.y.label) for panel in panels] == [
        ("groups: class", "silhouette"),
        ("groups: pattern", "separability"),
    ]
    upright, sideways = panels[0].marks[:2]  # of one row, whose intervals are a cross
    assert (upright.x, upright.y, upright.sideways) == (sideways.x, sideways.y, False)
    assert sideways.sideways
    assert not seen("generation", "groups")


def test_exact_numbers_are_judged_without_seeds(written):
    content = json.loads((written / "ldmae" / "table.json").read_text(encoding="utf-8"))
    found = next(each for each in content["sections"] if each["table"] == "efficiency" and each["scale"])
    cells = {(cell["row"], cell["column"]): cell for cell in found["cells"]}
    assert cells["conv", "size_mib"]["verdict"] == "reproduced"
    assert cells["conv", "hours"]["verdict"] == "not run"
    assert {claim["id"]: claim["verdict"] for claim in found["claims"]} == {
        "vmae-size_mib-within-conv": "holds",
        "vmae-encoder_gmacs-within-conv": "holds",
        "vmae-hours-within-conv": "not run",
        "vmae-encoder_gmacs_full-lower-conv": "reversed",  # the same made-up number for both
        "vmae_128-step_seconds-lower-conv": "not run",
        "vmae-step_gflops-lower-conv": "reversed",
    }
    text = (written / "ldmae" / "table.md").read_text(encoding="utf-8")
    assert "seeds=0" not in text

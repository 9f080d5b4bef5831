"""The pictures of who picks which answer: from generated cells and arrays, with every selector of the table."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from seen import Stored, cell_line, check_picture, shown_in
from vaebench import report
from vaebench.config.request import Request
from vaebench.contracts import AnswerInputs
from vaebench.contracts.pictures import Panel, Panels, intervals
from vaebench.data.answers import Grades, answers
from vaebench.data.problems import Problems
from vaebench.papers.cells import Cells, cells_path, digest
from vaebench.papers.tables import Row, load
from vaebench.papers.verdicts import Interval
from vaebench.report import pictures
from vaebench.report.pictures import drawing
from vaebench.report.summary import Section, sections
from vaebench.suites.pictures.selection import PICTURES
from vaebench.suites.selection import Selection

SELECTION = ("numbers", "accuracy_at_k", "entropy", "z", "picks")
SOURCES = ("gemma-2-2b-it", "Meta-Llama-3.1-70B-Instruct", "Mixtral-8x7B-Instruct-v0.1", "reka-flash-20240226")


def request(table: str, row: str, dataset: str) -> Request:
    """An evaluation of two trainings."""
    suite = {"_target_": "vaebench.suites.selection.Selection", "table": table, "row": row, "dataset": dataset}
    parents = {"answers": "a" * 12, "seed10": trained(row, 10), "seed0": trained(row, 0)}
    return Request({"verb": "eval", "suite": suite, "parents": parents})


def evaluation(table: str, row: str, dataset: str) -> str:
    return request(table, row, dataset).key


def trained(row: str, seed: int) -> str:
    return digest({"row": row, "seed": seed})


def accuracies(table: str) -> dict[str, float]:
    """By row, a made-up accuracy in percent; the references stand where they belong."""
    rng = np.random.default_rng(3)
    own = {"random": 38.0, "single": 38.0, "majority": 48.2, "oracle": 67.3, "min_entropy": 37.4, "first": 21.7}
    return {name: own.get(row.measures, rng.uniform(34, 41)) for name, row in load("rcvae").tables[table].rows.items()}


def measured(table: str, dataset: str, scale: str = "small") -> list[dict]:
    """One pooled line per cell."""
    found, lines = load("rcvae").tables[table], []
    for r, row in found.rows.items():
        for c, column in found.columns.items():
            if row.columns and c not in row.columns:
                continue
            value = accuracies(table)[r] if column.unit == "%" else 0.5
            facts = {"seed": -1, "value": value, "low": value - 2.1, "high": value + 2.3, "count": 1319, "run": ""}
            facts |= {"by_seed": json.dumps([value - 0.2, value + 0.2]), "eval": evaluation(table, r, dataset)}
            facts |= {"scale": scale, "dataset": dataset}
            lines.append(cell_line("rcvae", table, r, c, protocol={"k": 4}, **facts))
    return lines


def arrays(row: Row, accuracy: float, k: int = 4, sources: tuple[str, ...] = SOURCES) -> dict[str, np.ndarray]:
    """What the suite stores for a row: the curve of its selector and, if a model was needed, how it picks."""
    rng = np.random.default_rng(len(row.label))
    ks = np.array([n for n in (1, 2, 4, 8, 16, 32) if n < k] + [k])
    curve = 38 + (accuracy - 38) * np.log(ks) / np.log(max(2, k))
    stored = {"k_values": ks, f"accuracy_at_k.{row.measures}": curve.astype(np.float32)}
    if row.options.get("needs_model") is False:
        return stored
    entropy, right = rng.normal(120, 14, 4000), rng.random(4000) < 0.38
    edges = np.histogram_bin_edges(entropy, 40)
    return stored | {
        f"accuracy_at_k.{row.measures}.low": (curve - 2).astype(np.float32),
        f"accuracy_at_k.{row.measures}.high": (curve + 2).astype(np.float32),
        "entropy_edges": edges.astype(np.float32),
        "entropy_right": np.histogram(entropy[right] - 3, edges)[0].astype(np.float32),
        "entropy_wrong": np.histogram(entropy[~right], edges)[0].astype(np.float32),
        "z": rng.normal(size=(2000, 2)).astype(np.float32) * [3, 1],
        "z_right": right[:2000],
        "picks_position": rng.dirichlet(np.full(k, 40)).astype(np.float32),
        "picks_source": rng.dirichlet(np.full(len(sources), 5)).astype(np.float32),
        "sources": np.array(sources),
    }


def fill(store: Path, table: str, dataset: str, **options) -> None:
    """Put the arrays of a table's evaluations, and the logs of the two trainings behind each, into a store."""
    for name, row in load("rcvae").tables[table].rows.items():
        folder = store / evaluation(table, name, dataset)
        folder.mkdir(parents=True)
        if row.measures:
            np.savez_compressed(folder / "arrays.npz", **arrays(row, accuracies(table)[name], **options))
        (folder / "request.yaml").write_text(yaml.safe_dump(request(table, name, dataset).data))
        for seed in (0, 10):
            log = [{"step": n, "epoch": n / 10, "rcvae/recon": 900.0 / n + seed, "rcvae/kl": 9.0} for n in range(1, 99)]
            log.append({"step": 99, "epoch": 9.9, "validation/loss": 95.0})
            (store / trained(name, seed)).mkdir(exist_ok=True)
            text = "".join(json.dumps(line) + "\n" for line in log)
            (store / trained(name, seed) / "metrics.jsonl").write_text(text)


def section(table: str, dataset: str = "openai_gsm8k", scale: str = "small", lines: list[dict] | None = None):
    """The summary of a table's generated cells."""
    cells = Cells.read(Path("nowhere")).merged(measured(table, dataset, scale) if lines is None else lines)
    return next(s for s in sections(load("rcvae"), cells) if (s.key, s.scale) == (table, scale))


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("selection_store")
    fill(root, "selectors", "openai_gsm8k")
    fill(root, "tiny", "tiny", k=8, sources=("tiny_lm",))
    fill(root, "health", "openai_gsm8k")
    return root


@pytest.fixture(scope="module")
def written(store, tmp_path_factory) -> Path:
    """The whole report, once."""
    results = tmp_path_factory.mktemp("selection_results")
    lines = [*measured("selectors", "openai_gsm8k"), *measured("tiny", "tiny"), *measured("health", "openai_gsm8k")]
    Cells.read(Path("nowhere")).merged(lines).write(cells_path(results, "rcvae"))
    report.write("rcvae", results, store)
    return results


def drawn(results: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (results / "rcvae").glob("*.svg")}


def test_every_picture_is_there_small_and_linked(written):
    found = drawn(written)
    wanted = {f"{kind}-selectors-small-openai_gsm8k.svg" for kind in SELECTION}
    wanted |= {f"{kind}-tiny-small-tiny.svg" for kind in SELECTION}
    assert set(found) == wanted | {"curves-health-small-openai_gsm8k.svg"}
    text = (written / "rcvae" / "table.md").read_text(encoding="utf-8")
    for name in found:
        check_picture(written / "rcvae" / name, 250, 2000, 250_000)
        assert f"]({name})" in text


def test_the_same_numbers_give_the_same_bytes(written, store, tmp_path):
    shutil.copytree(written, tmp_path / "again", ignore=shutil.ignore_patterns("*.svg"))
    report.write("rcvae", tmp_path / "again", store)
    assert drawn(tmp_path / "again") == drawn(written)


def test_without_the_store_the_pictures_stay(written, tmp_path):
    before = drawn(written)
    again = {path.name for path in report.write("rcvae", written, tmp_path / "nowhere")}
    assert drawn(written) == before
    assert {name for name in again if name.endswith(".svg")} == {name for name in before if name.startswith("numbers-")}


def test_without_arrays_there_are_only_the_bars(tmp_path):
    names = [path.name for path in pictures.write(section("selectors"), tmp_path / "store", tmp_path)]
    assert names == ["numbers-selectors-small-openai_gsm8k.svg"]


class Fake(nn.Module):
    """Scores two-dimensional embeddings; ``spread`` is how far the entropies lie apart."""

    def __init__(self, spread: float) -> None:
        super().__init__()
        self.spread = spread

    def posterior(self, solution: torch.Tensor, question: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return solution * self.spread, torch.zeros_like(solution)

    def scores(self, solution: torch.Tensor, question: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"entropy": 363.0 + self.spread * solution.sum(1), "kl": question.sum(1)}


@pytest.mark.parametrize("spread", [1.0, 1e-5, 0.0])
@pytest.mark.parametrize("sources", [("a", "b", "c", "d"), ("a",)])
def test_what_the_suite_stores_is_drawn(spread, sources, tmp_path):
    """Also of a collapsed posterior, whose entropies differ by rounding or not at all."""
    rng = np.random.default_rng(0)
    texts = [(q, c, sources[c % len(sources)], "x" * (1 + c), -1.0, 3, 1) for q in range(30) for c in range(4)]
    right = {"main": rng.random(120) < 0.4}
    grades = Grades(("main",), (1,), {"main": tuple(map(str, rng.integers(0, 9, 120)))}, right, {"main": 0})
    inputs = AnswerInputs(
        problems=Problems("fake", (), (), source="embedded", digest="0" * 16),
        answers=answers(texts),
        grades=grades,
        models=[Fake(spread), Fake(spread)],
        questions=torch.ones(30, 2),
        solutions=torch.from_numpy(rng.normal(size=(120, 2)).astype(np.float32)),
        device=torch.device("cpu"),
    )
    suite = Selection(
        k=None,
        shuffle=True,
        order_seed=0,
        tie=1e-3,
        bootstrap=100,
        bootstrap_seed=0,
        permutations=3,
        needs_model=True,
    )
    folder = tmp_path / "store" / evaluation("tiny", "rcvae", "tiny")
    folder.mkdir(parents=True)
    np.savez_compressed(folder / "arrays.npz", **suite.run(inputs).arrays)
    names = {path.name for path in pictures.write(section("tiny", "tiny"), tmp_path / "store", tmp_path)}
    assert names == {f"{kind}-tiny-small-tiny.svg" for kind in SELECTION}


@pytest.mark.parametrize("gone", ["entropy_edges", "z", "picks_position"])
def test_a_missing_array_takes_its_picture_only(gone, tmp_path):
    table = load("rcvae").tables["tiny"]
    for name, row in table.rows.items():
        folder = tmp_path / "store" / evaluation("tiny", name, "tiny")
        folder.mkdir(parents=True)
        kept = {key: value for key, value in arrays(row, 40.0).items() if key != gone}
        np.savez_compressed(folder / "arrays.npz", **kept)
    names = {path.name for path in pictures.write(section("tiny", "tiny"), tmp_path / "store", tmp_path)}
    lost = {"entropy_edges": "entropy", "z": "z", "picks_position": "picks"}[gone]
    assert names == {f"{kind}-tiny-small-tiny.svg" for kind in SELECTION if kind != lost}


def test_objects_in_an_array_file_are_named_and_left_out(tmp_path, capsys):
    folder = tmp_path / "store" / evaluation("tiny", "rcvae", "tiny")
    folder.mkdir(parents=True)
    np.savez_compressed(folder / "arrays.npz", sources=np.array([{"a": 1}], dtype=object))
    names = {path.name for path in pictures.write(section("tiny", "tiny"), tmp_path / "store", tmp_path)}
    assert names == {"numbers-tiny-small-tiny.svg"}
    error = capsys.readouterr().err
    assert error.startswith(f"left out: {folder / 'arrays.npz'}: holds no arrays (ValueError); remove ")
    assert error.count("\n") == 1


def seen(found: Section, kind: str, stored: dict[str, Any] | None = None) -> Any:
    """What a section's picture of a kind shows of arrays by row."""
    draw = next(picture.draw for picture in PICTURES if picture.kind == kind)
    return draw(Stored(found, "selection", stored))


def unwrapped(marks: Sequence[Any]) -> list[str]:
    return [" ".join(mark.label.split()) for mark in marks]


def test_panels_hold_their_rows_and_the_references():
    found = section("selectors")
    rows = found.table.rows
    shown = seen(found, "accuracy_at_k", {name: arrays(row, 40.0) for name, row in rows.items()})
    assert [panel.title for panel in shown.panels] == ["embedder minilm", "embedder lsa", "no embedding"]
    own = [row.label for row in rows.values() if row.set.get("embedder") == "lsa"]
    shared = [rows[name].label for name in ("random", "majority", "oracle")]
    assert unwrapped(shown.panels[1].marks) == [*own, *shared]
    assert {label for panel in shown.panels for label in unwrapped(panel.marks)} == {row.label for row in rows.values()}
    lines = {" ".join(line.label.split()): line for line in shown.panels[0].marks}
    method = next(line for label, line in lines.items() if label.startswith("R-CVAE"))
    assert (method.width, method.band) == (max(line.width for line in lines.values()), True)
    np.testing.assert_allclose(method.above, 2.0, rtol=1e-5)
    np.testing.assert_array_equal(method.x, [1, 2, 4])
    assert next(line for label, line in lines.items() if label.startswith("highest entropy")).dash == "--"
    assert {lines[label].colour for label in shared} == {"#888888", "#000000"}


def test_a_panel_per_language_model_and_one_for_references_alone():
    found = section("gsm8k", "gsm8k", "paper")
    shown = seen(found, "accuracy_at_k", {name: arrays(row, 40.0, k=8) for name, row in found.table.rows.items()})
    assert [panel.title for panel in shown.panels] == ["embedder jina", "embedder jina, answers llama"]
    assert all("Llama" in label for label in unwrapped(shown.panels[1].marks))
    tiny = section("tiny", "tiny")
    shown = seen(tiny, "accuracy_at_k", {"topp": arrays(tiny.table.rows["topp"], 38.0)})
    assert [panel.title for panel in shown.panels] == ["no embedding"]
    assert not seen(tiny, "accuracy_at_k", {})


def test_bars_are_sorted_and_show_the_whole_interval():
    found = section("selectors")
    (panel,) = seen(found, "numbers").panels
    labels = [" ".join(label.split()) for label in panel.y.ticks.values()]
    means = {
        found.table.rows[row].label: cell.ours.mean for (row, name), cell in found.cells.items() if name == "accuracy"
    }
    assert [means[label] for label in labels] == sorted(means.values(), reverse=True)
    assert labels[0] == found.table.rows["oracle"].label
    assert {labels[int(place)].partition(":")[0] for place in panel.y.bold} == {"R-CVAE"}
    for interval, ends in (
        (Interval(40.0, 39.0, 43.0, 3), [39.0, 43.0]),
        (Interval(40.0, None, None, 1), [40.0, 40.0]),
    ):
        figure = drawing.panels(Panels(panels=[Panel(marks=[intervals({0: interval}, sideways=True)])]))
        (bar,) = figure.axes[0].containers
        np.testing.assert_allclose(bar.lines[2][0].get_segments()[0][:, 0], ends)


@pytest.mark.parametrize(("value", "unit"), [(0.0, "%"), (100.0, "%"), (0.0, "points")])
def test_where_all_questions_are_alike_the_interval_is_the_binomial_one(value, unit):
    from scipy.stats import binomtest

    column = next(name for name, one in load("rcvae").tables["selectors"].columns.items() if one.unit == unit)
    facts = {"seed": -1, "value": value, "low": value, "high": value, "count": 500, "unit": unit}
    facts |= {"dataset": "openai_gsm8k"}
    line = cell_line("rcvae", "selectors", "entropy_lsa", column, protocol={"k": 4}, by_seed="[0, 0]", **facts)
    ours = section("selectors", lines=[line]).cells["entropy_lsa", column].ours
    reach = 100 * binomtest(0, 500).proportion_ci().high
    assert (ours.low, ours.high) == pytest.approx((value - reach, value + reach))


def test_printed_rows_keep_their_order_beside_the_papers_numbers():
    lines = [line for line in measured("gsm8k", "gsm8k", "paper") if not line["row"].startswith("llama")]
    found = section("gsm8k", "gsm8k", "paper", lines)
    (panel,) = seen(found, "numbers").panels
    labels = [" ".join(label.split()) for label in panel.y.ticks.values()][:8]
    assert labels == [found.table.rows[name].label for name in list(found.table.rows)[:8]]
    (diamonds,) = (mark for mark in panel.marks if mark.label == "the paper's number")
    assert (list(diamonds.y)[:8], diamonds.hollow) == (list(range(8)), True)
    assert list(diamonds.x)[:8] == [23.4, 37.2, 40.7, 43.2, 23.4, 37.2, 39.0, 41.9]


def test_nothing_is_drawn_of_a_table_that_has_not_been_run(tmp_path):
    for found in sections(load("rcvae"), Cells.read(Path("nowhere"))):
        assert pictures.write(found, tmp_path / "store", tmp_path) == []


def of_one(kind: str, stored: dict[str, np.ndarray]) -> list[Any]:
    """The panels of a kind with the arrays of one row."""
    return list(seen(section("tiny", "tiny"), kind, {"rcvae": stored}).panels)


def test_densities_have_the_area_one():
    stored = arrays(load("rcvae").tables["tiny"].rows["rcvae"], 40.0)
    (panel,) = of_one("entropy", stored)
    for found in panel.marks:
        assert float(np.sum(found.densities * np.diff(found.edges))) == pytest.approx(1.0)
    assert of_one("entropy", {**stored, "entropy_right": np.zeros_like(stored["entropy_right"])})
    edges = np.array([1, 1, 2, 4, 4, 4], dtype=np.float32)
    counts = np.array([1, 2, 3, 2, 2], dtype=np.float32)
    (panel,) = of_one("entropy", {"entropy_edges": edges, "entropy_right": counts, "entropy_wrong": counts})
    np.testing.assert_allclose(panel.marks[0].edges, [1, 2, 4])
    np.testing.assert_allclose(panel.marks[0].densities, [0.3, 0.35])


def test_a_collapsed_posterior_is_a_spike_and_a_spot():
    edges = np.array([362.99998, 363.0, 363.00003], dtype=np.float32)
    stored = {"entropy_edges": edges, "entropy_right": np.array([1, 1]), "entropy_wrong": np.array([2, 1])}
    stored |= {"z": np.full((5, 2), 1e-7, dtype=np.float32), "z_right": np.arange(5) < 2}
    (spike,), (spot,) = (of_one(kind, stored) for kind in ("entropy", "z"))
    for low, high in (spike.x.limits, spot.x.limits, spot.y.limits):
        assert high - low == pytest.approx(0.1)
    assert spike.x.limits[0] < edges[0] < edges[-1] < spike.x.limits[1]


def test_picks_are_percent_beside_the_fair_share():
    stored = arrays(load("rcvae").tables["tiny"].rows["rcvae"], 40.0)
    (bars, fair), (lying, across) = (panel.marks for panel in of_one("picks", stored))
    assert sum(bars.lengths) == pytest.approx(100)
    assert sum(lying.lengths) == pytest.approx(100)
    assert fair.at == across.at == 25
    assert (lying.sideways, across.sideways) == (True, True)
    alone = {**stored, "picks_source": np.ones(1), "sources": np.array(["one"])}
    assert len(of_one("picks", alone)) == 1


def test_training_curves_are_those_of_the_evaluations_parents(store, tmp_path):
    found = section("health")
    panels = {panel.title: panel.marks for panel in shown_in(found, store, "curves").panels}
    assert [(line.label, line.y[0]) for line in panels["rcvae/recon"]] == [
        (f"R-CVAE ({embedder})", value) for embedder in ("minilm", "lsa") for value in (900.0, 910.0)
    ]
    names = [path.name for path in pictures.write(found, store, tmp_path)]
    assert names == ["curves-health-small-openai_gsm8k.svg"]
    assert not shown_in(found, tmp_path, "curves")

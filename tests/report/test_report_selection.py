"""The pictures of who picks which answer: from generated cells and arrays, with every selector of the table."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from vaebench import report
from vaebench.config import Request
from vaebench.contracts import AnswerInputs
from vaebench.data.answers import Grades, answers
from vaebench.data.problems import Problems
from vaebench.papers.tables import Row, load
from vaebench.papers.verdicts import Interval
from vaebench.report import figures, selection_plots
from vaebench.report.cells import Cells, cells_path, digest
from vaebench.report.summary import sections
from vaebench.suites.selection import Selection

SELECTION = ("bars", "accuracy_at_k", "entropy", "z", "picks")
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
            protocol = json.dumps({"k": 4})
            lines.append(
                {
                    **{"paper": "rcvae", "table": table, "row": r, "column": c, "seed": -1, "value": value},
                    **{"low": value - 2.1, "high": value + 2.3, "by_seed": json.dumps([value - 0.2, value + 0.2])},
                    **{"count": 1319, "unit": column.unit, "measurement": column.measurement, "protocol": protocol},
                    **{"protocol_digest": "p", "run": "", "eval": evaluation(table, r, dataset), "dataset": dataset},
                    **{"dataset_digest": "d", "stand_in": 0, "scale": scale, "epochs": 0.0, "train_images": 0},
                    **{"commit": "0123abc", "device": "cpu"},
                }
            )
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


def pictures(results: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (results / "rcvae").glob("*.png")}


def test_every_picture_is_there_small_and_linked(written):
    found = pictures(written)
    wanted = {f"{kind}-selectors-small-openai_gsm8k.png" for kind in SELECTION}
    wanted |= {f"{kind}-tiny-small-tiny.png" for kind in SELECTION}
    assert set(found) == wanted | {"curves-health-small-openai_gsm8k.png"}
    text = (written / "rcvae" / "table.md").read_text(encoding="utf-8")
    for name, content in found.items():
        width, height = struct.unpack(">II", content[16:24])
        assert (width, 250 <= height <= 2000) == (1050, True), name
        assert len(content) < 120_000, name
        assert f"]({name})" in text


def test_the_same_numbers_give_the_same_bytes(written, store, tmp_path):
    shutil.copytree(written, tmp_path / "again", ignore=shutil.ignore_patterns("*.png"))
    report.write("rcvae", tmp_path / "again", store)
    assert pictures(tmp_path / "again") == pictures(written)


def test_without_the_store_the_pictures_stay(written, tmp_path):
    before = pictures(written)
    again = {path.name for path in report.write("rcvae", written, tmp_path / "nowhere")}
    assert pictures(written) == before
    assert {name for name in again if name.endswith(".png")} == {name for name in before if name.startswith("bars-")}


def test_without_arrays_there_are_only_the_bars(tmp_path):
    names = [path.name for path in figures.write(section("selectors"), tmp_path / "store", tmp_path)]
    assert names == ["bars-selectors-small-openai_gsm8k.png"]


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
        problems=Problems("fake", (), (), "embedded", "0" * 16),
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
    names = {path.name for path in figures.write(section("tiny", "tiny"), tmp_path / "store", tmp_path)}
    assert names == {f"{kind}-tiny-small-tiny.png" for kind in SELECTION}


@pytest.mark.parametrize("gone", ["entropy_edges", "z", "picks_position"])
def test_a_missing_array_takes_its_picture_only(gone, tmp_path):
    table = load("rcvae").tables["tiny"]
    for name, row in table.rows.items():
        folder = tmp_path / "store" / evaluation("tiny", name, "tiny")
        folder.mkdir(parents=True)
        kept = {key: value for key, value in arrays(row, 40.0).items() if key != gone}
        np.savez_compressed(folder / "arrays.npz", **kept)
    names = {path.name for path in figures.write(section("tiny", "tiny"), tmp_path / "store", tmp_path)}
    lost = {"entropy_edges": "entropy", "z": "z", "picks_position": "picks"}[gone]
    assert names == {f"{kind}-tiny-small-tiny.png" for kind in SELECTION if kind != lost}


def test_objects_in_an_array_file_are_named_and_left_out(tmp_path, capsys):
    folder = tmp_path / "store" / evaluation("tiny", "rcvae", "tiny")
    folder.mkdir(parents=True)
    np.savez_compressed(folder / "arrays.npz", sources=np.array([{"a": 1}], dtype=object))
    names = {path.name for path in figures.write(section("tiny", "tiny"), tmp_path / "store", tmp_path)}
    assert names == {"bars-tiny-small-tiny.png"}
    error = capsys.readouterr().err
    assert error.startswith(f"left out: {folder / 'arrays.npz'}: holds no arrays (ValueError); remove ")
    assert error.count("\n") == 1


def test_panels_hold_their_rows_and_the_references():
    found = section("selectors")
    rows = found.table.rows
    stored = {name: arrays(row, 40.0) for name, row in rows.items()}
    panels = selection_plots.accuracy_lines(found, stored)
    assert list(panels) == ["embedder minilm", "embedder lsa", "no embedding"]
    own = [row.label for row in rows.values() if row.set.get("embedder") == "lsa"]
    shared = [rows[name].label for name in ("random", "majority", "oracle")]
    assert [line.label for line in panels["embedder lsa"]] == [*own, *shared]
    drawn = {line.label for lines in panels.values() for line in lines}
    assert drawn == {row.label for row in rows.values()}
    figure = selection_plots.accuracy_at_k(panels)
    method = next(line for line in figure.axes[0].lines if line.get_label().startswith("R-CVAE"))
    opposite = next(line for line in figure.axes[0].lines if line.get_label().startswith("highest entropy"))
    assert method.get_linewidth() == max(line.get_linewidth() for line in figure.axes[0].lines)
    assert opposite.get_linestyle() == "--"
    np.testing.assert_array_equal(method.get_xdata(), [1, 2, 4])
    greys = {line.get_label(): line.get_color() for line in figure.axes[0].lines if line.get_label() in shared}
    assert set(greys.values()) == {"#888888", "#000000"}


def test_a_panel_per_language_model_and_one_for_references_alone():
    found = section("gsm8k", "gsm8k", "paper")
    stored = {name: arrays(row, 40.0, k=8) for name, row in found.table.rows.items()}
    panels = selection_plots.accuracy_lines(found, stored)
    assert list(panels) == ["embedder jina", "embedder jina, answers llama"]
    assert all("Llama" in line.label for line in panels["embedder jina, answers llama"])
    tiny = section("tiny", "tiny")
    assert list(selection_plots.accuracy_lines(tiny, {"topp": arrays(tiny.table.rows["topp"], 38.0)})) == [
        "no embedding"
    ]
    assert selection_plots.accuracy_lines(tiny, {}) == {}


def test_bars_are_sorted_and_show_the_whole_interval():
    dots = selection_plots.accuracy_dots(section("selectors"))
    means = [dot.ours.mean for dot in dots]
    assert means == sorted(means, reverse=True)
    assert dots[0].measures == "oracle"
    figure = selection_plots.bars([selection_plots.Dot("a", "random", Interval(40.0, 39.0, 43.0, 3), None)])
    (bar,) = figure.axes[0].containers
    np.testing.assert_allclose(bar.lines[2][0].get_segments()[0][:, 0], [39.0, 43.0])
    figure = selection_plots.bars([selection_plots.Dot("a", "single", Interval(40.0, None, None, 1), None)])
    (bar,) = figure.axes[0].containers
    np.testing.assert_allclose(bar.lines[2][0].get_segments()[0][:, 0], [40.0, 40.0])


def test_printed_rows_keep_their_order_beside_the_papers_numbers():
    lines = [line for line in measured("gsm8k", "gsm8k", "paper") if not line["row"].startswith("llama")]
    dots = selection_plots.accuracy_dots(section("gsm8k", "gsm8k", "paper", lines))
    table = load("rcvae").tables["gsm8k"]
    assert [dot.label for dot in dots][:8] == [table.rows[name].label for name in list(table.rows)[:8]]
    assert [dot.paper for dot in dots][:8] == [23.4, 37.2, 40.7, 43.2, 23.4, 37.2, 39.0, 41.9]
    axes = selection_plots.bars(dots).axes[0]
    diamonds = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "d" and len(line.get_xdata())]
    assert diamonds == [23.4, 37.2, 40.7, 43.2, 23.4, 37.2, 39.0, 41.9]


def test_nothing_is_drawn_of_a_table_that_has_not_been_run(tmp_path):
    for found in sections(load("rcvae"), Cells.read(Path("nowhere"))):
        assert figures.write(found, tmp_path / "store", tmp_path) == []


def test_densities_have_the_area_one():
    row = load("rcvae").tables["tiny"].rows["rcvae"]
    stored = arrays(row, 40.0)
    (axes,) = selection_plots.entropies({"a": stored}).axes
    for patch in axes.patches:
        values, edges, _ = patch.get_data()
        assert float(np.sum(values * np.diff(edges))) == pytest.approx(1.0)
    none = {**stored, "entropy_right": np.zeros_like(stored["entropy_right"])}
    assert selection_plots.entropies({"a": none}).axes
    edges = np.array([1, 1, 2, 4, 4, 4], dtype=np.float32)
    counts = np.array([1, 2, 3, 2, 2], dtype=np.float32)
    (axes,) = selection_plots.entropies(
        {"a": {"entropy_edges": edges, "entropy_right": counts, "entropy_wrong": counts}}
    ).axes
    values, merged, _ = axes.patches[0].get_data()
    np.testing.assert_allclose(merged, [1, 2, 4])
    np.testing.assert_allclose(values, [0.3, 0.35])


def test_a_collapsed_posterior_is_a_spike_and_a_spot():
    edges = np.array([362.99998, 363.0, 363.00003], dtype=np.float32)
    stored = {"entropy_edges": edges, "entropy_right": np.array([1, 1]), "entropy_wrong": np.array([2, 1])}
    stored |= {"z": np.full((5, 2), 1e-7, dtype=np.float32), "z_right": np.arange(5) < 2}
    (spike,), (spot,) = (
        draw({"a": stored}).axes for draw in (selection_plots.entropies, selection_plots.posterior_means)
    )
    for low, high in (spike.get_xlim(), spot.get_xlim(), spot.get_ylim()):
        assert high - low == pytest.approx(0.1)
    assert spike.get_xlim()[0] < edges[0] < edges[-1] < spike.get_xlim()[1]


def test_picks_are_percent_beside_the_fair_share():
    row = load("rcvae").tables["tiny"].rows["rcvae"]
    stored = arrays(row, 40.0)
    position, source = selection_plots.picks({"a": stored, "b": stored}).axes[:2]
    assert sum(bar.get_height() for bar in position.patches) == pytest.approx(100)
    assert sum(bar.get_width() for bar in source.patches) == pytest.approx(100)
    assert position.lines[0].get_ydata()[0] == source.lines[0].get_xdata()[0] == 25
    alone = {**stored, "picks_source": np.ones(1), "sources": np.array(["one"])}
    assert len(selection_plots.picks({"a": alone}).axes) == 1


def test_training_curves_are_those_of_the_evaluations_parents(store, tmp_path):
    found = section("health")
    curves = figures._curves(found, store)
    assert {label: [log[0]["rcvae/recon"] for log in logs] for label, logs in curves.items()} == {
        "R-CVAE (minilm)": [900.0, 910.0],
        "R-CVAE (lsa)": [900.0, 910.0],
    }
    names = [path.name for path in figures.write(found, store, tmp_path)]
    assert names == ["curves-health-small-openai_gsm8k.png"]
    assert figures._curves(found, tmp_path) == {}

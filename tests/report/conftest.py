from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seen import cell_line
from vaebench.papers.cells import Cells, cells_path, digest
from vaebench.papers.tables import Column, Row, load
from vaebench.report.summary import Section, sections

Measure = Callable[..., list[dict]]


def protocol(column: Column, features: str) -> dict:
    if column.suite == "generation":
        return {"features": features, "latent": "prior", "reference": "test", "samples": 10000}
    return {"clip": False, "split": "test"} if column.suite == "noise" else {"split": "test"}


def printed(table: str, row: str, column: str) -> float:
    """The paper's own number; 0.5 where it prints none."""
    return load("batchtopk").tables[table].reported.get(row, {}).get(column, 0.5)


@pytest.fixture(scope="session")
def measure() -> Measure:
    """Makes the cells of tables: the paper's own numbers, or ``value``, and ``jitter`` more with every seed."""

    def make(
        *tables: str,
        value: float | None = None,
        jitter: float = 0.0,
        scale: str = "paper",
        dataset: str = "mnist",
        features: str = "inception",
        seeds: int = 3,
        epochs: float = 50.0,
    ) -> list[dict]:
        lines = []
        for key in tables:
            table = load("batchtopk").tables[key]
            pairs = [
                (r, row, c, col)
                for r in table.run_at(scale)
                for row in [table.rows[r]]
                for c, col in table.columns.items()
            ]
            for r, row, c, column in pairs:
                if row.columns and c not in row.columns:
                    continue
                for seed in range(seeds):
                    run, evaluation = keys(row, column, seed)
                    number = (printed(key, r, c) if value is None else value) + jitter * seed
                    facts = {"seed": seed, "value": number, "run": run, "eval": evaluation, "epochs": epochs}
                    facts |= {"scale": scale, "dataset": dataset, "stand_in": int(dataset != "mnist")}
                    facts |= {"count": 10000, "train_images": 60000}
                    lines.append(cell_line("batchtopk", key, r, c, protocol=protocol(column, features), **facts))
        return lines

    return make


def keys(row: Row, column: Column, seed: int) -> tuple[str, str]:
    run = digest({"row": row.experiment, "seed": seed, "reading": dict(row.reading)})
    return run, digest({"run": run, "suite": column.suite, "options": dict(row.options)})


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[dict]], Path]:
    """Writes cells where the report looks for them and returns the results folder."""

    def put(lines: list[dict]) -> Path:
        folder = tmp_path_factory.mktemp("results")
        path = cells_path(folder, "batchtopk")
        Cells.read(path).merged(lines).write(path)
        return folder

    return put


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[dict]], Path]:
    """Writes the arrays and logs that evaluations and trainings leave behind and returns the store."""

    def put(lines: list[dict]) -> Path:
        root = tmp_path_factory.mktemp("store")
        images = np.random.default_rng(0).integers(0, 256, (10, 28, 28, 1), dtype=np.uint8)
        stored = {
            "generation": {"samples": images},
            "reconstruction": {"inputs": images, "reconstructions": images // 2},
            "noise": {name: images for s in ("0.3", "0.5", "0.7") for name in (f"noisy@{s}", f"reconstructions@{s}")},
            "masks": {"importance": np.linspace(1, 2, 64, dtype=np.float32), "mask": np.arange(64) > 55},
        }
        for line in lines:
            suite = load("batchtopk").tables[line["table"]].columns[line["column"]].suite
            folder = root / line["run"] / "evals" / line["eval"]
            folder.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(folder / "arrays.npz", **stored[suite])
            log = [{"step": n, "epoch": n / 10, "vae/loss": 40.0 / n, "vae/kl": 2.0} for n in range(1, 4)]
            (root / line["run"] / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log))
        return root

    return put


@pytest.fixture
def summarised(results: Callable[[list[dict]], Path]) -> Callable[[list[dict]], dict[str, Section]]:
    """The sections of a report on cells, by name."""

    def make(lines: list[dict]) -> dict[str, Section]:
        cells = Cells.read(cells_path(results(lines), "batchtopk"))
        return {section.name: section for section in sections(load("batchtopk"), cells)}

    return make

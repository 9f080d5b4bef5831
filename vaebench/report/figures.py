"""Which pictures a section has, and their files. The drawing is in `plots`.

A picture whose arrays are no longer in the store is left as it is.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.report import plots
from vaebench.report.summary import Section, dataset_name
from vaebench.store import write_bytes

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    Arrays = Mapping[str, np.ndarray]

_CAPTIONS = {
    "reconstructions": "Test images (top) and their reconstructions",
    "noise": "Noisy test images (top) and their reconstructions, standard deviation {sigma}",
    "samples": "Generated images",
    "accuracy": "Accuracy on reconstructions against the noise's standard deviation; bars: 95 % intervals",
    "importance": "Moving average of each dimension's importance, sorted; kept dimensions coloured",
    "curves": "Training, means over the steps of each log entry; one line per seed",
    "readings": "All measured readings by their distance to the paper's numbers, nearest first",
}


def write(section: Section, store: Path, folder: Path) -> list[Path]:
    """Draw what the store still has the arrays for; returns the files written."""
    written = []
    for kind, figure in _drawn(section, store):
        path = folder / file_name(kind, section)
        buffer = io.BytesIO()
        # No software version in the file: the same numbers give the same picture.
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None}, pil_kwargs={"optimize": True})
        write_bytes(path, buffer.getvalue())
        written.append(path)
    return written


def there(section: Section, folder: Path) -> list[tuple[str, str]]:
    """(file name, caption) of the section's pictures that exist."""
    found = []
    for kind, caption in _CAPTIONS.items():
        name = file_name(kind, section)
        if (folder / name).exists():
            text = caption.format(sigma=_largest_sigma(section) or "")
            found.append((name, f"{text}. scale={section.scale}, {dataset_name(section.dataset)}."))
    return found


def file_name(kind: str, section: Section) -> str:
    """``samples-table1-small-mnist.png``; a study's ranking is ``readings-small-mnist.png``."""
    return f"{section.name}.png" if kind == section.key else f"{kind}-{section.name}.png"


def _drawn(section: Section, store: Path) -> Iterator[tuple[str, Figure]]:
    if section.ranking is not None:
        if not section.ranking.ranked.empty:
            yield "readings", plots.readings(section)
        return
    reconstructed = _arrays(section, store, "reconstruction")
    if reconstructed:
        inputs = next(iter(reconstructed.values()))["inputs"]
        outputs = {row: arrays["reconstructions"] for row, arrays in reconstructed.items()}
        yield "reconstructions", plots.images({"test images": inputs, **_labelled(section, outputs)})
    noisy, sigma = _arrays(section, store, "noise"), _largest_sigma(section)
    if noisy and sigma:
        inputs = next(iter(noisy.values()))[f"noisy@{sigma}"]
        outputs = {row: arrays[f"reconstructions@{sigma}"] for row, arrays in noisy.items()}
        yield "noise", plots.images({"noisy images": inputs, **_labelled(section, outputs)})
    generated = _arrays(section, store, "generation")
    if generated:
        samples = {row: arrays["samples"][:20] for row, arrays in generated.items()}
        yield "samples", plots.images(_labelled(section, samples), per_line=10)
    points = plots.accuracy_points(section)
    if points:
        yield "accuracy", plots.accuracy(points)
    masks = _arrays(section, store, "masks")
    if masks:
        importances = {row: (arrays["importance"], arrays["mask"]) for row, arrays in masks.items()}
        yield "importance", plots.importances(_labelled(section, importances))
    curves = _curves(section, store)
    if curves and section.table.reported:
        yield "curves", plots.curves(curves)


def _labelled(section: Section, by_row: Mapping[str, Any]) -> dict[str, Any]:
    return {section.table.rows[row].label: value for row, value in by_row.items()}


def _arrays(section: Section, store: Path, suite: str) -> dict[str, Arrays]:
    """By row, what the suite stored for pictures, of the row's first seed."""
    import numpy as np

    found: dict[str, Arrays] = {}
    for (row, column), cell in section.cells.items():
        if section.table.columns[column].suite != suite or row in found or not cell.runs:
            continue
        run, evaluation = cell.runs[min(cell.runs)]
        path = store / run / "evals" / evaluation / "arrays.npz"
        if path.exists():
            with np.load(path, allow_pickle=False) as arrays:
                found[row] = dict(arrays)
    return found


def _largest_sigma(section: Section) -> str | None:
    """The largest standard deviation of a noise table, as written in its measurements."""
    names = [c.measurement.partition("@")[2] for c in section.table.columns.values() if c.suite == "noise"]
    sigmas = [name for name in names if plots.is_number(name)]
    return max(sigmas, key=float) if sigmas else None


def _curves(section: Section, store: Path) -> dict[str, list[list[dict[str, float]]]]:
    """By row label, the log of each seed's training."""
    found: dict[str, list[list[dict[str, float]]]] = {}
    seen = set()  # two rows can evaluate the same training
    for (row, _), cell in section.cells.items():
        for run, _ in cell.runs.values():
            path = store / run / "metrics.jsonl"
            if run in seen or not path.exists():
                continue
            seen.add(run)
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
            if lines:
                found.setdefault(section.table.rows[row].label, []).append(lines)
    return found

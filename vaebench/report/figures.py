"""Which pictures a section has, and their files. Drawing: `plots` and the modules named `*_plots`.

A picture of arrays or logs that are no longer all in the store is left as it is.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.report import latent_plots, plots, point_plots, selection_plots, structure_plots, token_plots
from vaebench.report.stored import or_none, say
from vaebench.report.summary import Cell, Section, dataset_name
from vaebench.runs.store import Run
from vaebench.writing import write_bytes

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    Arrays = Mapping[str, np.ndarray]

_CAPTIONS = {
    "reconstructions": "Test images (top) and their reconstructions",
    "noise": "Noisy test images (top) and their reconstructions, standard deviation {sigma}",
    "samples": "Generated images",
    "beside": "Ours with 95 % intervals beside the paper's numbers, each on its own scale",
    "smoothness": "Quality of reconstructions against the noise on the latents, ε in deviations of each channel; "
    "bars: 95 % intervals",
    "at_noise": "Two test images, then their reconstructions with more and more noise on the latents: {noises}",
    "hidden": "Test images with patches hidden, and what the model makes of them",
    "channels": "The first channels of two images' latents, a line each; grey: the channel's mean",
    "groups": "How far groups lie apart against the variance inside them; bars: 95 % intervals",
    "scatter": "Latents of test images on their first two principal components, coloured by class. First seed",
    "structure": "Latents of test images, coloured by class, and samples of the reference they were matched with, in "
    "one plane (t-SNE or UMAP; distances between groups mean little in it). First seed",
    "steps": "Along the training of the diffusion model; bars: 95 % intervals",
    "points": "Points moved by each objective (blue) and what they should reach (grey), along the training. First seed",
    "arrows": "Where distribution matching would move the points of the first row, a column per noise level "
    "(t = 0: noise, 1: data) and a line per moment of the training; grey: what they should reach. First seed",
    "accuracy": "Accuracy on reconstructions against the noise's standard deviation; bars: 95 % intervals",
    "bars": "Accuracy of every row with its 95 % interval; the method in blue",
    "accuracy_at_k": "Accuracy against the number of answers to pick from, averaged over which of them are offered. "
    "Each panel has its own scale, and the oracle may leave it at the top",
    "entropy": "Entropy of the posterior of right and of wrong answers; apart is what the method needs",
    "z": "Means of the posterior of right and of wrong answers, on their first two principal components",
    "picks": "Which answers the lowest entropy picks, by their place in the shuffled list and by who wrote them",
    "sizes": "Evenness of use (CVU) and quality against the codebook size; bars: 95 % intervals. "
    "What the paper has far from ours is left out",
    "codes": "The share of test tokens that each code gets, sorted; a line ends where the codes that occur do. "
    "First seed",
    "watch": "Share of codes used and CVU during the training, on training data; one line per seed",
    "importance": "Moving average of each dimension's importance, sorted; kept dimensions coloured",
    "curves": "Training, means over the steps of each log entry; one line per seed",
    "readings": "All measured readings by their distance to the paper's numbers, nearest first",
}
# Made of the section's numbers alone.
_OF_NUMBERS = ("accuracy", "bars", "beside", "groups", "readings", "sizes", "smoothness", "steps")
# Lines, dots and text alone.
_FEW_COLOURS = (
    *("bars", "accuracy_at_k", "entropy", "z", "picks", "curves", "sizes", "codes", "watch"),
    *("beside", "smoothness", "channels", "groups", "scatter", "structure", "steps", "points", "arrows"),
)


def write(section: Section, store: Path, folder: Path) -> list[Path]:
    """Draw what the store still has the arrays for; returns the files written.

    Where a store has some of the section's runs only, a picture that is there may show the others, and stays. Infinite
    numbers have no place in a picture.
    """
    import numpy as np

    whole, written = is_whole(section, store), []
    with np.errstate(invalid="ignore"):  # infinity less infinity
        for kind, figure in _drawable(section, store):
            path = folder / file_name(kind, section)
            if path.exists() and not whole and kind not in _OF_NUMBERS:
                continue
            write_bytes(path, _png(figure, kind in _FEW_COLOURS))
            written.append(path)
    return written


def there(section: Section, folder: Path) -> list[tuple[str, str]]:
    """(file name, caption) of the section's pictures that exist."""
    found = []
    for kind, caption in _CAPTIONS.items():
        name = file_name(kind, section)
        if (folder / name).exists():
            text = caption.format(sigma=_largest_sigma(section) or "", noises=latent_plots.noises(section))
            found.append((name, f"{text}. scale={section.scale}, {dataset_name(section.dataset)}."))
    return found


def file_name(kind: str, section: Section) -> str:
    """``samples-table1-small-mnist.png``; a study's ranking is ``readings-small-mnist.png``."""
    return f"{section.name}.png" if kind == section.key else f"{kind}-{section.name}.png"


def _png(figure: Figure, few_colours: bool) -> bytes:
    """``few_colours``: as a palette of 256, a third of the size."""
    from PIL import Image

    buffer = io.BytesIO()
    # No software version in the file: the same numbers give the same picture.
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None}, pil_kwargs={"optimize": True})
    if few_colours:
        with Image.open(buffer) as drawn:
            reduced = drawn.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        buffer = io.BytesIO()
        reduced.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _drawable(section: Section, store: Path) -> Iterator[tuple[str, Figure]]:
    """The pictures up to the first whose arrays, stored before there were checksums, are not what they should be."""
    try:
        yield from _drawn(section, store)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        say(f"{section.name}: pictures of arrays that are not what they should be ({type(error).__name__}: {error})")


def _drawn(section: Section, store: Path) -> Iterator[tuple[str, Figure]]:
    if section.ranking is not None:
        if not section.ranking.ranked.empty:
            yield "readings", plots.readings(section)
        return
    tokens = arrays(section, store, token_plots.SUITE)
    reconstructed = arrays(section, store, "reconstruction") or _readable(section, tokens)
    if reconstructed:
        inputs = next(iter(reconstructed.values()))["inputs"]
        outputs = {row: arrays["reconstructions"] for row, arrays in reconstructed.items()}
        yield "reconstructions", plots.images({"test images": inputs, **_labelled(section, outputs)})
    noisy, sigma = arrays(section, store, "noise"), _largest_sigma(section)
    if noisy and sigma:
        inputs = next(iter(noisy.values()))[f"noisy@{sigma}"]
        outputs = {row: arrays[f"reconstructions@{sigma}"] for row, arrays in noisy.items()}
        yield "noise", plots.images({"noisy images": inputs, **_labelled(section, outputs)})
    generated = arrays(section, store, "generation") or _final_samples(section, store)
    if generated:
        samples = {row: arrays["samples"][:20] for row, arrays in generated.items()}
        yield "samples", plots.images(_labelled(section, samples), per_line=10)
    points = plots.accuracy_points(section)
    if points:
        yield "accuracy", plots.accuracy(points)
    masks = arrays(section, store, "masks")
    if masks:
        importances = {row: (arrays["importance"], arrays["mask"]) for row, arrays in masks.items()}
        yield "importance", plots.importances(_labelled(section, importances))
    yield from _selection(section, store)
    yield from _latents(section, store)
    yield from _points(section, store)
    if token_plots.is_about_tokens(section):
        # Tens of rows with terms of their own would make curves that nobody can read: the watched numbers say more.
        yield from _tokens(section, store, tokens)
        return
    curves = _curves(section, store) if section.table.reported or _of_training_alone(section) else {}
    if curves:
        yield "curves", plots.curves(curves)


def _readable(section: Section, stored: Mapping[str, Arrays]) -> dict[str, Arrays]:
    """The rows with reconstructed images, at the largest codebook size that was measured."""
    rows = [row for row, found in stored.items() if "reconstructions" in found]
    return {row: stored[row] for row in token_plots.of_the_largest(section, rows)}


def _tokens(section: Section, store: Path, stored: Mapping[str, Arrays]) -> Iterator[tuple[str, Figure]]:
    panels = token_plots.size_panels(section)
    if panels:
        yield "sizes", token_plots.against_size(section, panels)
    counts = {row: found["code_counts"] for row, found in stored.items() if "code_counts" in found}
    # A table out of domain is about the trainings of another one, which shows how they went.
    own = section.table.trained_on(section.dataset) == section.dataset
    for kind, figure in {
        "codes": token_plots.code_shares(section, counts),
        "watch": token_plots.watched(section, _logs(section, store)) if own else None,
    }.items():
        if figure is not None:
            yield kind, figure


def _final_samples(section: Section, store: Path) -> dict[str, Arrays]:
    """Images of diffusion models that were trained to the end; they lie in the order of their classes."""
    if any(column.snapshot for column in section.table.columns.values()):
        return {}
    found = arrays(section, store, latent_plots.DIFFUSION)
    return {row: {"samples": stored["samples"][::2]} for row, stored in found.items()}


def _latents(section: Section, store: Path) -> Iterator[tuple[str, Figure]]:
    """About autoencoders under a diffusion model, and about it."""
    columns = latent_plots.compared(section)
    if columns:
        yield "beside", latent_plots.beside_the_paper(section, columns)
    panels = latent_plots.noise_panels(section)
    if panels:
        yield "smoothness", latent_plots.against_noise(section, panels)
        # Other tables take a number or two from this suite; one of them has its pictures.
        stored = _labelled(section, arrays(section, store, latent_plots.SMOOTHNESS))
        lines, length = latent_plots.at_each_noise(stored)
        maps, channels = latent_plots.channel_maps(stored)
        hidden = latent_plots.hidden(stored)
        if lines:
            yield "at_noise", plots.images(lines, per_line=length)
            yield "channels", plots.images(maps, per_line=channels)
        if hidden:
            yield "hidden", plots.images(hidden)
    figure = latent_plots.groups(section)
    if figure is not None:
        yield "groups", figure
        points = _labelled(section, arrays(section, store, latent_plots.COMPRESSION))
        if points:
            yield "scatter", latent_plots.scatter(points)
    planes = structure_plots.drawable(_labelled(section, arrays(section, store, structure_plots.SUITE)))
    if planes:
        yield "structure", structure_plots.embedded(planes)
    along = latent_plots.step_panels(section)
    if along:
        yield "steps", latent_plots.against_steps(section, along)


def _points(section: Section, store: Path) -> Iterator[tuple[str, Figure]]:
    """Of the study in the plane: all rows along their trainings, and the arrows of the first row."""
    stored = _labelled(section, arrays(section, store, point_plots.SUITE))
    if stored:
        yield "points", point_plots.moments(stored)
        yield "arrows", point_plots.arrows(next(iter(stored.values())))


def _selection(section: Section, store: Path) -> Iterator[tuple[str, Figure]]:
    dots = selection_plots.accuracy_dots(section)
    if dots:
        yield "bars", selection_plots.bars(dots)
    stored = arrays(section, store, "selection")
    panels = selection_plots.accuracy_lines(section, stored)
    if panels:
        yield "accuracy_at_k", selection_plots.accuracy_at_k(panels)
    chosen = {row: stored[row] for row in selection_plots.methods(section) if row in stored}
    drawings = {
        "entropy": ("entropy_edges", selection_plots.entropies),
        "z": ("z", selection_plots.posterior_means),
        "picks": ("picks_position", selection_plots.picks),
    }
    for kind, (needed, draw) in drawings.items():
        rows = {row: arrays for row, arrays in chosen.items() if needed in arrays}
        if rows:
            yield kind, draw(_labelled(section, rows))


def _of_training_alone(section: Section) -> bool:
    """Whether the table shows what trainings over all seeds came to, with nothing to be better at."""
    pooled = any(cell.pooled for cell in section.cells.values())
    return pooled and all(column.better == "none" for column in section.table.columns.values())


def _labelled(section: Section, by_row: Mapping[str, Any]) -> dict[str, Any]:
    return {section.table.rows[row].label: value for row, value in by_row.items()}


def arrays(section: Section, store: Path, suite: str) -> dict[str, Arrays]:
    """By row, what the suite stored for pictures: of the row's first seed, or over all its seeds."""
    found: dict[str, Arrays] = {}
    for (row, column), cell in section.cells.items():
        if section.table.columns[column].suite != suite or row in found or not cell.runs:
            continue
        run, evaluation = cell.runs[min(cell.runs)]
        measured = Run(_evaluation(store, run, evaluation))
        stored = or_none(measured.arrays) if os.path.lexists(measured.path("arrays.npz")) else None
        if stored is not None:
            found[row] = stored
    return found


def is_whole(section: Section, store: Path) -> bool:
    """Whether everything that was measured is still in the store."""
    evaluations = {found for cell in section.cells.values() for found in cell.runs.values()}
    return all(_evaluation(store, run, key).exists() for run, key in evaluations)


def _evaluation(store: Path, run: str, key: str) -> Path:
    """The folder of an evaluation; one over all seeds belongs to no run."""
    return store / run / "evals" / key if run else store / key


def _largest_sigma(section: Section) -> str | None:
    """The largest standard deviation of a noise table, as written in its measurements."""
    names = [c.measurement.partition("@")[2] for c in section.table.columns.values() if c.suite == "noise"]
    sigmas = [name for name in names if plots.is_number(name)]
    return max(sigmas, key=float) if sigmas else None


def _curves(section: Section, store: Path) -> dict[str, list[list[dict[str, float]]]]:
    """By row label, the log of each seed's training."""
    found: dict[str, list[list[dict[str, float]]]] = {}
    for row, logs in _logs(section, store).items():
        found.setdefault(section.table.rows[row].label, []).extend(logs)
    return found


def _logs(section: Section, store: Path) -> dict[str, list[list[dict[str, float]]]]:
    """By row, the log of each seed's training; of two rows that evaluate the same training the first has it."""
    found: dict[str, list[list[dict[str, float]]]] = {}
    seen = set()
    for (row, _), cell in section.cells.items():
        for run in _trainings(cell, store):
            training = Run(store / run)
            if run in seen or not os.path.lexists(training.path("metrics.jsonl")):
                continue
            seen.add(run)
            lines = or_none(training.log)
            if lines:
                found.setdefault(row, []).append(lines)
    return found


def _trainings(cell: Cell, store: Path) -> list[str]:
    """The keys of the runs behind a number; one over all seeds names them in its evaluation's request."""
    found = [run for run, _ in cell.runs.values() if run]
    for run, evaluation in cell.runs.values():
        measured = Run(store / evaluation)
        if run or not os.path.lexists(measured.path("request.yaml")):
            continue
        request = or_none(measured.request)
        parents = {} if request is None else request["parents"]
        seeds = [role for role in parents if role.startswith("seed")]
        found += [parents[role] for role in sorted(seeds, key=lambda role: int(role.removeprefix("seed")))]
    return found

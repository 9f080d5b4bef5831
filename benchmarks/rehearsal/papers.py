"""The papers as they are rehearsed: all tables, rows and columns at scale=paper, with changes that only shorten.

A change is put behind the paper's own ones, so that planning, chains and suites see a paper like any other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from benchmarks.rehearsal.folders import CLASSES
from benchmarks.rehearsal.weights import HEARING
from vaebench.config import compose, rehearsal
from vaebench.config.choices import kind_of, leaf
from vaebench.papers.changes import Change, merged
from vaebench.papers.records import Paper, Row, Table
from vaebench.papers.tables import parse

SCALE, SUFFIX = "paper", "-rehearsed"
STEPS, BATCH, BATCH_OF_SMALL = 2, 2, 32
SNAPSHOTS = 4  # at most; a training that keeps so many takes as many steps
# LightningDiT-XL and -L with their optimiser, their average and what they are trained beside take more than 20 GB.
FLOWS = Fraction(1, 2)
SHORT: Change = {"train.max_steps": STEPS, "train.epochs": None, "train.log_every": 1}
RACE = {"drawn": 4, "lengths": [2, 4], "keep": 0.5, "seeds": 1}
GENERATED: Change = {"dataset.answers.limit": 4, "dataset.answers.max_new_tokens": 8}
SUITES: Mapping[str, Change] = {
    "compression": {"patterns": 4, "batch_size": 4},
    "generation": {"samples": 16, "batch_size": 16},
    "latent_diffusion": {"samples": 10, "compared": 10, "steps": 2, "neighbours": 1, "batch_size": 5},
    "latent_fit": {"images": 10, "draws": 1, "steps": 2, "batch_size": 5},
    "latent_structure": {"neighbours": 1, "fitted": 8, "compared": 10, "shown": 10, "projections": 8, "batch_size": 4},
    "masks": {"max_batches": 2},
    "quantisation": {"batch_size": 2},
    "reconstruction": {"batch_size": 4},
    "selection": {"bootstrap": 100, "permutations": 2},
    "smoothness": {"batch_size": 4},
    "tokens": {"batch_size": 2},
}


def rehearsed(name: str, *, width: Fraction, weights: Path) -> Paper:
    """A paper as it is rehearsed, under a name of its own.

    ``width``: the fraction of their widths that networks have. ``weights``: where those in Hugging Face's format lie.
    """
    raw = leaf("paper", name)
    raced = {key: {**table, "race": RACE} for key, table in raw["tables"].items() if "race" in table}
    paper = parse(name + SUFFIX, {**raw, "tables": {**raw["tables"], **raced}})
    found = {key: _table(table, width, weights) for key, table in paper.tables.items()}
    title = f"REHEARSAL, two steps on made-up data, no number means anything: {paper.title}"
    return replace(paper, title=title, tables=found, again="make rehearse")


def _table(table: Table, width: Fraction, weights: Path) -> Table:
    small = table.dataset in ("mnist", "s_curve") or kind_of(table.dataset) == "text"
    short = {**SHORT, "train.batch_size": BATCH_OF_SMALL if small else BATCH}
    links = {"links": dict.fromkeys(_links(), short)} if "links" in table.set else {}
    kept = int(table.stages.get("train.snapshots", 0))
    steps = max(STEPS, min(kept, SNAPSHOTS))
    columns = {
        key: replace(
            column,
            snapshot=column.snapshot and math.ceil(column.snapshot * min(kept, SNAPSHOTS) / kept),
            protocol={**column.protocol, rehearsal.MARK: False},  # as the paper's are; so no number is comparable
        )
        for key, column in table.columns.items()
    }
    changed = replace(
        table,
        seeds={SCALE: 1},
        columns=columns,
        set=merged(_walked(table.set, width, weights), {SCALE: links}),
        stages=merged(_walked(table.stages, width, weights), {SCALE: {**short, "train.max_steps": steps}}),
    )
    if table.study:
        return changed
    rows = {key: _row(changed, row, short, width, weights) for key, row in table.rows.items()}
    return replace(changed, rows=rows)


def _row(table: Table, row: Row, short: Change, width: Fraction, weights: Path) -> Row:
    own: dict[str, Any] = dict(short)
    if "parent" in row.set or (row.experiment and leaf("experiment", row.experiment).get("parent")):
        own |= {"parent": short}
    if kind_of(table.dataset) == "text":
        own |= _answers(table, row, weights)
    suites = {column.suite for column in table.columns.values()}
    return replace(
        row,
        set=merged(_walked(row.set, width, weights), {SCALE: own}),
        suites={suite: merged(row.suites.get(suite, {}), SUITES.get(suite, {})) for suite in suites},
    )


def _answers(table: Table, row: Row, weights: Path) -> Change:
    """Few and short answers where a language model gives them, by one with made-up weights where it is of the hub."""
    said = compose.dataset(table.sets(SCALE)[0])["answers"]
    if "max_new_tokens" not in said:
        return {}
    found: dict[str, Any] = dict(GENERATED)
    found |= {} if "dataset.answers.k" in row.set else {"dataset.answers.k": 2}
    return found | ({"dataset.answers.model": str(weights / row.point["m"])} if "m" in row.point else {})


def _links() -> list[str]:
    """The trainings of DMVAE's chain."""
    return [name for name, link in leaf("chain", "dmvae").items() if "experiment" in link]


def _walked(change: Change, width: Fraction, weights: Path) -> dict[str, Any]:
    """A change with what is too large at the papers' length, and with the networks' widths, made smaller."""
    values = {
        "model.adversarial_start": 1,
        "train.snapshots": SNAPSHOTS,
        "reference.classes": [0],
        "model.autoencoder.whisper": str(weights / HEARING),
    }
    found: dict[str, Any] = {}
    for name, value in change.items():
        if name in values:
            found[name] = values[name]
        elif name == "model.classes":  # as many as there are, or none
            there = len(CLASSES)
            few = {scale: min(one, there) for scale, one in value.items()} if isinstance(value, Mapping) else None
            found[name] = min(value, there) if few is None else few
        elif name in ("model.width", "model.heads"):
            found[name] = {scale: max(1, int(one * width * FLOWS)) for scale, one in value.items()}
        else:
            found[name] = _walked(value, width, weights) if isinstance(value, Mapping) else value
            found |= _beside(name, value, width) if isinstance(value, str) else {}
    return found


def _beside(option: str, choice: str, width: Fraction) -> Change:
    """What a choice of the paper's is narrowed by, or kept short with."""
    part = option.rpartition("@")[2]
    channels = int(128 * width)
    convolutional = {f"{part}.channels": channels, f"{part}.groups": min(32, channels)}
    narrower: dict[str, Change] = {
        "kl_paper": convolutional,
        "kl_dmvae": convolutional,
        "vqgan": convolutional,
        "vit_paper": {
            f"{part}.{name}": max(1, int(size * width))
            for name, size in (("width", 192), ("heads", 12), ("decoder_width", 192), ("decoder_heads", 12))
        },
        "dinov2_l": {f"{part}.name": encoder(width)},
        "lightning_dit_b": _flow(768, 12, width),
    }
    always: dict[str, Change] = {
        "lightning_dit_xl": _flow(1152, 16, width * FLOWS),
        "gaussian": {"reference.samples": 16},
        "gmm": {"reference.samples": 16},
        "jina": {"embedder": "minilm"},  # takes the package peft, and adapters
    }
    return always.get(choice, {}) or (narrower.get(choice, {}) if width < 1 else {})


def _flow(width: int, heads: int, fraction: Fraction) -> Change:
    return {"model.width": int(width * fraction), "model.heads": max(1, int(heads * fraction))}


def encoder(width: Fraction) -> str:
    """The DINOv2 of a rehearsal: ViT-L, or ViT-S with 3/8 of its width and half of its depth."""
    return "vit_large_patch14_dinov2.lvd142m" if width == 1 else "vit_small_patch14_dinov2.lvd142m"

"""What a model's design costs: size, operations of its encoder and of a training step; nothing is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from vaebench.config.signatures import Count, CountOrNone
from vaebench.contracts import HasEncoder, Measurement, SuiteResult
from vaebench.metrics import cost

_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Numbers that need no weights: counted at the design's own input size.

    ``parameters`` and ``size_mib`` (float32 MiB): what is stored of the autoencoder, fixed tables of positions too, a
    discriminator not. ``encoder_gmacs``: multiply-adds of the encoder for ``count_batch`` images, in 10^9, by
    `cost.RULE`: the GFLOPs of arXiv 2507.09984. ``encoder_gmacs_full``: with the products of attention, without norms.
    ``step_gflops``: 1e9 FLOP, forward and backward, of a training step at the training's batch size,
    a multiply-add is two.

    With ``measure_steps`` above 0 that many steps on random images are timed, ``measure_batch`` at a time, after one
    that is not: ``step_seconds`` (median), ``step_seconds_per_image``, ``peak_mib``.
    """

    requires = (HasEncoder,)
    needs_classifier = False
    of_design = True

    count_batch: Count
    measure_steps: CountOrNone
    measure_batch: Count

    def run(self, design: cost.Design) -> SuiteResult:
        """Count, and measure where that is asked for."""
        counts = cost.count(design)
        with cost.weightless():
            macs = cost.encoder_macs(design.build(), (self.count_batch, *design.shape))
        size, batch = {"stored": "weights and fixed tables"}, {"batch": self.count_batch}
        by_rule, full = {"rule": cost.RULE, **batch}, {"rule": "multiply-adds of all products", **batch}
        found: list[tuple[str, float, int, str, dict[str, Any]]] = [
            ("parameters", counts.stored, 1, "", size),
            ("size_mib", 4 * counts.stored / _MIB, 1, "MiB", size),
            ("encoder_gmacs", macs.layers / 1e9, self.count_batch, "G", by_rule),
            ("encoder_gmacs_full", macs.full / 1e9, self.count_batch, "G", full),
            ("step_gflops", counts.flops / 1e9, design.batch_size, "G", {"batch": design.batch_size}),
        ]
        resolution = {"resolution": "x".join(map(str, design.shape[1:]))}
        exact = [  # the interval of a count has no width
            Measurement(name, value, count, unit, protocol | resolution, low=value, high=value)
            for name, value, count, unit, protocol in found
        ]
        return SuiteResult((*exact, *(self._measured(design, resolution) if self.measure_steps else ())))

    def _measured(self, design: cost.Design, resolution: Mapping[str, str]) -> Iterator[Measurement]:
        found = cost.measure(design, batch_size=self.measure_batch, steps=self.measure_steps)
        gpu = design.device.type == "cuda"
        protocol = {
            "batch": self.measure_batch,
            **resolution,
            "steps": self.measure_steps,
            "precision": design.precision,
            "threads": torch.get_num_threads(),
            "memory": "tensors on the GPU" if gpu else "resident, with the interpreter and its libraries",
        }
        for name, value, unit in (
            ("step_seconds", found.seconds, "s"),
            ("step_seconds_per_image", found.seconds / self.measure_batch, "s"),
            ("peak_mib", found.peak_bytes / _MIB, "MiB"),
        ):
            yield Measurement(name, value, self.measure_steps, unit, protocol)

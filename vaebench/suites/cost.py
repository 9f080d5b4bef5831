"""What a model's design costs: size, operations of its encoder and of a training step; nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from vaebench.config.signatures import Count, CountOrNone
from vaebench.contracts import DesignInputs, HasEncoder, Measurement, SuiteResult
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

    def run(self, inputs: DesignInputs) -> SuiteResult:
        """Count, and measure where that is asked for."""
        resolution = "x".join(map(str, inputs.input_shape[1:]))
        with cost.weightless():
            model = inputs.build()
            stored = stored_numbers(model)
            macs = cost.encoder_macs(model, (self.count_batch, *inputs.input_shape))
            batch = cost.random_batch(inputs.input_shape, inputs.batch_size, latents=False)
            step = cost.count_step(model.phases, batch)
        size = {"stored": "weights and fixed tables", "resolution": resolution}
        counted = {"batch": self.count_batch, "resolution": resolution}
        full = "multiply-adds of all products"
        trained = {"batch": inputs.batch_size, "resolution": resolution}
        found = [
            _exact("parameters", stored, 1, "", size),
            _exact("size_mib", 4 * stored / _MIB, 1, "MiB", size),
            _exact("encoder_gmacs", macs.layers / 1e9, self.count_batch, "G", {"rule": cost.RULE, **counted}),
            _exact("encoder_gmacs_full", macs.full / 1e9, self.count_batch, "G", {"rule": full, **counted}),
            _exact("step_gflops", step.flops / 1e9, inputs.batch_size, "G", trained),
        ]
        return SuiteResult((*found, *self._measured(inputs, resolution)))

    def _measured(self, inputs: DesignInputs, resolution: str) -> tuple[Measurement, ...]:
        if not self.measure_steps:
            return ()
        trial = cost.Trial(
            build=inputs.build,
            optimizers=inputs.optimizers,
            shape=inputs.input_shape,
            batch_size=self.measure_batch,
            steps=self.measure_steps,
            precision=inputs.precision,
        )
        found = cost.measure(trial, inputs.device)
        gpu = inputs.device.type == "cuda"
        protocol = {
            "batch": self.measure_batch,
            "resolution": resolution,
            "steps": self.measure_steps,
            "precision": inputs.precision,
            "threads": torch.get_num_threads(),
            "memory": "tensors on the GPU" if gpu else "resident, with the interpreter and its libraries",
        }
        values = {
            "step_seconds": (found.seconds, "s"),
            "step_seconds_per_image": (found.seconds / self.measure_batch, "s"),
            "peak_mib": (found.peak_bytes / _MIB, "MiB"),
        }
        return tuple(
            Measurement(name, value, self.measure_steps, unit, protocol) for name, (value, unit) in values.items()
        )


def _exact(name: str, value: float, count: int, unit: str, protocol: Mapping[str, Any]) -> Measurement:
    """A count: its interval has no width."""
    return Measurement(name, value, count, unit, protocol, low=value, high=value)


def stored_numbers(model: nn.Module) -> int:
    """How many floats the state dict holds, without the modules that only another phase than the first trains."""
    others = {parameter for phase in model.phases[1:] for parameter in phase.parameters}  # type: ignore[index]
    aside = {
        f"{path}.{name}".removeprefix(".")
        for path, module in model.named_modules()
        if others.intersection(module.parameters(recurse=False))
        for name in module.state_dict()
        if "." not in name  # its own
    }
    kept = (value for name, value in model.state_dict().items() if name not in aside)
    return sum(value.numel() for value in kept if value.is_floating_point())

"""Classification of the reconstructions of noisy test images (BatchTopK-VAE, Table 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from vaebench.config.signatures import Count, NonNegative, Seed
from vaebench.contracts import Measurement, SuiteInputs, SuiteResult
from vaebench.errors import UserError
from vaebench.suites.common import Code, batches, coded_by, encoder, image_data, in_code, one_per_class, picture, seeded


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Accuracy of a classifier, trained without noise, on ``decode(encode(x + sigma * n))``.

    The unit noise ``n`` is drawn once from ``noise_seed``: it is the same for every model and every sigma. ``clip``:
    whether the noisy image is clipped to [0, 1] before it is encoded. ``code``: ``draw`` has a draw of the posterior in
    place of the model's own code. ``classifier``: null for one that is trained on the images and is the same for every
    model; ``reconstructions`` for one of this model, trained on what it makes of the training images.
    ``accuracy@clean`` is the accuracy without noise, ``accuracy@classifier`` the classifier's on the test images.

    Raises `UserError` for no sigma at all, or two that are printed alike.
    """

    needs_classifier = True

    sigmas: Sequence[NonNegative]
    clip: bool
    noise_seed: Seed
    batch_size: Count
    code: Code | None
    classifier: Literal["reconstructions"] | None

    @property
    def own_classifier(self) -> bool:
        """Whether each model is judged by a classifier of its own."""
        return self.classifier is not None

    @property
    def requires(self) -> tuple[type, ...]:
        """Encoding and decoding."""
        return coded_by(self.code)

    def __post_init__(self) -> None:
        if not self.sigmas or len({f"{sigma:g}" for sigma in self.sigmas}) < len(self.sigmas):
            raise UserError(f"suite.sigmas={list(self.sigmas)}: expected at least one standard deviation, each once")

    def run(self, inputs: SuiteInputs) -> SuiteResult:
        """Measure ``inputs.model``."""
        data, model, classifier = image_data(inputs, "noise"), inputs.model, inputs.classifier
        if data.classes < 2:
            raise UserError(
                f"suite noise measures accuracies: {data.name} has no classes; put the images of each in a folder"
            )
        assert classifier is not None, "the caller provides what needs_classifier asks for"
        random, encode = seeded(self.noise_seed), encoder(model, self.code)
        right: dict[str, float] = dict.fromkeys([*(f"{sigma:g}" for sigma in self.sigmas), "clean", "classifier"], 0)
        shown: dict[str, list[Tensor]] = {}
        rows, start = one_per_class(data), 0
        for x in batches(data.test_x, self.batch_size):
            labels = data.test_y[start : start + len(x)]
            mine = rows[(rows >= start) & (rows < start + len(x))] - start
            noise = torch.randn(x.shape, generator=random).to(x.device)
            right["classifier"] += _right(classifier, x, labels)
            right["clean"] += _right(classifier, model.decode(encode(x)), labels)
            shown.setdefault("inputs", []).append(x[mine])
            for sigma in self.sigmas:
                noisy = x + sigma * noise
                noisy = noisy.clamp(0, 1) if self.clip else noisy
                y = model.decode(encode(noisy))
                right[f"{sigma:g}"] += _right(classifier, y, labels)
                shown.setdefault(f"noisy@{sigma:g}", []).append(noisy[mine])
                shown.setdefault(f"reconstructions@{sigma:g}", []).append(y[mine])
            start += len(x)
            inputs.track(start, len(data.test_x))
        protocol: dict[str, Any] = {"clip": self.clip, "noise_seed": self.noise_seed}
        seen = f"its own, of {self.classifier}" if self.classifier else inputs.classifier_key
        protocol |= {"classifier": seen, "split": "test", **in_code(self.code)}
        found = [Measurement(f"accuracy@{name}", count / start, start, "", protocol) for name, count in right.items()]
        return SuiteResult(tuple(found), {name: picture(torch.cat(parts)) for name, parts in shown.items()})


def _right(classifier: Any, x: Tensor, labels: Tensor) -> float:
    """How many of the images are classified as their label; NaN if one is no image: argmax would make a class of it."""
    logits = classifier.logits(x)
    return int((logits.argmax(1) == labels).sum()) if logits.isfinite().all() else math.nan

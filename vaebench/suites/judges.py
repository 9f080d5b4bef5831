"""Who judges images: a trained network's features, its class scores and, of Inception, sFID's features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vaebench.config import rehearsal
from vaebench.contracts import HasClasses, SuiteInputs
from vaebench.errors import UserError
from vaebench.metrics.features import WEIGHTS_SHA256, load_cifar10_resnet, load_inception
from vaebench.nn.pretrained import cifar_resnet
from vaebench.nn.pretrained.inception import Resizing

Features = Literal["inception", "classifier", "cifar10_resnet"]


@dataclass(frozen=True)
class Activations:
    """Of n images, float32: ``features`` ``[n d]``, ``logits`` ``[n classes]``, ``spatial`` ``[n s]`` of Inception."""

    features: Tensor
    logits: Tensor
    spatial: Tensor | None = None


@dataclass(frozen=True)
class Judge:
    """A network that was trained to classify.

    ``protocol``: what a measurement says of it: its name in the suites' options, the digest of its weights, and how it
    resizes where that is not as usual. ``see``: float images ``[b c h w]`` in [0, 1] on any device -> all it has to say
    of them, in one pass.
    """

    protocol: Mapping[str, str]
    see: Callable[[Tensor], Activations]


def judge(features: Features, inputs: SuiteInputs, resize: Resizing | None = None) -> Judge:
    """The network of ``suite.features`` on ``inputs.device``.

    ``inception``: FID's network. ``classifier``: the bench's own, trained on this dataset. ``cifar10_resnet``: a
    published ResNet-20, for 32 x 32 colour images; no model here was trained against it. ``resize``: of Inception
    (None: ``tensorflow``). Raises `UserError` if its weights are missing or wrong, or the images are not what it
    judges.
    """
    device, data = inputs.device, inputs.data
    if features == "inception":
        inception = load_inception(device, resize or "tensorflow")

        def by_inception(x: Tensor) -> Activations:
            found, spatial = inception.both(x.to(device))
            return Activations(found, inception.logits(found), spatial)

        resized: dict[str, str] = {} if resize is None else {"resize": resize}
        resized |= {rehearsal.MARK: "made-up weights"} if rehearsal.on() else {}
        return Judge({"features": features, "features_digest": WEIGHTS_SHA256, **resized}, by_inception)
    if features == "cifar10_resnet":
        shape = tuple(getattr(data, "shape", ()))
        if shape != cifar_resnet.INPUT_SHAPE:
            wanted, given = ("x".join(map(str, sides)) for sides in (cifar_resnet.INPUT_SHAPE, shape))
            raise UserError(
                f"suite.features=cifar10_resnet: it judges {wanted} images, those of {data.name} are {given}; "
                "use classifier or inception"
            )
        resnet = load_cifar10_resnet(device)

        def by_resnet(x: Tensor) -> Activations:
            found = resnet(x.to(device))
            return Activations(found, resnet.logits(found))

        return Judge({"features": features, "features_digest": cifar_resnet.WEIGHTS_SHA256}, by_resnet)
    if isinstance(data, HasClasses) and data.classes < 2:
        raise UserError(
            f"suite.features=classifier: {data.name} has no classes that one could be trained on; use inception"
        )
    classifier = inputs.classifier
    assert classifier is not None, "the caller provides what needs_classifier asks for"

    def by_classifier(x: Tensor) -> Activations:
        x = x.to(device)
        return Activations(classifier.features(x), classifier.logits(x))

    return Judge({"features": features, "features_digest": inputs.classifier_key}, by_classifier)


@torch.no_grad()
def observe(judge: Judge, images: Tensor, batch_size: int) -> Activations:
    """What the judge sees in ``images``, a batch at a time, without gradients; on the CPU.

    ``images``: ``[n c h w]`` on any device: float in [0, 1], or uint8, which is brought to [0, 1] batch by batch.
    Raises `UserError` if they hold NaN or infinity, which a network that cuts to 8 bits would turn into ordinary
    pixels.
    """
    parts = []
    for batch in images.split(batch_size):
        if not batch.isfinite().all():
            raise UserError(
                "images hold NaN or infinity, so no features were extracted; their model has probably diverged"
            )
        found = judge.see(batch.float() / 255 if batch.dtype == torch.uint8 else batch)
        spatial = None if found.spatial is None else found.spatial.float().cpu()
        parts.append(Activations(found.features.float().cpu(), found.logits.float().cpu(), spatial))
    return joined(parts)


def joined(parts: Sequence[Activations]) -> Activations:
    """The activations of several batches, one after the other."""
    spatial = [part.spatial for part in parts if part.spatial is not None]
    return Activations(
        torch.cat([part.features for part in parts]),
        torch.cat([part.logits for part in parts]),
        torch.cat(spatial) if spatial else None,
    )

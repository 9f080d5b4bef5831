"""Who judges images: a trained network's features, its class scores and, of Inception, sFID's features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vaebench.contracts import HasClasses, SuiteInputs
from vaebench.errors import UserError
from vaebench.metrics.features import (
    WEIGHTS_SHA256,
    as_float,
    load_cifar10_resnet,
    load_inception,
)
from vaebench.nn.pretrained import cifar_resnet
from vaebench.nn.pretrained.inception import Resizing

FEATURES = ("inception", "classifier", "cifar10_resnet")


@dataclass(frozen=True)
class Activations:
    """Of n images, float32: ``features`` ``[n d]``, ``logits`` ``[n classes]``, ``spatial`` ``[n s]`` of Inception."""

    features: Tensor
    logits: Tensor
    spatial: Tensor | None


@dataclass(frozen=True)
class Judge:
    """A network that was trained to classify. ``name``: in the suites' options; ``digest``: identifies its weights.

    ``protocol``: what a measurement by it says of it; more than these two where it does not look as it usually does.
    ``see``: float images ``[b c h w]`` in [0, 1] on any device -> all it has to say of them, in one pass.
    """

    name: str
    digest: str
    see: Callable[[Tensor], Activations]
    resize: Resizing | None = None

    @property
    def protocol(self) -> dict[str, str]:
        """Of what it sees; the same for real images and for made ones."""
        unusual = {} if self.resize is None else {"resize": self.resize}
        return {"features": self.name, "features_digest": self.digest, **unusual}


def judge(features: str, inputs: SuiteInputs, resize: Resizing | None = None) -> Judge:
    """The network of ``suite.features``, one of `FEATURES`, on ``inputs.device``.

    ``inception``: FID's network. ``classifier``: the bench's own, trained on this dataset. ``cifar10_resnet``: a
    published ResNet-20, for 32 x 32 colour images; no model here was trained against it. ``resize``: of Inception
    (None: ``tensorflow``).

    Raises:
        UserError: its weights are missing or wrong, or the images are not what it judges.
    """
    if features == "inception":
        return _inception(inputs.device, resize)
    if features == "cifar10_resnet":
        shape = tuple(getattr(inputs.data, "shape", ()))
        if shape != cifar_resnet.INPUT_SHAPE:
            wanted, found = ("x".join(map(str, sides)) for sides in (cifar_resnet.INPUT_SHAPE, shape))
            raise UserError(
                f"suite.features=cifar10_resnet: it judges {wanted} images, those of {inputs.data.name} are {found}; "
                "use classifier or inception"
            )
        return _cifar10_resnet(inputs.device)
    if isinstance(inputs.data, HasClasses) and inputs.data.classes < 2:
        raise UserError(
            f"suite.features=classifier: {inputs.data.name} has no classes that one could be trained on; use inception"
        )
    assert inputs.classifier is not None, "the caller provides what needs_classifier asks for"
    network, device = inputs.classifier, inputs.device

    def see(x: Tensor) -> Activations:
        x = x.to(device)
        return Activations(network.features(x), network.logits(x), None)

    return Judge(features, inputs.classifier_key, see)


def observe(judge: Judge, images: Tensor, batch_size: int) -> Activations:
    """What the judge sees in ``images``, a batch at a time, without gradients; on the CPU.

    Args:
        judge: from `judge`.
        images: ``[n c h w]`` on any device: float in [0, 1], or uint8, which is brought to [0, 1] batch by batch.
        batch_size: images at a time.

    Raises:
        UserError: images hold NaN or infinity.
    """
    with torch.no_grad():
        return joined([_to_cpu(judge.see(as_float(batch))) for batch in images.split(batch_size)])


def joined(parts: Sequence[Activations]) -> Activations:
    """The activations of several batches, one after the other."""
    spatial = [part.spatial for part in parts if part.spatial is not None]
    return Activations(
        torch.cat([part.features for part in parts]),
        torch.cat([part.logits for part in parts]),
        torch.cat(spatial) if spatial else None,
    )


def _to_cpu(found: Activations) -> Activations:
    spatial = None if found.spatial is None else found.spatial.float().cpu()
    return Activations(found.features.float().cpu(), found.logits.float().cpu(), spatial)


def _inception(device: torch.device, resize: Resizing | None) -> Judge:
    network = load_inception(device, resize or "tensorflow")

    def see(x: Tensor) -> Activations:
        features, spatial = network.both(x.to(device))
        return Activations(features, network.logits(features), spatial)

    return Judge("inception", WEIGHTS_SHA256, see, resize)


def _cifar10_resnet(device: torch.device) -> Judge:
    network = load_cifar10_resnet(device)

    def see(x: Tensor) -> Activations:
        features = network(x.to(device))
        return Activations(features, network.logits(features), None)

    return Judge("cifar10_resnet", cifar_resnet.WEIGHTS_SHA256, see)

"""A small convolutional classifier: the judge of reconstructed digits, and the features where Inception is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.config.signatures import AtLeast2, Fraction, checked, require, whole
from vaebench.contracts import Batch, LossOutput, Phase, Reconstructs, TrainingData
from vaebench.errors import UserError
from vaebench.nn.sampling import highest_label

CHANNELS = (32, 64)  # of the convolutions, each with kernel 5, stride 2, padding 2
FEATURES = 128
_SHRINK = 2 ** len(CHANNELS)


class Classifier(nn.Module):
    """Two 5x5 convolutions of stride 2 (32 and 64 channels, ReLU), 128 ReLU units, dropout, a linear head.

    It has no max-pooling and no batch norm: both shift with the noise of an unclipped noisy image, and a judge that
    fails on such images by itself would flatter every model it is compared with.

    ``input_shape`` (c, h, w), sides of at least 4; ``classes``: how many it tells apart, more where the data has more;
    ``dropout`` the probability of dropping one of the 128 features. In the role ``seen_through`` it adopts a model that
    reconstructs, and is trained on its reconstructions in place of the images.
    """

    adopts = ("seen_through",)
    keeps = ()

    @checked("model")
    def __init__(self, *, input_shape: Sequence[int], classes: AtLeast2, dropout: Fraction) -> None:
        super().__init__()
        channels, height, width = input_shape
        require(whole("model.input_shape", min(height, width), _SHRINK, bound="the shorter side"))
        layers: list[nn.Module] = []
        for before, after in pairwise((channels, *CHANNELS)):
            layers += [nn.Conv2d(before, after, 5, 2, 2), nn.ReLU()]
            height, width = (height + 1) // 2, (width + 1) // 2
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(CHANNELS[-1] * height * width, FEATURES), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(FEATURES, classes))
        self._seen: Callable[[Tensor], Tensor] = lambda x: x
        self.register_load_state_dict_pre_hook(_as_wide)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster convolutions on a CPU

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase over all parameters."""
        return (Phase("classifier", tuple(self.parameters()), self.loss),)

    def adopt(self, role: str, parent: nn.Module) -> None:
        """Be trained on the reconstructions of ``parent``. Raises `UserError` if it makes none."""
        if not isinstance(parent, Reconstructs):
            raise UserError(
                f"{role}: {type(parent).__name__} reconstructs nothing that a classifier could be trained on"
            )
        self._seen = lambda x: parent.decode(parent.encode(x))

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """Cross-entropy in nats; terms ``cross_entropy`` and ``accuracy`` in [0, 1], of the batch under dropout."""
        with torch.no_grad():
            seen = self._seen(batch.x)
        logits = self.logits(seen)
        loss = F.cross_entropy(logits, batch.y)
        accuracy = (logits.detach().argmax(dim=1) == batch.y).float().mean()
        return LossOutput(loss, {"cross_entropy": loss.detach(), "accuracy": accuracy})

    def look(self, data: TrainingData) -> None:
        """Tell all classes of the data apart. The first weights of further ones are drawn as the others were."""
        self.widen(highest_label(data) + 1)

    def widen(self, classes: int) -> None:
        """Have at least that many outputs; the parameters stay the same objects, which an optimiser may hold."""
        last = self.head[-1]
        assert isinstance(last, nn.Linear)
        if classes > last.out_features:
            more = nn.Linear(last.in_features, classes - last.out_features).to(last.weight.device)
            last.weight.data = torch.cat([last.weight.data, more.weight.data])
            last.bias.data = torch.cat([last.bias.data, more.bias.data])
            last.out_features = classes

    def logits(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` -> unnormalised log-probabilities ``[b classes]``."""
        return self.head(self.body(x)).float()

    def features(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` -> the 128 activations before the last layer, 0 or more, ``[b 128]``."""
        return self.body(x).float()

    def layers(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images ``[b c h w]`` -> what each ReLU gives: two maps ``[b c' h' w']`` and the features ``[b 128]``."""
        found = []
        for layer in self.body:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                found.append(x.float())
        return tuple(found)


def _as_wide(model: nn.Module, state: Mapping[str, Tensor], *_: object) -> None:
    """Before trained weights are loaded: as many outputs as they have."""
    assert isinstance(model, Classifier)
    if "head.1.bias" in state:
        model.widen(len(state["head.1.bias"]))

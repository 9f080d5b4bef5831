"""Encoders of features that others have trained: the ResNet-20 of CIFAR-10, and networks of timm."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import Interval, Len
from torch import Tensor, nn

from vaebench.compat import timm
from vaebench.config.signatures import Count, require, whole
from vaebench.errors import UserError
from vaebench.nn.pretrained.cifar_resnet import FEATURES, INPUT_SHAPE, body, read_weights

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


# (h, w) of a map of 8 x 8 or what it is pooled to.
Grid = Annotated[Sequence[Annotated[int, Interval(ge=1, le=8)]], Len(2, 2)]


class Evaluated(nn.Module):
    """An encoder that stays in evaluation mode, also where its weights are trained.

    The statistics of its normalisations were measured on more data than a fine-tuning sees, and no layer is dropped.
    """

    grid: tuple[int, int]
    mean: Tensor
    std: Tensor

    def train(self, mode: bool = True) -> Evaluated:
        """Evaluation mode, whatever ``mode``."""
        super().train(False)
        return self


class CifarResNetEncoder(Evaluated):
    """The map before the pooling of CIFAR-10's ResNet-20 (arXiv 1512.03385), 64 channels, 8 x 8, pooled to ``grid``.

    Its weights are those of `cifar_resnet.CifarResNet`, from ``$VAEBENCH_DATA/cifar10_resnet/``.

    Raises `UserError`: images of another shape than 3 x 32 x 32, or a grid that is no (h, w) of 1 to 8.
    """

    pretrained = True
    outputs = FEATURES

    def __init__(self, *, input_shape: Sequence[int], grid: Grid, where: str) -> None:
        super().__init__()
        if tuple(input_shape) != INPUT_SHAPE:
            raise UserError(
                f"{where}.kind=cifar10_resnet: it is for images of {list(INPUT_SHAPE)}, not {list(input_shape)}; "
                "choose dataset=cifar10, mnist_32 or fashion_mnist_32"
            )
        self.grid = (grid[0], grid[1])
        self.body = body()
        remember_statistics(self, **_IMAGENET)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster on a CPU
        self.train()

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[b 3 32 32]`` in [0, 1] -> ``[b 64 h' w']``."""
        return F.adaptive_avg_pool2d(self.body((x - self.mean) / self.std), self.grid)

    def load_pretrained(self) -> None:
        """Read the published weights. Raises `UserError` if they are missing, others or damaged."""
        state = read_weights("model.encoder.kind=cifar10_resnet", "another encoder")
        named = {name.removeprefix("module."): tensor for name, tensor in state.items()}
        self.body.load_state_dict({name: tensor for name, tensor in named.items() if not name.startswith("linear.")})


@dataclass(eq=False, repr=False, kw_only=True)
class TimmEncoder(Evaluated):
    """A network of timm by its ``name``: a Vision Transformer's patches, or the last map of a convolutional network.

    ``img_size``: the side to which images are brought (bicubic); grey ones are repeated to three channels.
    ``patch_size``: of a Vision Transformer, to which the pretrained patches are resampled; null: its own, and for
    convolutional networks. ``grid``: to which a map is averaged or, where it is larger, interpolated; null: the
    network's. ``pretrained``: whether it begins with timm's weights. Prefix tokens (class, registers) are dropped.

    Raises `UserError`: an option out of range, or timm has no such network.
    """

    input_shape: Sequence[int]
    name: str
    pretrained: bool
    img_size: Count
    patch_size: Count | None
    grid: InitVar[Annotated[Sequence[Count], Len(2, 2)] | None]
    where: str

    def __post_init__(self, grid: Sequence[int] | None) -> None:
        super().__init__()
        shape = list(self.input_shape)
        coloured = f"model.input_shape={shape}: networks of timm are for grey or colour images"
        require(
            None if shape[0] in (1, 3) else coloured,
            *(whole(f"{self.where}.grid", side, 1, self.img_size, f"{self.where}.img_size") for side in grid or ()),
        )
        self.shaping = shaping(self.name, self.img_size, self.patch_size, self.where)
        self.network = created(self.name, self.where, self.shaping)
        self.grid = own_grid(self.network, self.img_size) if grid is None else (grid[0], grid[1])
        self.outputs: int = self.network.num_features
        remember_statistics(self, mean=self.network.pretrained_cfg["mean"], std=self.network.pretrained_cfg["std"])
        self.train()

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[b 1|3 h w]`` in [0, 1] -> ``[b outputs *grid]``."""
        x = x.expand(-1, 3, -1, -1)
        if tuple(x.shape[2:]) != (self.img_size, self.img_size):
            x = F.interpolate(x, size=(self.img_size, self.img_size), mode="bicubic", antialias=True).clamp(0, 1)
        features: Tensor = self.network.forward_features((x - self.mean) / self.std)
        if features.dim() == 3:
            tokens = features[:, self.network.num_prefix_tokens :]
            features = tokens.mT.unflatten(2, self.network.patch_embed.grid_size)
        return resized(features, self.grid)

    def load_pretrained(self) -> None:
        """Take timm's weights: ``<name>.safetensors`` in ``$VAEBENCH_WEIGHTS`` if it is there, else its download.

        Raises `UserError`: they cannot be had, or are another network's.
        """
        if not self.pretrained:
            return
        path = weights_folder() / f"{self.name}.safetensors"
        given: dict[str, Any] = {"pretrained_cfg_overlay": {"file": str(path)}} if path.is_file() else {}
        try:
            trained = created(self.name, self.where, self.shaping | given | {"pretrained": True})
        except UserError:
            raise
        except Exception as error:  # no network, no such file on the hub, a damaged file, tensors of other shapes
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{self.where}.name={self.name}: its pretrained weights cannot be had ({reason}); put "
                f"{path.name} into the folder of VAEBENCH_WEIGHTS, or set {self.where}.pretrained=false"
            ) from error
        self.network.load_state_dict(trained.state_dict())


def shaping(name: str, img_size: int, patch_size: int | None, where: str) -> dict[str, Any]:
    """What timm is told about sizes: only Vision Transformers are built for one."""
    if name.startswith("vit_"):
        sizes: dict[str, Any] = {"img_size": img_size, "num_classes": 0}
        return sizes if patch_size is None else sizes | {"patch_size": patch_size}
    if patch_size is not None:
        raise UserError(f"{where}.patch_size={patch_size}: {where}.name={name} has no patches; set it to null")
    return {"num_classes": 0}


def created(name: str, where: str, options: dict[str, Any]) -> Any:
    """The network of timm. Raises `UserError` for a name that it does not have, or one without a map of features."""
    models = timm()
    if not models.is_model(name.split(".")[0]):
        near = models.list_models(f"*{name.split('.')[0][:6]}*")[:5]
        raise UserError(f"{where}.name={name}: timm has no such network; some it has: {', '.join(near) or 'none'}")
    if not name.startswith(("vit_", "resnet")):
        raise UserError(f"{where}.name={name}: expected a Vision Transformer (vit_...) or a ResNet (resnet...)")
    return models.create_model(name, **options)


def own_grid(network: Any, img_size: int) -> tuple[int, int]:
    """(h, w) of a network's map of square images."""
    if hasattr(network, "patch_embed"):
        height, width = network.patch_embed.grid_size
        return height, width
    side = -(-img_size // network.feature_info[-1]["reduction"])
    return side, side


def resized(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """``[b c h w]`` -> ``[b c *grid]``: means where the map is larger, bilinear where it is smaller."""
    if tuple(features.shape[2:]) == grid:
        return features
    if all(have >= want for have, want in zip(features.shape[2:], grid, strict=True)):
        return F.adaptive_avg_pool2d(features, grid)
    return F.interpolate(features, size=grid, mode="bilinear")


def remember_statistics(module: nn.Module, *, mean: Sequence[float], std: Sequence[float]) -> None:
    """Buffers ``mean``, ``std`` ``[3 1 1]`` of the pixels a network was trained on; constants, in no state dict."""
    for name, values in {"mean": mean, "std": std}.items():
        module.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)


def weights_folder() -> Path:
    """``$VAEBENCH_WEIGHTS``, or the folder of the file that it names; here if it is not set."""
    given = Path(os.environ.get("VAEBENCH_WEIGHTS", "") or ".").expanduser()
    return given if given.is_dir() else given.parent

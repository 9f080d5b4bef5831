"""Grids of images along a training: what the model makes of some test images, and what it samples.

The training goes on to the same bits: the global generators, and which parts of the model train, are as they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from vaebench.contracts import Generates, Reconstructs, Samples, Sampling, TrainingData
from vaebench.data.images import ImageData

_SHOWN = 8  # images in a line
_LINES = 4  # of samples
# Fewer steps than a suite takes: it is for a look.
_QUICK = Sampling("euler", 25, shift=1.0, guidance=1.0, guidance_from=0.0, guidance_channels=None)


def grids(model: nn.Module, data: TrainingData, seed: int) -> dict[str, np.ndarray]:
    """By name, grids uint8 ``[h w 3]``; none where the model makes no images of one or three channels.

    ``reconstructions``: a line of test images above a line of what the model makes of them. ``samples``: from noise
    that is the same at every look.
    """
    found: dict[str, Tensor] = {}
    with _as_it_was(model, data.device):
        noise = torch.Generator().manual_seed(seed)
        if isinstance(data, ImageData) and isinstance(model, Reconstructs) and len(data.test_x):
            x = data.test_x[:_SHOWN].to(data.device).float() / 255
            found["reconstructions"] = torch.cat([x, model.decode(model.encode(x))])
        if isinstance(model, Samples):
            found["samples"] = model.sample(_LINES * _SHOWN, noise)
        elif isinstance(model, Generates):
            labels = torch.arange(_LINES * _SHOWN) % max(1, model.classes)
            found["samples"] = model.generate(labels, noise, _QUICK)
    return {name: _grid(images) for name, images in found.items() if images.ndim == 4 and images.shape[1] in (1, 3)}


@contextmanager
def _as_it_was(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Within it the model is in eval mode and nothing is differentiated; after it all is as it was before."""
    modes = {module: module.training for module in model.modules()}
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
        model.eval()
        try:
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode


def _grid(images: Tensor) -> np.ndarray:
    """Images ``[n c h w]`` in lines of `_SHOWN`, the last one filled up with black: uint8 ``[h w 3]``."""
    levels = images.float().clamp(0, 1).mul(255).round().byte().cpu()
    blank = torch.zeros(-len(levels) % _SHOWN, *levels.shape[1:], dtype=torch.uint8)
    tiles = torch.cat([levels, blank]).unflatten(0, (-1, _SHOWN)).permute(0, 3, 1, 4, 2)
    height, width = tiles.shape[0] * tiles.shape[1], tiles.shape[2] * tiles.shape[3]
    return tiles.reshape(height, width, -1).expand(-1, -1, 3).contiguous().numpy()

"""Networks that judge and are not trained: no parameters of the module that holds them, in no state dict."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Frozen:
    """Calls ``network`` in evaluation mode without gradients for its weights; it follows its input to a device.

    It is no module, so the module that holds it neither trains nor stores nor counts its weights. Gradients reach the
    input.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval().requires_grad_(False)

    def __call__(self, x: Tensor, *more: Any) -> Any:
        """``network(x, *more)`` on the device of ``x``."""
        return self.on(x.device)(x, *more)

    def on(self, device: torch.device) -> Any:
        """The network, moved to ``device``, for what else it can do than ``network(x)``."""
        if next(self.network.parameters()).device != device:
            self.network.to(device)
        return self.network

"""The deterministic autoencoder: the bottleneck without noise, prior or KL."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vaebench.config.signatures import checked
from vaebench.contracts import Batch, LossOutput
from vaebench.nn.networks.flat import FlatAutoencoder


@checked("model")
@dataclass(eq=False, repr=False, kw_only=True)
class Autoencoder(FlatAutoencoder):
    """``loss = recon(x, Dec(Enc(x)))``. It has no prior, so it cannot sample. Options: of `FlatAutoencoder`."""

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """Reconstruction error; term ``recon``."""
        recon = self.reconstruction(self.encoder(self.noisy(batch.x)), batch.x)
        return LossOutput(recon, {"recon": recon.detach()})

    def encode(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` -> codes ``[b l]``."""
        return self.encoder(x).float()

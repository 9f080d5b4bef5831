"""The deterministic autoencoder: the bottleneck without noise, prior or KL."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vaebench.contracts import Batch, LossOutput, Phase
from vaebench.nn.losses import elbo
from vaebench.nn.networks import flat
from vaebench.nn.options import require, whole


class Autoencoder(nn.Module):
    """``loss = recon(x, Dec(Enc(x)))``. It has no prior, so it cannot sample.

    ``input_shape`` (c, h, w); ``latent_dim`` the width of the code; ``network`` mlp or conv; ``hidden`` widths of the
    fully connected layers (null: the network's own); ``recon_loss`` mse or bce; ``reduction`` over pixels, sum or
    mean.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        latent_dim: int,
        network: str,
        hidden: Sequence[int] | None,
        recon_loss: str,
        reduction: str,
    ) -> None:
        super().__init__()
        require(
            whole("model.latent_dim", latent_dim, 1),
            *flat.mistakes(network, input_shape, hidden),
            *elbo.mistakes(recon_loss, reduction),
        )
        self.recon_loss = recon_loss
        self.reduction = reduction
        self.encoder = flat.encoder(network, shape=input_shape, outputs=latent_dim, hidden=hidden)
        self.decoder = flat.decoder(network, shape=input_shape, latent_dim=latent_dim, hidden=hidden)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase over all parameters."""
        return (Phase("autoencoder", tuple(self.parameters()), self.loss),)

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """Reconstruction error; term ``recon``."""
        del step
        logits = self.decoder(self.encoder(batch.x))
        recon = elbo.reconstruction(logits, batch.x, recon_loss=self.recon_loss, reduction=self.reduction)
        return LossOutput(recon, {"recon": recon.detach()})

    def encode(self, x: Tensor) -> Tensor:
        """Images ``[b c h w]`` -> codes ``[b l]``."""
        code: Tensor = self.encoder(x)
        return code.float()

    def decode(self, z: Tensor) -> Tensor:
        """Codes ``[b l]`` -> images ``[b c h w]`` in [0, 1]."""
        logits: Tensor = self.decoder(z)
        return logits.float().sigmoid()

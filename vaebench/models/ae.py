"""The deterministic autoencoder: the bottleneck without noise, prior or KL."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vaebench.config.signatures import Count, checked
from vaebench.contracts import Batch, LossOutput, Phase
from vaebench.nn.losses import elbo
from vaebench.nn.networks import flat


class Autoencoder(nn.Module):
    """``loss = recon(x, Dec(Enc(x)))``. It has no prior, so it cannot sample.

    ``input_shape`` (c, h, w); ``latent_dim`` the width of the code; ``network`` mlp or conv; ``hidden`` widths of the
    fully connected layers (null: the network's own); ``recon_loss`` mse or bce; ``reduction`` over pixels, sum or
    mean.
    """

    @checked("model")
    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        latent_dim: Count,
        network: flat.Network,
        hidden: flat.Hidden,
        recon_loss: elbo.ReconLoss,
        reduction: elbo.Reduction,
    ) -> None:
        super().__init__()
        self.recon_loss = recon_loss
        self.reduction = reduction
        self.encoder, self.decoder = flat.pair(
            network, shape=input_shape, hidden=hidden, outputs=latent_dim, latent_dim=latent_dim
        )

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

"""What a suite may ask of a model; checked before anything runs.

Shapes: ``b`` batch, ``c`` channels, ``h w`` height and width, ``l`` latent width, ``d`` feature width.
Images are float32 in [0, 1], ``[b c h w]``, at every boundary; another range carries its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@runtime_checkable
class ScoresCandidates(Protocol):
    """``scores``: one number per candidate answer by each of the method's scores, ``{name: [b]}``; **lower is picked**.

    ``solution``, ``question``: embeddings float32 ``[b e]`` as the embedder made them. Deterministic: no sampling.
    ``posterior``: mean and log-variance ``[b l]``, for methods that have one; else None.
    """

    def scores(self, solution: Tensor, question: Tensor) -> dict[str, Tensor]: ...

    def posterior(self, solution: Tensor, question: Tensor) -> tuple[Tensor, Tensor] | None: ...


@runtime_checkable
class Reconstructs(Protocol):
    """``encode``: images or audio -> test-time code ``[b l]`` or ``[b l *grid]``. ``decode``: back to them."""

    def encode(self, x: Tensor) -> Tensor: ...

    def decode(self, z: Tensor) -> Tensor: ...


@runtime_checkable
class DrawsCodes(Protocol):
    """``encode_drawn``: images -> a draw of each one's posterior ``[b l]``, in place of the test-time code."""

    def encode_drawn(self, x: Tensor, generator: torch.Generator) -> Tensor: ...


@runtime_checkable
class Encodes(Protocol):
    """``encode``: images -> a code ``[b l]`` or ``[b l *grid]``, deterministic."""

    def encode(self, x: Tensor) -> Tensor: ...


@runtime_checkable
class Tokenizes(Protocol):
    """A discrete code. ``codebook_size``: how many codes there really are; ``nominal_size``: how many the table says.

    ``tokenize``: a batch -> int64 ``[b *grid]`` in ``0 ... codebook_size - 1``; ``detokenize``: back to images or
    audio, equal to ``decode(encode(x))``.
    """

    @property
    def codebook_size(self) -> int: ...

    @property
    def nominal_size(self) -> int: ...

    def tokenize(self, x: Tensor) -> Tensor: ...

    def detokenize(self, indices: Tensor) -> Tensor: ...


@runtime_checkable
class EncodesContinuously(Protocol):
    """``encode_both``: what ``encode`` gives, and the same before it became codes; ``decode`` takes either."""

    def encode_both(self, x: Tensor) -> tuple[Tensor, Tensor]: ...


@runtime_checkable
class Samples(Protocol):
    """``sample``: ``count`` images from the prior, drawn with ``generator``."""

    def sample(self, count: int, generator: torch.Generator) -> Tensor: ...


@runtime_checkable
class MasksLatents(Protocol):
    """Keeps some latent dimensions for a whole batch: masks are bool ``[l]``.

    ``encode_masked``: the test-time code ``[b l]`` with this mask in place of the moving average's.
    """

    def batch_mask(self, x: Tensor) -> Tensor: ...

    def encode_masked(self, x: Tensor, mask: Tensor) -> Tensor: ...

    def ema_mask(self) -> Tensor: ...

    def importance_ema(self) -> Tensor: ...


@runtime_checkable
class Classifies(Protocol):
    """``logits``: images -> ``[b classes]``. ``features``: penultimate activations ``[b d]``."""

    def logits(self, x: Tensor) -> Tensor: ...

    def features(self, x: Tensor) -> Tensor: ...


@runtime_checkable
class HasLayers(Protocol):
    """``layers``: activations of several depths, images ``[b c h w]`` in [0, 1] -> ``[b c' h' w']`` or ``[b d]``."""

    def layers(self, x: Tensor) -> tuple[Tensor, ...]: ...


@runtime_checkable
class GivesLatents(Protocol):
    """An autoencoder a diffusion model can be trained on: latents on a grid.

    ``latent_moments``: images ``[b c h w]`` in [0, 1] -> mean and log-variance of q(z|x), float32 ``[b l h' w']``
    each; the log-variance is None where the encoder is deterministic. ``decode``: ``[b l h' w']`` -> images in [0, 1].
    ``latent_shape``: (l, h', w').
    """

    @property
    def latent_shape(self) -> tuple[int, int, int]: ...

    def latent_moments(self, x: Tensor) -> tuple[Tensor, Tensor | None]: ...

    def decode(self, z: Tensor) -> Tensor: ...


@runtime_checkable
class Normalised(Protocol):
    """Latents with one mean and one deviation of all their numbers together, 0-dim float32 buffers."""

    latent_mean: Tensor
    latent_std: Tensor


@runtime_checkable
class Completes(Protocol):
    """``complete``: images with some patches hidden (grey) as the network is given them, and what it makes of them.

    Images ``[b c h w]`` in [0, 1] -> two of that shape; which patches are hidden is drawn from ``generator``.
    """

    def complete(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class Sampling:
    """How a flow is followed from noise to data.

    ``sampler``: ``euler``, ``heun`` or ``sde``. ``steps``: of the grid. ``shift``: s of t' = s t / (1 + (s - 1) t),
    time 0 noise and 1 data; 1 is an even grid, below 1 is denser at the noise end. ``guidance``: weight w of
    v_null + w (v_y - v_null); 1 is none. ``guidance_from``: time from which guidance is on. ``guidance_channels``: only
    the first so many latent channels are guided; None is all.
    """

    sampler: str
    steps: int
    shift: float
    guidance: float
    guidance_from: float
    guidance_channels: int | None


@runtime_checkable
class Generates(Protocol):
    """A latent diffusion model with the decoder of the autoencoder it was trained on.

    ``classes``: how many there are, 0 where it knows none. ``check``: raises `UserError` for a ``sampling`` that is not
    possible with it.
    ``generate``: labels int64 ``[b]`` -> images in [0, 1], noise drawn from ``generator``. ``sample_latents``: the
    same before the decoder.
    """

    @property
    def classes(self) -> int: ...

    def check(self, sampling: Sampling) -> None: ...

    def sample_latents(self, labels: Tensor, generator: torch.Generator, sampling: Sampling) -> Tensor: ...

    def generate(self, labels: Tensor, generator: torch.Generator, sampling: Sampling) -> Tensor: ...


@runtime_checkable
class ModelsLatents(Protocol):
    """A flow on an autoencoder's latents that can be held against latents it was not trained on.

    ``encode_latents``: images ``[b c h w]`` in [0, 1] -> raw latents ``[b l h w]`` as it is trained on, drawn from
    q(z|x). ``standardised``: these in the units its network sees. ``flow_loss``: of each raw latent ``[b]``, times
    uniform in [0, 1] and noise drawn from ``generator``.
    """

    def encode_latents(self, x: Tensor, generator: torch.Generator) -> Tensor: ...

    def standardised(self, z: Tensor) -> Tensor: ...

    def flow_loss(self, z: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor: ...


@runtime_checkable
class HasEncoder(Protocol):
    """``encoder_pass``: the part of the network that turns images ``[b c h w]`` in [0, 1] into latents."""

    def encoder_pass(self, x: Tensor) -> Tensor: ...


@runtime_checkable
class MovesPoints(Protocol):
    """Points in the plane that a training has moved; ``kept``: what is left of the m moments of it that were reached.

    ``path``: positions float32 ``[m n 2]``, the last moment the end. ``steps``: int64 ``[m]``, after how many steps.
    ``arrows``: ``[m l k 2]``, whither distribution matching would move the first k points at the ``levels`` ``[l]``,
    times from 0 (noise) to 1 (data).
    """

    def kept(self) -> Mapping[str, Tensor]: ...

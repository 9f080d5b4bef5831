"""A tokenizer: an autoencoder with a quantiser between its halves, the one class of all vector quantisation methods."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vaebench.config import signatures
from vaebench.contracts import Batch, LossOutput, Phase, TrainingData
from vaebench.errors import UserError
from vaebench.nn import precision
from vaebench.nn.sampling import SEED, own_draws, spread
from vaebench.nn.tokenizers import autoencoders
from vaebench.nn.tokenizers.base import Autoencoder
from vaebench.nn.tokenizers.quantise import Quantised, Quantiser, perplexity

_WATCHED = 512  # training items behind the numbers of `watch`
_BATCH = 64
_VARIETY = 2  # items encoded for each that would be enough to fit a codebook: the tokens of an item are alike


class Tokenizer(nn.Module):
    """``x -> features -> h -> z = down h -> q = quantiser(z) -> h' = up q -> decoded features``.

    ``loss = the autoencoder's reconstruction + the quantiser's loss``. ``down``: the autoencoder's width C -> the
    quantiser's ``inputs``; ``up``: its width ``dim`` d -> C; both linear, per token. The quantiser sees the tokens of a
    batch as ``[n inputs]``, in float32 whatever the precision. Test-time codes are those of the quantiser in eval mode.
    """

    def __init__(self, autoencoder: Autoencoder, quantiser: Quantiser) -> None:
        super().__init__()
        self.autoencoder: Any = autoencoder
        self.quantiser: Any = quantiser
        self.down = nn.Linear(autoencoder.width, quantiser.inputs)
        self.up = nn.Linear(quantiser.dim, autoencoder.width)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One optimiser for everything that learns."""
        learning = tuple(parameter for parameter in self.parameters() if parameter.requires_grad)
        return (Phase("tokenizer", learning, self.loss),)

    @property
    def codebook_size(self) -> int:
        """How many codes there really are."""
        return int(self.quantiser.codebook_size)

    @property
    def nominal_size(self) -> int:
        """How many codes the table says."""
        return int(self.quantiser.nominal_size)

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """The sum of the autoencoder's and the quantiser's loss; terms of both, ``auxiliary`` is the quantiser's."""
        features = self._target(batch.x)
        z, grid = self._tokens(features)
        quantised = self._quantise(z, items=len(batch.x))
        output: LossOutput = self.autoencoder.loss(self._decoded(quantised.values, grid), features)
        terms = {**output.terms, "auxiliary": quantised.loss.detach(), **quantised.info}
        return LossOutput(output.total + quantised.loss, terms)

    def encode(self, x: Tensor) -> Tensor:
        """Images or audio -> quantised tokens, float32 ``[b d *grid]``; audio of any length, rounded up to tokens."""
        z, grid = self._tokens(self._target(x))
        return _on_grid(self._quantise(z).values, grid)

    def encode_both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What `encode` gives, and the tokens before they became codes, in the terms of the decoder."""
        z, grid = self._tokens(self._target(x))
        quantised = self._quantise(z)
        assert quantised.continuous is not None, "quantisers give it in evaluation mode"
        return _on_grid(quantised.values, grid), _on_grid(quantised.continuous, grid)

    def decode(self, z: Tensor) -> Tensor:
        """Quantised tokens ``[b d *grid]`` -> images in [0, 1] or waveforms in [-1, 1], float32."""
        return self.autoencoder.signal(self._decoded(*_flat(z)))

    def decode_log_mel(self, z: Tensor) -> Tensor | None:
        """Quantised tokens -> log10-mel power ``[b bands t]`` where this is what is decoded, else None."""
        return self.autoencoder.log_mel(self._decoded(*_flat(z)))

    def tokenize(self, x: Tensor) -> Tensor:
        """Images or audio -> codes int64 ``[b *grid]``. Raises `UserError` while there are no codes."""
        z, grid = self._tokens(self._target(x))
        indices = self._quantise(z).indices
        if indices is None:
            raise UserError(
                f"{type(self.quantiser).__name__} has no codes yet: they are fitted at the end of a training, "
                "and given in evaluation mode"
            )
        return indices.view(-1, *grid)

    def detokenize(self, indices: Tensor) -> Tensor:
        """Codes int64 ``[b *grid]`` -> images or audio, equal to ``decode(encode(x))``."""
        codes = self.quantiser.codes(indices.flatten())
        return self.autoencoder.signal(self._decoded(codes, tuple(indices.shape[1:])))

    def look(self, data: TrainingData) -> None:
        """The autoencoder's look. Raises `UserError`: fewer tokens in the data than codes to fit to them at the end."""
        self.autoencoder.look(data)
        if hasattr(self.quantiser, "fit"):
            with own_draws(), torch.no_grad():
                self._check_tokens(data, len(data) * self._tokens_per_item(data))

    def finish(self, data: TrainingData) -> None:
        """Lets the quantiser fit its codes to tokens of evenly spread training items, if that is how it gets them.

        The tokens are a constant choice from those of twice as many items as would do. Draws from no global
        generator. Raises `UserError`: there are fewer tokens than codes, or some that are not finite.
        """
        if not hasattr(self.quantiser, "fit"):
            return
        wanted = self.quantiser.codebook_latents
        with own_draws(), torch.no_grad():
            items = math.ceil(_VARIETY * wanted / self._tokens_per_item(data))
            latents = self._latents(data, items)
        self._check_tokens(data, len(latents))
        _check_finite(latents)
        chosen = torch.randperm(len(latents), generator=torch.Generator().manual_seed(SEED))[:wanted]
        self.quantiser.fit(latents[chosen.to(latents.device)], seed=SEED)

    def watch(self, data: TrainingData) -> Mapping[str, float]:
        """How the codes are used by 512 evenly spread training items.

        ``usage``: the fraction of the codes that occur. ``cvu``: exp(entropy) of the codes over their number. Where
        codes are fitted at the end, those of a codebook fitted to these items now; nothing where this cannot be done:
        fewer tokens than codes, or tokens that are not finite.
        """
        size = self.codebook_size
        with own_draws(), torch.no_grad():
            latents = self._latents(data, _WATCHED)
            if not latents.isfinite().all():
                return {}
            if not hasattr(self.quantiser, "fit"):
                with self._evaluating():
                    indices: Any = self._quantise(latents).indices
            elif len(latents) < size:
                return {}
            else:
                indices = self.quantiser.usage_of(latents, seed=SEED)
        return {"usage": len(indices.unique()) / size, "cvu": float(perplexity(indices, size)) / size}

    def _target(self, x: Tensor) -> Tensor:
        """Features float32, without gradient."""
        with torch.no_grad(), precision.full(x.device):
            return self.autoencoder.target(x)

    def _tokens(self, features: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """Features -> tokens float32 ``[n inputs]``, those of an item together, and their grid."""
        flat, grid = _flat(self.autoencoder.encode(features))
        with precision.full(flat.device):
            return self.down(flat.float()), grid

    def _quantise(self, z: Tensor, items: int | None = None) -> Quantised:
        """Raises `UserError` outside training for tokens that are not finite: their nearest code is some code."""
        if not self.training:
            _check_finite(z)
        with precision.full(z.device):
            known = {"items": items} if getattr(self.quantiser, "per_item", False) else {}
            return self.quantiser(z, **known)

    def _decoded(self, values: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Quantised tokens ``[n d]`` -> decoded features."""
        return self.autoencoder.decode(_on_grid(self.up(values), grid))

    def _tokens_per_item(self, data: TrainingData) -> int:
        with self._evaluating():
            first = data.batch(spread(len(data), 1, data.device))
            return len(self._tokens(self._target(first.x))[0])

    def _latents(self, data: TrainingData, items: int) -> Tensor:
        """Tokens ``[m inputs]`` of evenly spread training items, in eval mode and float32."""
        rows = spread(len(data), items, data.device).split(_BATCH)
        with self._evaluating(), precision.full(data.device):
            return torch.cat([self._tokens(self._target(data.batch(part).x))[0] for part in rows])

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """In eval mode; afterwards the mode is what it was."""
        before = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(before)

    def _check_tokens(self, data: TrainingData, tokens: int) -> None:
        """Raise `UserError` where there are fewer tokens than codes to fit to them."""
        if tokens < self.codebook_size:
            raise UserError(
                f"model.codebook_size={self.codebook_size}: {data.name} has only {tokens} training tokens to fit so "
                "many codes to; use a smaller codebook or more data"
            )


def tokenizer_of(quantiser: Callable[..., Quantiser], name: str) -> Callable[..., Tokenizer]:
    """The function ``name`` that makes a `Tokenizer` of a quantiser, for the module that ``quantiser`` stands in.

    It takes the options of ``quantiser``, ``autoencoder`` (a file of ``conf/autoencoder``) and what the data gives:
    ``input_shape`` (c, h, w) of images or (1, samples) of audio, ``sample_rate`` of audio in Hz.
    """

    def made(
        *, input_shape: Sequence[int], sample_rate: int | None, autoencoder: Mapping[str, Any], **options: Any
    ) -> Tokenizer:
        built = quantiser(**options)
        return Tokenizer(autoencoders.build(autoencoder, input_shape=input_shape, sample_rate=sample_rate), built)

    own = list(inspect.signature(made).parameters.values())[:-1]
    made.__signature__ = inspect.Signature([*own, *inspect.signature(quantiser).parameters.values()])  # type: ignore[attr-defined]
    made.__annotations__ |= signatures.hints(quantiser)
    made.__module__, made.__name__, made.__qualname__ = quantiser.__module__, name, name
    return made


def _check_finite(z: Tensor) -> None:
    if not z.isfinite().all():
        raise UserError("tokens hold NaN or infinity: the model has diverged; train it again with a smaller rate")


def _flat(z: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """``[b d *grid]`` -> ``[n d]`` and the grid."""
    return z.movedim(1, -1).reshape(-1, z.shape[1]), tuple(z.shape[2:])


def _on_grid(values: Tensor, grid: tuple[int, ...]) -> Tensor:
    """``[n d]`` -> ``[b d *grid]``, a view."""
    return values.reshape(-1, *grid, values.shape[-1]).movedim(-1, 1)

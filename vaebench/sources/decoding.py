"""Many answers at a time by a causal language model of transformers, one token a step for all of them.

It is several times as fast as the library's ``generate``: a prompt is read once for all its answers, answers that have
ended leave the batch, keys and values are written in place where the library copies all of them in every step, and the
heads that share keys are one product of matrices. A token is drawn by a number that belongs to its answer, so what else
is in the batch moves an answer by rounding only.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from vaebench.compat import ensure_torchvision

ensure_torchvision()  # before these import it
from transformers import AttentionInterface, AttentionMaskInterface  # noqa: E402
from transformers.cache_utils import Cache, DynamicLayer  # noqa: E402
from transformers.integrations.sdpa_attention import sdpa_attention_forward  # noqa: E402
from transformers.masking_utils import sdpa_mask  # noqa: E402

_ROOM = 16  # steps between two looks at who has ended; a copy of all keys and values then makes room for as many
_WIDTH = 256  # tokens among which top_p is looked for first; where they do not add up to it, among all
_ATTENTION = "vaebench_one_query"


def prepare(network: Any) -> None:
    """Let a model's single queries be answered by `_attention`, if it uses plain attention at all."""
    AttentionInterface.register(_ATTENTION, _attention)
    AttentionMaskInterface.register(_ATTENTION, sdpa_mask)
    if network.config._attn_implementation == "sdpa":
        network.set_attn_implementation(_ATTENTION)


def decode(
    network: Any,
    prompts: list[Tensor],
    uniforms: Tensor,
    drawing: Mapping[str, float],
    ends: Collection[int],
    loop: int | None = None,
) -> tuple[Tensor, Tensor]:
    """``k`` answers to each of n prompts: tokens and their log-probabilities in nats ``[n*k t]``, float32.

    ``uniforms``: float32 ``[n k t]`` in [0, 1), what every token is drawn by, on the model's device; ``t`` is the most
    tokens of an answer. ``drawing`` as `picked` takes it. An answer ends with the first of ``ends``, and soon after
    it `circles` with this ``loop``; behind its end log-probabilities are NaN. They are the model's own: at temperature
    1, nothing cut off.
    """
    n, k, most = uniforms.shape
    uniforms, device = uniforms.flatten(0, 1), uniforms.device
    padded = partial(pad_sequence, batch_first=True, padding_side="left")
    ids, seen = (padded(found).to(device) for found in (prompts, [torch.ones_like(ids) for ids in prompts]))
    position = seen.cumsum(dim=1) - 1
    cache: Any = Cache(layer_class_to_replicate=_Layer)
    name = "cache" if "cache" in inspect.signature(network.forward).parameters else "past_key_values"
    step = partial(network, use_cache=True, logits_to_keep=1, **{name: cache})

    logits = step(input_ids=ids, attention_mask=seen, position_ids=position.clamp(min=0)).logits
    staying = torch.arange(n, device=device).repeat_interleave(k)  # rows of the batch of before
    asked = torch.arange(n * k, device=device)  # the answers in the batch
    logits, last = logits[staying], position[staying, -1:]
    tokens, logprobs = torch.zeros_like(uniforms, dtype=torch.int64), torch.full_like(uniforms, torch.nan)
    ending = torch.tensor(sorted(ends), dtype=torch.int64, device=device)
    ended = torch.zeros_like(asked, dtype=torch.bool)
    for place in range(most):
        scores = logits[:, -1].float()
        chosen = picked(scores, uniforms[asked, place], drawing)
        tokens[asked, place] = chosen
        logprobs[asked, place] = scores.log_softmax(dim=1).gather(1, chosen[:, None]).squeeze(1)
        ended |= torch.isin(chosen, ending)
        if place + 1 == most or bool(ended.all()):
            break
        if place % _ROOM == 0:
            if loop:
                ended |= circles(tokens[asked, : place + 1], loop)
                if bool(ended.all()):
                    break
            going = (~ended).nonzero().squeeze(1)
            staying = staying[going] if place == 0 else going
            seen = F.pad(seen[staying][:, : ids.shape[1] + place], (0, _ROOM))
            for layer in cache.layers:
                layer.keep(staying, _ROOM)
            asked, chosen, last, ended = asked[going], chosen[going], last[going], ended[going]
        seen[:, ids.shape[1] + place] = 1
        last = last + 1
        logits = step(input_ids=chosen[:, None], attention_mask=seen, position_ids=last).logits
    return tokens, logprobs


def circles(tokens: Tensor, loop: int) -> Tensor:
    """Whether the last ``loop`` tokens of an answer stood in it before, at most ``loop`` earlier; ``[b t]`` -> ``[b]``.

    A small language model that has begun to repeat itself does so until it is stopped.
    """
    earlier = range(1, min(loop, tokens.shape[1] - loop) + 1)
    last = tokens[:, -loop:]
    found = [(last == tokens[:, -loop - by : -by]).all(dim=1) for by in earlier]
    return torch.stack(found).any(dim=0) if found else torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)


def picked(scores: Tensor, uniform: Tensor, drawing: Mapping[str, float]) -> Tensor:
    """A token for each row of ``scores``, float32 ``[b v]``: the most likely one, or drawn by ``uniform`` ``[b]``.

    ``drawing``: ``temperature`` with ``top_k`` or ``top_p``; nothing for the most likely token. The tokens that may be
    drawn lie side by side from 0 to 1, the most likely first, each as wide as its share of their chances.
    """
    if not drawing:
        return scores.argmax(dim=1)
    chances = (scores / drawing["temperature"]).softmax(dim=1)
    if "top_k" in drawing:
        upto, tokens = _best(chances, int(drawing["top_k"]))
        last = torch.full_like(tokens[:, :1], upto.shape[1] - 1)
    else:
        upto, tokens = _best(chances, _WIDTH)
        if bool((upto[:, -1] < drawing["top_p"]).any()):
            upto, tokens = _best(chances, chances.shape[1])
        last = (upto < drawing["top_p"]).sum(dim=1, keepdim=True).clamp(max=upto.shape[1] - 1)
    place = (upto <= uniform[:, None] * upto.gather(1, last)).sum(dim=1, keepdim=True)
    return tokens.gather(1, place.minimum(last)).squeeze(1)


def _best(chances: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The most likely tokens: what they add up to, one by one, and which they are."""
    best, tokens = chances.topk(min(count, chances.shape[1]), dim=1)
    return best.cumsum(dim=1), tokens


class _Layer(DynamicLayer):
    """Keys and values ``[b h t d]`` of a layer, of which the first ``filled`` tokens count; behind them there is room.

    They stay one block of memory, which makes products with them several times as fast; the mask hides the room.
    """

    keys: Tensor
    values: Tensor
    filled = 0

    def keep(self, rows: Tensor, room: int) -> None:
        """Only these rows of the batch from now on, with room for so many more tokens."""
        kept = (states[rows, :, : self.filled] for states in (self.keys, self.values))
        self.keys, self.values = (F.pad(states, (0, 0, 0, room)) for states in kept)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
        """Take the prompts, then a token at a time."""
        start, self.filled = self.filled, self.filled + key_states.shape[2]
        if start == 0:
            found: tuple[Tensor, Tensor] = super().update(key_states, value_states)
            return found
        self.keys[:, :, start : self.filled] = key_states
        self.values[:, :, start : self.filled] = value_states
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """How many tokens there are."""
        return self.filled

    def get_mask_sizes(self, query_length: Any) -> tuple[int, int]:
        """How many keys the next tokens are compared with, and where these begin."""
        return max(self.filled + query_length, self.keys.shape[2] if self.filled else 0), 0


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attention of one query ``[b heads 1 d]`` to keys ``[b h t d]``, all heads of a key at once; else PyTorch's."""
    if query.shape[2] > 1 or options.get("position_bias") is not None:
        found: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return found
    scale = options.get("scaling") or query.shape[3] ** -0.5
    together = query.reshape(len(query), key.shape[1], -1, query.shape[3])
    scores = (together @ key.transpose(2, 3)).float() * scale
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask, -torch.inf)
    weights = scores.softmax(dim=-1).to(value.dtype)
    return (weights @ value).reshape(len(query), 1, -1, value.shape[3]), None

"""A small causal language model of Llama's architecture, trained from nothing, exported for transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import nn

from vaebench.compat import ensure_torchvision
from vaebench.config.signatures import LARGEST, AtLeast2, Count, checked
from vaebench.contracts import Batch, LossOutput, Phase, TrainingData
from vaebench.errors import UserError
from vaebench.nn import across
from vaebench.nn.pretrained import hub

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

NOT_SCORED = -100


@runtime_checkable
class Tokenised(Protocol):
    """Training data that says how its texts became tokens.

    ``words``: the tokens in the order of their ids. First come the special ones, ``<|...|>``: the padding, the unknown,
    any others, the end of a message. ``pattern``: the regular expression whose matches are tokens. ``chat_template``:
    how messages become a prompt, in Jinja.
    """

    words: Sequence[str]
    pattern: str
    chat_template: str


@checked("model")
@dataclass(eq=False, repr=False, kw_only=True)
class TinyLM(nn.Module):
    """Next-token prediction with transformers' `LlamaModel`; input and output embedding are the same.

    ``vocabulary`` rows of the embedding (at least as many as the data has tokens); ``width`` of a token's vector, a
    multiple of twice ``heads``; ``hidden`` units of a gated layer; ``layers``; ``context`` the longest text in tokens.
    """

    vocabulary: Annotated[int, Interval(ge=8, le=LARGEST)]
    width: Count
    hidden: Count
    layers: Count
    heads: Count
    context: AtLeast2

    def __post_init__(self) -> None:
        super().__init__()
        if self.width % (2 * self.heads):
            raise UserError(f"model.width={self.width}: expected a multiple of {2 * self.heads}, twice model.heads")
        ensure_torchvision()
        from transformers import LlamaConfig, LlamaModel

        self.words: tuple[str, ...] = ()
        self.pattern = self.chat_template = ""
        self.network = LlamaModel(
            LlamaConfig(
                vocab_size=self.vocabulary,
                hidden_size=self.width,
                intermediate_size=self.hidden,
                num_hidden_layers=self.layers,
                num_attention_heads=self.heads,
                num_key_value_heads=self.heads,
                max_position_embeddings=self.context,
                tie_word_embeddings=True,
                bos_token_id=None,
                eos_token_id=None,
                pad_token_id=None,
            )
        )

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase over all parameters."""
        return (Phase("language_model", tuple(self.parameters()), self.loss),)

    def look(self, data: TrainingData) -> None:
        """Take over from the data how texts become tokens; `export` needs it.

        Raises `UserError`: the data is not made of tokens, has more than ``vocabulary``, or texts beyond ``context``.
        """
        if not isinstance(data, Tokenised):
            raise UserError(f"model tiny_lm is trained on tokens and {data.name} holds none; use dataset=arithmetic")
        config = self.network.config
        longest = data.batch(torch.arange(len(data), device=data.device)).x.shape[1]
        if len(data.words) > config.vocab_size:
            raise UserError(f"model.vocabulary={config.vocab_size}: {data.name} has {len(data.words)} tokens")
        if longest > config.max_position_embeddings:
            raise UserError(
                f"model.context={config.max_position_embeddings}: the longest text of {data.name} has {longest} tokens"
            )
        self.words, self.pattern, self.chat_template = tuple(data.words), data.pattern, data.chat_template

    def loss(self, batch: Batch, step: int) -> LossOutput:
        """Cross-entropy in nats per scored token; terms ``cross_entropy`` and ``accuracy`` in [0, 1]."""
        # Padding stands on the right, so no token can attend to it and no mask is needed.
        states = self.network(input_ids=batch.x[:, :-1], use_cache=False).last_hidden_state
        targets = batch.y[:, 1:]
        scored = targets != NOT_SCORED
        logits = F.linear(states[scored], self.network.embed_tokens.weight).float()
        loss = across.weighted(F.cross_entropy(logits, targets[scored]), scored.sum())
        accuracy = (logits.detach().argmax(dim=1) == targets[scored]).float().mean()
        accuracy = across.weighted(accuracy, scored.sum())
        return LossOutput(loss, {"cross_entropy": loss.detach(), "accuracy": accuracy})

    def export(self, folder: Path) -> None:
        """Write what ``AutoModelForCausalLM`` and ``AutoTokenizer`` read. Raises `UserError` if untrained."""
        if not self.words:
            raise UserError("model tiny_lm: its tokens come with the training data; train it first")
        from transformers import LlamaForCausalLM

        tokenizer = _tokenizer(self.words, self.pattern, self.chat_template)
        ends: dict[str, Any] = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
        whole_network = LlamaForCausalLM(self.network.config)
        whole_network.model = self.network
        whole_network.tie_weights()
        whole_network.config.update(ends)
        whole_network.generation_config.update(**ends)
        with hub.quiet():
            whole_network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _tokenizer(words: Sequence[str], pattern: str, chat_template: str) -> PreTrainedTokenizerFast:
    """One token per match of ``pattern``; decoding joins the tokens."""
    from tokenizers import AddedToken, Regex, Tokenizer
    from tokenizers.decoders import Fuse
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    special = [word for word in words if word.startswith("<|")]
    pad, unknown, end = special[0], special[1], special[-1]
    inner = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token=unknown))
    inner.pre_tokenizer = Split(Regex(pattern), behavior="isolated")
    inner.decoder = Fuse()
    inner.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in special])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=pad,
        unk_token=unknown,
        eos_token=end,
        extra_special_tokens=special[2:-1],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = chat_template
    return tokenizer

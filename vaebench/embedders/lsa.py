"""Latent semantic analysis: tf-idf of words and word pairs, projected on their leading singular vectors."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor

from vaebench.config.signatures import Count, Seed, checked
from vaebench.contracts import Work
from vaebench.disk import write_bytes
from vaebench.errors import UserError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_TERMS, _TENSORS = "lsa-terms.json", "lsa.safetensors"
Numbers = Literal["token", "keep"]
_NUMBER = "#"  # stands for every number; no word can be it
_TOKEN = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?|[^\W\d_]+")
_RANK = 1e-6  # a singular value below this part of the largest is rounding: float64 leaves about 1e-15 of an absent one


def tokens(text: str, numbers: Numbers) -> list[str]:
    """The words of ``text`` in lower case and its numbers: each as ``#`` (``numbers="token"``) or as itself (``keep``).

    A number keeps its decimals and loses its thousands' commas; signs and punctuation are no tokens.
    """
    found = _TOKEN.findall(text.lower())
    if numbers == "token":
        return [_NUMBER if token[0].isdecimal() else token for token in found]
    return [token.replace(",", "") for token in found]


@checked("embedder")
@dataclass(kw_only=True, eq=False)
class LSA:
    """A text with counts ``c`` of terms -> ``V w / |V w|``, where ``w_t = idf_t * tf(c_t)``, scaled to ``|w| = 1``.

    ``tf(c) = 1 + ln c`` (``sublinear_tf``) or ``c``; ``idf_t = 1 + ln((1 + n) / (1 + n_t))`` over the n texts of `fit`,
    n_t of them with term t. ``V`` ``[dim terms]`` holds the leading right singular vectors of the rows w of these texts
    (Deerwester et al. 1990), found by randomized iteration from ``seed`` (Halko, Martinsson & Tropp, arXiv 0909.4061)
    on one thread; the largest entry of each is positive. A text without a known term is the zero vector.

    ``dim``: width of the vectors. ``ngrams``: longest run of tokens that is a term. ``numbers``: see
    `tokens`. ``min_df``: fewest texts a term must be in. ``max_features``: how many terms are kept, the most frequent,
    ties by alphabet; null: all. ``normalise``: whether the vectors have unit norm. ``shard``: texts per shard.
    """

    dim: Count
    ngrams: Count
    numbers: Numbers
    sublinear_tf: bool
    min_df: Count
    max_features: Count | None
    normalise: bool
    seed: Seed
    shard: Count

    def __post_init__(self) -> None:
        self.truncated = 0
        self._learnt: tuple[list[str], np.ndarray, np.ndarray] | None = None  # terms, idf [t], components [dim t]

    def open(self, work: Work) -> None:
        """Nothing to load: what there is to know comes by `fit` or `load`."""
        del work

    def fit(self, texts: Sequence[str]) -> None:
        """Learn terms, their weights and the projection from all training texts; the same texts give the same bits.

        Raises `UserError` if the texts have fewer than ``dim`` independent directions.
        """
        from sklearn.decomposition import TruncatedSVD
        from threadpoolctl import threadpool_limits

        counts, terms = self._terms(texts)
        idf = 1 + np.log((1 + len(texts)) / (1 + counts.getnnz(axis=0)))
        rows = self._weighted(counts, idf)
        svd = TruncatedSVD(min(self.dim, *rows.shape), algorithm="randomized", random_state=self.seed)
        with threadpool_limits(1, "blas"):  # the order of a sum must not depend on how many cores there are
            svd.fit(rows)
        possible = int((svd.singular_values_ > _RANK * svd.singular_values_[0]).sum())
        if possible < self.dim:
            raise UserError(
                f"embedder.dim={self.dim}: {len(texts)} training texts with {len(terms)} terms have only {possible} "
                f"independent directions; choose embedder.dim={possible} or less, or use more texts"
            )
        components = svd.components_
        largest = np.take_along_axis(components, np.abs(components).argmax(axis=1, keepdims=True), axis=1)
        # C order, because safetensors writes an array's memory as it lies.
        self._learnt = terms, idf, np.ascontiguousarray(components * np.sign(largest), dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write the terms (JSON) and the numbers (safetensors) into ``folder``."""
        terms, idf, components = self._known()
        write_bytes(folder / _TERMS, json.dumps(terms).encode(), make_folder=False)
        write_bytes(folder / _TENSORS, save({"idf": idf, "components": components}), make_folder=False)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote: `embed` then gives the same bits. Raises `UserError` if that cannot be read."""
        try:
            terms = json.loads((folder / _TERMS).read_text(encoding="utf-8"))
            if not isinstance(terms, list) or not all(isinstance(term, str) for term in terms):
                raise ValueError("its terms are no list of texts")
            arrays = load_file(folder / _TENSORS)
            idf, components = arrays["idf"], arrays["components"]
        except (OSError, ValueError, KeyError, RecursionError, SafetensorError) as error:
            raise UserError(
                f"{folder}: its embedder cannot be read ({error}); remove the folder and run again"
            ) from error
        if idf.shape != (len(terms),) or components.shape != (self.dim, len(terms)):
            raise UserError(
                f"{folder}: its embedder has {len(terms)} terms, idf {idf.shape} and components {components.shape}, "
                f"which do not fit embedder.dim={self.dim}; remove the folder and run again"
            )
        self._learnt = terms, idf, components

    def embed(self, texts: Sequence[str], kind: str) -> Tensor:
        """Float32 ``[n dim]``; a text's row does not depend on the others, nor on its kind."""
        del kind
        terms, idf, components = self._known()
        counts = self._counter(vocabulary=terms).transform(texts)
        vectors = np.asarray(self._weighted(counts, idf) @ components.T.astype(np.float64))
        if self.normalise:
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = vectors / np.where(norms == 0, 1, norms)
        return torch.from_numpy(vectors.astype(np.float32))

    def _known(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        if self._learnt is None:
            raise UserError("embedder lsa: it has learnt nothing yet; fit it to training texts or load what was saved")
        return self._learnt

    def _terms(self, texts: Sequence[str]) -> tuple[csr_matrix, list[str]]:
        """Counts ``[n t]`` of the terms that are kept, and the terms in the order of the columns."""
        counter = self._counter(min_df=self.min_df)
        try:
            counts = counter.fit_transform(texts)
        except ValueError as error:
            raise UserError(
                f"embedder.min_df={self.min_df}: no term is in that many of the {len(texts)} training texts"
            ) from error
        # Not by CountVectorizer(max_features=...): its sort leaves open which of equally frequent terms are kept.
        frequency = np.asarray(counts.sum(axis=0)).ravel()
        kept = np.sort(np.argsort(-frequency, kind="stable")[: self.max_features])
        names = counter.get_feature_names_out()
        return counts[:, kept], [str(name) for name in names[kept]]

    def _counter(self, **options: Any) -> Any:
        from sklearn.feature_extraction.text import CountVectorizer

        return CountVectorizer(
            tokenizer=lambda text: tokens(text, self.numbers),
            token_pattern=None,
            lowercase=False,
            ngram_range=(1, self.ngrams),
            dtype=np.float64,
            **options,
        )

    def _weighted(self, counts: csr_matrix, idf: np.ndarray) -> csr_matrix:
        """Rows of tf-idf with unit norm; a row without terms stays zero."""
        rows = counts.tocsr(copy=True)
        if self.sublinear_tf:
            rows.data = 1 + np.log(rows.data)
        rows.data *= idf[rows.indices]
        lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
        rows.data /= np.repeat(lengths, np.diff(rows.indptr))
        return rows

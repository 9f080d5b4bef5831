"""Embedded captions as a reference (DMVAE, arXiv 2512.07778, Section 4.1: text features of captions of the images)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

import numpy as np
import torch
from torch import Tensor

from vaebench.compat import ensure_torchvision
from vaebench.config.choices import about, choices
from vaebench.config.signatures import AtLeast2, checked, require
from vaebench.contracts import ReferenceInputs, ReferenceItems
from vaebench.data.fetch import verified
from vaebench.errors import UserError, unknown
from vaebench.references.file import scaled

_NAME = "name"
_HOLE = "{name}"
_RANK = 1e-5  # a component below this part of the largest is rounding: embeddings are float32


@checked("reference")
@dataclass(kw_only=True, eq=False)
class Text:
    """Captions -> their embeddings -> principal components, l h w of them -> mean 0, deviation 1, shape [l h w].

    How the authors make a grid of a text's vector is not said. Here its principal components are the latent's numbers,
    in the order of the grid's memory, scaled by one factor: the linear map with the least error of reconstruction,
    where theirs is a head trained for it. Leading components stay larger than the others.

    ``path``: a file of captions, one per line, with or without its label (a whole number) and a TAB before it.
    ``sha256``: its checksum; null: whatever it holds. Without a file captions are made: each ``{name}`` of a class
    (``names``; null: the dataset's own, `class_names`) in each of ``templates`` with every word that
    ``fillers`` has for its other fields, of which ``samples``, as many of each class, are drawn without replacement.
    The label is the class.
    """

    path: str | None
    sha256: str | None
    names: Sequence[str] | None
    templates: Sequence[str]
    fillers: Mapping[str, Sequence[str]]
    samples: AtLeast2

    def __post_init__(self) -> None:
        require(*(_mistake(template, self.fillers) for template in self.templates))

    def draw(self, given: ReferenceInputs) -> ReferenceItems:
        """One item per caption.

        Raises `UserError` if they cannot be had, or have fewer independent directions than a latent has numbers.
        """
        if given.embed is None:
            raise UserError("reference: is made of texts, and no embedder was given")
        texts, labels = self._from_file(self.path) if self.path else self._made(given)
        z = _components(given.embed(texts), given.latent_shape)
        return ReferenceItems(scaled(z, "reference").reshape(-1, *given.latent_shape), labels)

    def _made(self, given: ReferenceInputs) -> tuple[list[str], Tensor]:
        """Captions of the classes, class by class, and their labels."""
        names = self.names or class_names(given.dataset)
        patterns = [pattern for template in self.templates for pattern in _filled(template, self.fillers)]
        each = self.samples // len(names)
        if not 1 <= each <= len(patterns):
            raise UserError(
                f"reference.samples={self.samples}: each of {len(names)} classes takes 1 to {len(patterns)}, the "
                "captions that reference.templates make with reference.fillers; ask for fewer, or give more of these"
            )
        generator = torch.Generator().manual_seed(given.seed)
        drawn = [torch.randperm(len(patterns), generator=generator)[:each].tolist() for _ in names]
        texts = [patterns[row].replace(_HOLE, name) for name, rows in zip(names, drawn, strict=True) for row in rows]
        return texts, torch.arange(len(names)).repeat_interleave(each)

    def _from_file(self, path: str) -> tuple[list[str], Tensor | None]:
        """Captions of the file in its order, and their labels if it has any."""
        found = list(_captions(verified(path, self.sha256, option="reference")))
        if len(found) < 2:
            raise UserError(f"{path}: captions: {len(found)}; a distribution takes at least 2")
        labels = [label for _, label in found if label is not None]
        if labels and len(labels) < len(found):
            number = next(number for number, (_, label) in enumerate(found) if label is None)
            raise UserError(
                f"{path}: caption {number + 1} ({found[number][0][:40]!r}) has no label and others have; give all of "
                "them one (LABEL TAB CAPTION), or none"
            )
        return [text for text, _ in found], torch.tensor(labels) if labels else None


def class_names(dataset: str) -> tuple[str, ...]:
    """The classes of a dataset in the order of their labels, as in a caption, each with its article.

    Those of ImageNet are WordNet's, as timm lists them: the first of their synonyms, in the order of the folders.
    Raises `UserError` if its classes have no names.
    """
    if dataset == "imagenet":
        return _imagenet()
    found = about(dataset).get("classes")
    if found is None:
        named = sorted(["imagenet", *(name for name in choices("dataset") if "classes" in about(name))])
        raise UserError(
            f"dataset={dataset}: its classes have no names; give them (reference.names=[...]) or captions "
            f"(reference.path=FILE). There are names for {', '.join(named)}"
        )
    return class_names(found) if isinstance(found, str) else tuple(found)


def _imagenet() -> tuple[str, ...]:
    ensure_torchvision()
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    names = [info.index_to_description(label).split(",")[0] for label in range(info.num_classes())]
    return tuple(f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}" for name in names)


def _captions(path: Path) -> Iterator[tuple[str, int | None]]:
    """The caption and the label of each line that is not blank. Raises `UserError` naming the first bad line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text in UTF-8 ({error})") from error
    for number, line in enumerate(lines, start=1):
        label, tab, text = line.partition("\t")
        if not tab and line.strip():
            yield line.strip(), None
        elif tab:
            if not label.strip().isdecimal() or not text.strip():
                raise UserError(f"{path}:{number}: expected a caption, or LABEL TAB CAPTION with a whole number")
            yield text.strip(), int(label)


def _fields(template: str) -> list[str]:
    """The names in braces, each once, in their order. Raises `ValueError` for braces that do not match."""
    return list(dict.fromkeys(field for _, field, _, _ in Formatter().parse(template) if field is not None))


def _mistake(template: str, fillers: Mapping[str, Sequence[str]]) -> str | None:
    """One line for a template that cannot be filled."""
    try:
        fields = _fields(template)
    except ValueError as error:
        return f"reference.templates: {template!r}: {error}"
    if _NAME not in fields:
        return f"reference.templates: {template!r}: must have {{{_NAME}}}, where the name of the class goes"
    wrong = [field for field in fields if field != _NAME and not fillers.get(field)]
    return f"reference.templates: {unknown('field', wrong[0], [_NAME, *fillers])}" if wrong else None


def _filled(template: str, fillers: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The template with every choice of words; the name of the class stays open."""
    fields = [field for field in _fields(template) if field != _NAME]
    for words in itertools.product(*(fillers[field] for field in fields)):
        yield template.format(**{_NAME: _HOLE}, **dict(zip(fields, words, strict=True)))


def _components(vectors: Tensor, latent_shape: Sequence[int]) -> Tensor:
    """Leading principal components of embeddings ``[n e]``, float32 ``[n l*h*w]``.

    Raises `UserError` if the embeddings have fewer independent directions.
    """
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    wanted, possible = math.prod(latent_shape), min(vectors.shape)
    pca = PCA(min(wanted, possible), svd_solver="full")
    # The order of a sum must not depend on how many cores there are; without any variance its shares are 0 / 0.
    with threadpool_limits(1, "blas"), np.errstate(invalid="ignore"):
        found = pca.fit_transform(vectors.double().numpy())
    directions = int((pca.singular_values_ > _RANK * pca.singular_values_[0]).sum())
    if directions < wanted:
        raise UserError(
            f"reference: {len(vectors)} captions in {vectors.shape[1]} dimensions have only {directions} independent "
            f"directions, and a latent {list(latent_shape)} takes {wanted}; choose an embedder of more dimensions "
            "(embedder.dim), more captions, or smaller latents"
        )
    return torch.from_numpy(found).float()

"""Configurations that are laid here are those that Hydra composes; what is more than plain choices is left to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import keys
import pytest
from hydra import compose as hydra_compose
from omegaconf import Container, DictConfig, Node

from vaebench.config import compose, layers, origins
from vaebench.config.choices import choices, settings
from vaebench.papers.tables import names

GROUPS = ("scale", "dataset", "optim", "model", "embedder", "reference", "chain", "tracker", "executor")


def nodes(node: Node, where: str = "") -> Iterator[tuple[Any, ...]]:
    """All that OmegaConf holds of a configuration, in order: values, their types, what each may be set to."""
    about = node._metadata
    inside = isinstance(node, Container) and not (node._is_none() or node._is_missing() or node._is_interpolation())
    kinds = [str(getattr(about, name, None)) for name in ("object_type", "ref_type", "element_type", "key_type")]
    yield where, type(node), *kinds, about.optional, about.key, dict(about.flags or {}), inside or node._value()
    if inside:
        for key in node.keys() if isinstance(node, DictConfig) else range(len(node)):
            yield from nodes(node._get_node(key), f"{where}.{key}")


def check(name: str, words: Iterable[str]) -> None:
    laid = layers.laid(name, words)
    assert laid is not None, words
    assert list(nodes(laid)) == list(nodes(hydra_compose(name, list(words)))), words


def each_once(groups: Iterable[str]) -> Iterator[list[str]]:
    """Words that choose of all groups, until each of their choices was taken once."""
    every = {group: choices(group) for group in groups}
    for number in range(max(map(len, every.values()))):
        yield [f"{group}={found[number % len(found)]}" for group, found in every.items()]


def test_the_groups_are_those_of_train():
    entries = [key for entry in settings("train")["defaults"] if isinstance(entry, dict) for key in entry]
    assert {*entries} == {*GROUPS, "dataset@test_on", "experiment"}


@pytest.mark.usefixtures("composing")
def test_every_choice_is_laid_as_hydra_composes_it():
    for words in each_once(GROUPS):
        check("train", words)


@pytest.mark.usefixtures("composing")
def test_every_experiment_is_laid_as_hydra_composes_it():
    scales = choices("scale")
    for number, name in enumerate(choices("experiment")):
        check("train", [f"experiment={name}", f"scale={scales[number % len(scales)]}"])


@pytest.mark.usefixtures("composing")
def test_every_suite_is_laid_as_hydra_composes_it():
    sets = choices("dataset")
    for number, name in enumerate(choices("suite")):
        check("eval", [f"suite={name}", f"dataset@test_on={sets[number % len(sets)]}"])
    check("eval", [])


@pytest.mark.usefixtures("composing")
@pytest.mark.parametrize(
    "words",
    [
        ["model=vmae", "network@model.network=vit_paper"],
        ["model=vq_vae", "autoencoder@model.autoencoder=mel", "dataset=tones"],
        ["experiment=vpvae/fsq", "autoencoder@model.autoencoder=mel", "optim=adamw"],
        ["dataset=gsm8k", "answers@dataset.answers=llama", "problems@dataset.problems=math"],
        ["experiment=dmvae/joint", "encoder@model.encoder=dinov2_l", "reference=gaussian"],
    ],
)
def test_parts_of_choices_are_laid_as_hydra_composes_them(words):
    check("train", words)


def own(monkeypatch: pytest.MonkeyPatch, folder: Path, **files: str) -> None:
    """Files of one's own by ``GROUP__NAME``."""
    monkeypatch.setenv(origins.FOLDERS, str(folder))
    for file, text in files.items():
        path = folder / f"{file.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


MODEL = "_target_: vaebench.models.ae.AE\n"


@pytest.mark.parametrize(
    "content",
    [
        "model: null",
        "model: {beta: {a: 1}}",
        "model: {beta: [1, 2], hidden: {a: 1}}",
        "optim: {lr: 1e-3, betas: [0.1, 1.0e-2]}",
        "train: {epochs: 3, max_steps: null}\nscale: {seeds: 7}",
        "train: {epochs: '3'}",
        "chain: {one: {experiment: ldmae/ae, overrides: ['seed=1']}}",
        "parent: {overrides: [a, b]}",
        "dataset: ${model}",
        "dataset: {shape: '${model.input_shape}'}",
        "model: {input_shape: [1, 2, 3]}",
        "latents: {flip: yes}\nseed: 0x10",
        "model: {}\noptim: {}",
    ],
)
def test_an_experiment_is_laid_over_the_rest_as_hydra_does_it(monkeypatch, tmp_path, content):
    text = f"# @package _global_\ndefaults:\n  - override /model: batchtopk\n  - override /chain: dmvae\n\n{content}\n"
    own(monkeypatch, tmp_path / "mine", experiment__mine=text)
    with compose.session():
        words = ["experiment=mine", "dataset=digits"]
        laid = layers.laid("train", words)
        assert laid is None or list(nodes(laid)) == list(nodes(hydra_compose("train", words)))
        assert laid is not None or "${" in content or "input_shape" in content


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("model__mine", f"# @package model\n{MODEL}"),
        ("model__mine", f"defaults:\n  - /network: mlp\n{MODEL}"),
        ("model__mine", f"defaults:\n  - optional /network@network: mlp\n{MODEL}"),
        ("model__mine", f"defaults:\n  - /network@network: [kl, vit]\n{MODEL}"),
        ("model__mine", f"defaults:\n  - override /optim: adamw\n{MODEL}"),
        ("model__mine", f"defaults:\n  - /network@_global_.parent: kl\n{MODEL}"),
        ("model__mine", f"{MODEL}k: ???\n"),
        ("model__mine", "[1, 2]"),
        ("model__mine", "a: 1\na: 2\n"),
        ("model__mine", ""),
        ("experiment__mine", "model: {k: 3}\n"),
        ("experiment__mine", "# @package _global_\ndefaults:\n  - /model: ae\n"),
        ("experiment__mine", "# @package _global_\ndefaults:\n  - override /suite: noise\n"),
        ("experiment__mine", "# @package _global_\ndefaults:\n  - override /network@model.network: kl\n"),
        ("experiment__mine", "# @package _global_\ntrain: {epochs: many}\n"),
        ("experiment__mine", "# @package _global_\nnothing: 1\n"),
    ],
)
def test_more_than_plain_choices_is_left_to_hydra(monkeypatch, tmp_path, file, text):
    own(monkeypatch, tmp_path / "mine", **{file: text})
    with compose.session():
        words = [f"{file.partition('__')[0]}=mine", "dataset=digits"]
        laid = layers.laid("train", words)
        try:
            by_hydra = hydra_compose("train", words)
        except Exception:
            assert laid is None
        else:
            assert laid is None or list(nodes(laid)) == list(nodes(by_hydra))


@pytest.mark.usefixtures("composing")
@pytest.mark.parametrize(
    "words",
    [
        ["~tracker"],
        ["+model=ae"],
        ["model=[ae]"],
        ["model=null"],
        ["model=nothing"],
        ["network@model.network=kl"],
        ["model=pca", "network@model.network=kl"],
        ["seed=1"],
        ["suite=noise"],
    ],
)
def test_words_that_are_no_plain_choices_are_left_to_hydra(words):
    assert layers.laid("train", words) is None


@pytest.mark.slow
@pytest.mark.parametrize("paper", names())
def test_every_row_of_every_paper_is_laid_as_hydra_composes_it(paper, monkeypatch):
    asked: set[tuple[str, tuple[str, ...]]] = set()
    laid = layers.laid

    def noted(name: str, words: Iterable[str]) -> DictConfig | None:
        asked.add((name, tuple(words)))
        return laid(name, words)

    monkeypatch.setattr(compose, "laid", noted)
    with keys.anywhere():
        for scale in keys.SCALES:
            keys.of_paper(paper, scale)
        assert asked
        for name, words in sorted(asked):
            check(name, words)

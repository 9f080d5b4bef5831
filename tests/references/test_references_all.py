"""Every choice of conf/reference, and the names of classes."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from vaebench.contracts import ReferenceInputs
from vaebench.data.latents import LatentData
from vaebench.errors import UserError
from vaebench.nn.flows import laws
from vaebench.references.text import class_names

CONF = Path(__file__).resolve().parents[2] / "conf" / "reference"
ABOUT = {"_target_", "name", "version", "parents", "embedded", "labelled", "dm_weight", "law"}
LINKS = OmegaConf.load(CONF.parent / "chain" / "dmvae.yaml")
SHAPE = (4, 2, 2)


def leaf(name):
    return OmegaConf.to_container(OmegaConf.create({"reference": OmegaConf.load(CONF / f"{name}.yaml")}), resolve=True)[
        "reference"
    ]


def built(name, **options):
    found = leaf(name)
    module, kind = found["_target_"].rsplit(".", 1)
    return getattr(import_module(module), kind), {key: found[key] for key in found if key not in ABOUT} | options


class Flow(torch.nn.Module):
    mean, std = torch.zeros(4, 1, 1), torch.ones(4, 1, 1)


def given():
    random = torch.Generator().manual_seed(0)
    features = LatentData(
        means=(torch.randn(30, 1, *SHAPE, generator=random),),
        logvars=(),
        labels=torch.arange(30) % 10,
        name="digits",
        source="embedded",
        digest="0",
        note="",
        stand_in=True,
        place=torch.device("cpu"),
    )
    embedded = torch.randn(20_000, 20, generator=random)
    return ReferenceInputs(
        SHAPE, 0.0, 1.0, "digits", 0, features, flow=Flow(), embed=lambda texts: embedded[: len(texts)]
    )


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_yaml_lists_the_options_and_says_what_is_drawn(path, tmp_path):
    np.savez(tmp_path / "own.npz", vectors=np.arange(32.0).reshape(2, 16))
    own = {"path": str(tmp_path / "own.npz")} if path.stem == "file" else {}
    kind, options = built(path.stem, **own)
    about = leaf(path.stem)
    assert set(options) == set(inspect.signature(kind).parameters)
    assert about["name"] == path.stem
    assert {link.partition(".")[0] for link in about.get("parents", {}).values()} <= set(LINKS)
    assert about["dm_weight"] in (1, 10)
    found = kind(**options).draw(given())
    assert found.z.shape[1:] == SHAPE
    assert found.z.dtype == torch.float32
    assert (found.labels is not None) == about["labelled"]
    assert found.labels is None or found.labels.shape == found.z.shape[:1]


@pytest.mark.parametrize("name", ["gaussian", "gmm"])
def test_the_closed_form_is_that_of_the_samples(name):
    kind, options = built(name, samples=20_000)
    law = laws.build(leaf(name)["law"], SHAPE)
    found = kind(**options).draw(given()).z
    peer = law.sample(20_000, torch.Generator().manual_seed(9))
    torch.testing.assert_close(found.mean(0), peer.mean(0), atol=0.05, rtol=0.0)
    torch.testing.assert_close(found.flatten(1).T.cov(), peer.flatten(1).T.cov(), atol=0.06, rtol=0.0)


class TestClassNames:
    @pytest.mark.parametrize(
        ("dataset", "count", "label", "name"),
        [
            ("digits", 10, 3, "the digit three"),
            ("mnist", 10, 9, "the digit nine"),
            ("fashion_mnist", 10, 9, "an ankle boot"),
            ("cifar10", 10, 1, "an automobile"),
            ("photos", 2, 1, "a flower"),
            ("imagenet", 1000, 0, "a tench"),
            ("imagenet", 1000, 386, "an African elephant"),
        ],
    )
    def test_names_in_the_order_of_the_labels(self, dataset, count, label, name):
        names = class_names(dataset)
        assert len(names) == count
        assert names[label] == name

    def test_are_those_of_torchvision(self):
        from torchvision.datasets import FashionMNIST

        for ours, theirs in zip(class_names("fashion_mnist"), FashionMNIST.classes, strict=True):
            assert theirs.split("/")[0].lower().removesuffix("s") in ours.lower()

    def test_a_set_without_names(self):
        with pytest.raises(
            UserError, match=r"dataset=celebahq: its classes have no names; give them \(reference.names"
        ):
            class_names("celebahq")

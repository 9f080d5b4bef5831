from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest

from commands import python
from vaebench import compat

WORKS = """
from vaebench import compat
compat.ensure_torchvision()
before = list(compat._declared)
compat.ensure_torchvision()
import torch, torchvision, torchmetrics, torchvision.datasets.utils
from torchmetrics.image import StructuralSimilarityIndexMeasure
compat.ensure_torchvision()
assert len(compat._declared) == len(before) <= 1
x = torch.rand(1, 1, 16, 16)
assert StructuralSimilarityIndexMeasure(data_range=1.0)(x, x) == 1
"""


def test_torchvision_and_torchmetrics_import_beside_any_torch_and_twice_is_once(tmp_path):
    done = python("-c", WORKS, cwd=tmp_path, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr


@pytest.fixture
def fresh(monkeypatch):
    """As if neither torchvision nor a declaration of ours were there yet."""
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(compat, "_declared", [])
    return monkeypatch


def test_nothing_is_declared_where_torchvision_is_imported_already(fresh):
    fresh.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    fresh.setattr(compat, "_loads", lambda folder: pytest.fail("looked for its library"))
    compat.ensure_torchvision()
    assert compat._declared == []


def test_nothing_is_declared_where_its_own_library_loads(fresh):
    fresh.setattr(compat, "_loads", lambda folder: True)
    compat.ensure_torchvision()
    assert compat._declared == []


def test_nothing_is_declared_without_torchvision(fresh):
    fresh.setattr(importlib.util, "find_spec", lambda name: None)
    compat.ensure_torchvision()
    assert compat._declared == []


def test_a_library_that_does_not_load_is_no_error(tmp_path):
    assert not compat._loads(tmp_path)
    (tmp_path / "_C.so").write_bytes(b"not a library")
    assert not compat._loads(tmp_path)

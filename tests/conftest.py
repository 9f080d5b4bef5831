"""Every test runs offline, on one thread, with a store of its own and nothing of the caller's environment."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from commands import ROOT, Command, site
from diary import plugin
from vaebench.config import origins
from vaebench.config.compose import session
from vaebench.runs import tracking

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store of this test; the datasets are the embedded ones unless a test says otherwise."""
    store = tmp_path / "store"
    monkeypatch.setenv("VAEBENCH_HOME", str(store))
    monkeypatch.setenv("VAEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VAEBENCH_WEIGHTS", raising=False)
    return store


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """vaebench as it is installed from its wheel."""
    return site(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def diary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the tracker `diary` of a plug-in writes to."""
    monkeypatch.setenv(origins.FOLDERS, plugin(tmp_path / "plugin"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(tracking, "_GIVEN_UP", set())
    origins._origins.cache_clear()
    yield tmp_path / "diary.jsonl"
    origins._origins.cache_clear()
    sys.modules.pop("diaries", None)


@pytest.fixture
def composing() -> Iterator[None]:
    """Hydra, as `compose` needs it."""
    with session():
        yield


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs commands and reads what they print."""
    return Command(capsys)

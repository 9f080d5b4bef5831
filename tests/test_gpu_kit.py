"""The GPU kit on a CPU: what it compares, what it clocks, and that it goes on where it was stopped."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from benchmarks import gpu, on_gpu
from benchmarks.on_gpu import Way, differences
from vaebench.config.compose import session
from vaebench.config.spine import ReproduceConfig
from vaebench.engine import runtime
from vaebench.reproduce import costs, planning

CPU = torch.device("cpu")


@pytest.fixture
def uncompiled(monkeypatch):
    """PyTorch's compiler takes half a minute for a model."""
    monkeypatch.setattr(runtime, "compiled", lambda loss, mode: loss)


def test_numbers_are_those_of_the_cpu_wherever_they_are_wanted():
    def drawn() -> list[torch.Tensor]:
        torch.manual_seed(0)
        x = torch.zeros(3, 2)
        return [torch.randn(3, 2), torch.rand((2,)), torch.randint(9, (4,)), torch.randn_like(x), F.dropout(x + 1, 0.5)]

    plain = drawn()
    with on_gpu._DrawnOnCpu():
        assert all(map(torch.equal, plain, drawn()))
        own = torch.randn(2, generator=torch.Generator().manual_seed(3))
        assert torch.randn(2, device="meta").device.type == "meta"
    assert torch.equal(own, torch.randn(2, generator=torch.Generator().manual_seed(3)))


@pytest.mark.usefixtures("uncompiled")
def test_a_step_is_compared_with_itself_elsewhere():
    found = differences("batchtopk/vae_8", CPU)
    assert found["device"] == found["compiled"] == 0
    assert 1e-5 < found["bf16"] < gpu.TOLERANCES["bf16"]
    assert differences("batchtopk/identity", CPU) == {}


def test_a_wrong_gradient_is_seen():
    theirs = {"loss": torch.tensor([2.0]), "gradient": torch.tensor([3.0, 4.0])}
    assert on_gpu._apart({**theirs, "gradient": torch.tensor([3.0, 4.5])}, theirs) == pytest.approx(0.1)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("way", [Way(), Way(lean=True), Way(precision="bf16"), Way(lean=True, compile="default")])
def test_trainings_are_clocked(way):
    with session():
        trainings, behind = planning.trainings(ReproduceConfig(paper="batchtopk", row="batchtopk"), "smoke")
        one = costs.of(trainings, behind, device=CPU, cache=None)[0]
    assert one.design is not None
    found = on_gpu._speed(one.design, way, batch_size=8, steps=2, threads=1)
    assert found.steps > 0
    assert found.peak_bytes == 0


def test_a_kit_goes_on_where_it_was_stopped(monkeypatch, tmp_path, capsys):
    made: list[str] = []

    def row(name: str) -> gpu.Row:
        made.append(name)
        if name == "b" and made.count("b") == 1:
            raise KeyboardInterrupt
        if name == "c":
            raise RuntimeError("out of memory\nat length")
        return {"ratio": 1.5, "met": name == "a"}

    rows = [(name, lambda name=name: row(name)) for name in "abc"]
    monkeypatch.setattr(gpu, "PARTS", {"toys": ("Toys", lambda kit: iter(rows))})
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--to", str(tmp_path)])
    with pytest.raises(KeyboardInterrupt):
        gpu.main()
    assert gpu.main() == 0
    assert made == ["a", "b", "b", "c"]
    text = (tmp_path / gpu.RESULTS).read_text()
    assert "| a | 1.5 | yes |  |" in text
    assert "| b | 1.5 | **no** |  |" in text
    assert "| c |  |  | not measured: out of memory |" in text


def test_a_command_that_takes_longer_is_no_row_and_goes_on_next_time(monkeypatch, tmp_path, capsys):
    waits: list[gpu.Row | Exception] = [subprocess.TimeoutExpired("vaebench", 540), {"minutes": 1.0}]

    def row() -> gpu.Row:
        if isinstance(found := waits.pop(0), Exception):
            raise found
        return found

    monkeypatch.setattr(gpu, "PARTS", {"toys": ("Toys", lambda kit: iter([("tables", row)]))})
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--to", str(tmp_path)])
    assert gpu.main() == 1
    assert "toys: rows are left" in capsys.readouterr().err
    assert gpu.main() == 0
    assert "| tables | 1 |" in (tmp_path / gpu.RESULTS).read_text()


def test_a_part_stops_when_its_time_is_over(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu, "PARTS", {"toys": ("Toys", lambda kit: iter([("a", dict)]))})
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--to", str(tmp_path), "--minutes", "-1"])
    assert gpu.main() == 1
    assert "toys: rows are left; the same command goes on" in capsys.readouterr().err


def test_without_a_gpu_the_kit_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    with pytest.raises(SystemExit):
        gpu.main()
    assert "runtime.device=cuda" in capsys.readouterr().err

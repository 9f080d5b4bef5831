"""Stored latents: draws from q(z|x), views, parts in memory and mapped, and what is said of damaged files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vaebench.data import latents
from vaebench.data.latents import LatentData
from vaebench.errors import UserError

FACTS = {"name": "toy", "source": "", "digest": "d", "note": "", "stand_in": True}
SHAPE = (2, 3, 4)


def write(folder: Path, count: int, views: int, *, logvar: float | None, per_shard: int) -> tuple[Tensor, list[Path]]:
    """Shards of ``count`` images whose means are all different; returns the means."""
    mean = torch.randn(count, views, *SHAPE, generator=torch.Generator().manual_seed(0))
    for number, start in enumerate(range(0, count, per_shard)):
        part = mean[start : start + per_shard]
        spread = None if logvar is None else torch.full_like(part, logvar)
        labels = torch.arange(start, start + len(part))
        (folder / f"latents-{number:05d}.safetensors").write_bytes(latents.to_bytes(part, spread, labels))
    return mean, shards(folder)


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("latents-*.safetensors"))


@pytest.fixture(params=[True, False], ids=["memory", "mapped"])
def placed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways to hold latents: all in memory, or in their files."""
    if not request.param:
        monkeypatch.setattr(latents, "_IN_MEMORY", 0)
    return bool(request.param)


def test_a_deterministic_latent_is_read_back(tmp_path: Path, placed: bool) -> None:
    mean, paths = write(tmp_path, 10, 1, logvar=None, per_shard=4)
    data = latents.read(paths, tmp_path, FACTS)
    assert len(data.means) == (1 if placed else 3)
    assert (len(data), data.shape, data.digest) == (10, SHAPE, "d")
    rows = torch.tensor([9, 0, 4, 3, 4])
    batch = data.to("cpu").batch(rows)
    assert torch.equal(batch.x, mean[rows, 0])
    assert batch.y.tolist() == rows.tolist()


def test_each_reading_draws_anew_and_by_the_moments(tmp_path: Path, placed: bool) -> None:
    mean, paths = write(tmp_path, 6, 1, logvar=-2.0, per_shard=4)
    data = latents.read(paths, tmp_path, FACTS)
    torch.manual_seed(0)
    rows = torch.arange(6).repeat(4000)
    z = data.batch(rows).x.view(4000, 6, *SHAPE)
    assert torch.allclose(z.mean(0), mean[:, 0], atol=0.03)
    assert torch.allclose(z.var(0), torch.tensor(-2.0).exp().expand(6, *SHAPE), atol=0.02)
    assert not torch.equal(data.batch(rows).x, data.batch(rows).x)


def test_both_views_are_drawn_and_nothing_else(tmp_path: Path, placed: bool) -> None:
    mean, paths = write(tmp_path, 6, 2, logvar=None, per_shard=4)
    data = latents.read(paths, tmp_path, FACTS)
    torch.manual_seed(0)
    rows = torch.arange(6).repeat(50)
    batch = data.batch(rows)
    first = (batch.x == mean[rows, 0]).flatten(1).all(1)
    second = (batch.x == mean[rows, 1]).flatten(1).all(1)
    assert (first ^ second).all()
    assert 100 < first.sum() < 200


def test_memory_and_files_give_the_same_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, paths = write(tmp_path, 11, 2, logvar=-1.0, per_shard=4)
    found = []
    for limit in (latents._IN_MEMORY, 0):
        monkeypatch.setattr(latents, "_IN_MEMORY", limit)
        torch.manual_seed(3)
        found.append(latents.read(paths, tmp_path, FACTS).batch(torch.randperm(11)).x)
    assert torch.equal(*found)


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    mean = torch.randn(3, 1, *SHAPE)
    (tmp_path / "latents-00000.safetensors").write_bytes(latents.to_bytes(mean.half(), None, torch.arange(3)))
    batch = latents.read(shards(tmp_path), tmp_path, FACTS).batch(torch.arange(3))
    assert batch.x.dtype == torch.float32
    assert torch.allclose(batch.x, mean[:, 0], atol=2e-3)


def test_a_shard_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    _, paths = write(tmp_path, 6, 1, logvar=None, per_shard=4)
    mean, labels = torch.randn(2, 1, *SHAPE), torch.arange(2)
    wrong = {
        "holds no latents": [(mean[:, 0], None, labels), (mean, None, labels[:1]), (mean, None, labels.float())],
        "do not fit": [(mean[..., :2], None, labels), (mean.half(), None, labels), (mean, mean.clone(), labels)],
    }
    for message, contents in wrong.items():
        for content in contents:
            paths[1].write_bytes(latents.to_bytes(*content))
            with pytest.raises(UserError, match=rf"latents-00001.safetensors: .*{message}.* only this shard is made"):
                latents.read(paths, tmp_path, FACTS)
    paths[1].unlink()
    with pytest.raises(UserError, match=r"latents-00001.safetensors: cannot be read"):
        latents.read(paths, tmp_path, FACTS)


def test_a_shard_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latents-00000.safetensors"
    path.write_bytes(b"no tensors")
    with pytest.raises(UserError, match="cannot be read"):
        latents.read(shards(tmp_path), tmp_path, FACTS)


def test_moving_keeps_what_is_mapped_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latents, "_IN_MEMORY", 0)
    _, paths = write(tmp_path, 6, 1, logvar=None, per_shard=4)
    data = latents.read(paths, tmp_path, FACTS)
    assert replace(data, place=torch.device("meta")).to("cpu").device == torch.device("cpu")
    assert isinstance(data.to("cpu"), LatentData)
    assert data.to("cpu").means[0] is data.means[0]

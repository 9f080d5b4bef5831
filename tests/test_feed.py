"""Batches of data on a disk: read ahead, by each process its own rows, with the numbers of a batch read in time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vaebench.config.spine import TrainSpec
from vaebench.contracts import Batch, Fetches, LossOutput, Phase, TrainingData
from vaebench.data import latents
from vaebench.data.audio import AudioData, Clips
from vaebench.data.images import ImageData
from vaebench.engine.feed import Feed, Lap
from vaebench.engine.loop import Hooks, fit
from vaebench.engine.ranks import ALONE, Ranks
from vaebench.runs.trainlog import Speed

CPU = torch.device("cpu")
FACTS = {"source": "", "digest": "d", "note": "", "stand_in": True}
SPEC = TrainSpec(epochs=3, batch_size=8, log_every=4)


def mapped(path: Path, values: np.ndarray) -> Tensor:
    """An array in a file, mapped."""
    np.save(path, values)
    return torch.from_numpy(np.load(path, mmap_mode="c"))


def images(folder: Path) -> ImageData:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 1, 2, 2), np.uint8)
    labels = torch.arange(30) % 3
    x = mapped(folder / "x.npy", pixels)
    return ImageData("toy", x, labels, x[:2], labels[:2], place=CPU, **FACTS)


def sounds(folder: Path) -> AudioData:
    """Clips of which some are shorter than a crop."""
    random = np.random.default_rng(0)
    lengths = torch.from_numpy(random.integers(2, 12, 30))
    samples = mapped(folder / "s.npy", random.integers(-9999, 9999, int(lengths.sum())).astype(np.int16))
    clips = Clips.of(samples, lengths, torch.arange(30) % 3)
    return AudioData("toy", (1, 4), 8000, clips, clips, place=CPU, **FACTS)


def moments(folder: Path) -> latents.LatentData:
    """Two views of each of 30 latents with a variance, in shards of 7."""
    mean = torch.randn(30, 2, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    paths = [folder / f"latents-{number:05d}.safetensors" for number in range(5)]
    for path, some in zip(paths, torch.arange(30).split(7), strict=True):
        path.write_bytes(latents.to_bytes(mean[some].half(), mean[some].half() - 1, some % 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latents, "_IN_MEMORY", 0)
        return latents.read(paths, folder, {"name": "toy", **FACTS})


SETS = [images, sounds, moments]


@dataclass(frozen=True)
class InTime:
    """The same data, each batch read when its step begins."""

    data: Any

    def __getattr__(self, name: str) -> Any:
        if name == "fetched":
            raise AttributeError(name)
        return getattr(self.data, name)

    def __len__(self) -> int:
        return len(self.data)


class Noisy(nn.Module):
    """One linear map, whose loss draws."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(4, 3)
        self.phases = [Phase("map", list(self.map.parameters()), self.loss)]
        self.seen: list[Batch] = []

    def loss(self, batch: Batch, step: int) -> LossOutput:
        del step
        self.seen.append(batch)
        noise = torch.randn(len(batch.x), 3)
        return LossOutput(((self.map(batch.x.flatten(1)) - batch.y[:, None] - noise) ** 2).mean())


@pytest.fixture(params=[True, False], ids=["ahead", "in time"])
def early(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways to read, whatever the device."""

    def asked(feed: Feed) -> bool:
        return bool(request.param) and isinstance(feed.data, Fetches)

    monkeypatch.setattr(Feed, "early", property(asked, lambda self, value: None), raising=False)
    return bool(request.param)


def trained(data: TrainingData, **options: Any) -> tuple[Noisy, list[dict[str, float]]]:
    torch.manual_seed(3)
    model, log = Noisy(), list[dict[str, float]]()
    optimizers = {"map": torch.optim.Adam(model.parameters(), lr=0.01)}
    fit(model, data, optimizers=optimizers, spec=replace(SPEC, **options), seed=1, hooks=Hooks(log=log.append))
    return model, log


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}], ids=["whole", "parts"])
@pytest.mark.parametrize("make", SETS)
def test_what_is_read_from_a_disk_trains_to_the_same_bits(tmp_path, make, options, early):
    data = make(tmp_path)
    assert isinstance(data, Fetches)
    assert data.mapped
    assert not isinstance(InTime(data), Fetches)
    ours, log = trained(data, **options)
    slow, slow_log = trained(InTime(data), **options)
    assert log == slow_log
    assert len(ours.seen) == len(slow.seen) == 9 * options.get("accumulate", 1)
    for one, other in zip(ours.seen, slow.seen, strict=True):
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.y, other.y)
    for name, value in slow.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)


@pytest.mark.parametrize("make", SETS)
def test_a_process_reads_its_own_rows_and_no_others(tmp_path, make, monkeypatch, early):
    data, asked = make(tmp_path), list[Tensor]()
    real = type(data).fetched
    monkeypatch.setattr(type(data), "fetched", lambda self, rows: asked.append(rows) or real(self, rows))
    batches = [(step, torch.randperm(30)[:8]) for step in range(5)]
    found = list(Feed(data, replace(SPEC, accumulate=2), Ranks(1, 2)).steps(iter(batches)))
    assert [step for step, _ in found] == [0, 1, 2, 3, 4]
    wanted = [part[2:] for _, rows in batches for part in rows.split(4)]  # of each half the second half
    assert sorted(rows.tolist() for rows in asked) == sorted(rows.tolist() for rows in wanted if early)
    parts = [part for _, parts in found for part in parts]
    for (mine, rows), whole in zip(parts, wanted, strict=True):
        assert len(mine) == (2 if early else 30)
        torch.manual_seed(0)
        batch = mine.batch(rows)
        torch.manual_seed(0)
        other = data.batch(whole)
        assert torch.equal(batch.x, other.x)
        assert torch.equal(batch.y, other.y)


def test_a_few_batches_are_read_before_they_are_asked_for(tmp_path, early):
    given: list[int] = []

    def batches() -> Iterator[tuple[int, Tensor]]:
        for step in range(100):
            given.append(step)
            yield step, torch.arange(8)

    steps = Feed(images(tmp_path), SPEC, ALONE).steps(batches())
    next(steps)
    assert len(given) == (5 if early else 1)


def test_a_batch_of_data_in_memory_is_an_index_and_one_on_a_disk_is_read_early_for_a_gpu(tmp_path):
    on_disk = images(tmp_path)
    assert not Feed(on_disk, SPEC, ALONE).early
    elsewhere = Feed(on_disk.to("meta"), SPEC, ALONE)
    assert elsewhere.early
    assert elsewhere.device == CPU
    _, ((data, rows),) = next(elsewhere.steps(iter([(0, torch.arange(8))])))
    assert data.batch(rows).x.device.type == "meta"
    in_memory = replace(on_disk, place=None)
    feed = Feed(in_memory, SPEC, ALONE)
    assert not feed.early
    _, ((data, rows),) = next(feed.steps(iter([(0, torch.arange(8))])))
    assert data is in_memory
    assert rows.tolist() == list(range(8))


def test_what_cannot_be_read_ends_the_training(tmp_path, monkeypatch, early):
    def lost(self: ImageData, rows: Tensor) -> ImageData:
        raise OSError("the disk is gone")

    monkeypatch.setattr(ImageData, "fetched" if early else "batch", lost)
    with pytest.raises(OSError, match="the disk is gone"):
        trained(images(tmp_path))


def test_the_time_that_data_are_waited_for_is_measured(tmp_path, monkeypatch):
    """A clock that is moved by one second for the rows of a batch, two for the batch, and three for the step."""
    now = [0.0]

    class Slow(InTime):
        def __init__(self) -> None:
            super().__init__(None)

        def batch(self, rows: Tensor) -> None:
            now[0] += 2.0

    monkeypatch.setattr("vaebench.engine.feed.time.perf_counter", lambda: now[0])

    def batches() -> Iterator[tuple[int, Tensor]]:
        for step in range(4):
            now[0] += 1.0
            yield step, torch.arange(8)

    feed = Feed(replace(images(tmp_path), place=None), SPEC, ALONE)
    for _ in feed.steps(batches()):
        now[0] += 3.0
        feed.batches([(Slow(), torch.arange(8))])
    lap = feed.lap()
    assert lap == Lap(items=32, seconds=24.0, waited=12.0)
    assert lap.facts() == {"items_per_second": 1.33, "waiting_for_data": 0.5}
    assert feed.lap() == Lap(0, 0.0, 0.0)
    assert lap + Lap(8, 4.0, 0.0) == Lap(40, 28.0, 12.0)


def test_a_training_that_waits_long_says_so_once():
    notes, entries = list[str](), list[Any]()
    speed = Speed(entries.append, notes.append)
    assert speed.facts() == {}
    speed.lap(10, Lap(80, 100.0, 59.0))
    speed.lap(20, Lap(80, 900.0, 40.0))
    assert notes == []
    speed.lap(30, Lap(80, 100.0, 90.0))
    speed.lap(40, Lap(80, 100.0, 90.0))
    assert len(notes) == 1
    assert notes[0].startswith("17% of the time its steps wait for data: ")
    assert entries[0] == {"step": 10, "speed/items_per_second": 0.8, "speed/waiting_for_data": 0.59}
    assert speed.facts() == {"items_per_second": 0.27, "waiting_for_data": 0.2325}

"""Audio datasets: clips of one channel, end to end in one run of 16-bit samples, and the Free Spoken Digit Dataset.

Another dataset of ordinary audio files is one YAML like ``conf/dataset/librispeech.yaml``.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor

from vaebench.config.signatures import checked
from vaebench.data.batch import Batch, Held, sent
from vaebench.data.fetch import obtain
from vaebench.data.files import Files
from vaebench.data.places import BadFile
from vaebench.data.waves import FULL_SCALE, normalised, read_wav, to_int16, to_mono
from vaebench.errors import UserError

_FSDD_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[A-Za-z]+)_(?P<index>\d+)\.wav")
_FSDD_TEST = 5  # recordings 0 to 4 of each speaker and digit are the test split, by the set's README
_DRAWS = 2**31  # an offset is a draw below this, modulo the number of places


@dataclass(frozen=True)
class Clips:
    """Clips of one channel, end to end.

    ``samples`` int16 ``[n]``, 32768 for 1.0; ``starts``, ``lengths`` (in samples) and ``labels`` int64 ``[c]``, one of
    each per clip.
    """

    samples: Tensor
    starts: Tensor
    lengths: Tensor
    labels: Tensor

    @classmethod
    def of(cls, samples: Tensor, lengths: Tensor, labels: Tensor) -> Clips:
        """Samples int16 ``[n]`` that hold clips of these lengths, one after the other."""
        return cls(samples, lengths.cumsum(0) - lengths, lengths, labels)

    def __len__(self) -> int:
        """The number of clips."""
        return len(self.lengths)

    def item(self, row: int) -> Tensor:
        """One whole clip, float32 ``[1 t]`` in [-1, 1], where the samples lie."""
        start, length = int(self.starts[row]), int(self.lengths[row])
        return self.samples[None, start : start + length].float().div_(FULL_SCALE)

    def crops(self, rows: Tensor, size: int, draws: Tensor) -> Tensor:
        """``size`` samples of each clip in ``rows``, float32 ``[b 1 size]``; a shorter clip lies in silence.

        ``draws`` int64 ``[b]``, 0 or more, say where: modulo the number of places there are.
        """
        lengths = self.lengths[rows]
        slack = lengths - size  # the places of a crop in its clip or, below 0, of the clip in its crop
        first = draws.to(lengths.device) % (slack.abs() + 1) * slack.sign()
        places = first[:, None] + torch.arange(size, device=lengths.device)
        inside = (places >= 0) & (places < lengths[:, None])
        places = places.clamp(min=0).minimum(lengths[:, None] - 1)
        values = self.samples[self.starts[rows][:, None] + places] * inside
        return values[:, None].float().div_(FULL_SCALE)

    def only(self, rows: Tensor, device: torch.device) -> Clips:
        """Some of the clips, in memory on ``device``."""
        lengths = self.lengths[rows]
        begins = zip(self.starts[rows].tolist(), lengths.tolist(), strict=True)
        samples = torch.cat([self.samples[start : start + length] for start, length in begins])
        return Clips.of(*(sent(part, device) for part in (samples, lengths, self.labels[rows])))

    @property
    def device(self) -> torch.device:
        """Where they lie."""
        return self.samples.device

    def to(self, device: torch.device | str) -> Clips:
        """The same clips on ``device``."""
        return Clips(*(part.to(device) for part in (self.samples, self.starts, self.lengths, self.labels)))


@dataclass(frozen=True)
class AudioData(Held):
    """An audio dataset: the clips of both splits, at ``sample_rate`` Hz, and the ``shape`` (1, samples) of a crop.

    Without a training split ``train`` is empty, and the set can be evaluated on only. ``class_names`` are those of
    `vaebench.data.images.ImageData`. A ``digest`` that is not given is taken of the clips.

    Raises `UserError` if ``shape`` is not (1, samples), is longer than every training clip, or there is no test clip.
    """

    name: str
    shape: Sequence[int]
    sample_rate: int
    train: Clips
    test: Clips
    class_names: tuple[str, ...] | None = None
    digest: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if len(self.shape) != 2 or self.shape[0] != 1 or self.shape[1] < 1:
            raise UserError(f"dataset.shape={list(self.shape)}: audio has one channel, (1, samples)")
        if not len(self.test):
            raise UserError(f"{self.name}: {len(self.train)} training clips and no test clip")
        if any(len(part) and int(part.lengths.min()) < 1 for part in (self.train, self.test)):
            raise UserError(f"{self.name}: a clip has no samples")
        longest = int(self.train.lengths.max()) if len(self.train) else self.shape[1]
        if self.shape[1] > longest:
            raise UserError(
                f"dataset.shape={list(self.shape)}: a crop of {self.shape[1]} samples is longer than every training "
                f"clip of {self.name}; the longest has {longest} ({longest / self.sample_rate:.2f} s); choose fewer"
            )
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "digest", self.digest or self._content())

    def _content(self) -> str:
        """16 hex digits of the sha256 over the clips of both splits."""
        content = hashlib.sha256(f"{self.sample_rate} Hz".encode())
        for split, part in {"train": self.train, "test": self.test}.items():
            content.update(f"{split} {len(part)} {len(part.samples)}".encode())
            for values in (part.samples, part.lengths, part.labels):
                content.update(values.numpy().data)
        return content.hexdigest()[:16]

    @property
    def classes(self) -> int:
        """The number of classes: labels run from 0 to one less; 0 for a set without."""
        if self.class_names is not None:
            return len(self.class_names)
        return 1 + int(torch.cat([self.train.labels, self.test.labels]).max())

    def __len__(self) -> int:
        """The number of training clips."""
        return len(self.train)

    def batch(self, rows: Tensor) -> Batch:
        """A random crop of each of these training clips, float32 ``[b 1 t]`` in [-1, 1], and their labels ``[b]``.

        The crops are drawn from the global generator of the CPU, so that they are the same on every device. Raises
        `UserError` if there is no training split.
        """
        if not len(self.train):
            raise UserError(f"{self.name} has no training clips here, only a test split; train on another dataset")
        draws = torch.randint(_DRAWS, (len(rows),))
        rows = rows.to(self.train.lengths.device)
        crops = self.train.crops(rows, self.shape[1], draws)
        return Batch(crops.to(self.device), self.train.labels[rows].to(self.device))

    def fetched(self, rows: Tensor) -> AudioData:
        """These training clips alone, each as a whole, as `vaebench.contracts.Fetches` says."""
        return self._only(train=self.train.only(rows, self.device))


@checked("dataset")
def fsdd(
    *,
    name: str,
    shape: Sequence[int],
    sample_rate: int,
    peak: Annotated[float, Interval(gt=0, le=1)],
    files: Files,
    mirrors: Sequence[str] = (),
) -> AudioData:
    """The Free Spoken Digit Dataset: 3,000 spoken digits of six speakers, labelled by digit.

    Recordings 5 and up of each speaker and digit are training clips. The test clips are too short for measures of
    speech, so the five of a speaker and digit are joined in order to one item: 60 items.

    ``shape``: (1, samples) of a training crop. ``sample_rate``: in Hz, that of the recordings; checked. ``peak``: every
    recording is scaled to this largest magnitude; a silent one is left as it is. ``files``: ``archive``, a tar file of
    ``recordings/{digit}_{speaker}_{index}.wav``, read in place, under ``$VAEBENCH_DATA`` or the cache in ``name``, or
    to download from the folders ``mirrors``. Raises `UserError` if it is missing, corrupt or not what it should be.
    """
    located = obtain(name=name, files=files, mirrors=mirrors, roles=("archive",))
    recordings = _recordings(located.paths["archive"], sample_rate=sample_rate, peak=peak)
    train = [(clip, digit) for (digit, _, index), clip in recordings.items() if index >= _FSDD_TEST]
    joined: dict[tuple[int, str], list[np.ndarray]] = {}
    for (digit, speaker, index), clip in recordings.items():
        if index < _FSDD_TEST:
            joined.setdefault((digit, speaker), []).append(clip)
    return AudioData(
        name,
        shape,
        sample_rate,
        train=clips([clip for clip, _ in train], [digit for _, digit in train]),
        test=clips([np.concatenate(parts) for parts in joined.values()], [digit for digit, _ in joined]),
        source=located.source,
    )


def _recordings(path: Path, *, sample_rate: int, peak: float) -> dict[tuple[int, str, int], np.ndarray]:
    """The recordings in the archive, int16 ``[t]``, by digit, speaker and index, in this order."""
    found = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isfile() else None
                if stream is None or not member.name.endswith(".wav"):
                    continue
                match = _FSDD_NAME.fullmatch(Path(member.name).name)
                if not match:
                    raise UserError(f"{path}: {member.name!r} is not named digit_speaker_index.wav")
                where = int(match["digit"]), match["speaker"], int(match["index"])
                try:
                    values, rate = read_wav(stream.read())
                except BadFile as error:
                    raise UserError(f"{path}, {member.name}: {error}") from error
                if rate != sample_rate:
                    raise UserError(
                        f"dataset.sample_rate={sample_rate}: {path}, {member.name} has {rate} samples a second"
                    )
                found[where] = to_int16(normalised(to_mono(values), peak))
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise UserError(f"{path}: cannot be read to its end ({error})") from error
    return dict(sorted(found.items()))


def clips(waves: Sequence[np.ndarray], labels: Sequence[int]) -> Clips:
    """Waves int16 ``[t]`` and their labels as `Clips`."""
    lengths = np.array([len(wave) for wave in waves], np.int64)
    samples = np.concatenate(waves) if waves else np.zeros(0, np.int16)
    return Clips.of(*map(torch.from_numpy, (samples, lengths, np.array(labels, np.int64))))

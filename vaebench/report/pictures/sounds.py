"""A page of clips to listen to, in which the sounds (16-bit WAV) and their spectrograms are.

It needs nothing else, and stays when the store is gone.
"""

from __future__ import annotations

import base64
import io
import wave
from typing import TYPE_CHECKING

from vaebench.contracts.pictures import Sounds
from vaebench.report.judged import dataset_name
from vaebench.report.pages import fill
from vaebench.report.summary import Section

if TYPE_CHECKING:
    import numpy as np

LIMIT = 1_300_000  # bytes of samples in a page; a third more as text, plus the pictures, is below 2 MB
_FFT = 256  # samples of a spectrogram's frame
_RANGE_DB = 70.0
_WIDTH, _HEIGHT = 240, 64  # of a spectrogram, in pixels


def page(caption: str, content: Sounds, section: Section) -> str:
    """A heading per clip, the original, then what was made of it; cut where all clips together are above `LIMIT`."""
    most = LIMIT // (2 * len(content.originals) * (len(content.made) + 1))
    clips = []
    for number, original in enumerate(content.originals[:, :most]):
        level = float(_power(original).max())
        sounds = {"original": original, **{label: made[number][:most] for label, made in content.made.items()}}
        clips.append(
            {label: (_text(wav(x, content.rate)), _text(spectrogram(x, level))) for label, x in sounds.items()}
        )
    return fill(
        "sounds.html.j2",
        caption=caption,
        where=f"{section.key}, scale={section.scale}, {dataset_name(section.dataset)}",
        table=section.table.caption,
        rate=content.rate,
        decibels=_RANGE_DB,
        clips=clips,
    )


def wav(samples: np.ndarray, rate: int) -> bytes:
    """Samples int16 ``[t]`` as the bytes of a WAV file of one channel."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()


def spectrogram(samples: np.ndarray, level: float) -> bytes:
    """A PNG of the power of samples int16 ``[t]`` over time and frequency, low frequencies below, loud is dark.

    ``level``: the power that is black; 70 dB below it is white.
    """
    import numpy as np
    from PIL import Image

    decibel = 10 * np.log10(np.maximum(_power(samples), 1e-9) / max(level, 1e-9))
    grey = (np.clip(-decibel / _RANGE_DB, 0, 1) * 255).astype(np.uint8).T[::-1]
    buffer = io.BytesIO()
    Image.fromarray(grey).resize((_WIDTH, _HEIGHT), Image.Resampling.BILINEAR).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _power(samples: np.ndarray) -> np.ndarray:
    """Power of half overlapping Hann windows, ``[frames, _FFT / 2 + 1]``; at least one frame."""
    import numpy as np

    padded = np.pad(samples.astype(np.float64) / 32768, (0, max(0, _FFT - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[:: _FFT // 2]
    return np.abs(np.fft.rfft(frames * np.hanning(_FFT))) ** 2


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()

"""``listen-<section>.html``: test clips and every row's reconstruction of them to listen to, in a page of its own.

The sounds (16-bit WAV) and pictures are inside the page: it needs nothing else, and stays when the store is gone.
"""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.report.summary import Section, dataset_name
from vaebench.report.token_plots import of_the_largest
from vaebench.writing import write_bytes

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray]

LIMIT = 1_300_000  # bytes of samples in a page; a third more as text, plus the pictures, is below 2 MB
_CAPTION = "Listen to test clips and their reconstructions"
_FFT = 256  # samples of a spectrogram's frame
_RANGE_DB = 70.0
_WIDTH, _HEIGHT = 240, 64  # of a spectrogram, in pixels


def write(section: Section, stored: Mapping[str, Arrays], folder: Path, *, whole: bool) -> list[Path]:
    """Write the page if there is something to hear. ``stored``: by row, what the suite stored.

    ``whole``: whether that is all that was measured; else a page that is there may have the other rows, and stays.
    """
    heard = {row: arrays for row, arrays in stored.items() if "audio_reconstructions" in arrays}
    if not heard:
        return []
    path = folder / file_name(section)
    if path.exists() and not whole:
        return []
    write_bytes(path, render(section, heard).encode("utf-8"))
    return [path]


def there(section: Section, folder: Path) -> list[tuple[str, str]]:
    """(file name, caption) of the section's page, if it exists."""
    name = file_name(section)
    return [(name, f"{_CAPTION}: {_where(section)}")] if (folder / name).exists() else []


def file_name(section: Section) -> str:
    """``listen-table1-small-fsdd.html``."""
    return f"listen-{section.name}.html"


def render(section: Section, heard: Mapping[str, Arrays]) -> str:
    """The page: a heading per clip, the original, then the rows with the largest codebook, in the table's order.

    ``heard``: by row ``audio_inputs`` and ``audio_reconstructions`` int16 ``[n t]`` (ends padded with zeros) and
    ``sample_rate`` in Hz. Clips are cut where all of them together would be above `LIMIT`.
    """
    rows = of_the_largest(section, heard)
    first = heard[rows[0]]
    originals, rate = first["audio_inputs"], int(first["sample_rate"])
    most = LIMIT // (2 * len(originals) * (len(rows) + 1))
    drawn = f"0 to {rate // 2:,} Hz, down to {_RANGE_DB:g} dB below the original's loudest"
    style = files("vaebench.report").joinpath("templates/page.css").read_text(encoding="utf-8")
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>vaebench: {escape(_where(section))}</title>",
            f"<style>\n{style}</style>\n</head>\n<body>",
            f"<h1>{escape(_CAPTION)}</h1>",
            f'<p class="dim">{escape(_where(section))}; {escape(section.table.caption)}. {rate:,} Hz, first seed. '
            f"Below each sound its spectrogram: {drawn}.</p>",
            *_clips(section, {row: heard[row] for row in rows}, originals[:, :most], rate),
            "</body>\n</html>\n",
        ]
    )


def _clips(section: Section, heard: Mapping[str, Arrays], originals: np.ndarray, rate: int) -> Iterator[str]:
    for number, original in enumerate(originals):
        level = float(_power(original).max())
        sounds = {"original": original}
        for row, arrays in heard.items():
            sounds[section.table.rows[row].label] = arrays["audio_reconstructions"][number][: len(original)]
        yield f'<h2>Clip {number + 1}</h2>\n<div class="sounds">'
        yield from _figures(sounds, rate, level)
        yield "</div>"


def _figures(sounds: Mapping[str, np.ndarray], rate: int, level: float) -> Iterable[str]:
    for label, samples in sounds.items():
        text = escape(label)
        sound, image = (base64.b64encode(x).decode() for x in (wav(samples, rate), spectrogram(samples, level)))
        yield (
            f"<figure><figcaption>{text}</figcaption>"
            f'<audio controls preload="none" src="data:audio/wav;base64,{sound}" aria-label="{text}"></audio>'
            f'<img alt="spectrogram: {text}" src="data:image/png;base64,{image}"></figure>'
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


def _where(section: Section) -> str:
    return f"{section.key}, scale={section.scale}, {dataset_name(section.dataset)}"

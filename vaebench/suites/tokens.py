"""Discrete codes: how evenly they are used, and how good what is decoded from them is (VP-VAE, Tables 1 to 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vaebench.compat import missing
from vaebench.config.signatures import Count, Positive
from vaebench.contracts import Measurement, Reconstructs, SuiteInputs, SuiteResult, Tokenizes
from vaebench.data.audio import AudioData
from vaebench.data.images import ImageData
from vaebench.errors import UserError
from vaebench.metrics import codebook, speech
from vaebench.nn.audio.mel import LogMel
from vaebench.suites.common import reconstructed, some_of_each, walk
from vaebench.suites.quality import ImageQuality, perceptual_distance

_PICTURES = 8
_SOUNDS, _SOUND_SECONDS = 2, 2.5


@runtime_checkable
class DecodesLogMel(Protocol):
    """A model whose decoder may make log-mel spectra."""

    def decode_log_mel(self, z: Tensor) -> Tensor | None:
        """Code -> log10-mel power ``[b bands t]`` as the decoder says it; None where it decodes waveforms."""


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Codes of the test set, and ``decode(encode(x))`` beside x. The model may have been trained on another set.

    ``cvu``: perplexity of all tokens of the set / number of codes; ``cvu_nominal``: / the table's size; ``usage``: the
    share of codes that occur; ``perplexity``.

    Images: ``psnr``, ``psnr_set``, ``l1``, ``ssim_valid``, ``ssim_reflect`` as in `Reconstruction` (SSIM from 11x11
    pixels), ``lpips`` where its weights are at hand. Audio, means over clips: ``lsd`` of log-mel spectra (those of the
    decoder if it makes some, else of the waveform: ``window`` and ``hop`` in seconds, ``bands``, ``floor``), ``stft``
    over the resolutions ``stft`` (FFT size, window, hop in samples), ``si_sdr``, ``stoi``, ``pesq``; the last two where
    their packages are installed and PESQ knows the sample rate.

    Raises `UserError` for resolutions that are none.
    """

    requires = (Tokenizes, Reconstructs)
    needs_classifier = False

    batch_size: Count
    window: Positive
    hop: Positive
    bands: Count
    floor: Positive
    stft: Sequence[Sequence[Count]]

    def __post_init__(self) -> None:
        bad = [list(found) for found in self.stft if len(found) != 3 or found[1] > found[0]]
        if bad or not self.stft:
            raise UserError(
                f"suite.stft={bad or list(self.stft)}: needs (FFT size, window, hop), the window no longer than the FFT"
            )

    @torch.no_grad()
    def run(self, inputs: SuiteInputs) -> SuiteResult:
        """Measure ``inputs.model``."""
        data = inputs.data
        return self._audio(inputs, data) if isinstance(data, AudioData) else self._images(inputs, data)

    def _images(self, inputs: SuiteInputs, data: ImageData) -> SuiteResult:
        model = inputs.model
        quality = ImageQuality(perceptual=perceptual_distance(data, inputs.device))
        counts = torch.zeros(model.codebook_size, dtype=torch.int64)
        for x in walk(inputs, data.test_x, self.batch_size):
            indices = model.tokenize(x)
            counts += codebook.code_counts(indices, model.codebook_size)
            quality.add(x, model.detokenize(indices))
        found = (*_codes(counts, model), *quality.measurements())
        arrays = reconstructed(inputs, data.test_x, some_of_each(data.test_y, _PICTURES))
        return SuiteResult(found, {**arrays, "code_counts": counts.numpy()}, quality.left_out)

    def _audio(self, inputs: SuiteInputs, data: AudioData) -> SuiteResult:
        model, rate = inputs.model, data.sample_rate
        counts = torch.zeros(model.codebook_size, dtype=torch.int64)
        values: dict[str, list[float | None]] = {}
        shown = [int(row) for row in some_of_each(data.test.labels, _SOUNDS)]
        sounds: dict[int, tuple[Tensor, Tensor]] = {}
        front, decodes_mel = None, False
        for row in range(len(data.test)):
            x = data.test.item(row)[None].to(inputs.device)
            counts += codebook.code_counts(model.tokenize(x), model.codebook_size)
            z = model.encode(x)
            y = as_long(model.decode(z), x.shape[-1])
            log_mel = model.decode_log_mel(z) if isinstance(model, DecodesLogMel) else None
            decodes_mel = log_mel is not None
            if front is None:
                front = (own_front(model) if decodes_mel else self._spectra(rate)).to(inputs.device)
            log_mel = front(y) if log_mel is None else log_mel
            measured = self._compare(x[0, 0].cpu(), y[0, 0].cpu(), rate)
            measured["lsd"] = float(speech.log_spectral_distance(front(x).cpu(), log_mel.cpu()))
            for name, value in measured.items():
                values.setdefault(name, []).append(value)
            if row in shown:
                sounds[row] = x[0, 0], y[0, 0]
            inputs.track(row + 1, len(data.test))
        assert front is not None, "the data has test clips"
        common = {"split": "test", "sample_rate": rate, "vocoder": "griffin-lim" if decodes_mel else "none"}
        found = [*_codes(counts, model), *self._means(values, common, front, decodes_mel)]
        arrays = _heard([sounds[row] for row in shown], rate)
        return SuiteResult(tuple(found), {**arrays, "code_counts": counts.numpy()})

    def _compare(self, x: Tensor, y: Tensor, rate: int) -> dict[str, float | None]:
        """Every measure of waveforms ``[t]`` that can be had here; None where it is not defined for this clip."""
        found: dict[str, float | None] = {
            "stft": None if speech.is_silent(x) else speech.stft_distance(x, y, self.stft),
            "si_sdr": speech.si_sdr(x, y),
        }
        if not missing(["pystoi"]):
            found["stoi"] = speech.stoi(x, y, rate)
        if not missing(["pesq"]) and rate in speech.PESQ_BANDS:
            found["pesq"] = speech.pesq(x, y, rate)
        return found

    def _means(
        self, values: dict[str, list[float | None]], common: dict[str, Any], front: LogMel, decodes_mel: bool
    ) -> list[Measurement]:
        """Means over the clips for which a measure is defined; none at all where there is no such clip."""
        # What a decoder says of the spectra has not been through a vocoder.
        mel: dict[str, Any] = {"spectra": "decoder" if decodes_mel else "waveform", "vocoder": "none"}
        mel |= {"n_fft": front.n_fft, "hop": front.hop, "bands": len(front.filters), "floor": front.floor}
        own: dict[str, dict[str, Any]] = {
            "lsd": mel,
            "stft": {"resolutions": " ".join("/".join(map(str, found)) for found in self.stft)},
            "si_sdr": {"limit": speech.SDR_LIMIT},
            "pesq": {"band": speech.PESQ_BANDS.get(common["sample_rate"], "")},
        }
        units = {"lsd": "dB", "si_sdr": "dB"}
        measured = []
        for name, clips in values.items():
            there = [value for value in clips if value is not None]
            if there:
                protocol = {**common, **own.get(name, {}), "left_out": len(clips) - len(there)}
                measured.append(Measurement(name, float(np.mean(there)), len(there), units.get(name, ""), protocol))
        return measured

    def _spectra(self, rate: int) -> LogMel:
        return spectra(rate, window=self.window, hop=self.hop, bands=self.bands, floor=self.floor)


def spectra(rate: int, *, window: float, hop: float, bands: int, floor: float) -> LogMel:
    """The log-mel spectra of a suite's own options at this sample rate; ``window`` and ``hop`` in seconds."""
    n_fft, step = 2 * round(window * rate / 2), round(hop * rate)
    try:
        return LogMel(sample_rate=rate, n_fft=n_fft, hop=step, bands=bands, floor=floor)
    except UserError as error:
        raise UserError(*(line.replace("model.autoencoder.", "suite.") for line in error.lines)) from error


def own_front(model: torch.nn.Module) -> LogMel:
    """The spectra in which a model was trained that decodes some."""
    return next(part for part in model.modules() if isinstance(part, LogMel))


def _codes(counts: Tensor, model: Tokenizes) -> list[Measurement]:
    """Evenness of the codes of the whole set; ``tokens`` beside the sizes: CVU is low where they are too few."""
    tokens, real, nominal = int(counts.sum()), model.codebook_size, model.nominal_size
    common = {"split": "test", "tokens": tokens, "codebook_size": real}
    values: dict[str, tuple[float, dict[str, Any]]] = {
        "cvu": (codebook.cvu(counts, real), {"denominator": "real"}),
        "cvu_nominal": (codebook.cvu(counts, nominal), {"denominator": "nominal", "nominal_size": nominal}),
        "usage": (codebook.usage(counts), {}),
        "perplexity": (codebook.perplexity(counts), {}),
    }
    return [Measurement(name, value, tokens, "", {**common, **own}) for name, (value, own) in values.items()]


def as_long(wave: Tensor, samples: int) -> Tensor:
    """A waveform ``[... t]`` cut, or continued as silence."""
    return F.pad(wave[..., :samples], (0, max(0, samples - wave.shape[-1])))


def _heard(sounds: Sequence[tuple[Tensor, Tensor]], rate: int) -> dict[str, np.ndarray]:
    """The beginnings of clips and of their reconstructions, int16 ``[n t]``; shorter ones end in zeros."""
    most = min(round(_SOUND_SECONDS * rate), max(len(x) for x, _ in sounds))
    inputs, made = (
        torch.stack([as_long(wave, most) for wave in waves]).clamp(-1, 1).mul(32767).round().short().cpu().numpy()
        for waves in zip(*sounds, strict=True)
    )
    return {"audio_inputs": inputs, "audio_reconstructions": made, "sample_rate": np.array(rate)}
